"""Laws that every exported metric keeps; an export that no law covers fails here."""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from metrics import laws_images, laws_likelihood, laws_samples
from numpy.typing import NDArray

from vae_batch import metrics
from vae_batch.metrics import (
    FrechetReference,
    LabelDistribution,
    MeanLoss,
    Moments,
    bernoulli_nll,
    bits_per_dim,
    elbo,
    frechet_distance,
    gaussian_kl,
    gaussian_nll,
    inception_score,
)
from vae_batch.metrics.likelihood.elbo import (
    bernoulli_nll_from_probabilities,
    gaussian_kl_per_dimension,
)
from vae_batch.metrics.samples.inception import inception_score_of_splits

Array = NDArray[Any]


@dataclass(frozen=True)
class Mergeable:
    """A value built from rows that merges: how to build, start and read it."""

    build: Callable[[Array], Any]
    empty: Callable[[], Any]
    read: Callable[[Any], list[Any]]
    rows: Callable[[np.random.Generator, int], Array]


@dataclass(frozen=True)
class PerSample:
    """A metric of one value (or row) a sample; `arguments` draws (n, 3, 4) or (n,) arrays."""

    metric: Callable[..., Array]
    arguments: Callable[[np.random.Generator, int], tuple[Array, ...]]
    flattens: bool = True


MERGEABLE = {
    "Moments": Mergeable(
        Moments.from_activations,
        lambda: Moments.empty(4),
        lambda value: [value.count, value.mean, value.scatter],
        lambda rng, n: rng.normal(size=(n, 4)) + 3.0,
    ),
    "LabelDistribution": Mergeable(
        LabelDistribution.from_probabilities,
        lambda: LabelDistribution.empty(4),
        lambda value: [value.count, value.sum_p, value.sum_p_log_p],
        lambda rng, n: rng.dirichlet(np.ones(4), size=n),
    ),
    "MeanLoss": Mergeable(
        MeanLoss.from_values,
        MeanLoss.empty,
        lambda value: [value.count, value.mean, value.scatter],
        lambda rng, n: rng.normal(size=n) + 3.0,
    ),
}


def _images(rng: np.random.Generator, n: int) -> Array:
    return rng.uniform(0.01, 0.99, size=(n, 3, 4))


PER_SAMPLE = {
    "bernoulli_nll": PerSample(
        bernoulli_nll, lambda rng, n: (rng.normal(size=(n, 3, 4)), _images(rng, n))
    ),
    "bernoulli_nll_from_probabilities": PerSample(
        lambda p, x: bernoulli_nll_from_probabilities(p, x)[0],
        lambda rng, n: (_images(rng, n), _images(rng, n)),
    ),
    "gaussian_nll": PerSample(
        lambda mean, x: gaussian_nll(mean, x, 0.7),
        lambda rng, n: (_images(rng, n), _images(rng, n)),
    ),
    "gaussian_kl": PerSample(
        gaussian_kl, lambda rng, n: (rng.normal(size=(n, 3, 4)), rng.normal(size=(n, 3, 4)))
    ),
    "gaussian_kl_per_dimension": PerSample(
        gaussian_kl_per_dimension,
        lambda rng, n: (rng.normal(size=(n, 3, 4)), rng.normal(size=(n, 3, 4))),
    ),
    "elbo": PerSample(
        elbo, lambda rng, n: (rng.uniform(size=n), rng.uniform(size=n)), flattens=False
    ),
    "bits_per_dim": PerSample(
        lambda nats: bits_per_dim(nats, 12, bin_width=1 / 256),
        lambda rng, n: (rng.uniform(size=n),),
        flattens=False,
    ),
}

TWO_SETS: dict[str, Callable[[Any, Any], float]] = {
    "frechet_distance": frechet_distance,
    "FrechetReference": lambda generated, reference: frechet_distance(
        generated, FrechetReference.from_activations(reference)
    ),
}

