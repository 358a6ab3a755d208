"""What the refusal of a file tells to do is done as it says, and the file is read.

``tests/models/autoencoder/test_remedies.py`` does so for networks, ``test_built_weights.py`` and
``test_custom_objects.py`` for classes and builders, ``tests/commands/test_inspect_toml.py`` for
the lines that ``inspect`` prints.
"""

from __future__ import annotations

import os
import sys
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hostile_files
import numpy as np
import pytest
from support.models.toy_models import LATENT, SHAPE, make_decoder

from vae_batch.models.formats.format import LoadOptions, Networks
from vae_batch.models.formats.keras import load_model
from vae_batch.models.formats.load import load_networks
from vae_batch.plan.errors import CheckpointError
from vae_batch.plan.reading import Reading

_GIB = 1 << 30
LATENTS = np.random.default_rng(0).normal(size=(5, LATENT)).astype(np.float32)
BUILDERS = f"""
import keras
from support.models.toy_models import make_decoder, make_encoder

def build():
    return make_encoder(0), make_decoder(0)

def half():
    return make_decoder(0)

def narrow():
    latents = keras.Input(({LATENT},))
    return make_encoder(0), keras.Model(latents, keras.layers.Dense(64)(latents))

def raises():
    raise ValueError("no")
"""
Make = Callable[[Path], None]


def sound(path: Path) -> None:
    make_decoder(3).save(path)


def weights(path: Path) -> None:
    make_decoder(3).save_weights(path)


def truncated(path: Path) -> None:
    sound(path)
    path.write_bytes(path.read_bytes()[:-300])


def edited_archive(path: Path, member: str, content: bytes) -> None:
    sound(path)
    with zipfile.ZipFile(path) as old:
        members = {name: old.read(name) for name in old.namelist()} | {member: content}
    with zipfile.ZipFile(path, "w") as new:
        for name, bytes_ in members.items():
            new.writestr(name, bytes_)


def with_hdf5(path: Path, change: Callable[[Any], None]) -> None:
    import h5py

    sound(path)
    with h5py.File(path, "r+") as file:
        change(file)


def no_json(file: Any) -> None:
    file.attrs["model_config"] = "[1]"


def elsewhere(file: Any) -> None:
    import h5py

    name = next(iter(file["model_weights"]))
    del file["model_weights"][name]
    file["model_weights"][name] = h5py.ExternalLink("other.h5", "/weights")


def unclear_axes(path: Path) -> None:
    import tensorflow as tf

    module, decoder = tf.Module(), make_decoder(3)
    module.decoder = decoder
    signature = [tf.TensorSpec(None, tf.float32)]
    module.decode = tf.function(lambda z: tf.ensure_shape(z, (None, 3)), input_signature=signature)
    tf.saved_model.save(module, str(path))


def fixed_axes(path: Path) -> None:
    import tensorflow as tf

    module, decoder = tf.Module(), make_decoder(3)
    module.decoder = decoder
    signature = [tf.TensorSpec((None, LATENT), tf.float32)]
    module.decode = tf.function(decoder, input_signature=signature)
    tf.saved_model.save(module, str(path))


def reads_a_file(path: Path) -> None:
    import tensorflow as tf

    module, decoder = tf.Module(), make_decoder(3)
    module.decoder = decoder
    signature = [tf.TensorSpec((None, LATENT), tf.float32)]

    def decode(latents: Any) -> Any:
        length = tf.strings.length(tf.io.read_file(str(path.parent / "note.txt")))
        return decoder(latents) + 0.0 * tf.cast(length, tf.float32)

    path.with_name("note.txt").write_text("note")
    module.decode = tf.function(decode, input_signature=signature)
    tf.saved_model.save(module, str(path))


def never_built(path: Path) -> None:
    import keras

    layers = keras.layers
    keras.Sequential([layers.Dense(64, "sigmoid"), layers.Reshape(SHAPE)]).save(path)


def with_lambda(path: Path) -> None:
    import keras

    decoder, latents = make_decoder(3), keras.Input((LATENT,))
    keras.Model(latents, keras.layers.Lambda(lambda x: x * 1.0)(decoder(latents))).save(path)


@dataclass(frozen=True)
class Case:
    """A file that is refused, and what to do.

    Attributes:
        name: Of the file.
        make: Writes it.
        words: Of the refusal; what it tells to do is a part of them.
        then: Writes the file again, as the sentence says; None where something is declared.
        declare: What the sentence tells to declare, beyond the refusal's own keys.
        given: Declared at first.
        cap: Of memory, in GiB, at first.
    """

    name: str
    make: Make
    words: str
    then: Make | None = sound
    declare: tuple[tuple[str, Any], ...] = ()
    given: tuple[tuple[str, Any], ...] = ()
    cap: float = 8.0


def built(by: str) -> tuple[tuple[str, Any], ...]:
    return (("builder", f"remedy_builders:{by}"), ("trust", True))


