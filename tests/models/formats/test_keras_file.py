"""Keras 3 files: read by content, in safe mode, with shims, and hostile ones refused."""

from __future__ import annotations

import json
import time
import zipfile
from pathlib import Path
from typing import Any

import hostile_files
import numpy as np
import pytest
from support.models.toy_models import LATENT, SHAPE, make_decoder, make_encoder, save_single

from vae_batch.models.formats.format import LoadOptions, Networks
from vae_batch.models.formats.keras.keras_file import KerasFile
from vae_batch.plan.errors import CheckpointError
from vae_batch.plan.reading import Reading

LATENTS = np.random.default_rng(0).normal(size=(5, LATENT)).astype(np.float32)
IMAGES = np.random.default_rng(1).random((5, *SHAPE)).astype(np.float32)


def terms(*, trust: bool = False, cap: int = 8 << 30, **reading: Any) -> LoadOptions:
    return LoadOptions(Reading(**reading), trust, cap)


def load(given: LoadOptions | None = None, **files: Path) -> Networks:
    paths = {role: str(path) for role, path in files.items()}
    return KerasFile().load(paths, given or terms())


def recognised(path: Path) -> bool:
    return KerasFile().recognises(str(path), path.read_bytes()[:4096])


def test_a_pair_under_any_name(tmp_path: Path) -> None:
    encoder, decoder = make_encoder(1), make_decoder(1)
    encoder.save(tmp_path / "e.keras")
    decoder.save(tmp_path / "d.keras")
    paths = {"encoder": tmp_path / "epoch 3.bin", "decoder": tmp_path / "no-suffix"}
    (tmp_path / "e.keras").rename(paths["encoder"])
    (tmp_path / "d.keras").rename(paths["decoder"])
    assert recognised(paths["encoder"])
    found = load(**paths)
    assert found.format == "keras"
    assert found.encoder is not None
    assert found.decoder is not None
    assert found.decoder.source == str(paths["decoder"])
    for one, other in zip(found.encoder.run(IMAGES), encoder(IMAGES), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found.decoder.run(LATENTS)[0], decoder(LATENTS), atol=1e-6)


def test_a_single_file_has_its_halves(tmp_path: Path) -> None:
    save_single(tmp_path / "vae.keras", seed=2)
    found = load(model=tmp_path / "vae.keras")
    assert found.decoder is not None
    np.testing.assert_allclose(found.decoder.run(LATENTS)[0], make_decoder(2)(LATENTS), atol=1e-6)
    assert found.encoder is not None
    assert len(found.encoder.outputs) == 3
    assert found.encoder.replaced == ()  # this package's own Sampling layer draws


def test_an_unknown_sampling_layer_is_replaced(tmp_path: Path) -> None:
    import keras

    class ReparameterizationTrick(keras.layers.Layer):
        def __init__(self, temperature: float = 1.0, **settings: Any) -> None:
            super().__init__(**settings)
            self.temperature = temperature

        def call(self, inputs: Any) -> Any:
            return inputs[0] + inputs[1]

        def get_config(self) -> dict[str, Any]:
            return {**super().get_config(), "temperature": self.temperature}

    plain = make_encoder(5)
    z = ReparameterizationTrick(0.5, name="draw")(plain.outputs)
    keras.Model(plain.input, [*plain.outputs, z]).save(tmp_path / "e.keras")
    encoder = load(encoder=tmp_path / "e.keras").encoder
    assert encoder is not None
    assert encoder.replaced == ("draw",)
    mean, logvar, z = encoder.run(IMAGES)
    np.testing.assert_allclose(mean, plain(IMAGES)[0], rtol=1e-5)
    np.testing.assert_allclose(logvar, plain(IMAGES)[1], rtol=1e-5)
    np.testing.assert_array_equal(z, mean)


def test_a_keyword_call_of_a_sampling_layer(tmp_path: Path) -> None:
    import keras

    class Sampling(keras.layers.Layer):
        def call(self, z_mean: Any, z_log_var: Any = None) -> Any:
            return z_mean + z_log_var

    plain = make_encoder(5)
    mean, logvar = plain.outputs
    z = Sampling()(z_mean=mean, z_log_var=logvar)
    keras.Model(plain.input, [mean, logvar, z]).save(tmp_path / "e.keras")
    encoder = load(encoder=tmp_path / "e.keras").encoder
    assert encoder is not None
    mean, _, z = encoder.run(IMAGES)
    np.testing.assert_array_equal(z, mean)


