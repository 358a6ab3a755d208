"""Seeded random Inception weights in files that other tools read; a script of the benchmarks.

    python random_inception.py FOLDER

Writes ``inception.weights.h5``, for ``keras.applications.InceptionV3`` with 1000 classes, and
``state-dict.npz``, arrays under the names of the published state dict with 1008 classes (see
``contenders.py``). Both have the convolutions of ``inception-random``, behind which features
are of order one and differ between digits; batch normalisation changes nothing.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vae_batch.models.extractors.inception.folded_weights import random_weights
from vae_batch.models.extractors.inception.layout import BATCH_NORM_EPSILON, KERAS_ORDER

KERAS_FILE = "inception.weights.h5"
STATE_DICT_ARRAYS = "state-dict.npz"

_PUBLISHED_CLASSES = 1008

# Divided by sqrt(variance + epsilon), a batch norm of mean and beta 0 leaves all as it is.
_VARIANCE = np.float32(1.0 - BATCH_NORM_EPSILON)


def write_keras_file(path: Path) -> None:
    """Weights of ``keras.applications.InceptionV3`` as Keras saves them."""
    import keras

    weights = random_weights()
    network = keras.applications.InceptionV3(weights=None)
    convolutions, norms = (
        [layer for layer in network.layers if isinstance(layer, kind)]
        for kind in (keras.layers.Conv2D, keras.layers.BatchNormalization)
    )
    for name, convolution, norm in zip(KERAS_ORDER, convolutions, norms, strict=True):
        unit = weights.units[name]
        convolution.set_weights([unit.kernel])
        norm.set_weights([unit.bias, np.zeros_like(unit.bias), np.full_like(unit.bias, _VARIANCE)])
    top = [weights.classifier_kernel, weights.classifier_bias]
    network.get_layer("predictions").set_weights(top)
    network.save_weights(path)


def state_dict_arrays() -> dict[str, NDArray[np.float32]]:
    """The 472 arrays of the published state dict by name."""
    weights = random_weights(classes=_PUBLISHED_CLASSES)
    arrays = {}
    for name, unit in weights.units.items():
        arrays[f"{name}.conv.weight"] = unit.kernel.transpose(3, 2, 0, 1)
        arrays[f"{name}.bn.weight"] = np.ones_like(unit.bias)
        arrays[f"{name}.bn.bias"] = unit.bias
        arrays[f"{name}.bn.running_mean"] = np.zeros_like(unit.bias)
        arrays[f"{name}.bn.running_var"] = np.full_like(unit.bias, _VARIANCE)
    if weights.classifier_kernel is None or weights.classifier_bias is None:
        raise ValueError("random weights have a classifier")
    return arrays | {"fc.weight": weights.classifier_kernel.T, "fc.bias": weights.classifier_bias}


if __name__ == "__main__":
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
    folder = Path(sys.argv[1])
    write_keras_file(folder / KERAS_FILE)
    np.savez(folder / STATE_DICT_ARRAYS, **state_dict_arrays())  # type: ignore[arg-type]
