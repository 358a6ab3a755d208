"""The table of units against Keras' own Inception v3 and the published counts."""

from __future__ import annotations

import numpy as np

from vae_batch.models.extractors.inception.layout import BLOCKS, KERAS_ORDER, UNITS


def test_counts_of_the_published_network() -> None:
    assert len(UNITS) == 94
    assert len({unit.graph_scope for unit in UNITS.values()}) == 94
    assert sorted(KERAS_ORDER) == sorted(UNITS)
    # Keras gives 21,802,784 parameters without top; 3 a channel (beta, mean, variance) are batch
    # norm: 21,802,784 - 3 * 17,216 = 21,751,136.
    assert sum(unit.kernel_shape[-1] for unit in UNITS.values()) == 17_216
    assert sum(int(np.prod(unit.kernel_shape)) for unit in UNITS.values()) == 21_751_136


def test_spot_shapes_of_each_block_type() -> None:
    # From the published tables: (height, width, in, out).
    assert UNITS["Mixed_5c.branch5x5_2"].kernel_shape == (5, 5, 48, 64)
    assert UNITS["Mixed_6a.branch3x3"].stride == 2
    assert UNITS["Mixed_6c.branch7x7dbl_4"].kernel_shape == (7, 1, 160, 160)
    assert UNITS["Mixed_7a.branch7x7x3_4"].padding == "valid"
    assert UNITS["Mixed_7c.branch3x3dbl_3b"].kernel_shape == (3, 1, 384, 384)
    assert UNITS["Mixed_7c.branch3x3_2a"].graph_scope == "mixed_10/tower/mixed/conv"


def test_each_block_feeds_the_next() -> None:
    widths = [block.in_channels for block in BLOCKS]
    assert widths == [192, 256, 288, 288, 768, 768, 768, 768, 768, 1280, 2048]


def test_keras_order_is_the_order_of_keras_layers() -> None:
    import keras

    model = keras.applications.InceptionV3(weights=None)
    convolutions = [layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]
    numbers = sorted(convolutions, key=lambda layer: _number(layer.name))
    created = {layer.name: name for layer, name in zip(numbers, UNITS, strict=True)}
    # UNITS is in Keras' order of creation: a block's rows are listed as Keras builds them.
    assert [created[layer.name] for layer in convolutions] == list(KERAS_ORDER)
    for layer in convolutions:
        unit = UNITS[created[layer.name]]
        assert tuple(layer.kernel.shape) == unit.kernel_shape
        assert layer.strides == (unit.stride, unit.stride)
        same = layer.padding == unit.padding
        assert same or unit.kernel_shape[:2] == (1, 1)  # 1x1 needs no padding


def _number(name: str) -> int:
    suffix = name.removeprefix("conv2d").removeprefix("_")
    return int(suffix or 0)
