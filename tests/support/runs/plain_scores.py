"""Every score of the table written plainly from stored arrays: all pairs at once, no blocks."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist
from scipy.special import ndtri, xlogy
from scipy.stats import mannwhitneyu, norm

from vae_batch.models.references.subset import subset_positions

Array = NDArray[Any]
Arrays = Mapping[str, Array]
Scores = dict[str, float]


def mean_and_error(name: str, values: Array) -> Scores:
    return {name: values.mean(), f"{name}_se": values.std(ddof=1) / math.sqrt(len(values))}


def losses(stored: Arrays, beta: float, pixels: int) -> Scores:
    """Of a Bernoulli decoder that gives logits."""
    nll, kl = stored["reconstruction_nll"], stored["kl"]
    return {
        **mean_and_error("reconstruction_nll", nll),
        **mean_and_error("reconstruction_nll_at_mean", stored["reconstruction_nll_at_mean"]),
        **mean_and_error("kl", kl),
        **mean_and_error("elbo", -nll - kl),
        **mean_and_error("beta_objective", -nll - beta * kl),
        "bits_per_dim": (nll + kl).mean() / pixels / math.log(2),
        "clipped_pixels": 0.0,
    }


def importance(log_weights: Array) -> Scores:
    """Of (n, K) log weights; the Pareto shape is not here."""
    weights = np.exp(log_weights)
    ess = weights.sum(axis=1) ** 2 / (weights**2).sum(axis=1)
    return {**mean_and_error("iwae", np.log(weights.mean(axis=1))), "iwae_ess": ess.mean()}


def latents(mean: Array, logvar: Array, draws: Array, seed: int) -> Scores:
    """Of (n, d) posteriors and one draw from each."""
    mean, logvar = mean.astype(np.float64), logvar.astype(np.float64)
    n, d = mean.shape
    kl = 0.5 * (mean**2 + np.exp(logvar) - 1 - logvar)
    spread = np.exp(0.5 * logvar)
    densities = norm.logpdf(draws[:, None], mean[None], spread[None]).sum(axis=2)
    mixture = np.log(np.exp(densities).mean(axis=1))
    covariance = np.cov(mean.T, ddof=0) + np.diag((spread**2).mean(axis=0))
    centre = mean.mean(axis=0)
    log_determinant = np.linalg.slogdet(covariance)[1]
    prior = np.random.default_rng(seed).standard_normal((n, d))

    def kernel(x: Array, y: Array) -> Array:
        return 2 * d / (2 * d + cdist(x, y, "sqeuclidean"))

    within = [kernel(x, x).sum() - n for x in (draws, prior)]
    return {
        "latent_dimensions": d,
        "active_units": (mean.var(axis=0, ddof=1) > 0.01).sum(),
        "collapsed_dimensions": ((kl < 0.01).mean(axis=0) >= 0.99).sum(),
        "mutual_information": (densities.diagonal() - mixture).mean(),
        "marginal_kl": (mixture - norm.logpdf(draws).sum(axis=1)).mean(),
        "aggregate_prior_kl": 0.5 * (covariance.trace() + centre @ centre - d - log_determinant),
        "aggregate_prior_mmd": sum(within) / (n * (n - 1)) - 2 * kernel(draws, prior).mean(),
    }


def frechet(x: Array, y: Array) -> float:
    """By the symmetric roots of both covariances; a dead unit's direction is exactly none."""
    x, y = x.astype(np.float64), y.astype(np.float64)
    s, r = np.cov(x.T), np.cov(y.T)
    root = symmetric_root(r)
    shift = x.mean(axis=0) - y.mean(axis=0)
    return float(
        shift @ shift + s.trace() + r.trace() - 2 * symmetric_root(root @ s @ root).trace()
    )


def symmetric_root(matrix: Array) -> Array:
    values, vectors = np.linalg.eigh(matrix)
    kept = np.where(values > 1e-13 * values.max(), values, 0.0)
    return (vectors * np.sqrt(kept)) @ vectors.T


