"""Laws of scores of two sets of activations; which names they cover is in laws_samples.py."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from laws_samples import EXPECTED_DIRECTIONS, SET_SCORES
from numpy.typing import NDArray

from vae_batch.metrics import METRICS

Array = NDArray[Any]


@pytest.fixture(params=[(60, 40, 5), (8, 7, 20), (30, 90, 20)])
def two_sets(request: pytest.FixtureRequest) -> tuple[Array, Array]:
    n, m, d = request.param
    rng = np.random.default_rng(7)
    return rng.normal(size=(n, d)) @ rng.normal(size=(d, d)), rng.gamma(2.0, size=(m, d))


@pytest.mark.parametrize("name", SET_SCORES)
def test_the_order_of_rows_does_not_matter(name: str, two_sets: tuple[Array, Array]) -> None:
    score, (generated, reference) = SET_SCORES[name], two_sets
    order = np.random.default_rng(8).permutation(len(generated))
    expected = np.array(score(generated, reference))
    np.testing.assert_allclose(score(generated[order], reference[::-1]), expected, rtol=1e-9)


@pytest.mark.parametrize("name", SET_SCORES)
def test_a_rotation_changes_nothing(name: str, two_sets: tuple[Array, Array]) -> None:
    score, (generated, reference) = SET_SCORES[name], two_sets
    d = generated.shape[1]
    turn = np.linalg.qr(np.random.default_rng(9).normal(size=(d, d)))[0]
    expected = np.array(score(generated, reference))
    np.testing.assert_allclose(score(generated @ turn, reference @ turn), expected, rtol=1e-8)


@pytest.mark.parametrize("name", SET_SCORES)
def test_inputs_stay_and_float32_is_exact(name: str, two_sets: tuple[Array, Array]) -> None:
    generated, reference = (x.astype(np.float32) for x in two_sets)
    copies = [generated.copy(), reference.copy()]
    generated.setflags(write=False)
    reference.setflags(write=False)
    value = SET_SCORES[name](generated, reference)
    np.testing.assert_array_equal(generated, copies[0])
    np.testing.assert_array_equal(reference, copies[1])
    exact = SET_SCORES[name](generated.astype(np.float64), reference.astype(np.float64))
    np.testing.assert_allclose(value, exact, rtol=1e-12)


def test_all_are_scores_under_an_extractor() -> None:
    for column in EXPECTED_DIRECTIONS:
        assert METRICS[column].per_extractor