def save_with_lambdas(path: Path) -> Any:
    import keras

    plain = make_encoder(5)
    doubled = keras.layers.Lambda(lambda x: 2 * x, name="doubled")(plain.input)
    mean, logvar = plain(doubled)
    z = keras.layers.Lambda(lambda x: x[0] + 9.0, output_shape=(LATENT,), name="z")([mean, logvar])
    keras.Model(plain.input, [mean, logvar, z]).save(path)
    return plain


def test_trusted_lambdas_run_but_where_z_is_drawn(tmp_path: Path) -> None:
    plain = save_with_lambdas(tmp_path / "e.keras")
    with pytest.raises(CheckpointError, match=r"layer 'doubled' is a Python Lambda"):
        load(encoder=tmp_path / "e.keras")
    encoder = load(terms(trust=True), encoder=tmp_path / "e.keras").encoder
    assert encoder is not None
    assert encoder.replaced == ("z",)
    mean, _, z = encoder.run(IMAGES)
    np.testing.assert_allclose(mean, plain(2 * IMAGES)[0], rtol=1e-5)
    np.testing.assert_array_equal(z, mean)


def test_a_subclassed_vae_with_the_users_module(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Saved by its module in another process; here the module is beside the user."""
    import importlib

    text = """
import keras

@keras.saving.register_keras_serializable(package="mine")
class Vae(keras.Model):
    def __init__(self, encoder, decoder, **settings):
        super().__init__(**settings)
        self.encoder, self.decoder = encoder, decoder

    def call(self, images):
        return self.decoder(self.encoder(images)[0])

    def get_config(self):
        parts = {"encoder": self.encoder, "decoder": self.decoder}
        serialize = keras.saving.serialize_keras_object
        return {**super().get_config(), **{k: serialize(v) for k, v in parts.items()}}

    @classmethod
    def from_config(cls, config):
        for key in ("encoder", "decoder"):
            config[key] = keras.saving.deserialize_keras_object(config[key])
        return cls(**config)
"""
    (tmp_path / "subclassed_vae.py").write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    import keras

    before = dict(keras.saving.get_custom_objects())
    model = importlib.import_module("subclassed_vae").Vae(make_encoder(1), make_decoder(1))
    model(IMAGES)
    model.save("vae.keras")
    keras.saving.get_custom_objects().clear()
    keras.saving.get_custom_objects().update(before)
    path = tmp_path / "vae.keras"
    without = load(model=path)  # its halves stand in the file
    assert without.notes == ("encoder and decoder in the configuration of class 'Vae'",)
    given = terms(trust=True, custom_objects="subclassed_vae")
    found = load(given, model=path)
    assert found.decoder is not None
    np.testing.assert_allclose(found.decoder.run(LATENTS)[0], make_decoder(1)(LATENTS), atol=1e-6)
    assert found.notes[0] == f"encoder: layer 'encoder' of {path}"


HOSTILE = {
    "huge_weight": r"declares 111\.8 GiB of weights or more, but the file holds 256 bytes",
    "zip_bomb": r"zip bomb: model\.weights\.h5 unpacks from 509\.\d KiB to 512 MiB",
    "hdf5_bomb": r"holds 90\.95 TiB of weights, over memory_cap = 8 GiB",
    "doubling_models": r"nests models into 5\.5e\+12 calls of layers",
    "computing_constant": r"layer 'constant' \(Arange\) is called on no tensor",
    "endless_json": r"not a readable Keras file .*recursion",
    "borrowed_weights": r"model\.weights\.h5 of .*: 'layers' lies in another file",
}


@pytest.mark.parametrize("trust", [False, True])
@pytest.mark.parametrize(("kind", "sentence"), HOSTILE.items())
def test_hostile_files_are_refused_at_once(
    tmp_path: Path, kind: str, sentence: str, trust: bool
) -> None:
    """Trust is in code, not in sizes."""
    path = tmp_path / f"{kind}.keras"
    getattr(hostile_files, kind)(path)
    assert path.stat().st_size < 5 << 20
    start = time.process_time()
    with pytest.raises(CheckpointError, match=sentence):
        load(terms(trust=trust), decoder=path)
    assert time.process_time() - start < 30  # nothing is unpacked


def test_a_malicious_lambda_is_not_run(tmp_path: Path) -> None:
    """And is, once its file is trusted: so the test would see it."""
    path, marker = tmp_path / "d.keras", tmp_path / "marker"
    hostile_files.malicious_lambda(path, marker)
    with pytest.raises(CheckpointError, match="layer 'innocent' is a Python Lambda"):
        load(decoder=path)
    assert not marker.exists()
    decoder = load(terms(trust=True), decoder=path).decoder
    assert decoder is not None
    decoder.run(LATENTS)
    assert marker.exists()


def test_weights_over_the_cap(tmp_path: Path) -> None:
    make_decoder(1).save(tmp_path / "d.keras")
    with pytest.raises(CheckpointError, match=r"over memory_cap = 9\.5.*raise --memory-cap"):
        load(terms(cap=1024), decoder=tmp_path / "d.keras")


def edited(path: Path, **contents: bytes | None) -> Path:
    """A decoder's file with members replaced, or left out for None."""
    make_decoder(1).save(path.with_name("sound.keras"))
    names = {name.replace(".", "_"): name for name in ("config.json", "model.weights.h5")}
    with (
        zipfile.ZipFile(path.with_name("sound.keras")) as sound,
        zipfile.ZipFile(path, "w") as archive,
    ):
        members = {name: sound.read(name) for name in sound.namelist()}
        members |= {names[key]: content for key, content in contents.items()}
        for name, content in members.items():
            if content is not None:
                archive.writestr(name, content)
    return path


@pytest.mark.parametrize(
    ("contents", "sentence"),
    [
        ({"config_json": b"[1, 2]"}, r"its config\.json is no JSON object"),
        ({"config_json": b"{"}, r"not a readable Keras file .*save the model again"),
        ({"config_json": b" " * (17 << 20)}, r"its config\.json is larger than any network's"),
        ({"config_json": b"{}"}, "cannot be loaded"),
        ({"model_weights_h5": b"no HDF5"}, "damaged HDF5"),
        ({"model_weights_h5": None}, "cannot be loaded"),
    ],
)
def test_damaged_files(tmp_path: Path, contents: dict[str, Any], sentence: str) -> None:
    path = edited(tmp_path / "d.keras", **contents)
    assert recognised(path)
    with pytest.raises(CheckpointError, match=sentence):
        load(decoder=path)


def test_a_changed_byte_is_noticed(tmp_path: Path) -> None:
    """The archive's checksums are checked."""
    path = edited(tmp_path / "d.keras")
    content = bytearray(path.read_bytes())
    at = content.index(b'"class_name": "Dense"')
    content[at + 1] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"not a readable Keras file .*CRC"):
        load(decoder=path)


