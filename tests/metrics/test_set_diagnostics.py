from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import mannwhitneyu

from vae_batch.metrics.images.diagnostics import path_changes, trimmed_mean
from vae_batch.metrics.samples.set_diagnostics import (
    NearDuplicateThreshold,
    TrainingNeighbours,
    authentic_fraction,
    data_copying_z,
    near_duplicate_rate,
    real_against_real,
    training_distance_ratio,
    vendi_score,
)


def _column(*values: float) -> np.ndarray:
    return np.array(values, dtype=np.float64)[:, None]


# Near-duplicates.


def test_near_duplicates_on_a_line() -> None:
    # Nearest distances of the reference: 1, 1, 2, 4; the median as an observed value is 1.
    threshold = NearDuplicateThreshold.from_activations(_column(0, 1, 3, 7), quantile=0.5)
    assert threshold == NearDuplicateThreshold(1.0, 4)
    # Those of the generated: .5, .5, 1, 1.
    assert near_duplicate_rate(_column(0, 0.5, 2, 3), threshold) == 1.0
    # And .5, .5, 1.5, 2.
    assert near_duplicate_rate(_column(0, 0.5, 2, 4), threshold) == 0.5


def test_a_collapsed_decoder_is_all_near_duplicates() -> None:
    rng = np.random.default_rng(0)
    reference = rng.normal(size=(200, 5))
    assert near_duplicate_rate(np.ones((200, 5)), reference) == 1.0
    # Even where the reference holds so many duplicates of its own that the threshold is 0.
    reference[1] = reference[0]
    reference[3] = reference[2]
    assert NearDuplicateThreshold.from_activations(reference).distance == 0.0
    assert near_duplicate_rate(np.ones((200, 5)), reference) == 1.0
    assert near_duplicate_rate(rng.normal(size=(200, 5)), reference) == 0.0


def test_real_sets_score_about_the_quantile() -> None:
    real = np.random.default_rng(1).normal(size=(4000, 4))
    # One sample more where the two of a nearest pair share the threshold.
    assert near_duplicate_rate(real, real) == pytest.approx(0.01, abs=1 / 2000)
    # 2000 against 2000: .01 scatters by .003 at most, as both of a pair count.
    assert real_against_real(near_duplicate_rate, real) == pytest.approx(0.01, abs=0.009)


def test_real_against_real_compares_odd_with_even() -> None:
    seen = real_against_real(lambda odd, even: float(odd.sum() - 10 * even.sum()), range(7))
    # Odd 1 + 3 + 5, even 0 + 2 + 4; the seventh sample has no partner.
    assert seen == 9 - 60
    with pytest.raises(ValueError, match="at least 4 samples"):
        real_against_real(lambda odd, even: 1.0, range(3))


def test_sets_are_cut_to_one_number_of_samples() -> None:
    rng = np.random.default_rng(2)
    few, many = rng.normal(size=(100, 3)), rng.normal(size=(1000, 3))
    assert near_duplicate_rate(few, many) == near_duplicate_rate(few, many[:100])
    assert near_duplicate_rate(many, few) == near_duplicate_rate(many[:100], few)
    threshold = NearDuplicateThreshold.from_activations(many)
    assert near_duplicate_rate(many, threshold) == near_duplicate_rate(many, many)
    with pytest.raises(ValueError, match="as many samples as the threshold has, 1000, got 100"):
        near_duplicate_rate(few, threshold)


def test_near_duplicates_of_arguments_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match="one dimension, got 2 and 3"):
        near_duplicate_rate(np.zeros((4, 2)), np.zeros((4, 3)))
    with pytest.raises(ValueError, match="between 0 and 1, got 1"):
        NearDuplicateThreshold.from_activations(np.zeros((4, 2)), quantile=1)
    with pytest.raises(ValueError, match="2-D"):
        near_duplicate_rate(np.zeros(4), np.zeros((4, 2)))
    with pytest.raises(ValueError, match="2-D"):
        near_duplicate_rate(np.float64(3), np.zeros((4, 2)))
    with pytest.raises(ValueError, match="at least 2, got 1 and 1"):
        near_duplicate_rate(np.zeros((1, 2)), np.zeros((4, 2)))


# Diversity.