CASES = {
    "over the cap": Case("d.keras", sound, "over memory_cap", None, cap=1e-6),
    "over the cap, HDF5": Case("d.h5", sound, "over memory_cap", None, cap=1e-6),
    "over the cap, SavedModel": Case("m", fixed_axes, "over memory_cap", None, cap=1e-6),
    "over the cap, weights": Case(
        "d.weights.h5", weights, "over memory_cap", None, (), built("build"), cap=1e-6
    ),
    "zip bomb": Case("d.keras", hostile_files.zip_bomb, r"save the model again with model\.save"),
    "more weights than the file": Case(
        "d.keras", hostile_files.huge_weight, r"save (the model|it) again|over memory_cap"
    ),
    "truncated": Case("d.keras", truncated, "save or copy it again"),
    "truncated, HDF5": Case("d.h5", truncated, "save or copy it again"),
    "no configuration": Case(
        "d.keras", lambda path: edited_archive(path, "config.json", b"{"), "save the model again"
    ),
    "no object": Case("d.h5", lambda path: with_hdf5(path, no_json), "save the model again"),
    "weights elsewhere": Case(
        "d.h5", lambda path: with_hdf5(path, elsewhere), "save the model again as one file"
    ),
    "computes while it is loaded": Case(
        "d.keras", hostile_files.computing_constant, "save the model with that value as a weight"
    ),
    "nested without end": Case(
        "d.keras", hostile_files.doubling_models, "save encoder and decoder separately"
    ),
    "axes unknown": Case("m", unclear_axes, "export it with an input_signature", fixed_axes),
    "operations on files": Case(
        "m", reads_a_file, r"if you trust its author, add --trust-checkpoints", None
    ),
    "operations on files, left out": Case(
        "m", reads_a_file, "export it without them", fixed_axes
    ),
    "no such endpoint": Case(
        "m", fixed_axes, r"'decode'", None, (("decode_signature", "decode"),),
        (("decode_signature", "nowhere"),),
    ),
    "never built": Case("d.keras", never_built, "call it once on a batch before saving"),
    "a Lambda": Case("d.keras", with_lambda, "you trust the file, add --trust-checkpoints", None),
    "a Lambda, replaced": Case("d.keras", with_lambda, "save the model with a layer class"),
    "weights alone": Case(
        "d.weights.h5", weights, "add --builder package.module:function", None, built("build")
    ),
    "a builder without trust": Case(
        "d.weights.h5", weights, "add --trust-checkpoints", None, (), built("build")[:1]
    ),
    "no such function": Case(
        "d.weights.h5", weights, r"no function 'nothing'; it has .*build", None, built("build"),
        built("nothing"),
    ),
    "no such module": Case(
        "d.weights.h5", weights, "run from the folder that holds it", None, built("build"),
        (("builder", "remedy_builder:build"), ("trust", True)),
    ),
    "a builder that raises": Case(
        "d.weights.h5", weights, "raised ValueError: no", None, built("build"), built("raises")
    ),
    "a builder of other layers": Case(
        "d.weights.h5", weights, "build it with the (layers|sizes)|whose save_weights wrote", None,
        built("build"), built("narrow"),
    ),
    "a builder of one half": Case(
        "d.weights.h5", weights, r"return the tuple \(encoder, decoder\)", None, built("build"),
        built("half"),
    ),
}  # fmt: skip


def open_decoder(path: Path, settings: dict[str, Any], cap: float) -> Networks:
    rest = dict(settings)
    trust, cap = rest.pop("trust", False), rest.pop("memory_cap", cap)
    options = LoadOptions(Reading(**rest), trust, int(cap * _GIB))
    found = load_networks({"decoder" if path.suffix else "model": str(path)}, options)
    assert isinstance(found, Networks)
    return found


@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5")
@pytest.mark.filterwarnings("ignore:You are saving a model that has not yet been built")
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_the_remedy_of_a_refusal_works(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "remedy_builders.py").write_text(BUILDERS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "remedy_builders", raising=False)
    monkeypatch.setattr(load_model, "_in_child", True)  # a process of its own takes seconds
    path = tmp_path / case.name
    case.make(path)
    given = dict(case.given)
    with pytest.raises(CheckpointError, match=case.words) as refused:
        open_decoder(path, given, case.cap)
    if case.then is not None:
        if path.is_dir():
            os.rename(path, tmp_path / "refused")
        case.then(path)
        remedy: dict[str, Any] = {}
    else:
        remedy = refused.value.declare | dict(case.declare)
        assert remedy, "it names nothing to declare"
    found = open_decoder(path, given | remedy, case.cap)
    assert found.decoder is not None
    (pixels,) = found.decoder.run(LATENTS)
    np.testing.assert_allclose(pixels, make_decoder(3)(LATENTS), rtol=1e-5, atol=1e-6)
