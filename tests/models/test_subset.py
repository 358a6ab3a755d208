"""Subsets of ordered sets of images: the draw, and the check of a named one."""

from __future__ import annotations

import numpy as np
import pytest

from vae_batch.models.references.reference import open_reference
from vae_batch.models.references.subset import (
    TEST_LEVEL,
    subset_in_words,
    subset_positions,
    unlike_the_rest,
)


def check(images: np.ndarray, size: int, labels: np.ndarray | None = None) -> str | None:
    return unlike_the_rest(size, len(images), lambda places: images[places], labels)


def noise(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 6, 6, 1), np.uint8)


def test_a_random_subset_is_a_fixed_draw_without_replacement() -> None:
    chosen = subset_positions("random", 100, 1000)
    assert len(np.unique(chosen)) == 100
    assert (np.diff(chosen) > 0).all()
    assert chosen.tolist() == subset_positions("random", 100, 1000).tolist()
    assert 350 < chosen.mean() < 650  # of 0..999; the first hundred have a mean of 49.5
    assert chosen[:5].tolist() == [9, 13, 16, 18, 64]  # as in every run
    for subset in ("random", "first"):
        assert subset_positions(subset, 5, 5).tolist() == [0, 1, 2, 3, 4]
        assert subset_positions(subset, 9, 5).tolist() == [0, 1, 2, 3, 4]
    assert subset_positions("first", 3, 5).tolist() == [0, 1, 2]
    assert subset_in_words("random", 1000, 20_000) == "random 1,000 of 20,000"
    assert subset_in_words("first", 5, 5) == "all"


def test_all_parts_of_a_set_are_drawn_from() -> None:
    parts = np.bincount(subset_positions("random", 5000, 20_000) // 2000)
    assert len(parts) == 10
    assert abs(parts - 500).max() < 75  # their standard deviation is 18


def test_a_sorted_or_drifting_set_is_noticed() -> None:
    images, classes = noise(600), np.repeat(np.arange(3), 200)
    assert "in classes" in (check(images, 300, classes) or "")
    assert "reference_subset = random" in (check(images, 300, classes) or "")
    brighter = images.copy()
    brighter[300:] = np.minimum(brighter[300:].astype(int) + 20, 255)
    assert "differ from the others in brightness" in (check(brighter, 300) or "")
    corner = images.copy()
    corner[300:, :2, :2] = 255
    assert "brightness of block 1, 1" in (check(corner, 300) or "")


def test_a_shuffled_set_is_not_accused_more_often_than_its_level() -> None:
    rng = np.random.default_rng(0)
    images = noise(400)
    sets = (images[rng.permutation(400)] for _ in range(300))
    accused = sum(check(one, 150, rng.integers(0, 4, 400)) is not None for one in sets)
    assert TEST_LEVEL == 0.001
    assert accused <= 3


def test_sets_too_small_or_flat_are_not_judged() -> None:
    assert check(noise(5), 4) is None
    assert check(noise(5), 1) is None
    flat = np.full((20, 1, 1, 1), 7, np.uint8)
    assert check(flat, 10) is None
    flat[10:] = 9
    assert check(flat, 10) is not None


@pytest.mark.parametrize("subset", ["random", "first"])
def test_a_reference_reads_its_subset(subset: str) -> None:
    whole = open_reference("digits")
    part = open_reference("digits", limit=50, subset=subset)
    places = subset_positions(subset, 50, 797)
    assert (len(part), part.whole_count) == (50, 797)
    np.testing.assert_array_equal(part.read(10, 30), whole.read(0, 797)[places[10:30]])
    np.testing.assert_array_equal(part.labels, whole.labels[places])
    assert part.classes == 10
    assert part.unlike_the_rest() is None  # the digits are shuffled
