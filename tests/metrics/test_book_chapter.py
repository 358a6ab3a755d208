from __future__ import annotations

import math

import numpy as np
import pytest
from metrics.book_chapter import (
    book_frechet_distance,
    book_inception_score,
    book_kl,
    book_reconstruction_loss,
)
from scipy.stats import entropy

from vae_batch.metrics import bernoulli_nll, frechet_distance, gaussian_kl, inception_score
from vae_batch.metrics.likelihood.elbo import bernoulli_nll_from_probabilities

# Reconstruction loss.


@pytest.mark.parametrize(
    ("shape", "book", "ratio"),
    [
        # p = 1/2 costs ln 2 a pixel value; the chapter gives shape[1] ln 2.
        ((784,), 784 * math.log(2), 1),  # 543.427, all of it
        ((28, 28), 28 * math.log(2), 28),  # 19.408
        ((28, 28, 1), 28 * math.log(2), 28),
        ((1, 28, 28), math.log(2), 784),  # .693
        ((32, 32, 3), 32 * math.log(2), 96),  # 22.18 of 2129.35
    ],
)
def test_reconstruction_is_low_by_the_axes_after_the_second(
    shape: tuple[int, ...], book: float, ratio: int
) -> None:
    x = np.random.default_rng(0).uniform(size=(3, *shape))
    loss = book_reconstruction_loss(np.full_like(x, 0.5), x)
    assert loss.loss == pytest.approx(book, rel=1e-13)
    assert loss.ratio == ratio


