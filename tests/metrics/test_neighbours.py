"""Radii, and precision, recall, density and coverage: all decided as by exact differences."""

from __future__ import annotations

import math
import tracemalloc

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.neighbors import NearestNeighbors

from vae_batch.metrics.samples import precision_recall as neighbours
from vae_batch.metrics.samples.precision_recall import (
    DENSITY_COVERAGE,
    PRECISION_RECALL,
    BallConvention,
    ManifoldScores,
    Neighbourhoods,
    manifold_scores,
    precision_recall_density_coverage,
)

Array = NDArray[np.float64]

REFERENCE = np.array([[0.0], [1.0], [3.0], [7.0]])
GENERATED = np.array([[0.25], [0.5], [5.0], [20.0]])


def _radii(x: Array, k: int) -> Array:
    """(n,) distances to the k-th nearest other row."""
    found = Neighbourhoods.from_activations(x, k)
    return np.sqrt(found.squared_radii(k))[found.distinct.group]


def _squares(x: Array, y: Array) -> Array:
    return ((x[:, None].astype(np.float64) - y[None]) ** 2).sum(axis=-1)


def _direct(reference: Array, generated: Array, k: int, inclusive: bool) -> ManifoldScores:
    """The definitions, from a matrix of differences."""

    def radii(x: Array) -> Array:
        squares = _squares(x, x)
        np.fill_diagonal(squares, np.inf)
        return np.sort(squares, axis=1)[:, k - 1]

    compare = np.less_equal if inclusive else np.less
    squares = _squares(reference, generated)
    in_real = compare(squares, radii(reference)[:, None])
    in_fake = compare(squares, radii(generated))
    return ManifoldScores(
        precision=in_real.any(axis=0).mean(),
        recall=in_fake.any(axis=1).mean(),
        density=in_real.sum() / (k * len(generated)),
        coverage=in_real.any(axis=1).mean(),
    )


# By hand.


def test_radii_on_a_line() -> None:
    # 0, 1, 3, 7: nearest others at 1, 1, 2, 4; second nearest at 3, 2, 3, 6.
    np.testing.assert_array_equal(_radii(REFERENCE, 1), [1, 1, 2, 4])
    np.testing.assert_array_equal(_radii(REFERENCE, 2), [3, 2, 3, 6])


def test_four_against_four_with_the_rim_out() -> None:
    # Reference balls have radii 1, 1, 2, 4; generated .25, .25, 4.5, 15.
    # .25 and .5 are in the balls of 0 and 1; 5 is in that of 7 and on the rim of that of 3; 20
    # is in none. So 3 of 4 precise, 5 pairs / 4 = 1.25, and 0, 1, 7 covered.
    # 0 is on the rim of .25's ball; 1, 3 and 7 are in that of 5: 3 of 4 recalled.
    expected = ManifoldScores(precision=0.75, recall=0.75, density=1.25, coverage=0.75)
    found = precision_recall_density_coverage(REFERENCE, GENERATED, k=1, inclusive=False)
    assert found == expected


def test_four_against_four_with_the_rim_in() -> None:
    # Also the pair (3, 5), which covers 3, and 0 in the ball of .25.
    expected = ManifoldScores(precision=0.75, recall=1.0, density=1.5, coverage=1.0)
    found = precision_recall_density_coverage(REFERENCE, GENERATED, k=1, inclusive=True)
    assert found == expected


def test_the_conventions_of_the_literature_by_name() -> None:
    assert BallConvention(3, inclusive=True) == PRECISION_RECALL
    assert BallConvention(5, inclusive=False) == DENSITY_COVERAGE
    rng = np.random.default_rng(0)
    reference, generated = rng.normal(size=(50, 3)), rng.normal(size=(40, 3))
    literature, prdc = manifold_scores(reference, generated)
    assert literature == _direct(reference, generated, 3, inclusive=True)
    assert prdc == _direct(reference, generated, 5, inclusive=False)
    assert precision_recall_density_coverage(reference, generated) == prdc


