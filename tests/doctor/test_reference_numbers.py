"""The chain that meets torch-fidelity's published numbers: subsets, order, shuffle, formulas.

The published weights cannot be had everywhere, so a small seeded network stands in: what is
tested is everything but the network.
"""

from __future__ import annotations

import numpy as np
import pytest

from vae_batch.doctor.reference_numbers import (
    PUBLISHED,
    reference_numbers,
    shuffled_score,
    subset_indices,
)
from vae_batch.metrics import frechet_distance
from vae_batch.plan import InputError

BATCH = 16


class Images:
    """Seeded noise whose brightness follows the index, so that a wrong subset shows."""

    def __init__(self, count: int, seed: int) -> None:
        noise = np.random.default_rng(seed).integers(0, 128, (count, 4, 4, 3))
        self.pixels = (noise + np.arange(count).reshape(-1, 1, 1, 1) * 127 // count).astype(
            np.uint8
        )

    def __len__(self) -> int:
        return len(self.pixels)

    def read(self, start: int, stop: int) -> np.ndarray:
        return self.pixels[start:stop]


class Network:
    """Linear features and logits; remembers how many images it got at once."""

    def __init__(self) -> None:
        rng = np.random.default_rng(5)
        self.features = rng.normal(size=(48, 6))
        self.classes = rng.normal(size=(6, 7)) / 10
        self.largest_batch = 0

    def __call__(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        self.largest_batch = max(self.largest_batch, len(images))
        features, logits = self.outputs(images)
        p = np.exp(logits)
        return features.astype(np.float32), (p / p.sum(1, keepdims=True)).astype(np.float32)

    def outputs(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        features = images.reshape(len(images), -1) / 255 @ self.features
        return features, features @ self.classes


def published_formula(logits: np.ndarray) -> tuple[float, float]:
    """The score as torch-fidelity's ``metric_isc`` defines it, from logits in float64."""
    logits = logits[np.random.RandomState(2020).permutation(len(logits))]
    log_p = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    scores = []
    for i in range(10):
        chunk = log_p[i * len(log_p) // 10 : (i + 1) * len(log_p) // 10]
        q = np.exp(chunk).mean(axis=0, keepdims=True)
        scores.append(np.exp((np.exp(chunk) * (chunk - np.log(q))).sum(axis=1).mean()))
    return float(np.mean(scores)), float(np.std(scores))


def test_subsets_are_random_and_read_back_sorted() -> None:
    # choice without replacement is the head of the seed's permutation; RandomState never changes.
    head = np.random.RandomState(2020).permutation(50)[:8]
    assert not np.array_equal(head, np.sort(head))
    np.testing.assert_array_equal(subset_indices(50, 8), np.sort(head))
    np.testing.assert_array_equal(subset_indices(6, 6), np.arange(6))
    assert subset_indices(50000, 5000)[:4].tolist() == [5, 19, 40, 47]


def test_more_images_than_there_are() -> None:
    with pytest.raises(InputError, match="at least 9 images in a split, found 8"):
        subset_indices(8, 9)


def test_the_shuffle_is_the_published_one() -> None:
    """Rows sorted by class: the shuffle decides the score of every split."""
    logits = 3.0 * np.eye(4).repeat(25, axis=0)
    p = np.exp(logits)
    p = (p / p.sum(axis=1, keepdims=True)).astype(np.float32)
    assert tuple(shuffled_score(p)) == pytest.approx(published_formula(logits), rel=1e-6)
    # Unshuffled, splits of one or two classes score far less than four mixed ones.
    assert shuffled_score(p).mean > 2.0


def test_numbers_of_a_small_network() -> None:
    train, test, network = Images(203, 1), Images(90, 2), Network()
    numbers = dict(reference_numbers(train, test, network, BATCH, small=23, large=60))
    assert list(numbers) == list(PUBLISHED)
    assert network.largest_batch == BATCH

    def chosen(images: Images, size: int) -> np.ndarray:
        indices = np.random.RandomState(2020).choice(len(images), size, replace=False)
        return images.pixels[sorted(indices)]

    few = published_formula(network.outputs(chosen(train, 23))[1])
    everything = published_formula(network.outputs(train.pixels)[1])
    generated, reference = (network.outputs(chosen(one, 60))[0] for one in (train, test))
    expected = (few[0], frechet_distance(generated, reference), *everything)
    np.testing.assert_allclose(list(numbers.values()), expected, rtol=1e-5)


def test_small_numbers_come_first() -> None:
    """The first number is there before the other images are read."""
    train, network = Images(203, 1), Network()
    numbers = reference_numbers(train, Images(90, 2), network, 100, small=23, large=60)
    assert next(numbers)[0] == "IS of 100 train images"
    assert network.largest_batch == 23
