"""Any Keras image classifier as an extractor: penultimate layer and class probabilities.

For digits, medical or satellite images, a network trained on such images says more than one
trained on ImageNet.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from vae_batch.models.extractors.extractor import ExtractorIdentity
from vae_batch.models.formats.format import LoadOptions
from vae_batch.models.formats.keras.keras_file import load_keras_zip
from vae_batch.models.image_range import from_uint8
from vae_batch.models.inputs.files import fetch, read_file
from vae_batch.plan import Reading
from vae_batch.plan.errors import CheckpointError, InputError
from vae_batch.plan.location import Location

if TYPE_CHECKING:
    import keras

Float32 = npt.NDArray[np.float32]

_ACTIVATION_ONLY = ("Softmax", "Activation")
_ROW_SUM_TOLERANCE = 1e-3
_MEMORY_CAP = 16 * 2**30


def identify_classifier(path: str, value_range: str) -> ExtractorIdentity:
    """Identify a classifier file without loading it.

    Args:
        path: Local path or URI of a ``.keras`` file.
        value_range: Pixel range that the classifier expects.

    Raises:
        InputError: The file cannot be read.
    """
    try:
        digest = hashlib.sha256(read_file(path)).hexdigest()
    except OSError as error:
        raise InputError(
            f"extractor {path} cannot be read ({type(error).__name__}: {error}); expected the path "
            "or URI of a Keras classifier (.keras), or one of inception-2015, inception-keras, "
            "inception-random"
        ) from None
    return ExtractorIdentity(
        name=f"{Path(Location.parse(path).path).stem}@{digest[:8]}",
        weights_path=path,
        weights_sha256=digest,
        protocol=f"keras-classifier/tf2-bilinear/model-input/uint8/{value_range}",
        feature_dim=0,
        class_count=0,
        inception_score_reason=None,
        resize="tf2-bilinear",
        normalisation=value_range,
    )


class ClassifierExtractor:
    """A Keras classifier as an ``Extractor``.

    The features are the input of the last dense layer. The probabilities are its output, behind a
    softmax if the model ends in logits.
    """

    concurrent_batches = 1

    def __init__(self, identity: ExtractorIdentity) -> None:
        """Load the classifier.

        Raises:
            InputError: The file is not a usable classifier; the message says why.
        """
        self._name = identity.name
        self._value_range = identity.normalisation
        try:
            model = _load(str(identity.weights_path))
        except (CheckpointError, OSError) as error:
            raise InputError(f"extractor {identity.name}: {error}") from error
        self._channels = _channels(model, identity.name)
        self._run = _activations_function(model, identity.name)

    def extract(self, images: npt.NDArray[np.uint8]) -> tuple[Float32, Float32]:
        """See ``Extractor.extract``.

        Raises:
            InputError: The classifier's outputs are not probabilities.
        """
        features, probabilities = self._run(
            from_uint8(images[..., : self._channels], self._value_range)
        )
        off = np.abs(probabilities.sum(axis=1) - 1).max()
        if not off <= _ROW_SUM_TOLERANCE or probabilities.min() < 0:
            raise InputError(
                f"extractor {self._name}: its outputs are not class probabilities (rows sum to 1 "
                f"only within {off:.3g}); expected a classifier that ends in softmax or in logits"
            )
        return features, probabilities


def _load(path: str) -> keras.Model:
    """The model of a local path or URI, in safe mode."""
    with tempfile.TemporaryDirectory() as folder:
        local = fetch(path, Path(folder))
        return load_keras_zip(str(local), LoadOptions(Reading(), False, _MEMORY_CAP)).model


def _channels(model: keras.Model, name: str) -> int:
    shape = model.input_shape
    if not isinstance(shape, tuple) or len(shape) != 4 or shape[-1] not in (1, 3):
        raise InputError(
            f"extractor {name} takes inputs of shape {shape}, expected images "
            "(batch, height, width, 1 or 3)"
        )
    return int(shape[-1])


def _activations_function(
    model: keras.Model, name: str
) -> Callable[[Float32], tuple[Float32, Float32]]:
    """Compiled ``pixels -> (features, probabilities)``, resizing to the model's input."""
    import keras
    import tensorflow as tf

    head = _last_dense(model, name)
    activation = getattr(model.layers[-1], "activation", None)
    is_softmax = (
        type(model.layers[-1]).__name__ == "Softmax"
        or getattr(activation, "__name__", "") == "softmax"
    )
    both = keras.Model(model.inputs, [head.input, model.outputs[0]])
    size = model.input_shape[1:3]

    def both_outputs(pixels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        if None not in size and tuple(pixels.shape[1:3]) != size:
            pixels = tf.image.resize(pixels, size, method="bilinear", antialias=False)
        features, scores = both(pixels, training=False)
        return features, scores if is_softmax else tf.nn.softmax(scores)

    graph = tf.function(both_outputs, autograph=False)

    def run(pixels: Float32) -> tuple[Float32, Float32]:
        features, probabilities = graph(tf.constant(pixels))
        return features.numpy(), probabilities.numpy()

    return run


def _last_dense(model: keras.Model, name: str) -> keras.layers.Layer:
    for layer in reversed(model.layers):
        if type(layer).__name__ == "Dense" and len(layer.input.shape) == 2:
            return layer
        if type(layer).__name__ not in _ACTIVATION_ONLY:
            break
    raise InputError(
        f"extractor {name} does not end in a dense layer over flat features (its last layer is a "
        f"{type(model.layers[-1]).__name__}); expected a classifier"
    )