def test_a_copy_of_the_reference() -> None:
    # Every row is the centre of a ball. With the rim out a ball of k = 1 holds its centre only
    # (neighbours are on the rim or beyond): density 1. With it in, also the nearest.
    x = REFERENCE
    assert precision_recall_density_coverage(x, x, 1, inclusive=False) == ManifoldScores(1, 1, 1, 1)
    # Balls of 0, 1, 3, 7 reach 1; 0; 1; 3: two rows each, 8 pairs / 4.
    assert precision_recall_density_coverage(x, x, 1, inclusive=True) == ManifoldScores(1, 1, 2, 1)


def test_disjoint_sets_share_nothing() -> None:
    far = GENERATED + 1000.0
    assert precision_recall_density_coverage(REFERENCE, far, k=1) == ManifoldScores(0, 0, 0, 0)


# Against other implementations.


@pytest.mark.parametrize("k", [1, 3, 5])
def test_radii_are_those_of_scikit_learn(k: int) -> None:
    x = np.random.default_rng(1).normal(size=(300, 16)) + 100.0
    expected = NearestNeighbors(n_neighbors=k, algorithm="brute").fit(x).kneighbors()[0][:, -1]
    # scikit-learn's products cancel: 1e-16 of |x|^2 = 160,000 beside squares of about 10.
    np.testing.assert_allclose(_radii(x, k), expected, rtol=1e-9)
    tree = NearestNeighbors(n_neighbors=k, algorithm="kd_tree").fit(x).kneighbors()[0][:, -1]
    np.testing.assert_allclose(_radii(x, k), tree, rtol=1e-13)


def _sets(kind: str) -> tuple[Array, Array]:
    rng = np.random.default_rng(2)
    if kind == "normal":
        return rng.normal(size=(60, 8)), 1.3 * rng.normal(size=(45, 8))
    if kind == "lattice":  # many exact ties of different rows
        return rng.integers(0, 3, size=(60, 4)) * 1.0, rng.integers(0, 3, size=(70, 4)) * 1.0
    if kind == "far lattice":  # where products cancel
        offset = 1e6 + 1 / 3
        return (
            rng.integers(0, 2, size=(50, 6)) + offset,
            rng.integers(0, 2, size=(40, 6)) + offset,
        )
    if kind == "copies":  # the generated set repeats reference rows and its own
        reference = rng.normal(size=(40, 6)) + 50.0
        return reference, reference[rng.integers(0, 12, size=50)]
    if kind == "collapsed":
        return rng.normal(size=(30, 5)), np.tile(rng.normal(size=5), (25, 1))
    if kind == "far clusters":  # no origin is near both
        centres = 1e6 * rng.choice([-1.0, 1.0], size=(110, 1))
        x = centres + 1e-2 * rng.normal(size=(110, 5))
        return x[:60], x[60:]
    assert kind == "nearly collapsed"  # apart by rounding of the length, not of the distance
    return rng.normal(size=(30, 5)), 1e4 + 1e-7 * rng.normal(size=(25, 5))


KINDS = [
    "normal",
    "lattice",
    "far lattice",
    "copies",
    "collapsed",
    "nearly collapsed",
    "far clusters",
]


@pytest.mark.parametrize("inclusive", [False, True])
@pytest.mark.parametrize("k", [1, 3, 7])
@pytest.mark.parametrize("kind", KINDS)
def test_every_decision_is_that_of_differences(kind: str, k: int, inclusive: bool) -> None:
    a, b = _sets(kind)
    for reference, generated in ((a, b), (b, a), (b, b)):
        expected = _direct(reference, generated, k, inclusive)
        found = precision_recall_density_coverage(reference, generated, k, inclusive)
        # One decision apart is 1/70 or more; quotients may differ in their last bit.
        assert found == pytest.approx(expected, rel=1e-14, abs=0)


