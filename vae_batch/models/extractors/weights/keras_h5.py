"""Reads the weights of ``keras.applications.InceptionV3`` from HDF5, without Keras.

Three layouts are known: a file of ``save_weights`` in HDF5 as Keras publishes it, a whole model
in HDF5 (the same below ``model_weights``), and a ``.weights.h5`` file of Keras 3. Layers are
told by the shapes of their arrays and matched to units by order, as Keras itself does.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vae_batch.plan.errors import InputError

if TYPE_CHECKING:
    import h5py

Array = NDArray[np.generic]


@dataclass(frozen=True)
class KerasLayers:
    """Arrays of the layers that have any, in the file's order, by kind.

    Attributes:
        kernels: One 4-D kernel a convolution.
        norms: (beta, mean, variance) or (gamma, beta, mean, variance) a batch norm.
        dense: (kernel, bias) of every dense layer.
    """

    kernels: tuple[Array, ...]
    norms: tuple[tuple[Array, ...], ...]
    dense: tuple[tuple[Array, ...], ...]


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _legacy_layers(root: h5py.Group) -> list[list[Any]]:
    layers = []
    for layer in root.attrs["layer_names"]:
        group = root[_text(layer)]
        layers.append([group[_text(name)] for name in group.attrs["weight_names"]])
    return layers


def _natural(name: str) -> tuple[str, int]:
    """Sort key by which conv2d comes before conv2d_1, and conv2d_2 before conv2d_10."""
    match = re.fullmatch(r"(.*?)(?:_(\d+))?", name)
    return (match[1], int(match[2] or 0)) if match else (name, 0)


def _keras3_layers(root: h5py.Group) -> list[list[Any]]:
    layers = []
    for name in sorted(root, key=_natural):
        variables = root[name].get("vars", {})
        layers.append([variables[key] for key in sorted(variables, key=int)])
    return layers


def _layers(file: h5py.File) -> list[list[Any]]:
    if "layer_names" in file.attrs:
        return _legacy_layers(file)
    if "model_weights" in file:
        return _legacy_layers(file["model_weights"])
    if "layers" in file:
        return _keras3_layers(file["layers"])
    raise KeyError("no layer_names, model_weights or layers")


def _shapes(layer: list[Any]) -> tuple[int, ...]:
    """Number of axes of each array of a layer: what tells a layer's kind."""
    return tuple(len(array.shape) for array in layer)


def _damaged(path: Path, error: Exception) -> InputError:
    return InputError(
        f"{path}: the HDF5 file cannot be read as Keras weights ({error}); it is truncated, "
        "damaged or of something else. Download it again."
    )


def read_keras_h5(path: Path) -> KerasLayers:
    """Read the arrays of every layer.

    Raises:
        InputError: The file is truncated, damaged, or not of Keras layers.
    """
    import h5py

    found: dict[tuple[int, ...], list[tuple[Array, ...]]] = {}
    try:
        with h5py.File(path, "r") as file:
            for layer in _layers(file):
                if layer:
                    arrays = tuple(np.asarray(array) for array in layer)
                    found.setdefault(_shapes(layer), []).append(arrays)
    except (OSError, KeyError, ValueError, RuntimeError, AttributeError, TypeError) as error:
        raise _damaged(path, error) from error
    kernels = tuple(arrays[0] for arrays in found.get((4,), []))
    norms = (*found.get((1, 1, 1), []), *found.get((1, 1, 1, 1), []))
    return KerasLayers(kernels, norms, tuple(found.get((2, 1), [])))


def keras_class_count(path: Path) -> int:
    """Classes of the file's dense layer; 0 without one or where the file cannot be read."""
    import h5py

    try:
        with h5py.File(path, "r") as file:
            dense = [layer for layer in _layers(file) if _shapes(layer) == (2, 1)]
            return int(dense[-1][1].shape[0]) if dense else 0
    # An unreadable file is refused with its reason when its hash is checked or it is loaded.
    except (OSError, KeyError, ValueError, RuntimeError, AttributeError, TypeError):
        return 0


def keras_arrays(path: Path, order: tuple[str, ...]) -> Mapping[str, Array]:
    """Read a file of Inception v3 and name its arrays after units.

    Args:
        path: The HDF5 file.
        order: Names of the units in the order of the file.

    Returns:
        ``<unit>/kernel``, ``/gamma``, ``/beta``, ``/mean`` and ``/variance`` for every unit, and
        ``predictions/kernel`` and ``/bias`` where the file has its classifier.

    Raises:
        InputError: Damaged, or another number of layers.
    """
    layers = read_keras_h5(path)
    counts = (len(layers.kernels), len(layers.norms), len(layers.dense))
    if counts[:2] != (len(order), len(order)) or counts[2] > 1:
        raise InputError(
            f"{path}: expected {len(order)} convolutions, {len(order)} batch norms and at most one "
            f"dense layer, found {counts[0]}, {counts[1]} and {counts[2]}; this is another network."
        )
    arrays: dict[str, Array] = {}
    for unit, kernel, norm in zip(order, layers.kernels, layers.norms, strict=True):
        # Keras' Inception has no gamma (scale=False).
        gamma = (np.ones_like(norm[0]),) if len(norm) == 3 else ()
        parts = zip(("gamma", "beta", "mean", "variance"), (*gamma, *norm), strict=True)
        arrays[f"{unit}/kernel"] = kernel
        arrays.update({f"{unit}/{part}": array for part, array in parts})
    for kernel, bias in layers.dense:
        arrays |= {"predictions/kernel": kernel, "predictions/bias": bias}
    return arrays
