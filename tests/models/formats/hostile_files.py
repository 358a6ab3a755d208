"""Makers of ``.keras`` files that are to cost one row each and never the process.

Each takes the path to write and leaves a file of at most a few MiB.
"""

from __future__ import annotations

import json
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

Json = dict[str, Any]


def malicious_lambda(path: Path, marker: Path, name: str = "innocent") -> None:
    """A decoder with a Python Lambda whose code, when run, creates ``marker``."""
    import keras

    latents = keras.Input((3,))
    code = eval(f"lambda x: (open({str(marker)!r}, 'w').close(), x)[1]")
    # Of a known output shape, so that saving does not run it.
    pixels = keras.layers.Lambda(code, output_shape=(16,), name=name)(
        keras.layers.Dense(16)(latents)
    )
    keras.Model(latents, pixels).save(path)


def huge_weight(path: Path) -> None:
    """A decoder whose Dense declares 10^10 units: 112 GiB of weights that the file has not."""

    def change(config: Json) -> None:
        layer_named(config, "pixels")["config"]["units"] = 10**10

    edited_decoder(path, change)


def huge_activation(path: Path) -> None:
    """A decoder without more weights whose RepeatVector makes 10^10 copies of 4 values: 149 GiB."""
    import keras

    latents = keras.Input((3,))
    copies = keras.layers.RepeatVector(2, name="copies")(keras.layers.Dense(4)(latents))
    pixels = keras.layers.GlobalAveragePooling1D()(copies)

    def change(config: Json) -> None:
        layer_named(config, "copies")["config"]["n"] = 10**10

    save_edited(keras.Model(latents, pixels), path, change)


def zip_bomb(path: Path, size: int = 1 << 29) -> None:
    """A decoder whose weights are zeros of the given bytes, packed a thousandfold."""
    edited_decoder(path, lambda config: None, weights=b"")
    zeros = bytes(1 << 20)
    with (
        zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive,
        archive.open("model.weights.h5", "w", force_zip64=True) as member,
    ):
        for _ in range(size >> 20):
            member.write(zeros)


def hdf5_bomb(path: Path) -> None:
    """A decoder whose weights hold a dataset of 91 TiB, of which nothing is stored."""
    import h5py

    with tempfile.TemporaryDirectory() as folder:
        bomb = Path(folder) / "bomb.h5"
        with h5py.File(bomb, "w") as file:
            file.create_dataset(
                "layers/dense/vars/0", (5000, 5 * 10**9), "float32", chunks=(100, 100),
                compression="gzip",
            )  # fmt: skip
        edited_decoder(path, lambda config: None, weights=bomb.read_bytes())


def doubling_models(path: Path, depth: int = 40) -> None:
    """Models nested ``depth`` times, each calling the one inside it twice: 2^40 calls."""

    def doubled(inner: Json, level: int) -> Json:
        first, name = f"input_{level}", inner["config"]["name"]
        called = {**inner, "name": name, "inbound_nodes": [_call(first, 0), _call(name, 0)]}
        start = {
            "module": "keras.layers",
            "class_name": "InputLayer",
            "config": {"batch_shape": [None, 3], "dtype": "float32", "name": first},
            "registered_name": None,
            "name": first,
            "inbound_nodes": [],
        }
        config = {
            "name": f"model_{level}",
            "trainable": True,
            "layers": [start, called],
            "input_layers": [first, 0, 0],
            "output_layers": [name, 1, 0],
        }
        return {**inner, "config": config, "name": config["name"]}

    def change(config: Json) -> None:
        model = json.loads(json.dumps(config))
        for level in range(depth):
            model = doubled(model, level)
        config.clear()
        config.update(model)

    edited_decoder(path, change, units=3)


def computing_constant(path: Path) -> None:
    """A decoder that calls an operation on no tensor, which would make 75 GiB while it loads."""

    def change(config: Json) -> None:
        layers = config["config"]["layers"]
        layers.append(
            {
                "module": "keras.src.ops.numpy",
                "class_name": "Arange",
                "config": {"name": "constant"},
                "registered_name": "Arange",
                "name": "constant",
                "inbound_nodes": [{"args": [0, 10**10, 1], "kwargs": {}}],
            }
        )

    edited_decoder(path, change)


def endless_json(path: Path) -> None:
    """A configuration nested 200,000 times."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", '{"config":' * 200_000 + "{}" + "}" * 200_000)
        archive.writestr("metadata.json", '{"keras_version": "3.15.0"}')


def borrowed_weights(path: Path) -> None:
    """A decoder whose weights are a link into another HDF5 file."""
    import h5py

    with tempfile.TemporaryDirectory() as folder:
        link = Path(folder) / "link.h5"
        with h5py.File(link, "w") as file:
            file["layers"] = h5py.ExternalLink("/etc/secrets.h5", "/layers")
        edited_decoder(path, lambda config: None, weights=link.read_bytes())


def edited_decoder(
    path: Path, change: Callable[[Json], None], *, weights: bytes | None = None, units: int = 16
) -> None:
    """A decoder of one Dense layer ``pixels``, its configuration changed, perhaps its weights.

    With ``weights`` of no bytes the file has none.
    """
    import keras

    latents = keras.Input((3,))
    pixels = keras.layers.Dense(units, "sigmoid", name="pixels")(latents)
    save_edited(keras.Model(latents, pixels, name="decoder"), path, change, weights)


def save_edited(
    model: Any, path: Path, change: Callable[[Json], None], weights: bytes | None = None
) -> None:
    """A model saved by Keras, with another configuration and perhaps other weights."""
    with tempfile.TemporaryDirectory() as folder:
        sound = Path(folder) / "sound.keras"
        model.save(sound)
        with zipfile.ZipFile(sound) as source, zipfile.ZipFile(path, "w") as target:
            for name in source.namelist():
                content = source.read(name)
                if name == "config.json":
                    config = json.loads(content)
                    change(config)
                    content = json.dumps(config).encode()
                elif name == "model.weights.h5" and weights is not None:
                    content = weights
                if content:
                    target.writestr(name, content)


def layer_named(config: Json, name: str) -> Json:
    """The JSON of a layer of a functional model; its recorded input shape is forgotten."""
    (layer,) = (layer for layer in config["config"]["layers"] if layer["name"] == name)
    layer.pop("build_config", None)
    return layer  # type: ignore[no-any-return]


def _call(layer: str, node: int) -> Json:
    tensor = {"shape": [None, 3], "dtype": "float32", "keras_history": [layer, node, 0]}
    return {"args": [{"class_name": "__keras_tensor__", "config": tensor}], "kwargs": {}}
