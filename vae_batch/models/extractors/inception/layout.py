"""The 94 convolution units of Inception v3: names, shapes and orders, as plain tables.

One row describes a unit (convolution, batch normalisation, ReLU). Names follow the FID state
dict (``Mixed_5b.branch1x1``); ``graph_scope`` is the same unit in the 2015 GraphDef and
``KERAS_ORDER`` the order in which ``keras.applications.InceptionV3`` stores its layers.
Source of the shapes: Szegedy et al., "Rethinking the Inception Architecture", 2015, and the
published files. Standard library only.
"""

from __future__ import annotations

from dataclasses import dataclass

IMAGE_SIZE = 299
FEATURE_DIM = 2048
# 0.001 rounded to float32, as the graph stores it: every file of one network folds to one result.
BATCH_NORM_EPSILON = 0.0010000000474974513


@dataclass(frozen=True)
class Unit:
    """One convolution unit.

    Attributes:
        name: Name in the FID state dict, without ``.conv`` or ``.bn``.
        graph_scope: Scope of the same unit in the 2015 GraphDef.
        kernel_shape: (height, width, in channels, out channels).
        stride: 1 or 2, both axes.
        padding: ``"same"`` or ``"valid"``.
    """

    name: str
    graph_scope: str
    kernel_shape: tuple[int, int, int, int]
    stride: int = 1
    padding: str = "same"


# Branch name, graph suffix, out channels, kernel height and width, stride; stride 2 is unpadded.
_Row = tuple[str, str, int, int, int, int]


def _rows_a(pool: int) -> list[_Row]:
    return [
        ("branch1x1", "conv", 64, 1, 1, 1),
        ("branch5x5_1", "tower/conv", 48, 1, 1, 1),
        ("branch5x5_2", "tower/conv_1", 64, 5, 5, 1),
        ("branch3x3dbl_1", "tower_1/conv", 64, 1, 1, 1),
        ("branch3x3dbl_2", "tower_1/conv_1", 96, 3, 3, 1),
        ("branch3x3dbl_3", "tower_1/conv_2", 96, 3, 3, 1),
        ("branch_pool", "tower_2/conv", pool, 1, 1, 1),
    ]


def _rows_b() -> list[_Row]:
    return [
        ("branch3x3", "conv", 384, 3, 3, 2),
        ("branch3x3dbl_1", "tower/conv", 64, 1, 1, 1),
        ("branch3x3dbl_2", "tower/conv_1", 96, 3, 3, 1),
        ("branch3x3dbl_3", "tower/conv_2", 96, 3, 3, 2),
    ]


def _rows_c(width: int) -> list[_Row]:
    return [
        ("branch1x1", "conv", 192, 1, 1, 1),
        ("branch7x7_1", "tower/conv", width, 1, 1, 1),
        ("branch7x7_2", "tower/conv_1", width, 1, 7, 1),
        ("branch7x7_3", "tower/conv_2", 192, 7, 1, 1),
        ("branch7x7dbl_1", "tower_1/conv", width, 1, 1, 1),
        ("branch7x7dbl_2", "tower_1/conv_1", width, 7, 1, 1),
        ("branch7x7dbl_3", "tower_1/conv_2", width, 1, 7, 1),
        ("branch7x7dbl_4", "tower_1/conv_3", width, 7, 1, 1),
        ("branch7x7dbl_5", "tower_1/conv_4", 192, 1, 7, 1),
        ("branch_pool", "tower_2/conv", 192, 1, 1, 1),
    ]


def _rows_d() -> list[_Row]:
    return [
        ("branch3x3_1", "tower/conv", 192, 1, 1, 1),
        ("branch3x3_2", "tower/conv_1", 320, 3, 3, 2),
        ("branch7x7x3_1", "tower_1/conv", 192, 1, 1, 1),
        ("branch7x7x3_2", "tower_1/conv_1", 192, 1, 7, 1),
        ("branch7x7x3_3", "tower_1/conv_2", 192, 7, 1, 1),
        ("branch7x7x3_4", "tower_1/conv_3", 192, 3, 3, 2),
    ]


