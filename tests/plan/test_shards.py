from __future__ import annotations

import pytest

from vae_batch.plan import Unit, sample_ranges


@pytest.mark.parametrize(
    ("samples", "size", "expected"),
    [
        (0, 4, []),
        (3, 4, [(0, 3)]),
        (4, 4, [(0, 4)]),
        (9, 4, [(0, 4), (4, 8), (8, 9)]),
    ],
)
def test_ranges_cover_once(samples: int, size: int, expected: list[tuple[int, int]]) -> None:
    assert list(sample_ranges(samples, size)) == expected


@pytest.mark.parametrize(("samples", "size"), [(-1, 4), (4, 0)])
def test_impossible_ranges(samples: int, size: int) -> None:
    with pytest.raises(ValueError, match="expected samples >= 0 and size >= 1"):
        list(sample_ranges(samples, size))


def test_shards_of_a_unit() -> None:
    shards = Unit("u", "losses", "f", samples=5, shard_size=3).shards()
    assert [(s.unit, s.name, len(s)) for s in shards] == [
        ("u", "00000000-00000003", 3),
        ("u", "00000003-00000005", 2),
    ]