@pytest.mark.parametrize("strip", [1, 100, 1000])
@pytest.mark.parametrize("kind", KINDS)
def test_strips_and_blocks_change_nothing(
    kind: str, strip: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = _sets(kind)
    radii, scores = _radii(b, 3), manifold_scores(a, b)
    monkeypatch.setattr(neighbours, "STRIP", strip)
    monkeypatch.setattr(neighbours, "BLOCK", 7)
    np.testing.assert_array_equal(_radii(b, 3), radii)
    assert manifold_scores(a, b) == scores


def test_equal_rows_are_at_distance_zero() -> None:
    x = np.random.default_rng(3).normal(size=(20, 300)) + 1e3
    x[0, 0] = 0.0
    rows = np.vstack([x, x[:8], x[:3]])
    rows[20, 0] = -0.0  # still equal to row 0
    # Rows 0 to 7 have a copy, 0 to 2 a second one.
    original = np.concatenate([np.arange(20), np.arange(8), np.arange(3)])
    np.testing.assert_array_equal(_radii(rows, 1) == 0, original < 8)
    np.testing.assert_array_equal(_radii(rows, 2) == 0, original < 3)
    assert (_radii(rows, 3) > 10).all()
    assert (_radii(np.zeros((6, 2)), 5) == 0).all()


def test_a_prepared_set_gives_the_same() -> None:
    a, b = _sets("normal")
    prepared = Neighbourhoods.from_activations(a, 5)
    assert manifold_scores(prepared, b) == manifold_scores(a, b)
    assert manifold_scores(b, prepared) == manifold_scores(b, a)
    with pytest.raises(ValueError, match="1 to the 5 neighbours that were found, got 6"):
        precision_recall_density_coverage(prepared, b, k=6)


def test_memory_does_not_grow_with_the_number_of_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "STRIP", 2**17)
    x = np.random.default_rng(4).normal(size=(3000, 2)).astype(np.float32)
    tracemalloc.start()
    manifold_scores(x, x[::-1])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # All pairs would take 3000^2 * 8 B = 72 MB; a strip takes 1 MB.
    assert peak < 8e6


# Expectations for equal distributions.


def test_expectations_for_equal_distributions() -> None:
    # A reference row's ball holds no generated row where its k nearest among the n - 1 other
    # reference rows and the m generated rows are all reference rows:
    # prod_{i=1..k} (n - i) / (n + m - i). Each generated row is as likely among the nearest as
    # any: a ball holds the rows before the k-th reference row, in expectation k m / n of them,
    # so that density is 1 in expectation.
    n, m, k = 60, 50, 3
    scores = []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        x, y = rng.normal(size=(n, 2)), rng.normal(size=(m, 2))
        scores.append(precision_recall_density_coverage(x, y, k, inclusive=False))
    coverage = np.array([score.coverage for score in scores])
    density = np.array([score.density for score in scores])
    missed = math.prod((n - i) / (n + m - i) for i in range(1, k + 1))
    assert coverage.mean() == pytest.approx(1 - missed, abs=4 * coverage.std() / math.sqrt(200))
    assert density.mean() == pytest.approx(1.0, abs=4 * density.std() / math.sqrt(200))


# Input.


def test_bad_input_is_named() -> None:
    x = np.random.default_rng(5).normal(size=(6, 3))
    broken = x.copy()
    broken[4, 0] = np.inf
    with pytest.raises(ValueError, match=r"reference activations: .*row 4"):
        manifold_scores(broken, x)
    with pytest.raises(ValueError, match=r"generated activations: .*row 4"):
        manifold_scores(x, broken)
    with pytest.raises(ValueError, match=r"generated activations: expected at least 6 .* got 5"):
        manifold_scores(x, x[:5])
    with pytest.raises(ValueError, match="expected one dimension, got 2 and 3"):
        precision_recall_density_coverage(x, x[:, :2], k=2)
    with pytest.raises(ValueError, match="k: expected at least 1, got 0"):
        _radii(x, 0)
    with pytest.raises(ValueError, match="activations: expected at least 7 samples, got 6"):
        _radii(x, 6)
    with pytest.raises(ValueError, match="2-D"):
        _radii(x[0], 1)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.int32, np.bool_])
def test_any_real_dtype(dtype: type) -> None:
    x = (np.random.default_rng(6).normal(size=(40, 5)) * 2).astype(dtype)
    y = (np.random.default_rng(7).normal(size=(30, 5)) * 2).astype(dtype)
    before = x.copy()
    assert manifold_scores(x, y) == manifold_scores(x.astype(float), y.astype(float))
    np.testing.assert_array_equal(x, before)
