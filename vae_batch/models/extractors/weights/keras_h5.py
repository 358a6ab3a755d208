"""Reads the weights of ``keras.applications.InceptionV3`` from HDF5, without Keras.

Three layouts are known: ``save_weights`` in HDF5 as Keras publishes it, a whole model in HDF5 (the
same below ``model_weights``), and a ``.weights.h5`` file of Keras 3. The kind of a layer follows
from the shapes of its arrays; layers are matched to units by order, as Keras itself does.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vae_batch.plan.errors import InputError

if TYPE_CHECKING:
    import h5py

_log = logging.getLogger(__name__)

Array = NDArray[np.generic]

# What h5py and a file of another layout raise.
_UNREADABLE = (OSError, KeyError, ValueError, RuntimeError, AttributeError, TypeError)

# Number of axes of each array of a layer.
_KERNEL = (4,)
_NORM_WITHOUT_GAMMA = (1, 1, 1)  # Keras' own Inception (scale=False)
_NORM = (1, 1, 1, 1)
_DENSE = (2, 1)


def keras_arrays(path: Path, order: tuple[str, ...]) -> Mapping[str, Array]:
    """Read a file of Inception v3 and name its arrays after units.

    Args:
        path: The HDF5 file.
        order: Names of the units in the order of the file.

    Returns:
        ``<unit>/kernel``, ``/gamma``, ``/beta``, ``/mean`` and ``/variance`` for every unit, and
        ``predictions/kernel`` and ``/bias`` if the file has its classifier.

    Raises:
        InputError: The file is damaged, or has another number of layers.
    """
    layers = read_keras_h5(path)
    kernels, dense = layers.get(_KERNEL, []), layers.get(_DENSE, [])
    norms = [*layers.get(_NORM_WITHOUT_GAMMA, []), *layers.get(_NORM, [])]
    if len(kernels) != len(order) or len(norms) != len(order) or len(dense) > 1:
        raise InputError(
            f"{path}: expected {len(order)} convolutions, {len(order)} batch norms and at most one "
            f"dense layer, found {len(kernels)}, {len(norms)} and {len(dense)}; this is another "
            "network."
        )
    arrays: dict[str, Array] = {}
    for unit, (kernel,), norm in zip(order, kernels, norms, strict=True):
        gamma = (np.ones_like(norm[0]),) if len(norm) == 3 else ()
        parts = zip(("gamma", "beta", "mean", "variance"), (*gamma, *norm), strict=True)
        arrays[f"{unit}/kernel"] = kernel
        arrays.update({f"{unit}/{part}": array for part, array in parts})
    for kernel, bias in dense:
        arrays |= {"predictions/kernel": kernel, "predictions/bias": bias}
    return arrays


def read_keras_h5(path: Path) -> dict[tuple[int, ...], list[tuple[Array, ...]]]:
    """Read the arrays of every layer.

    Returns:
        Numbers of axes of a layer's arrays -> the arrays of each such layer, in file order.

    Raises:
        InputError: The file is truncated, damaged, or does not hold Keras layers.
    """
    import h5py

    found: dict[tuple[int, ...], list[tuple[Array, ...]]] = {}
    try:
        with h5py.File(path, "r") as file:
            for layer in _layers(file):
                arrays = tuple(np.asarray(array) for array in layer)
                found.setdefault(_axes(layer), []).append(arrays)
    except _UNREADABLE as error:
        raise InputError(
            f"{path}: the HDF5 file cannot be read as Keras weights ({error}); it is truncated, "
            "damaged or of something else. Download it again."
        ) from error
    return found


def keras_class_count(path: Path) -> int:
    """Classes of the file's dense layer; 0 without one, or if the file cannot be read."""
    import h5py

    try:
        with h5py.File(path, "r") as file:
            dense = [layer for layer in _layers(file) if _axes(layer) == _DENSE]
            return int(dense[-1][1].shape[0]) if dense else 0
    except _UNREADABLE:  # refused with its reason when its hash is checked, or when it is loaded
        _log.debug("the classes of %s cannot be counted", path, exc_info=True)
        return 0


def _axes(layer: list[Any]) -> tuple[int, ...]:
    return tuple(len(array.shape) for array in layer)


def _layers(file: h5py.File) -> Iterator[list[Any]]:
    """HDF5 data sets of each layer that has any."""
    if "layer_names" in file.attrs:
        layers = _legacy_layers(file)
    elif "model_weights" in file:
        layers = _legacy_layers(file["model_weights"])
    elif "layers" in file:
        layers = _keras3_layers(file["layers"])
    else:
        raise KeyError("no layer_names, model_weights or layers")
    return (layer for layer in layers if layer)


def _legacy_layers(root: h5py.Group) -> Iterator[list[Any]]:
    for layer in root.attrs["layer_names"]:
        group = root[_text(layer)]
        yield [group[_text(name)] for name in group.attrs["weight_names"]]


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _keras3_layers(root: h5py.Group) -> Iterator[list[Any]]:
    for name in sorted(root, key=_numbered):
        variables = root[name].get("vars", {})
        yield [variables[key] for key in sorted(variables, key=int)]


def _numbered(name: str) -> tuple[str, int]:
    """Sort key: conv2d before conv2d_1, and conv2d_2 before conv2d_10."""
    match = re.fullmatch(r"(.*?)(?:_(\d+))?", name)
    return (match[1], int(match[2] or 0)) if match else (name, 0)
