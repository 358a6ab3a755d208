"""Inception v3 once, in Keras layers, for every extractor and every Keras backend.

Two variants share every line but three: the ``2015`` network of the FID literature max-pools in
the last block's pool branch, has logits without bias, and 1008 classes; ``keras`` is
``keras.applications.InceptionV3``. Average pools leave padding out in both. Batch norm is folded
beforehand, so a unit is one convolution with bias and ReLU, and the 1x1 convolutions that read
the same block input run as one convolution whose output is split.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from vae_batch.models.extractors.inception.layout import (
    BLOCKS,
    FEATURE_DIM,
    IMAGE_SIZE,
    UNITS,
    Block,
)
from vae_batch.models.extractors.inception.resize import Tensor

if TYPE_CHECKING:
    import keras

    from vae_batch.models.extractors.inception.folded_weights import InceptionWeights

Variant = Literal["2015", "keras"]


class _Builder:
    """Makes layers and remembers which numbers go into each."""

    def __init__(self, weights: InceptionWeights) -> None:
        self.weights = weights
        self.pending: list[tuple[keras.layers.Layer, list[np.ndarray]]] = []

    def conv(self, x: Tensor, *names: str, activation: str | None = "relu") -> Tensor:
        """Convolution, bias and ReLU of one unit, or of several 1x1 units side by side."""
        import keras

        first = UNITS[names[0]]
        folded = [self.weights.units[name] for name in names]
        kernel = np.concatenate([unit.kernel for unit in folded], axis=-1)
        layer = keras.layers.Conv2D(
            kernel.shape[-1],
            first.kernel_shape[:2],
            strides=first.stride,
            padding=first.padding,
            data_format="channels_last",
            activation=activation,
            kernel_initializer="zeros",
            dtype="float32",
            name="-".join(names).replace(".", "_"),
        )
        self.pending.append((layer, [kernel, np.concatenate([unit.bias for unit in folded])]))
        return layer(x)

    def openings(self, x: Tensor, *names: str) -> list[Tensor]:
        """Outputs of the 1x1 units that read the block's input, computed together."""
        import keras

        merged = self.conv(x, *names)
        widths = [UNITS[name].kernel_shape[-1] for name in names]
        parts: list[Tensor] = keras.ops.split(merged, list(np.cumsum(widths)[:-1]), axis=-1)
        return parts

    def logits(self, features: Tensor, biased: bool) -> Tensor:
        """Class scores of the pooled features."""
        import keras

        arrays = [self.weights.classifier_kernel]
        if biased:
            arrays.append(self.weights.classifier_bias)
        layer = keras.layers.Dense(
            self.weights.class_count,
            use_bias=biased,
            kernel_initializer="zeros",
            dtype="float32",
            name="logits",
        )
        self.pending.append((layer, [np.asarray(array) for array in arrays]))
        return layer(features)

    def fill(self) -> None:
        """Put the numbers into the built layers."""
        for layer, arrays in self.pending:
            layer.set_weights(arrays)


def _pool(x: Tensor, kind: Literal["avg", "max"], stride: int) -> Tensor:
    import keras

    layer = keras.layers.AveragePooling2D if kind == "avg" else keras.layers.MaxPooling2D
    padding = "same" if stride == 1 else "valid"
    options = {"data_format": "channels_last", "dtype": "float32"}
    return layer(3, strides=stride, padding=padding, **options)(x)


def _pool_branch(build: _Builder, x: Tensor, b: str, kind: Literal["avg", "max"]) -> Tensor:
    """Pool, then the 1x1 unit; an average is taken behind the linear part of the unit instead.

    Both are linear and the average's weights sum to 1, so they commute, bias included; there are
    then 32 to 192 channels to average in place of 192 to 2,048.
    """
    import keras

    name = f"{b}.branch_pool"
    if kind == "max":
        return build.conv(_pool(x, "max", 1), name)
    linear = build.conv(x, name, activation=None)
    return keras.layers.ReLU(dtype="float32")(_pool(linear, "avg", 1))


def _chain(build: _Builder, x: Tensor, block: str, *branches: str) -> Tensor:
    for branch in branches:
        x = build.conv(x, f"{block}.{branch}")
    return x


def _numbered(branch: str, first: int, last: int) -> list[str]:
    return [f"{branch}_{step}" for step in range(first, last + 1)]