def test_vendi_score_counts_directions() -> None:
    assert vendi_score(5.0 * np.eye(4)) == pytest.approx(4.0)
    assert vendi_score(np.outer([1.0, 2.0, 3.0], np.ones(6))) == pytest.approx(1.0)
    # Three samples along one axis and one along another: eigenvalues 3/4 and 1/4, entropy
    # .75 ln(4/3) + .25 ln 4, so that the score is (4/3)^.75 4^.25 = 1.7548.
    rows = np.array([[1.0, 0], [2, 0], [3, 0], [0, 1]])
    assert vendi_score(rows) == pytest.approx((4 / 3) ** 0.75 * 4**0.25)
    # Two unit vectors at an angle with cosine c: eigenvalues (1 + c)/2 and (1 - c)/2.
    p = np.array([0.8, 0.2])
    expected = math.exp(-(p * np.log(p)).sum())
    assert vendi_score([[1.0, 0.0], [0.6, 0.8]]) == pytest.approx(expected)


def test_vendi_score_is_the_same_from_samples_and_from_dimensions() -> None:
    rows = np.random.default_rng(3).normal(size=(30, 8)).astype(np.float32)
    unit = rows / np.linalg.norm(rows.astype(np.float64), axis=1, keepdims=True)
    for samples in (unit, unit[:5]):
        eigenvalues = np.linalg.eigvalsh(samples @ samples.T / len(samples))
        eigenvalues = eigenvalues[eigenvalues > 1e-12]
        expected = math.exp(-(eigenvalues * np.log(eigenvalues)).sum())
        assert vendi_score(samples) == pytest.approx(expected, rel=1e-10)
        # Lengths do not matter, and every sample twice is no more diverse.
        assert vendi_score(7 * samples) == pytest.approx(expected, rel=1e-10)
        assert vendi_score(np.vstack([samples, samples])) == pytest.approx(expected, rel=1e-10)


def test_a_sample_without_direction_is_named() -> None:
    with pytest.raises(ValueError, match="row 1 is all zeros"):
        vendi_score([[1.0, 0.0], [0.0, 0.0]])


# Memorisation.


def test_authenticity_on_a_line() -> None:
    training = _column(0, 1, 10)
    # .4 lies .4 from 0, whose neighbour is 1 away: not authentic. 5 lies 4 from 1, whose
    # neighbour is 1 away: authentic. 14 lies 4 from 10, whose neighbour is 9 away: not.
    neighbours = TrainingNeighbours.from_activations(_column(0.4, 5, 14), training)
    assert list(neighbours.distances) == pytest.approx([0.4, 4, 4])
    assert list(neighbours.indices) == [0, 1, 2]
    assert list(neighbours.spacing) == [1, 1, 9]
    assert authentic_fraction(neighbours) == pytest.approx(1 / 3)


def test_copies_are_never_authentic() -> None:
    training = np.random.default_rng(4).normal(size=(100, 6)).astype(np.float32)
    # A training sample that occurs twice has a spacing of 0, as far as its copy: not less.
    training[1] = training[0]
    copies = TrainingNeighbours.from_activations(training[::2], training)
    assert (copies.distances == 0.0).all()
    assert authentic_fraction(copies) == 0.0


def test_a_third_of_real_samples_is_authentic_on_a_line() -> None:
    # A real sample is not where it and its nearest training sample are nearest to each other:
    # probability 2/3 in one dimension (of three uniform gaps in a row the middle one is the
    # smallest one time in three, and each point has two gaps). Scatter .0075 at n = 4000,
    # a little more as neighbours share training samples.
    rng = np.random.default_rng(5)
    real = TrainingNeighbours.from_activations(rng.random((4000, 1)), rng.random((4000, 1)))
    assert authentic_fraction(real) == pytest.approx(1 / 3, abs=0.03)


def test_distances_and_copying_tell_copies_from_poor_samples() -> None:
    rng = np.random.default_rng(6)
    training, test = rng.normal(size=(500, 5)), rng.normal(size=(300, 5))
    held_out = TrainingNeighbours.from_activations(test, training)
    sets = {
        "real": rng.normal(size=(300, 5)),
        "copies": training[:300] + 0.05 * rng.normal(size=(300, 5)),
        "poor": 2 * rng.normal(size=(300, 5)),
    }
    found = {k: TrainingNeighbours.from_activations(v, training) for k, v in sets.items()}
    ratio = {k: training_distance_ratio(v, held_out) for k, v in found.items()}
    score = {k: data_copying_z(v, held_out) for k, v in found.items()}
    assert ratio["copies"] < 0.3
    assert ratio["real"] == pytest.approx(1.0, abs=0.15)
    assert ratio["poor"] > 1.3
    assert score["copies"] < -10
    assert abs(score["real"]) < 3
    assert score["poor"] > 5
    assert authentic_fraction(found["copies"]) < 0.05 < authentic_fraction(held_out)