def test_other_files_are_not_recognised(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "pickled.pt", "w") as archive:
        archive.writestr("model/data.pkl", b"")
        archive.writestr("config.json", b"{}")
    truncated = edited(tmp_path / "d.keras")
    truncated.write_bytes(truncated.read_bytes()[:-100])
    (tmp_path / "page.keras").write_bytes(b"<html>")
    found = [path.name for path in tmp_path.iterdir() if recognised(path)]
    assert found == ["sound.keras"]


def test_an_old_keras_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import keras

    make_decoder(1).save(tmp_path / "d.keras")
    monkeypatch.setattr(keras, "__version__", "3.13.1")
    with pytest.raises(CheckpointError, match=r"Keras 3\.13\.1 .*install keras>=3\.13\.2"):
        load(decoder=tmp_path / "d.keras")


def test_another_backend_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import keras

    make_decoder(1).save(tmp_path / "d.keras")
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(CheckpointError, match=r"runs on jax here.*KERAS_BACKEND=tensorflow"):
        load(decoder=tmp_path / "d.keras")


def test_training_settings_are_not_needed(tmp_path: Path) -> None:
    """A compiled model with the user's own loss loads without it."""

    def my_loss(_: Any, predicted: Any) -> Any:
        return predicted

    model = make_decoder(1)
    model.compile(optimizer="adam", loss=my_loss)
    model.save(tmp_path / "d.keras")
    with zipfile.ZipFile(tmp_path / "d.keras") as archive:
        assert "my_loss" in json.dumps(json.loads(archive.read("config.json")))
    assert load(decoder=tmp_path / "d.keras").decoder is not None
