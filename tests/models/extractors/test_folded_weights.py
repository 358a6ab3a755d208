"""The random weights: deterministic bits, moments of the filters, folding by hand."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from vae_batch.models.extractors.inception.folded_weights import (
    BatchNorm,
    WeightChecks,
    fold,
    random_weights,
    random_weights_description,
)
from vae_batch.models.extractors.inception.layout import UNITS
from vae_batch.plan.errors import InputError

# Of every kernel of the default seed, in the order of UNITS, then of the classifier. A change
# moves every score of inception-random: raise the version in random_weights_description with it.
RANDOM_SHA256 = "aad7c3357c20722e5fe1ca0d119007216a354c7525b4d48319e28a8baa1f7132"


def test_bits_of_the_default_seed() -> None:
    weights = random_weights()
    digest = hashlib.sha256()
    for name in UNITS:
        digest.update(weights.units[name].kernel.tobytes())
    digest.update(weights.classifier_kernel.tobytes())
    assert digest.hexdigest() == RANDOM_SHA256


def test_filters_have_the_stated_variance_and_half_their_mean() -> None:
    kernel = random_weights().units["Mixed_7b.branch3x3dbl_2"].kernel.astype(np.float64)
    # fan-in 3 * 3 * 448 = 4032, variance 2.8 / 4032, 1.5 million draws: 0.3 % is over 3 sigma.
    np.testing.assert_allclose(kernel.var(), 2.8 / 4032, rtol=3e-3)
    # A drawn filter's mean has deviation sqrt(2.8 / 4032 / 4032), of which half is left; the
    # deviation of 384 filters is known to 1 / sqrt(2 * 384) = 3.6 %: 12 % is over 3 sigma.
    means = kernel.mean(axis=(0, 1, 2))
    np.testing.assert_allclose(means.std(), 0.5 * np.sqrt(2.8) / 4032, rtol=0.12)


def test_seed_and_classes_are_part_of_the_description() -> None:
    assert random_weights_description(1) != random_weights_description(2)
    assert random_weights_description(1, 10) != random_weights_description(1, 11)
    one, two = random_weights(1, 10), random_weights(2, 10)
    assert one.classifier_kernel.shape == (2048, 10)
    assert (one.classifier_kernel != two.classifier_kernel).mean() > 0.99


def test_fold_by_hand() -> None:
    # gamma (k x - mean) / sqrt(variance + eps) + beta with k = 2, gamma = 3, beta = 5, mean = 7,
    # variance + eps = 4: scale 3 / 2, kernel 2 * 3 / 2 = 3, bias 5 - 7 * 3 / 2 = -5.5.
    one = np.ones(1, np.float32)
    norm = BatchNorm(3 * one, 5 * one, 7 * one, 3 * one, epsilon=1.0)
    folded = fold(2 * np.ones((1, 1, 1, 1), np.float32), norm)
    assert folded.kernel.item() == 3.0
    assert folded.bias.item() == -5.5


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (None, "lack 'a'"),
        (np.zeros(3, np.float32), r"float32 of shape \(2,\), found float32 of shape \(3,\)"),
        (np.zeros(2, np.float64), "found float64"),
        (np.array([0, np.nan], np.float32), "not finite"),
    ],
)
def test_wrong_arrays_are_refused(array: np.ndarray | None, message: str) -> None:
    checks = WeightChecks("file.pth", {} if array is None else {"a": array})
    with pytest.raises(InputError, match=message):
        checks.take("a", (2,))


def test_a_negative_variance_is_refused() -> None:
    checks = WeightChecks("file.pth", {"v": np.array([-1.0], np.float32)})
    with pytest.raises(InputError, match="variance is negative"):
        checks.take_norm(["v", "v", "v", "v"], 1)
