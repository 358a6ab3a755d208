"""A small image classifier, trained as an extractor for images unlike ImageNet, such as digits.

Its penultimate layer gives the features and its softmax the probabilities.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vae_batch.models.image_range import to_three_channels
from vae_batch.models.training.fitting import Array, Tensor, layer_maker, save_model, train_epochs
from vae_batch.plan.errors import InputError

if TYPE_CHECKING:
    import keras

FEATURES = 64
_HELD_OUT = 0.2
_BATCH = 64
_EVALUATION_BATCH = 512


def train_classifier(
    images: Array,
    labels: Array,
    path: str,
    *,
    epochs: int = 12,
    seed: int = 0,
    width: int = 32,
) -> float:
    """Train a classifier, save it as one ``.keras`` file, and return its held-out accuracy.

    The same arguments give the same file on one machine's CPU with one number of threads.

    Args:
        images: (n, H, W, 1) or (n, H, W, 3) uint8 in [0, 255]; grey is repeated in three channels.
        labels: (n,) integers from 0 up; the largest sets the number of classes.
        path: Where to save, ending in ``.keras``; the model takes (n, H, W, 3) floats in [0, 255],
            scales them itself, and has a layer ``features`` (64, relu) before its softmax.
        epochs: Passes over four fifths of the images; the rest is held out.
        seed: Of the held-out split, initial weights and order.
        width: Channels of the first layer.

    Returns:
        Fraction of the held-out images that are classified correctly, in [0, 1].

    Raises:
        InputError: The images, labels, epochs or path cannot be used.
    """
    images, labels = _checked(images, labels)
    if epochs < 1 or width < 1:
        raise InputError(f"epochs and width must be at least 1; got {epochs} and {width}")
    if Path(path).suffix != ".keras":
        raise InputError(f"a classifier is saved as a .keras file; got {path}")
    order = np.random.default_rng(seed).permutation(len(images))
    held_out, kept = np.split(order, [max(1, round(_HELD_OUT * len(images)))])
    model = _build_classifier(images.shape[1:], int(labels.max()) + 1, width, seed)
    for _ in train_epochs(
        lambda batch, targets, _: (_cross_entropy(model, batch, targets),),
        model.trainable_variables,
        [images[kept], labels[kept]],
        epochs=epochs,
        batch_size=_BATCH,
        learning_rate=1e-3,
        seed=seed,
    ):
        pass
    save_model(model, Path(path))
    return _accuracy(model, images[held_out], labels[held_out])


def _build_classifier(shape: tuple[int, ...], classes: int, width: int, seed: int) -> keras.Model:
    """An untrained classifier of images (H, W, 3) in [0, 255] to (classes,) probabilities."""
    import keras

    layer = layer_maker(seed)
    conv, dense = keras.layers.Conv2D, keras.layers.Dense
    image = keras.Input(shape, name="image")
    hidden = keras.layers.Rescaling(1 / 255, name="rescaling")(image)
    # Small images keep their resolution: a stride would leave 8x8 digits too few positions.
    first_stride = 1 if min(shape[:2]) < 16 else 2
    hidden = layer(conv, "conv_1", width, 3, padding="same", strides=first_stride)(hidden)
    hidden = layer(conv, "conv_2", 2 * width, 3, padding="same", strides=2)(hidden)
    hidden = layer(conv, "conv_3", 2 * width, 3, padding="same", strides=2)(hidden)
    hidden = keras.layers.Flatten(name="flatten")(hidden)
    features = layer(dense, "features", FEATURES)(hidden)
    probabilities = layer(dense, "probabilities", classes, activation="softmax")(features)
    return keras.Model(image, probabilities, name="classifier")


def _cross_entropy(model: keras.Model, batch: Tensor, targets: Tensor) -> Tensor:
    """Mean cross-entropy in nats of a uint8 batch (n, H, W, 3), as a TensorFlow scalar."""
    import keras
    import tensorflow as tf

    probabilities = model(tf.cast(batch, tf.float32), training=True)
    return tf.reduce_mean(keras.losses.sparse_categorical_crossentropy(targets, probabilities))


def _accuracy(model: keras.Model, images: Array, labels: Array) -> float:
    """Fraction of uint8 images (n, H, W, 3) whose likeliest class is their label."""
    correct = 0
    for start in range(0, len(images), _EVALUATION_BATCH):
        stop = start + _EVALUATION_BATCH
        scores = np.asarray(model(images[start:stop].astype(np.float32), training=False))
        correct += int(np.sum(scores.argmax(axis=1) == labels[start:stop]))
    return correct / len(images)


def _checked(images: Array, labels: Array) -> tuple[Array, Array]:
    if images.dtype != np.uint8 or len(images) < 2:
        raise InputError(
            "images to train a classifier on must be at least 2 uint8 images (n, H, W, 1) or "
            f"(n, H, W, 3); got {images.dtype} of shape {images.shape}"
        )
    labels = np.asarray(labels)
    if labels.shape != (len(images),) or labels.dtype.kind not in "ui" or labels.min() < 0:
        raise InputError(
            f"labels must be {len(images)} integers from 0 up, one per image; got "
            f"{labels.dtype} of shape {labels.shape}"
        )
    return to_three_channels(images), labels.astype(np.int64)
