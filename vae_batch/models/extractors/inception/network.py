"""Inception v3 once, in Keras layers, for every extractor and every Keras backend.

Two variants differ in three points: the ``2015`` network of the FID literature max-pools in the
last block's pool branch, has logits without bias, and 1008 classes; ``keras`` is
``keras.applications.InceptionV3``. Average pools ignore padding in both. Batch norm is folded
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
    """Makes layers, and collects the weights of each."""

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

        if len(names) == 1:
            return [self.conv(x, *names)]
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
        """Set the weights of the built layers."""
        for layer, arrays in self.pending:
            layer.set_weights(arrays)


def _pool(x: Tensor, kind: Literal["avg", "max"], stride: int) -> Tensor:
    import keras

    layer = keras.layers.AveragePooling2D if kind == "avg" else keras.layers.MaxPooling2D
    padding = "same" if stride == 1 else "valid"
    options = {"data_format": "channels_last", "dtype": "float32"}
    return layer(3, strides=stride, padding=padding, **options)(x)


def _pool_branch(build: _Builder, x: Tensor, name: str, kind: Literal["avg", "max"]) -> Tensor:
    """Pool, then the 1x1 unit; an average is instead computed behind the unit's linear part.

    Both are linear and the average's weights sum to 1, so they commute, bias included; there are
    then 32 to 192 channels to average instead of 192 to 2,048.
    """
    import keras

    if kind == "max":
        return build.conv(_pool(x, "max", 1), name)
    linear = build.conv(x, name, activation=None)
    return keras.layers.ReLU(dtype="float32")(_pool(linear, "avg", 1))


def _branches(build: _Builder, x: Tensor, block: Block) -> list[Tensor]:
    """Outputs of a block's convolution branches.

    The units of a branch are a chain; units that end in ``a`` and ``b`` both read the unit before
    them, and both are outputs.
    """
    chains: dict[str, list[str]] = {}
    for unit in block.units:
        branch = unit.name.rpartition(".")[2]
        if branch != "branch_pool":
            stem, _, step = branch.rpartition("_")
            chains.setdefault(stem or step, []).append(unit.name)
    first = [names[0] for names in chains.values()]
    one_by_one = [name for name in first if UNITS[name].kernel_shape[:2] == (1, 1)]
    opened = dict(zip(one_by_one, build.openings(x, *one_by_one), strict=True))
    outputs: list[Tensor] = []
    for start, *rest in chains.values():
        forks = [name for name in rest if name[-1] in "ab"]
        y = opened[start] if start in opened else build.conv(x, start)
        for name in rest[: len(rest) - len(forks)]:
            y = build.conv(y, name)
        outputs += [build.conv(y, name) for name in forks] or [y]
    return outputs


def _mixed(build: _Builder, x: Tensor, block: Block, variant: Variant) -> Tensor:
    import keras

    branches = _branches(build, x, block)
    pool_unit = f"{block.name}.branch_pool"
    if pool_unit in UNITS:
        is_max = block is BLOCKS[-1] and variant == "2015"
        branches.append(_pool_branch(build, x, pool_unit, "max" if is_max else "avg"))
    else:
        branches.append(_pool(x, "max", 2))
    return keras.layers.Concatenate(axis=-1, dtype="float32", name=block.name)(branches)


def build_network(weights: InceptionWeights, variant: Variant) -> keras.Model:
    """Build the network with its weights in place.

    Args:
        weights: Folded weights.
        variant: ``"2015"`` or ``"keras"``.

    Returns:
        A model from (n, 299, 299, 3) float32, already normalised, to the list
        [(n, 2048) pooled features, (n, classes) probabilities], both float32; only the features
        if the weights have no classifier.
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