def _at(
    distances: list[float] | np.ndarray, indices: list[int] | None = None
) -> TrainingNeighbours:
    distances = np.asarray(distances, dtype=np.float64)
    where = np.zeros(len(distances), dtype=np.intp) if indices is None else np.array(indices)
    return TrainingNeighbours(distances, where, np.ones(len(distances)))


def test_copying_score_by_hand() -> None:
    # Every one of 21 generated distances is below each of 21 held-out ones: U = 0,
    # z = (0 - 441/2) / sqrt(21 * 21 * 43 / 12) = -220.5 / 39.752 = -5.547.
    near, far = _at(np.arange(21)), _at(np.arange(100, 121))
    expected = -220.5 / math.sqrt(21 * 21 * 43 / 12)
    assert data_copying_z(near, far) == pytest.approx(expected)
    assert data_copying_z(far, near) == pytest.approx(-expected)
    assert data_copying_z(near, near) == 0.0
    assert data_copying_z(_at(np.zeros(30)), _at(np.zeros(5))) == 0.0


def test_copying_score_agrees_with_scipy_under_ties() -> None:
    rng = np.random.default_rng(7)
    x, y = rng.integers(0, 9, 60).astype(float), rng.integers(2, 9, 45).astype(float)
    result = mannwhitneyu(x, y, method="asymptotic", use_continuity=False)
    z = data_copying_z(_at(x), _at(y))
    assert math.erfc(abs(z) / math.sqrt(2)) == pytest.approx(result.pvalue, rel=1e-9)
    assert (z > 0) == (result.statistic > 60 * 45 / 2)


def test_undefined_memorisation_says_why() -> None:
    with pytest.raises(ValueError, match="more than 20 generated samples"):
        data_copying_z(_at(np.arange(20)), _at(np.arange(20)))
    with pytest.raises(ValueError, match="half of the held-out samples are training samples"):
        training_distance_ratio(_at([1.0]), _at([0.0, 0.0, 1.0]))
    with pytest.raises(ValueError, match="at least 2 samples, got 1"):
        TrainingNeighbours.from_activations(_column(1), _column(2))


# Latent smoothness.


def test_smoothness_of_a_linear_decoder() -> None:
    # G(z) = W z on the line from z1 to z2: the change is epsilon W (z2 - z1), the same
    # everywhere, so that the smoothness is |W (z2 - z1)|^2 / D whatever epsilon.
    rng = np.random.default_rng(8)
    weights, z1, z2 = rng.normal(size=(12, 3)), rng.normal(size=3), rng.normal(size=3)
    t = rng.random((40, 1))
    for epsilon in (1e-3, 1e-1):
        a, b = ((z1 + (t + e) * (z2 - z1)) @ weights.T for e in (0.0, epsilon))
        expected = ((weights @ (z2 - z1)) ** 2).mean()
        shaped = (a.reshape(40, 2, 2, 3), b.reshape(40, 2, 2, 3))
        assert trimmed_mean(path_changes(*shaped, epsilon)) == pytest.approx(expected, rel=1e-9)


def test_smoothness_is_trimmed() -> None:
    # Squared changes 0, 1, ..., 100 in squared steps of 1/4: the 1st percentile is 1, the
    # 99th 99, the mean between them 50, over 1/4 is 200; outliers do not move it.
    changes = np.arange(101.0)
    changes[100] = 1e9
    b = np.sqrt(changes)[:, None, None] * np.ones((101, 3, 3))
    assert trimmed_mean(path_changes(np.zeros_like(b), b, 0.5)) == pytest.approx(200)
    assert trimmed_mean(path_changes(b, b, 0.5)) == 0.0


def test_smoothness_of_arguments_that_do_not_fit() -> None:
    images = np.zeros((3, 4, 4), dtype=np.float32)
    with pytest.raises(ValueError, match="expected decoded floats, got uint8"):
        path_changes(images.astype(np.uint8), images.astype(np.uint8), 0.01)
    with pytest.raises(ValueError, match="epsilon: expected a positive"):
        path_changes(images, images, 0.0)
    with pytest.raises(ValueError, match="expected one shape"):
        path_changes(images, images[:2], 0.01)
    with pytest.raises(ValueError, match="at least one pair"):
        path_changes(images[:0], images[:0], 0.01)