def _rows_e() -> list[_Row]:
    return [
        ("branch1x1", "conv", 320, 1, 1, 1),
        ("branch3x3_1", "tower/conv", 384, 1, 1, 1),
        ("branch3x3_2a", "tower/mixed/conv", 384, 1, 3, 1),
        ("branch3x3_2b", "tower/mixed/conv_1", 384, 3, 1, 1),
        ("branch3x3dbl_1", "tower_1/conv", 448, 1, 1, 1),
        ("branch3x3dbl_2", "tower_1/conv_1", 384, 3, 3, 1),
        ("branch3x3dbl_3a", "tower_1/mixed/conv", 384, 1, 3, 1),
        ("branch3x3dbl_3b", "tower_1/mixed/conv_1", 384, 3, 1, 1),
        ("branch_pool", "tower_2/conv", 192, 1, 1, 1),
    ]


@dataclass(frozen=True)
class Block:
    """One mixed block: its name, type ``a`` to ``e``, in channels and unit rows."""

    name: str
    kind: str
    graph_scope: str
    in_channels: int
    rows: tuple[_Row, ...]

    @property
    def units(self) -> list[Unit]:
        """Its units. One that begins a branch reads the block's input, others the one before."""
        units: list[Unit] = []
        previous = {"": self.in_channels}
        for branch, suffix, out, height, width, stride in self.rows:
            stem, _, step = branch.rpartition("_")
            begins = step in {"1", "pool"} or not stem
            channels = self.in_channels if begins else previous[stem]
            padding = "valid" if stride == 2 else "same"
            shape = (height, width, channels, out)
            name, scope = f"{self.name}.{branch}", f"{self.graph_scope}/{suffix}"
            units.append(Unit(name, scope, shape, stride, padding))
            if step not in {"2a", "2b", "3a", "3b"}:
                previous[stem] = out
        return units


BLOCKS: tuple[Block, ...] = tuple(
    Block(f"Mixed_{name}", kind, "mixed" if index == 0 else f"mixed_{index}", channels, tuple(rows))
    for index, (name, kind, channels, rows) in enumerate(
        [
            ("5b", "a", 192, _rows_a(32)),
            ("5c", "a", 256, _rows_a(64)),
            ("5d", "a", 288, _rows_a(64)),
            ("6a", "b", 288, _rows_b()),
            ("6b", "c", 768, _rows_c(128)),
            ("6c", "c", 768, _rows_c(160)),
            ("6d", "c", 768, _rows_c(160)),
            ("6e", "c", 768, _rows_c(192)),
            ("7a", "d", 768, _rows_d()),
            ("7b", "e", 1280, _rows_e()),
            ("7c", "e", 2048, _rows_e()),
        ]
    )
)

_STEM: tuple[Unit, ...] = (
    Unit("Conv2d_1a_3x3", "conv", (3, 3, 3, 32), 2, "valid"),
    Unit("Conv2d_2a_3x3", "conv_1", (3, 3, 32, 32), 1, "valid"),
    Unit("Conv2d_2b_3x3", "conv_2", (3, 3, 32, 64)),
    Unit("Conv2d_3b_1x1", "conv_3", (1, 1, 64, 80), 1, "valid"),
    Unit("Conv2d_4a_3x3", "conv_4", (3, 3, 80, 192), 1, "valid"),
)


UNITS: dict[str, Unit] = {
    unit.name: unit for unit in [*_STEM, *(u for b in BLOCKS for u in b.units)]
}

# keras.applications sorts layers by depth, deepest branch first: places within a block's rows.
_KERAS_PLACES: dict[str, tuple[int, ...]] = {
    "a": (3, 1, 4, 0, 2, 5, 6),
    "b": (1, 2, 0, 3),
    "c": (4, 5, 1, 6, 2, 7, 0, 3, 8, 9),
    "d": (2, 3, 0, 4, 1, 5),
    "e": (4, 1, 5, 2, 3, 6, 7, 0, 8),
}

KERAS_ORDER: tuple[str, ...] = (
    *(unit.name for unit in _STEM),
    *(f"{b.name}.{b.rows[place][0]}" for b in BLOCKS for place in _KERAS_PLACES[b.kind]),
)