LABELS: dict[str, Callable[[Array], float]] = {
    "inception_score": lambda p: inception_score(p, splits=1).mean,
    "inception_score_of_splits": lambda p: (
        inception_score_of_splits([LabelDistribution.from_probabilities(p)]).mean
    ),
}

NO_METRIC = {
    "METRICS": "the metric table, see test_catalogue.py",
    "Metric": "a row of the metric table",
    "InceptionScore": "the pair that inception_score returns",
    "split_bounds": "index arithmetic, see test_inception_score.py",
    "Race": "decides between scores, see test_elimination.py",
    "Elimination": "what Race gives",
    "race_counts": "index arithmetic, see test_elimination.py",
    "rare_count": "a number of indices, see test_elimination.py",
    "StoredArrays": "what a plug-in metric is computed from",
    **dict.fromkeys(
        ("CentredActivations", "DistinctRows", "Strip", "Step"), "a value between steps"
    ),
    **dict.fromkeys(("moments_of_blocks", "strips"), "blocks of a longer sum"),
    "prepared_reference": "a part of a metric",
    "closest_pairs": "indices, see test_nearest_pairs.py",
    "nearest_other_distances": "within one set, see test_nearest.py",
    **dict.fromkeys(
        ("best_of", "comparison_row", "direction_sign", "judge_steps", "level_from_differences"),
        "a part of comparison_table",
    ),
    "paired_score": "a conversion of comparison_table's arguments",
}


for _name, _law in laws_images.MERGEABLE.items():
    MERGEABLE[_name] = Mergeable(**_law)
for _name, _law in laws_images.PER_SAMPLE.items():
    PER_SAMPLE[_name] = PerSample(**_law)
for _name, _entry in laws_likelihood.PER_SAMPLE.items():
    PER_SAMPLE[_name] = PerSample(*_entry)
LABELS |= laws_samples.LABELS
for _part in (laws_images, laws_likelihood, laws_samples):
    NO_METRIC |= _part.COVERED_ELSEWHERE


def functions_and_classes() -> set[str]:
    """Public names of the rooms, whatever the index exports."""
    found = set(metrics.__all__)
    for room in ("likelihood", "samples", "images", "comparison"):
        folder = Path(metrics.__file__).parent / room
        for file in folder.glob("*.py"):
            for node in ast.parse(file.read_text()).body:
                if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name[0] != "_":
                    found.add(node.name)
    return found


def test_every_public_name_is_under_a_law() -> None:
    covered = set(MERGEABLE) | set(PER_SAMPLE) | set(TWO_SETS) | set(LABELS) | set(NO_METRIC)
    uncovered = sorted(functions_and_classes() - covered)
    assert not uncovered, (
        f"vae_batch.metrics has {uncovered}, which no law covers. Add each to one table of "
        "tests/metrics/test_metric_laws.py: MERGEABLE (a value with empty and merge), PER_SAMPLE "
        "(one value a sample), TWO_SETS (generated against reference), LABELS (of class "
        "probabilities), or NO_METRIC with the reason why no law applies."
    )
    gone = sorted(covered - functions_and_classes() - {"PRECISION_RECALL", "DENSITY_COVERAGE"})
    assert not gone, f"{gone} are no longer in vae_batch.metrics: drop them here"


def _frozen(*arrays: Array) -> list[Array]:
    for array in arrays:
        array.setflags(write=False)
    return [array.copy() for array in arrays]


def _assert_close(left: list[Any], right: list[Any], rtol: float = 1e-11) -> None:
    for a, b in zip(left, right, strict=True):
        scale = max(1.0, float(np.abs(a).max()))
        np.testing.assert_allclose(a, b, rtol=rtol, atol=1e-11 * scale)


# Mergeable values.

shard_sizes = st.lists(st.integers(1, 6), min_size=3, max_size=6)
seeds = st.integers(0, 2**32 - 1)


