"""Reads a weights file of any known format into folded ``InceptionWeights``."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from vae_batch.models.extractors.inception.folded_weights import (
    BatchNorm,
    Float32,
    FoldedUnit,
    InceptionWeights,
    WeightChecks,
    fold,
)
from vae_batch.models.extractors.inception.layout import FEATURE_DIM, KERAS_ORDER, UNITS, Unit
from vae_batch.models.extractors.weights.keras_h5 import keras_arrays
from vae_batch.models.extractors.weights.state_dict import read_state_dict
from vae_batch.models.extractors.weights.weight_file import WeightFile, open_content
from vae_batch.plan.errors import InputError

_CLASSES_2015 = 1008
_CLASSES_KERAS = 1000
_NORM_OP = "BatchNormWithGlobalNormalization"

# A unit's kernel (height, width, in, out) and its batch norm.
_RawUnit = tuple[Float32, BatchNorm]


def read_weights(file: WeightFile) -> InceptionWeights:
    """Read, check and fold all weights of a file.

    Args:
        file: From ``inspect_weight_file``.

    Returns:
        The folded weights.

    Raises:
        InputError: Unknown format, damaged file, missing arrays, other shapes, or values that are
            not finite.
    """
    if file.format not in _READERS:
        raise InputError(f"{file.path} is {file.foreign_words}; it holds no Inception weights.")
    return _READERS[file.format](file)


def _folded(read_unit: Callable[[Unit], _RawUnit]) -> dict[str, FoldedUnit]:
    return {unit.name: fold(*read_unit(unit)) for unit in UNITS.values()}


def _from_state_dict(file: WeightFile) -> InceptionWeights:
    arrays = read_state_dict(file.path)
    top = arrays.get("fc.weight")
    if top is not None and top.shape == (1000, FEATURE_DIM):
        raise InputError(
            f"{file.path}: this Inception v3 has 1000 classes, as torchvision's has; "
            "inception-2015 needs the 1008-class file pt_inception-2015-12-05-6726825d.pth."
        )
    checks = WeightChecks(str(file.path), arrays)

    def unit_of(unit: Unit) -> _RawUnit:
        height, width, channels, out = unit.kernel_shape
        kernel = checks.take(f"{unit.name}.conv.weight", (out, channels, height, width))
        parts = ("weight", "bias", "running_mean", "running_var")
        norm = checks.take_norm([f"{unit.name}.bn.{part}" for part in parts], out)
        return kernel.transpose(2, 3, 1, 0), norm

    units = _folded(unit_of)
    kernel = checks.take("fc.weight", (_CLASSES_2015, FEATURE_DIM)).T
    bias = checks.take("fc.bias", (_CLASSES_2015,))
    return InceptionWeights(units, np.ascontiguousarray(kernel), bias)


def _from_graphdef(file: WeightFile) -> InceptionWeights:
    arrays, epsilons = _read_graphdef(file)
    checks = WeightChecks(str(file.path), arrays)

    def unit_of(unit: Unit) -> _RawUnit:
        scope = unit.graph_scope
        if scope not in epsilons:
            raise InputError(
                f"{file.path}: the graph has no batch norm in {scope!r}; this is another network."
            )
        parts = ("gamma", "beta", "moving_mean", "moving_variance")
        names = [f"{scope}/batchnorm/{part}" for part in parts]
        kernel = checks.take(f"{scope}/conv2d_params", unit.kernel_shape)
        return kernel, checks.take_norm(names, unit.kernel_shape[-1], epsilons[scope])

    units = _folded(unit_of)
    kernel = checks.take("softmax/weights", (FEATURE_DIM, _CLASSES_2015))
    return InceptionWeights(units, kernel, checks.take("softmax/biases", (_CLASSES_2015,)))


def _read_graphdef(
    file: WeightFile,
) -> tuple[Mapping[str, NDArray[np.generic]], Mapping[str, float]]:
    """Read every constant and every batch norm's epsilon, with TensorFlow's protocol buffers.

    Returns:
        Arrays by node name, and the epsilon of each batch norm by scope. If a norm does not scale
        after normalisation, its gamma is replaced by ones, since TensorFlow ignores it.

    Raises:
        InputError: The bytes are not a GraphDef, or are damaged.
    """
    import tensorflow as tf

    graph = tf.compat.v1.GraphDef()
    try:
        with open_content(file.path, file.format) as stream:
            graph.ParseFromString(stream.read())
        arrays = {
            node.name: tf.make_ndarray(node.attr["value"].tensor)
            for node in graph.node
            if node.op == "Const"
        }
    except InputError:
        raise
    # The parser's DecodeError and make_ndarray's errors share no class.
    except Exception as error:
        raise InputError(
            f"{file.path}: the GraphDef cannot be parsed ({error}); it is truncated or damaged. "
            "Download it again."
        ) from error
    epsilons: dict[str, float] = {}
    for node in (node for node in graph.node if node.op == _NORM_OP):
        scope = node.name.rpartition("/batchnorm")[0] or node.name.rpartition("/")[0]
        epsilons[scope] = float(node.attr["variance_epsilon"].f)
        gamma = f"{scope}/batchnorm/gamma"
        if gamma in arrays and not node.attr["scale_after_normalization"].b:
            arrays[gamma] = np.ones_like(arrays[gamma])
    return arrays, epsilons


def _from_keras_h5(file: WeightFile) -> InceptionWeights:
    arrays = keras_arrays(file.path, KERAS_ORDER)
    checks = WeightChecks(str(file.path), arrays)

    def unit_of(unit: Unit) -> _RawUnit:
        names = [f"{unit.name}/{part}" for part in ("gamma", "beta", "mean", "variance")]
        kernel = checks.take(f"{unit.name}/kernel", unit.kernel_shape)
        return kernel, checks.take_norm(names, unit.kernel_shape[-1])

    units = _folded(unit_of)
    if "predictions/kernel" not in arrays:
        return InceptionWeights(units, None, None)
    kernel = checks.take("predictions/kernel", (FEATURE_DIM, _CLASSES_KERAS))
    return InceptionWeights(units, kernel, checks.take("predictions/bias", (_CLASSES_KERAS,)))


_READERS = {
    "torch-state-dict": _from_state_dict,
    "graphdef": _from_graphdef,
    "graphdef-tgz": _from_graphdef,
    "keras-h5": _from_keras_h5,
}