def _block_a(build: _Builder, x: Tensor, b: str, pool: Literal["avg", "max"]) -> list[Tensor]:
    names = (f"{b}.branch1x1", f"{b}.branch5x5_1", f"{b}.branch3x3dbl_1")
    one, five, three = build.openings(x, *names)
    five = _chain(build, five, b, "branch5x5_2")
    three = _chain(build, three, b, *_numbered("branch3x3dbl", 2, 3))
    return [one, five, three, _pool_branch(build, x, b, pool)]


def _block_b(build: _Builder, x: Tensor, b: str, pool: Literal["avg", "max"]) -> list[Tensor]:
    three = _chain(build, x, b, "branch3x3")
    double = _chain(build, x, b, *_numbered("branch3x3dbl", 1, 3))
    return [three, double, _pool(x, "max", 2)]


def _block_c(build: _Builder, x: Tensor, b: str, pool: Literal["avg", "max"]) -> list[Tensor]:
    names = (f"{b}.branch1x1", f"{b}.branch7x7_1", f"{b}.branch7x7dbl_1")
    one, seven, double = build.openings(x, *names)
    seven = _chain(build, seven, b, *_numbered("branch7x7", 2, 3))
    double = _chain(build, double, b, *_numbered("branch7x7dbl", 2, 5))
    return [one, seven, double, _pool_branch(build, x, b, pool)]


def _block_d(build: _Builder, x: Tensor, b: str, pool: Literal["avg", "max"]) -> list[Tensor]:
    three, seven = build.openings(x, f"{b}.branch3x3_1", f"{b}.branch7x7x3_1")
    three = _chain(build, three, b, "branch3x3_2")
    seven = _chain(build, seven, b, *_numbered("branch7x7x3", 2, 4))
    return [three, seven, _pool(x, "max", 2)]


def _block_e(build: _Builder, x: Tensor, b: str, pool: Literal["avg", "max"]) -> list[Tensor]:
    names = (f"{b}.branch1x1", f"{b}.branch3x3_1", f"{b}.branch3x3dbl_1")
    one, three, double = build.openings(x, *names)
    double = _chain(build, double, b, "branch3x3dbl_2")
    return [
        one,
        _chain(build, three, b, "branch3x3_2a"),
        _chain(build, three, b, "branch3x3_2b"),
        _chain(build, double, b, "branch3x3dbl_3a"),
        _chain(build, double, b, "branch3x3dbl_3b"),
        _pool_branch(build, x, b, pool),
    ]


_BLOCK_BUILDERS = {"a": _block_a, "b": _block_b, "c": _block_c, "d": _block_d, "e": _block_e}


def _mixed(build: _Builder, x: Tensor, block: Block, variant: Variant) -> Tensor:
    import keras

    last = block is BLOCKS[-1]
    pool: Literal["avg", "max"] = "max" if last and variant == "2015" else "avg"
    branches = _BLOCK_BUILDERS[block.kind](build, x, block.name, pool)
    return keras.layers.Concatenate(axis=-1, dtype="float32", name=block.name)(branches)


def build_network(weights: InceptionWeights, variant: Variant) -> keras.Model:
    """Build the network with its weights in place.

    Args:
        weights: Folded weights.
        variant: ``"2015"`` or ``"keras"``.

    Returns:
        A model from (n, 299, 299, 3) float32, already normalised, to the list
        [(n, 2048) pooled features, (n, classes) probabilities], both float32; features alone
        where the weights have no classifier.
    """
    import keras

    build = _Builder(weights)
    inputs = keras.Input((IMAGE_SIZE, IMAGE_SIZE, 3), dtype="float32", name="images")
    x = inputs
    for name in ("Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3"):
        x = build.conv(x, name)
    x = _pool(x, "max", 2)
    for name in ("Conv2d_3b_1x1", "Conv2d_4a_3x3"):
        x = build.conv(x, name)
    x = _pool(x, "max", 2)
    for block in BLOCKS:
        x = _mixed(build, x, block, variant)
    features = keras.ops.mean(x, axis=(1, 2))
    outputs = [features]
    if weights.class_count:
        logits = build.logits(features, biased=variant == "keras")
        outputs.append(keras.ops.softmax(logits, axis=-1))
    network = keras.Model(inputs, outputs, name=f"inception_{variant}")
    if network.outputs[0].shape[-1] != FEATURE_DIM:
        raise RuntimeError(f"the network pools to {network.outputs[0].shape}, expected 2048")
    build.fill()
    return network