@pytest.mark.parametrize("name", MERGEABLE)
@settings(max_examples=30, deadline=None, derandomize=True)
@given(sizes=shard_sizes, seed=seeds)
def test_merge_is_associative_commutative_and_shard_invariant(
    name: str, sizes: list[int], seed: int
) -> None:
    kind = MERGEABLE[name]
    rows = kind.rows(np.random.default_rng(seed), sum(sizes))
    shards = [kind.build(part) for part in np.split(rows, np.cumsum(sizes)[:-1])]
    a, b, c = shards[:3]
    _assert_close(kind.read(a.merge(b).merge(c)), kind.read(a.merge(b.merge(c))))
    _assert_close(kind.read(a.merge(b)), kind.read(b.merge(a)))
    merged = kind.empty()
    for shard in shards:
        merged = merged.merge(shard)
    _assert_close(kind.read(merged), kind.read(kind.build(rows)))


@pytest.mark.parametrize("name", MERGEABLE)
@settings(max_examples=20, deadline=None, derandomize=True)
@given(n=st.integers(1, 8), seed=seeds)
def test_empty_is_the_identity_to_the_bit(name: str, n: int, seed: int) -> None:
    kind = MERGEABLE[name]
    value = kind.build(kind.rows(np.random.default_rng(seed), n))
    for merged in (kind.empty().merge(value), value.merge(kind.empty())):
        for a, b in zip(kind.read(merged), kind.read(value), strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("name", MERGEABLE)
def test_building_and_merging_change_no_input(name: str) -> None:
    kind = MERGEABLE[name]
    rows = kind.rows(np.random.default_rng(1), 12)
    (before,) = _frozen(rows)
    left, right = kind.build(rows[:5]), kind.build(rows[5:])
    read = [np.array(part) for part in kind.read(left)]
    left.merge(right)
    np.testing.assert_array_equal(rows, before)
    for a, b in zip(kind.read(left), read, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("name", MERGEABLE)
def test_float32_rows_are_summed_in_float64(name: str) -> None:
    kind = MERGEABLE[name]
    rows = kind.rows(np.random.default_rng(2), 12).astype(np.float32)
    exact = kind.read(kind.build(rows.astype(np.float64)))
    for a, b in zip(kind.read(kind.build(rows)), exact, strict=True):
        np.testing.assert_array_equal(a, b)
        assert np.asarray(a).dtype in (np.float64, np.int64)


# One value a sample.


@pytest.mark.parametrize("name", PER_SAMPLE)
def test_a_sample_does_not_depend_on_its_batch(name: str) -> None:
    kind = PER_SAMPLE[name]
    arguments = kind.arguments(np.random.default_rng(3), 11)
    whole = kind.metric(*arguments)
    assert whole.dtype == np.float64
    assert len(whole) == 11
    parts = [kind.metric(*(a[i : i + 4] for a in arguments)) for i in range(0, 11, 4)]
    np.testing.assert_allclose(np.concatenate(parts), whole, rtol=1e-13)
    order = np.random.default_rng(4).permutation(11)
    permuted = kind.metric(*(a[order] for a in arguments))
    np.testing.assert_allclose(permuted, whole[order], rtol=1e-13)


@pytest.mark.parametrize("name", [n for n, kind in PER_SAMPLE.items() if kind.flattens])
def test_the_axes_of_a_sample_may_be_flattened(name: str) -> None:
    kind = PER_SAMPLE[name]
    arguments = kind.arguments(np.random.default_rng(5), 6)
    flat = kind.metric(*(a.reshape(6, -1) for a in arguments))
    np.testing.assert_array_equal(flat, kind.metric(*arguments))


@pytest.mark.parametrize("name", PER_SAMPLE)
def test_samples_are_not_changed_and_float32_is_exact(name: str) -> None:
    kind = PER_SAMPLE[name]
    arguments = [a.astype(np.float32) for a in kind.arguments(np.random.default_rng(6), 6)]
    before = _frozen(*arguments)
    value = kind.metric(*arguments)
    for a, b in zip(arguments, before, strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(value, kind.metric(*(a.astype(np.float64) for a in arguments)))


# Generated against reference: more samples than dimensions, and fewer.


@pytest.fixture(params=[(60, 40, 5), (8, 6, 20), (30, 6, 20), (100, 80, 130)])
def two_sets(request: pytest.FixtureRequest) -> tuple[Array, Array]:
    n, m, d = request.param
    rng = np.random.default_rng(7)
    return rng.normal(size=(n, d)) @ rng.normal(size=(d, d)), rng.gamma(2.0, size=(m, d))


@pytest.mark.parametrize("name", TWO_SETS)
def test_distance_is_symmetric_and_zero_for_equal_sets(
    name: str, two_sets: tuple[Array, Array]
) -> None:
    distance, (generated, reference) = TWO_SETS[name], two_sets
    forward = distance(generated, reference)
    assert forward > 0
    assert distance(reference, generated) == pytest.approx(forward, rel=1e-11)
    assert distance(generated, generated.copy()) == 0.0
    assert distance(reference, reference.copy()) == 0.0


@pytest.mark.parametrize("name", TWO_SETS)
def test_distance_does_not_depend_on_order_or_shards(
    name: str, two_sets: tuple[Array, Array]
) -> None:
    distance, (generated, reference) = TWO_SETS[name], two_sets
    expected = distance(generated, reference)
    order = np.random.default_rng(8).permutation(len(generated))
    assert distance(generated[order], reference[::-1]) == pytest.approx(expected, rel=1e-11)
    merged = Moments.empty(generated.shape[1])
    for part in np.array_split(generated, 3):
        merged = merged.merge(Moments.from_activations(part))
    assert distance(merged, reference) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("name", TWO_SETS)
def test_distance_keeps_under_rigid_motion_and_scales_as_a_square(
    name: str, two_sets: tuple[Array, Array]
) -> None:
    distance, (generated, reference) = TWO_SETS[name], two_sets
    expected = distance(generated, reference)
    d = generated.shape[1]
    turn = np.linalg.qr(np.random.default_rng(9).normal(size=(d, d)))[0]
    moved = distance(generated @ turn + 7.0, reference @ turn + 7.0)
    assert moved == pytest.approx(expected, rel=1e-10)
    assert distance(3.0 * generated, 3.0 * reference) == pytest.approx(9 * expected, rel=1e-11)


@pytest.mark.parametrize("name", TWO_SETS)
def test_distance_changes_no_input_and_takes_float32(
    name: str, two_sets: tuple[Array, Array]
) -> None:
    generated, reference = (x.astype(np.float32) for x in two_sets)
    before = _frozen(generated, reference)
    value = TWO_SETS[name](generated, reference)
    np.testing.assert_array_equal(generated, before[0])
    np.testing.assert_array_equal(reference, before[1])
    assert value == TWO_SETS[name](generated.astype(np.float64), reference.astype(np.float64))


# Class probabilities.


@pytest.mark.parametrize("name", LABELS)
def test_label_scores_keep_their_range_and_symmetries(name: str) -> None:
    score = LABELS[name]
    rng = np.random.default_rng(10)
    for n, classes in ((50, 7), (3, 7), (40, 1)):
        p = rng.dirichlet(np.full(classes, 0.2), size=n)
        value = score(p)
        assert 1.0 <= value <= min(n, classes) + 1e-12
        assert score(p[rng.permutation(n)]) == pytest.approx(value, rel=1e-12)
        assert score(p[:, rng.permutation(classes)]) == pytest.approx(value, rel=1e-12)
        # The whole set twice has the same distribution of rows.
        assert score(np.vstack([p, p])) == pytest.approx(value, rel=1e-12)


@pytest.mark.parametrize("name", LABELS)
def test_label_scores_change_no_input_and_take_float32(name: str) -> None:
    p = np.random.default_rng(11).dirichlet(np.ones(5), size=20).astype(np.float32)
    (before,) = _frozen(p)
    value = LABELS[name](p)
    np.testing.assert_array_equal(p, before)
    assert value == LABELS[name](p.astype(np.float64))