@pytest.mark.parametrize("shape", [(6,), (4, 5), (4, 5, 1), (1, 4, 5), (4, 4, 3)])
def test_ours_is_the_books_times_the_ratio(shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(1)
    logits, x = 3 * rng.normal(size=(7, *shape)), rng.uniform(size=(7, *shape))
    p = 1 / (1 + np.exp(-logits))
    loss, ratio = book_reconstruction_loss(p, x)
    assert bernoulli_nll(logits, x).mean() == pytest.approx(loss * ratio, rel=1e-12)
    # The same clip, so also where it cuts in: p = 0 and p = 1.
    p.flat[:3] = [0.0, 1.0, 1e-9]
    loss, ratio = book_reconstruction_loss(p, x)
    ours, clipped = bernoulli_nll_from_probabilities(p, x)
    assert ours.mean() == pytest.approx(loss * ratio, rel=1e-12)
    assert clipped.sum() == 3


def test_the_clip_is_even_in_float64_only() -> None:
    # keras.losses.binary_crossentropy: clip, then a mean over the last axis. Its float32 clip is
    # uneven: 1 - 1e-7 rounds to 1 - 2^-23, whose cost is 23 ln 2 = 15.942, against 16.118.
    clip = np.float32(1e-7)
    upper = np.float32(1) - clip
    assert -np.log(np.float64(1 - upper)) == pytest.approx(23 * math.log(2), rel=1e-12)
    assert book_reconstruction_loss([[1.0]], [[0.0]]).loss == pytest.approx(-math.log(1e-7))
    assert book_reconstruction_loss([[0.0]], [[1.0]]).loss == pytest.approx(-math.log(1e-7))


def test_reconstruction_refuses_what_is_no_probability() -> None:
    x = np.zeros((2, 3))
    with pytest.raises(ValueError, match=r"p: expected values in .* apply a sigmoid to logits"):
        book_reconstruction_loss(x + 3.0, x)
    with pytest.raises(ValueError, match=r"x: expected values in .* scale 8-bit images by 1/255"):
        book_reconstruction_loss(x, x + 255)
    with pytest.raises(ValueError, match=r"shape\[1\] is used, got \(2,\)"):
        book_reconstruction_loss([0.5, 0.5], [0.0, 1.0])
    with pytest.raises(ValueError, match="p and x: expected one shape"):
        book_reconstruction_loss(x[:, :2], x)


# KL.


def test_kl_agrees_on_flat_latents() -> None:
    mean, logvar = np.random.default_rng(2).normal(size=(2, 9, 5))
    assert book_kl(mean, logvar) == pytest.approx(gaussian_kl(mean, logvar).mean(), rel=1e-13)
    # (0, ln 4): (4 - 1 - ln 4)/2.
    assert book_kl([[0.0]], [[math.log(4)]]) == pytest.approx(0.8068528194400547, rel=1e-14)


def test_the_books_kl_cancels_where_ours_does_not() -> None:
    # lv = 1e-6: lv^2/4 = 2.5e-13. The difference of numbers near 1 is off by their rounding,
    # 1e-16 here and 6e-8 in the chapter's float32.
    lv = np.float32(1e-6)
    in_float32 = -0.5 * (np.float32(1) + lv - np.exp(lv))
    assert abs(in_float32) > 1e4 * 2.5e-13
    assert book_kl([[0.0]], [[1e-6]]) == pytest.approx(2.5e-13, rel=0, abs=2e-16)
    assert gaussian_kl([[0.0]], [[1e-6]])[0] == pytest.approx(
        2.5e-13 * (1 + 1e-6 / 3), rel=1e-9, abs=0
    )


def test_kl_of_a_spatial_latent_would_be_low_by_its_size() -> None:
    # A (2, 3, 4) latent at means 1 has 12 nats; the last axis alone, averaged, 2: 6 = 2 x 3 less.
    mean = np.ones((5, 2, 3, 4))
    last_axis = float((-0.5 * (1 - mean**2 - 1)).sum(axis=-1).mean())
    assert gaussian_kl(mean, 0 * mean).mean() == 6 * last_axis == 12.0
    with pytest.raises(ValueError, match=r"mean: expected a 2-D array .*got shape \(5, 2, 3, 4\)"):
        book_kl(mean, 0 * mean)


def test_kl_refuses_what_overflows_float32() -> None:
    with np.errstate(over="ignore"):
        assert np.exp(np.float32(89)) == np.inf
    with pytest.raises(ValueError, match=r"logvar: expected values in \[-inf, 88.7\].*gaussian_kl"):
        book_kl([[0.0]], [[89.0]])
    assert gaussian_kl([[0.0]], [[89.0]])[0] == pytest.approx(2.2448e38, rel=1e-4)


# Inception Score.


def test_inception_score_agrees_on_probabilities() -> None:
    p = np.random.default_rng(3).dirichlet(np.ones(7), size=60)
    for splits in (1, 3, 10):
        np.testing.assert_allclose(
            book_inception_score(p, splits), inception_score(p, splits), rtol=1e-12
        )


def test_inception_score_of_ordered_classes() -> None:
    # 100 one-hot rows, 10 classes in order, 10 splits: each split holds one class and scores 1;
    # permuted, near 10. Both follow the order they are given; ours can permute.
    p = np.repeat(np.eye(10), 10, axis=0)
    assert book_inception_score(p, 10).mean == inception_score(p, 10).mean == 1.0
    assert inception_score(p, 10, permutation_seed=0).mean > 5
    assert book_inception_score(p, 1).mean == pytest.approx(10.0, rel=1e-12)


def test_inception_score_refuses_rows_that_do_not_sum_to_one() -> None:
    # Rows (8, 2) and (.1, .9): normalised each, but a marginal of raw rows (4.05, 1.45) is .736,
    # .264 and not (.45, .55).
    rows = np.array([[8.0, 2.0], [0.1, 0.9]])
    raw = math.exp(np.mean([entropy(row, rows.mean(axis=0)) for row in rows]))
    true = rows / rows.sum(axis=1, keepdims=True)
    assert raw > 1.15 * inception_score(true, 1).mean
    with pytest.raises(ValueError, match="row 0 with sum 10; the chapter's marginal averages"):
        book_inception_score(rows, 1)
    with pytest.raises(ValueError, match="row 1 with sum 0"):
        book_inception_score([[1.0, 0.0], [0.0, 0.0]], 1)
    for splits in (3, 0, 20):
        with pytest.raises(ValueError, match=f"divisor of 10 samples, got {splits}"):
            book_inception_score(np.eye(10), splits)


# Frechet distance.


@pytest.mark.parametrize(("n", "d"), [(3, 2), (50, 7), (300, 40)])
def test_frechet_distance_agrees_at_full_rank(n: int, d: int) -> None:
    rng = np.random.default_rng(n)
    generated, reference = rng.normal(size=(n, d)), rng.gamma(2.0, size=(n + 5, d))
    ours = frechet_distance(generated, reference)
    assert book_frechet_distance(generated, reference) == pytest.approx(ours, rel=1e-6)


def test_frechet_distance_refuses_what_breaks_its_root() -> None:
    rng = np.random.default_rng(4)
    x = rng.normal(size=(50, 512))
    with pytest.raises(ValueError, match=r"generated: expected more samples .* 50 samples of 512"):
        book_frechet_distance(x, x)
    assert frechet_distance(x, x.copy()) == 0.0
    # One feature: np.cov is 0-dimensional. N(3, 2) and N(0, 4): 9 + (sqrt 2 - 2)^2.
    one = ([[2.0], [4.0]], [[-2.0], [0.0], [2.0]])
    with pytest.raises(ValueError, match="at least 2 dimensions, got 2 samples of 1"):
        book_frechet_distance(*one)
    assert frechet_distance(*one) == pytest.approx(15 - 4 * math.sqrt(2), rel=1e-13)
    good, constant = rng.normal(size=(20, 3)), rng.normal(size=(20, 3))
    constant[:, 1] = 4.0
    with pytest.raises(ValueError, match="reference: expected a covariance of full rank"):
        book_frechet_distance(good, constant)
    assert frechet_distance(good, constant) > 0
    with pytest.raises(ValueError, match="expected one dimension, got 3 and 2"):
        book_frechet_distance(good, good[:, :2])
