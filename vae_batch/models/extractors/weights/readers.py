"""From a weights file of any known format to folded ``InceptionWeights``."""

from __future__ import annotations

import numpy as np

from vae_batch.models.extractors.inception.folded_weights import (
    FoldedUnit,
    InceptionWeights,
    WeightChecks,
    fold,
    torch_kernel_shape,
)
from vae_batch.models.extractors.inception.layout import FEATURE_DIM, KERAS_ORDER, UNITS
from vae_batch.models.extractors.weights.formats import WeightFile, open_content
from vae_batch.plan.errors import InputError

_CLASSES_2015 = 1008
_CLASSES_KERAS = 1000
_NORM_PARTS = ("weight", "bias", "running_mean", "running_var")


def _from_state_dict(file: WeightFile) -> InceptionWeights:
    from vae_batch.models.extractors.weights.state_dict import read_state_dict

    arrays = read_state_dict(file.path)
    top = arrays.get("fc.weight")
    if top is not None and top.shape == (1000, FEATURE_DIM):
        raise InputError(
            f"{file.path}: this Inception v3 has 1000 classes, as torchvision's has; "
            "inception-2015 needs the 1008-class file pt_inception-2015-12-05-6726825d.pth."
        )
    checks = WeightChecks(str(file.path), arrays)
    units: dict[str, FoldedUnit] = {}
    for unit in UNITS.values():
        kernel = checks.take(f"{unit.name}.conv.weight", torch_kernel_shape(unit))
        names = [f"{unit.name}.bn.{part}" for part in _NORM_PARTS]
        norm = checks.take_norm(names, unit.kernel_shape[-1])
        units[unit.name] = fold(kernel.transpose(2, 3, 1, 0), norm)
    kernel = checks.take("fc.weight", (_CLASSES_2015, FEATURE_DIM)).T
    bias = checks.take("fc.bias", (_CLASSES_2015,))
    return InceptionWeights(units, np.ascontiguousarray(kernel), bias)


def _from_graphdef(file: WeightFile) -> InceptionWeights:
    from vae_batch.models.extractors.weights.graphdef import read_graphdef

    with open_content(file.path, file.format) as stream:
        arrays, epsilons = read_graphdef(stream, str(file.path))
    checks = WeightChecks(str(file.path), arrays)
    units: dict[str, FoldedUnit] = {}
    for unit in UNITS.values():
        scope = unit.graph_scope
        if scope not in epsilons:
            raise InputError(
                f"{file.path}: the graph has no batch norm in {scope!r}; this is another network."
            )
        names = [f"{scope}/batchnorm/{p}" for p in ("gamma", "beta")]
        names += [f"{scope}/batchnorm/moving_{p}" for p in ("mean", "variance")]
        kernel = checks.take(f"{scope}/conv2d_params", unit.kernel_shape)
        norm = checks.take_norm(names, unit.kernel_shape[-1], epsilons[scope])
        units[unit.name] = fold(kernel, norm)
    kernel = checks.take("softmax/weights", (FEATURE_DIM, _CLASSES_2015))
    return InceptionWeights(units, kernel, checks.take("softmax/biases", (_CLASSES_2015,)))


def _from_keras_h5(file: WeightFile) -> InceptionWeights:
    from vae_batch.models.extractors.weights.keras_h5 import keras_arrays

    arrays = keras_arrays(file.path, KERAS_ORDER)
    checks = WeightChecks(str(file.path), arrays)
    units: dict[str, FoldedUnit] = {}
    for unit in UNITS.values():
        names = [f"{unit.name}/{part}" for part in ("gamma", "beta", "mean", "variance")]
        kernel = checks.take(f"{unit.name}/kernel", unit.kernel_shape)
        units[unit.name] = fold(kernel, checks.take_norm(names, unit.kernel_shape[-1]))
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


def read_weights(file: WeightFile) -> InceptionWeights:
    """Read, check and fold all weights of a file, or none.

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
