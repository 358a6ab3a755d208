"""Saved models with other JSON in them: as older versions wrote it, or as an attacker would."""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py


def age_hdf5(path: Path, version: str = "2.7.0") -> None:
    """Write an HDF5 file's configuration as an older tf.keras did."""
    with h5py.File(path, "r+") as file:
        config = json.loads(file.attrs["model_config"])
        file.attrs["model_config"] = json.dumps(_without_modules(config))
        file.attrs["keras_version"] = version


def age_zip(path: Path, version: str = "2.13.1") -> None:
    """Write a zip's metadata and module names as tf.keras did before it was tf_keras."""

    def aged(name: str, content: bytes) -> bytes:
        if name == "metadata.json":
            return json.dumps(json.loads(content) | {"keras_version": version}).encode()
        return (
            content.replace(b'"tf_keras.src.', b'"keras.src.') if name[-5:] == ".json" else content
        )

    rewrite_zip(path, aged)


def rewrite_zip(path: Path, change: Callable[[str, bytes], bytes]) -> None:
    """Replace the content of a zip's members."""
    old = path.with_suffix(".old")
    shutil.move(path, old)
    with zipfile.ZipFile(old) as source, zipfile.ZipFile(path, "w") as target:
        for name in source.namelist():
            target.writestr(name, change(name, source.read(name)))
    old.unlink()


def rewrite_config(path: Path, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Replace the configuration of an HDF5 or zip file."""
    if h5py.is_hdf5(path):
        with h5py.File(path, "r+") as file:
            config = change(json.loads(file.attrs["model_config"]))
            file.attrs["model_config"] = json.dumps(config)
        return

    def changed(name: str, content: bytes) -> bytes:
        return (
            json.dumps(change(json.loads(content))).encode() if name == "config.json" else content
        )

    rewrite_zip(path, changed)


def _without_modules(value: Any) -> Any:
    if isinstance(value, dict):
        dropped = ("module", "registered_name")
        return {key: _without_modules(v) for key, v in value.items() if key not in dropped}
    return [_without_modules(v) for v in value] if isinstance(value, list) else value
