"""Files as people have: rebuilt from public reports, each with the values that are right."""

from __future__ import annotations

import base64
import json
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.models.toy_models import LATENT, SHAPE, make_decoder, make_encoder

from vae_batch.models.autoencoder.network_runs import run_once
from vae_batch.models.formats.format import LoadOptions, Networks
from vae_batch.models.formats.load import load_networks
from vae_batch.plan.errors import CheckpointError
from vae_batch.plan.reading import Reading

LONG = [pytest.mark.slow, pytest.mark.long]
LATENTS = np.random.default_rng(0).normal(size=(5, LATENT)).astype(np.float32)
IMAGES = np.random.default_rng(1).random((5, *SHAPE)).astype(np.float32)

pytestmark = pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5")


def load(path: Path, *, trust: bool = False, role: str = "model", **reading: Any) -> Networks:
    return load_networks({role: str(path)}, LoadOptions(Reading(**reading), trust, 8 << 30))


def check_halves(found: Networks, encoder: Any, decoder: Any) -> None:
    """The halves compute what those that were saved do, to the last bits."""
    assert found.encoder is not None
    assert found.decoder is not None
    for one, other in zip(found.encoder.run(IMAGES), encoder(IMAGES), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(found.decoder.run(LATENTS)[0], decoder(LATENTS), atol=1e-6)


def subclassed(library: Any, encoder: Any, decoder: Any, nested: str) -> Any:
    """The VAE of Keras' own example, with the one method that makes it a file."""

    class VAE(library.Model):  # type: ignore[name-defined, misc]
        def __init__(self, encoder: Any, decoder: Any, **settings: Any) -> None:
            super().__init__(**settings)
            self.encoder, self.decoder = encoder, decoder

        def call(self, images: Any) -> Any:
            return self.decoder(self.encoder(images)[0])

        def get_config(self) -> dict[str, Any]:
            halves = {"encoder": self.encoder, "decoder": self.decoder}
            if nested == "get_config":
                return {name: half.get_config() for name, half in halves.items()}
            serialize = library.saving.serialize_keras_object
            return {name: serialize(half) for name, half in halves.items()}

    return VAE(encoder, decoder)


@pytest.mark.parametrize("nested", ["serialize_keras_object", "get_config"])
def test_a_subclassed_vae_is_read_without_its_class(nested: str, tmp_path: Path) -> None:
    import keras

    encoder, decoder = make_encoder(1), make_decoder(1)
    model = subclassed(keras, encoder, decoder, nested)
    model(IMAGES)
    model.save(tmp_path / "vae.keras")
    found = load(tmp_path / "vae.keras")
    check_halves(found, encoder, decoder)
    assert found.notes == ("encoder and decoder in the configuration of class 'VAE'",)
    assert str(found.encoder and found.encoder.source).endswith("vae.keras (encoder)")


def test_a_subclassed_vae_of_tf_keras(tmp_path: Path) -> None:
    library = pytest.importorskip("tf_keras")
    layers, image, latents = library.layers, library.Input(SHAPE), library.Input((LATENT,))
    flat = layers.Flatten()(image)
    encoder = library.Model(image, [layers.Dense(LATENT)(flat), layers.Dense(LATENT)(flat)])
    pixels = layers.Reshape(SHAPE)(layers.Dense(64, "sigmoid")(latents))
    decoder = library.Model(latents, pixels)
    model = subclassed(library, encoder, decoder, "serialize_keras_object")
    model(IMAGES)
    model.save(tmp_path / "vae.keras")
    check_halves(load(tmp_path / "vae.keras"), encoder, decoder)


def as_on_windows(source: Path, target: Path) -> None:
    """The same Keras file with backslashes in names, as Keras wrote them on Windows."""
    import h5py

    part = target.with_suffix(".h5")
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            if name != "model.weights.h5":
                new.writestr(name, old.read(name))
        with h5py.File(old.extract(name, target.parent)) as file, h5py.File(part, "w") as windows:

            def copy(name: str, item: Any) -> None:
                if name.endswith("vars"):
                    folder = name.removesuffix("vars").rstrip("/").replace("/", "\\")
                    place = f"{folder}/vars".lstrip("/")
                    file.copy(item, windows, place)

            file.visititems(copy)
        new.write(part, "model.weights.h5")


@pytest.mark.parametrize("library", ["keras", "tf_keras"])
def test_a_keras_file_saved_on_windows(library: str, tmp_path: Path) -> None:
    made = pytest.importorskip(library)
    image = made.Input(SHAPE)
    hidden = made.layers.Dense(5, "tanh")(made.layers.Flatten()(image))
    heads = made.Model(
        image, [made.layers.Dense(LATENT)(hidden), made.layers.Dense(LATENT)(hidden)]
    )
    heads.save(tmp_path / "unix.keras")
    as_on_windows(tmp_path / "unix.keras", tmp_path / "windows.keras")
    found = load(tmp_path / "windows.keras", role="encoder")
    assert found.encoder is not None
    for one, other in zip(found.encoder.run(IMAGES), heads(IMAGES), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


HUB = """
import keras

@keras.saving.register_keras_serializable(package="my_hub")
class Backbone(keras.layers.Layer):
    def call(self, inputs):
        return inputs * 2
"""


def test_a_package_is_searched_where_the_file_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The advice names the installed package, and is enough."""
    import keras

    inner = tmp_path / "my_hub/src/models"
    inner.mkdir(parents=True)
    for folder in (inner, inner.parent, inner.parent.parent):
        (folder / "__init__.py").write_text("")
    (inner / "backbone.py").write_text(HUB)
    monkeypatch.syspath_prepend(str(tmp_path))
    table = dict(keras.saving.get_custom_objects())
    from my_hub.src.models.backbone import Backbone  # type: ignore[import-not-found]

    image = keras.Input(SHAPE)
    heads = [keras.layers.Dense(LATENT)(keras.layers.Flatten()(Backbone()(image))) for _ in "mv"]
    model = keras.Model(image, heads)
    model.save(tmp_path / "encoder.keras")
    keras.saving.get_custom_objects().clear()
    keras.saving.get_custom_objects().update(table)
    for name in [name for name in sys.modules if name.startswith("my_hub")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(CheckpointError, match="--custom-objects my_hub --trust") as refused:
        load(tmp_path / "encoder.keras", role="encoder")
    declare = dict(refused.value.declare)
    found = load(
        tmp_path / "encoder.keras",
        role="encoder",
        trust=bool(declare["trust"]),
        custom_objects=declare["custom_objects"],
    )
    assert found.encoder is not None
    np.testing.assert_allclose(found.encoder.run(IMAGES)[0], model(IMAGES)[0], rtol=1e-5)


@pytest.mark.parametrize("dtype", ["complex", "record"])
def test_weights_that_are_no_real_numbers_are_refused(dtype: str, tmp_path: Path) -> None:
    """Nobody is told to trust a file because of damage."""
    import h5py

    make_encoder(1).save(tmp_path / "e.h5")
    with h5py.File(tmp_path / "e.h5", "r+") as file:
        name = next(name for name in _datasets(file) if name.endswith("kernel"))
        values = file[name][()]
        del file[name]
        record = np.dtype([("re", "f4"), ("unsafe", "f4")])
        file[name] = values + 1j if dtype == "complex" else np.zeros(values.shape, record)
    with pytest.raises(
        CheckpointError, match="complex numbers" if dtype == "complex" else "records"
    ):
        load(tmp_path / "e.h5", role="encoder")


def _datasets(file: Any) -> list[str]:
    from vae_batch.models.formats.keras.hdf5_file import datasets

    return [name for name, _ in datasets(file)]


BUILDER = """
import keras

def build():
    image, latents = keras.Input((8, 8, 1)), keras.Input((3,))
    hidden = keras.layers.Flatten()(image)
    heads = [keras.layers.Dense(3, name=name)(hidden) for name in ("mean", "logvar")]
    encoder = keras.Model(image, heads)
    pixels = keras.layers.Dense(64, "sigmoid")(latents)
    return encoder, keras.Model(latents, keras.layers.Reshape((8, 8, 1))(pixels))
"""


@pytest.fixture
def builder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "wild_builder.py").write_text(BUILDER)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield "wild_builder:build"
    sys.modules.pop("wild_builder", None)


def encoder_with_lambda(function: Any, path: Path, shape: Any = SHAPE) -> Any:
    """An encoder whose input goes through a Lambda; returns its heads on the images."""
    import keras

    image = keras.Input(SHAPE)
    scaled = keras.layers.Lambda(function, output_shape=shape, name="scale")(image)
    hidden = keras.layers.Flatten()(scaled)
    heads = [keras.layers.Dense(LATENT, name=name)(hidden) for name in ("mean", "logvar")]
    model = keras.Model(image, heads)
    model.save(path)
    return keras.Model(scaled, heads)(IMAGES)


def with_bytecode(path: Path, code: bytes) -> None:
    """Replace the bytecode of a saved Lambda."""
    text = base64.b64encode(code).decode()

    def replaced(value: Any) -> Any:
        if isinstance(value, dict):
            is_code = value.get("class_name") == "__lambda__"
            own = {"config": {**value["config"], "code": text}} if is_code else {}
            return {key: replaced(inner) for key, inner in value.items()} | own
        if isinstance(value, list):
            long = len(value) == 3 and isinstance(value[0], str) and len(value[0]) > 60
            return [text, *value[1:]] if long else [replaced(inner) for inner in value]
        return value

    if path.suffix == ".h5":
        import h5py

        with h5py.File(path, "r+") as file:
            file.attrs["model_config"] = json.dumps(
                replaced(json.loads(file.attrs["model_config"]))
            )
        return
    with zipfile.ZipFile(path) as old:
        members = {name: old.read(name) for name in old.namelist()}
    members["config.json"] = json.dumps(replaced(json.loads(members["config.json"]))).encode()
    with zipfile.ZipFile(path, "w") as new:
        for name, content in members.items():
            new.writestr(name, content)


def by_builder(path: Path, refused: CheckpointError, builder: str) -> Any:
    """The remedy that a refusal names, applied literally: the encoder's outputs."""
    declare = dict(refused.declare)
    assert declare == {"builder": "package.module:function", "trust": True}
    found = load(path, role="encoder", trust=bool(declare["trust"]), builder=builder)
    assert found.encoder is not None
    return found.encoder.run(IMAGES)


def load_and_run(path: Path) -> None:
    """A Lambda with a declared shape runs only when the encoder does."""
    found = load(path, role="encoder", trust=True)
    assert found.encoder is not None
    run_once(found.encoder, "encoder", 5, IMAGES)


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.parametrize(
    ("header", "python"),
    [(6, "Python 3.8 to 3.10"), (149, "Python 3.13"), (128, "Python 3.14"), (1, "Python 3.7")],
)
def test_bytecode_of_another_python_is_refused_before_it_runs(
    suffix: str, header: int, python: str, builder: str, tmp_path: Path
) -> None:
    path = tmp_path / f"encoder{suffix}"
    heads = encoder_with_lambda(lambda x: x * 1.0, path)
    fields = 6 if header == 6 else 5
    body = b"\x97\0" if header == 6 else bytes([header, 0])
    code = b"\xe3" + b"\1\0\0\0" * fields + b"s" + len(body * 30).to_bytes(4, "little") + body * 30
    with_bytecode(path, code)
    with pytest.raises(CheckpointError, match=f"'scale'.*bytecode {python}") as refused:
        load(path, role="encoder", trust=True)
    for one, other in zip(by_builder(path, refused.value, builder), heads, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_bytecode_that_ends_the_process_is_refused(builder: str, tmp_path: Path) -> None:
    path = tmp_path / "encoder.keras"
    heads = encoder_with_lambda(lambda x: x * 1.0, path)
    import marshal

    crashing = compile("lambda x: __import__('ctypes').string_at(0)", "x", "eval").co_consts[0]
    with_bytecode(path, marshal.dumps(crashing))
    with pytest.raises(CheckpointError, match=r"crashes Python here .*SIGSEGV") as refused:
        load(path, role="encoder", trust=True)
    for one, other in zip(by_builder(path, refused.value, builder), heads, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("suffix", "shape"),
    [
        (".keras", None),
        pytest.param(".h5", None, marks=LONG),
        pytest.param(".keras", SHAPE, marks=LONG),
    ],
)
def test_a_lambda_that_needs_a_name_of_its_script(
    suffix: str, shape: Any, builder: str, tmp_path: Path
) -> None:
    """A builder wins over the configuration."""
    path, scope = tmp_path / f"encoder{suffix}", {"K": 1.0}
    heads = encoder_with_lambda(eval("lambda x: x * K", scope), path, shape)
    with pytest.raises(CheckpointError, match=r"uses 'K' of the script.*--builder") as refused:
        load_and_run(path)
    assert "\x1b" not in str(refused.value)
    for one, other in zip(by_builder(path, refused.value, builder), heads, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_damage_is_not_called_code(tmp_path: Path) -> None:
    """Whatever words the library's error has, a file without code needs no trust."""
    import h5py

    encoder = make_encoder(1)
    encoder.save(tmp_path / "e.keras")
    with zipfile.ZipFile(tmp_path / "e.keras") as old:
        members = {name: old.read(name) for name in old.namelist()}
    config = members["config.json"].replace(b'"tanh"', b'"unsafe_mode"')
    (tmp_path / "w.h5").write_bytes(members["model.weights.h5"])
    with h5py.File(tmp_path / "w.h5", "r+") as file:
        name = next(name for name in _datasets(file) if name.endswith("vars/0"))
        del file[name]
    for changed in (
        {"config.json": config},
        {"model.weights.h5": (tmp_path / "w.h5").read_bytes()},
    ):
        with zipfile.ZipFile(tmp_path / "damaged.keras", "w") as new:
            for name, content in {**members, **changed}.items():
                new.writestr(name, content)
        with pytest.raises(CheckpointError) as refused:
            load(tmp_path / "damaged.keras", role="encoder")
        assert "holds code" not in str(refused.value)
        assert "trust" not in refused.value.declare or "unsafe_mode" in str(refused.value)


def test_the_advice_for_tensorflow_checkpoints_works(tmp_path: Path) -> None:
    """Keras 3 loads none, whatever model.load_weights is given; tf_keras does."""
    library = pytest.importorskip("tf_keras")

    def built() -> Any:
        image = library.Input(SHAPE)
        flat = library.layers.Flatten()(image)
        return library.Model(image, [library.layers.Dense(LATENT)(flat) for _ in range(2)])

    model = built()
    model.save_weights(tmp_path / "ckpt/vae", save_format="tf")
    with pytest.raises(CheckpointError, match=r"tf_keras.*without \.index.*vae\.h5"):
        load(tmp_path / "ckpt/vae.index", role="encoder")
    again = built()
    again.load_weights(str(tmp_path / "ckpt/vae.index").removesuffix(".index")).expect_partial()
    again.save(tmp_path / "encoder.h5")
    found = load(tmp_path / "encoder.h5", role="encoder")
    assert found.encoder is not None
    np.testing.assert_allclose(found.encoder.run(IMAGES)[0], model(IMAGES)[0], rtol=1e-5)


SCRIPT = """
import keras, pathlib

class Same(keras.layers.Layer):
    def call(self, inputs):
        return inputs

path = pathlib.Path(__file__).parent / "run"
(path / "trained.txt").write_text("trained")
if (path / "overwrite").exists():
    (path / "encoder.keras").write_bytes(b"PK")
"""


@pytest.mark.parametrize("overwrites", [False, True])
def test_an_import_that_trains_is_named(
    overwrites: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import keras

    name = f"wild_script_{overwrites}".lower()
    (tmp_path / f"{name}.py").write_text(SCRIPT)
    (tmp_path / "run").mkdir()
    monkeypatch.syspath_prepend(str(tmp_path))
    same = type("Same", (keras.layers.Layer,), {"call": lambda self, inputs: inputs})
    image = keras.Input(SHAPE)
    flat = keras.layers.Flatten()(same()(image))
    heads = [keras.layers.Dense(LATENT)(flat) for _ in range(2)]
    path = tmp_path / "run/encoder.keras"
    keras.Model(image, heads).save(path)
    if overwrites:
        (tmp_path / "run/overwrite").touch()
        with pytest.raises(CheckpointError):
            load(path, role="encoder", trust=True, custom_objects=name)
        return
    found = load(path, role="encoder", trust=True, custom_objects=name)
    (warning,) = found.warnings
    assert f"importing '{name}' changed 1 file, such as {tmp_path}/run/trained.txt" in warning
    assert "__name__ == '__main__'" in warning


@pytest.mark.parametrize("fit", [None, "pad", "resize"])
def test_halves_of_two_sizes_are_named_first(fit: Any) -> None:
    """28 in and 32 out: no advice about the reference helps, one about the decoder does."""
    import keras

    from vae_batch.models.autoencoder.assemble import assemble
    from vae_batch.models.formats.keras.network import network_of

    latents = keras.Input((LATENT,))
    larger = keras.layers.Reshape((10, 10, 1))(keras.layers.Dense(100, "sigmoid")(latents))
    encoder = network_of(make_encoder(1), "e.keras")
    halves = Networks("keras", encoder, network_of(keras.Model(latents, larger), "d.keras"))
    with pytest.raises(CheckpointError, match=r"of 8x8, but the decoder gives 10x10.*Cropping2D"):
        assemble(halves, Reading(input_fit=fit), SHAPE, None, 16)
    cropped = keras.Model(latents, keras.layers.Cropping2D(1)(larger))  # as the advice says
    halves = Networks("keras", encoder, network_of(cropped, "d.keras"))
    assert assemble(halves, Reading(), SHAPE, None, 16).description.image_shape == SHAPE