def frechet_scores(x: Array, y: Array) -> Scores:
    """The distance, freed of the bias of both sets, and its extrapolation.

    In t = 1/n distances of all, of nine tenths and of halves lie on a parabola; its value at t = 0
    is the corrected one, and what its square adds to a straight line the interval allows for.
    """
    n, value = len(x), frechet(x, y)
    rests = list(zip(_rests(x), _rests(y), strict=True))
    found, sizes = [frechet(a, b) for a, b in rests], [len(a) for a, _ in rests]
    tenths = np.average(found[:10], weights=sizes[:10])
    halves = np.average(found[10:], weights=sizes[10:])
    corrected = np.polyval(np.polyfit([1, 10 / 9, 2], [value, tenths, halves], 2), 0)
    last = corrected - (10 * value - 9 * tenths)
    error = math.hypot(*(_frechet_error(a, b) for a, b in ((x, y), (y, x))))
    half = ndtri(0.975) * error + abs(last)
    shuffled = x[np.random.default_rng(0).permutation(n)]
    sizes = np.linspace(max(n // 10, 2), n, 15).astype(int)
    line = np.polyfit(1 / sizes, [frechet(shuffled[:size], y) for size in sizes], 1)
    return {
        "fid": value,
        "fid_corrected": corrected,
        "fid_corrected_se": error,
        "fid_low": corrected - half,
        "fid_high": corrected + half,
        "fid_infinity": line[1],
    }


def _rests(rows: Array) -> list[Array]:
    """Without each tenth of a permutation, then both halves."""
    blocks = np.array_split(np.random.default_rng(0).permutation(len(rows)), 10)
    halves = [np.concatenate(blocks[5:]), np.concatenate(blocks[:5])]
    return [np.delete(rows, left_out, axis=0) for left_out in (*blocks, *halves)]


def _frechet_error(x: Array, y: Array) -> float:
    """By the sampling of x alone: the gradient in its mean and covariance, for each row."""
    x, y = x.astype(np.float64), y.astype(np.float64)
    s, r = np.cov(x.T, ddof=0), np.cov(y.T)
    root = symmetric_root(r)
    values, vectors = np.linalg.eigh(root @ s @ root)
    kept = values > 1e-13 * values.max()
    inverse = (vectors[:, kept] / np.sqrt(values[kept])) @ vectors[:, kept].T
    gradient = np.eye(len(s)) - root @ inverse @ root * math.sqrt((len(x) - 1) / len(x))
    centred = x - x.mean(axis=0)
    psi = 2 * centred @ (x.mean(axis=0) - y.mean(axis=0))
    psi += np.einsum("ij,jk,ik->i", centred, gradient, centred)
    return float(psi.std(ddof=1)) / math.sqrt(len(x))


def inception(p: Array, splits: int) -> Scores:
    """Of (n, c) class probabilities, whose rows are made to sum to 1 in float64."""
    p = p.astype(np.float64)
    p /= p.sum(axis=1, keepdims=True)
    n = len(p)
    log_error = _divergences(p).std(ddof=1) / math.sqrt(n)
    order = np.random.default_rng(0).permutation(len(p))
    halves = [_first_order_log(p[half]) for half in np.array_split(order, 2)]
    # What is left of the bias is 4 times as large for halves.
    first = _first_order_log(p)
    corrected = math.exp((4 * first - np.mean(halves)) / 3)
    half = corrected * (ndtri(0.975) * log_error + 2 * abs(math.log(corrected) - first))
    scores = []
    for i in range(splits):
        part = p[n * i // splits : n * (i + 1) // splits]
        scores.append(np.exp((xlogy(part, part) - part * np.log(part.mean(axis=0))).sum(1).mean()))
    return {
        "inception_score": np.mean(scores),
        "inception_score_se": np.mean(scores) * log_error,
        "inception_score_std": np.std(scores),
        "inception_score_corrected": corrected,
        "inception_score_corrected_se": corrected * log_error,
        "inception_score_low": corrected - half,
        "inception_score_high": corrected + half,
    }


def _divergences(p: Array) -> Array:
    return (xlogy(p, p) - p * np.log(p.mean(axis=0))).sum(axis=1)


def _first_order_log(p: Array) -> float:
    bias = (p.var(axis=0, ddof=1) / p.mean(axis=0)).sum() / (2 * len(p))
    return float(_divergences(p).mean() + bias)


def kernel_distance(x: Array, y: Array) -> float:
    """All pairs of different rows, cubic kernel."""
    x, y = x.astype(np.float64), y.astype(np.float64)

    def within(z: Array) -> float:
        kernel = (z @ z.T / z.shape[1] + 1) ** 3
        return (kernel.sum() - kernel.trace()) / (len(z) * (len(z) - 1))

    return within(x) + within(y) - 2 * ((x @ y.T / x.shape[1] + 1) ** 3).mean()


def kernel_scores(x: Array, y: Array) -> Scores:
    """The distance and its delete-one jackknife error, over both sets."""
    variance = 0.0
    for a, b in ((x, y), (y, x)):
        rests = [kernel_distance(np.delete(a, i, axis=0), b) for i in range(len(a))]
        variance += (len(a) - 1) * np.var(rests)
    return {"kid": kernel_distance(x, y), "kid_se": math.sqrt(variance)}


def kernel_subsets(x: Array, y: Array) -> Scores:
    """100 subsets of 1000, drawn as torch-fidelity draws them."""
    draw = np.random.RandomState(2020)
    values = []
    for _ in range(100):
        a, b = (draw.choice(len(z), 1000, replace=False) for z in (x, y))
        values.append(kernel_distance(x[a], y[b]))
    return {"kid_subsets": np.mean(values), "kid_subsets_std": np.std(values)}


def manifold(x: Array, y: Array) -> Scores:
    """Precision and recall: k = 3 and <=; density and coverage: k = 5 and <. y is real."""
    x, y = x.astype(np.float64), y.astype(np.float64)
    real, fake, between = np.sort(cdist(y, y)), np.sort(cdist(x, x)), cdist(y, x)
    in_real = between < real[:, [5]]
    return {
        "precision": (between <= real[:, [3]]).any(axis=0).mean(),
        "recall": (between <= fake[:, 3]).any(axis=1).mean(),
        "density": in_real.sum() / (5 * len(x)),
        "coverage": in_real.any(axis=1).mean(),
    }


def nearest_others(x: Array) -> Array:
    return np.sort(cdist(x, x))[:, 1]


def near_duplicates(x: Array, y: Array) -> float:
    """Share of x with a neighbour within the closest hundredth of y; as many of both."""
    same = min(len(x), len(y))
    x, y = x[:same].astype(np.float64), drawn(y, same).astype(np.float64)
    limit = np.quantile(nearest_others(y), 0.01, method="inverted_cdf")
    return float((nearest_others(x) <= limit).mean())


def drawn(y: Array, count: int) -> Array:
    """So many real images of a larger set, by the fixed random draw."""
    return y[subset_positions("random", count, len(y))]


def vendi(x: Array) -> float:
    """From the n x n cosine similarities."""
    rows = x.astype(np.float64) / np.linalg.norm(x.astype(np.float64), axis=1, keepdims=True)
    weights = np.maximum(np.linalg.eigvalsh(rows @ rows.T / len(x)), 0)
    return math.exp(-xlogy(weights, weights).sum())


def sets(x: Array, y: Array) -> Scores:
    same = min(len(x), len(y))
    return {
        "near_duplicate_rate": near_duplicates(x, y),
        "near_duplicate_rate_reference": near_duplicates(y[1::2], y[::2]),
        "vendi_score": vendi(x[:same]),
        "vendi_score_reference": vendi(drawn(y, same)),
    }


def memorisation(x: Array, y: Array, training: Array) -> Scores:
    x, y, training = (z.astype(np.float64) for z in (x, y, training))
    spacing = nearest_others(training)
    found = {}
    for name, rows in (("ours", x), ("real", y)):
        distances = cdist(rows, training)
        nearest = distances.argmin(axis=1)
        found[name] = distances.min(axis=1), (distances.min(axis=1) > spacing[nearest]).mean()
    (ours, ours_authentic), (real, real_authentic) = found["ours"], found["real"]
    test = mannwhitneyu(ours, real, use_continuity=False, method="asymptotic")
    centre = len(x) * len(y) / 2
    return {
        "authentic_fraction": ours_authentic,
        "authentic_fraction_reference": real_authentic,
        "training_distance_ratio": np.median(ours) / np.median(real),
        "data_copying_z": norm.isf(test.pvalue / 2) * np.sign(test.statistic - centre),
    }


def trimmed_mean(values: Array) -> float:
    low, high = (np.percentile(values, q, method=m) for q, m in ((1, "lower"), (99, "higher")))
    return float(values[(values >= low) & (values <= high)].mean())


def pictures(drawn: Arrays, real: Arrays, rebuilt_sharpness: Array) -> Scores:
    """Of the joined statistics of generated and of reference images."""
    scores: Scores = {"latent_smoothness": trimmed_mean(drawn["path_change"])}
    for metric, name in {"sharpness": "sharpness", "high_frequency": "high_frequency"}.items():
        median = np.median(real[name])
        halves = np.median(real[name][1::2]) / np.median(real[name][::2])
        scores[f"{metric}_ratio"] = np.median(drawn[name]) / median
        scores[f"{metric}_ratio_reference"] = halves
    median = np.median(real["sharpness"])
    scores["reconstruction_sharpness_ratio"] = np.median(rebuilt_sharpness) / median
    for suffix, of in {"": drawn, "_reference": real}.items():
        digests = of["digest"][: len(drawn["digest"])]
        scores[f"duplicate_rate{suffix}"] = 1 - len(set(digests.tolist())) / len(digests)
    return scores


def pixel_diversity(images: Array) -> float:
    """Root mean squared difference over all pairs of different images."""
    rows = images.reshape(len(images), -1).astype(np.float64)
    n = len(rows)
    return math.sqrt(cdist(rows, rows, "sqeuclidean").sum() / (n * (n - 1)) / rows.shape[1])
