"""Likelihoods and reconstruction errors, from stored per-image losses and log weights."""

from __future__ import annotations

import contextlib
import functools
import math

import numpy as np
import numpy.typing as npt

from vae_batch.metrics.images.reconstruction import MULTISCALE_SIDE, WINDOW_SIDE, MeanPsnr
from vae_batch.metrics.likelihood.elbo import LOG_2PI, MeanLoss, bits_per_dim, elbo
from vae_batch.metrics.likelihood.families import optimal_sigma
from vae_batch.metrics.likelihood.importance import (
    effective_sample_size,
    importance_weighted_bound,
    pareto_k,
    pareto_k_limit,
)
from vae_batch.models.autoencoder.description import Description
from vae_batch.models.image_range import bounds_of
from vae_batch.run.scoring.report_arrays import worst_reconstructions
from vae_batch.run.scoring.score_sheet import Scores, ScoreSheet
from vae_batch.run.scoring.stored import Columns, RowParts
from vae_batch.storage import Reason, Score

#: Steps between the grey levels of an 8-bit image, whose pixels are v/255 of the range.
_GREY_STEPS = 255

#: Share of images with heavy importance weights that a row is warned of.
_HEAVY = 0.05

#: Likelihoods that are densities of pixels, not probabilities of grey levels.
_DENSITIES = ("gaussian", "continuous_bernoulli")

#: Likelihoods whose decoders give a mean, not probabilities that are clipped away from 0 and 1.
_WITHOUT_CLIP = ("gaussian", "discretized_logistic")

#: Metrics that are undefined for a gaussian without a standard deviation.
_OF_SIGMA = (
    *("reconstruction_nll", "reconstruction_nll_at_mean", "elbo", "beta_objective"),
    *("bits_per_dim", "iwae", "iwae_ess", "iwae_pareto_k"),
)
_NO_OPTIMUM = Reason(
    "not_declared", "all reconstructions are perfect, so no sigma is optimal; declare --sigma"
)
_NO_BETA = Reason("not_declared", "the beta of the training is not known; declare --beta")

_STORED = [
    "kl",
    *("reconstruction_nll", "squared_error"),
    *("reconstruction_nll_at_mean", "squared_error_at_mean"),
]

_ERRORS = ("mse", "mae", "ssim", "ms_ssim")

Values = npt.NDArray[np.float64]


def add_losses(sheet: ScoreSheet, parts: RowParts, description: Description) -> None:
    """Reconstruction NLL, KL, ELBO and bits per dimension, with standard errors."""
    if "losses" not in parts.units:
        return
    per_image = losses_per_image(parts, description)
    for name, values in per_image.items():
        sheet.add(functools.partial(mean_and_error, name, values), name)
    if "elbo" in per_image:
        sheet.add(lambda: _bits_per_dim(per_image["elbo"], description), "bits_per_dim")
    if parts.reading.beta is None:
        sheet.refuse(_NO_BETA, "beta_objective")
    if parts.reading.sigma == "optimal" and "reconstruction_nll" not in per_image:
        sheet.refuse(_NO_OPTIMUM, *_OF_SIGMA)
    if description.likelihood in _WITHOUT_CLIP:
        text = f"a {description.likelihood} decoder has no probabilities"
        sheet.refuse(Reason("refused", text), "clipped_pixels")
    clipped = parts.columns("losses", ["clipped_pixels"]).get("clipped_pixels", np.zeros(1))
    sheet.add(lambda: {"clipped_pixels": Score(float(clipped.mean()))}, "clipped_pixels")


def losses_per_image(parts: RowParts, description: Description) -> dict[str, Values]:
    """Losses by metric, (n,) float64 in nats; those that the parts do not allow are left out."""
    stored = parts.columns("losses", _STORED)
    sigma = _sigma(parts, stored, description)
    losses: dict[str, Values] = {}
    for suffix in ("", "_at_mean"):
        nll = _nll(stored, suffix, sigma, description)
        if nll is not None:
            losses[f"reconstruction_nll{suffix}"] = nll
    if "kl" in stored:
        losses["kl"] = stored["kl"]
    if {"kl", "reconstruction_nll"} <= set(losses):
        nll, kl = losses["reconstruction_nll"], losses["kl"]
        losses["elbo"] = elbo(nll, kl)
        if parts.reading.beta is not None:
            losses["beta_objective"] = elbo(nll, kl, parts.reading.beta)
    return losses


def importance_per_image(parts: RowParts, description: Description) -> dict[str, Values]:
    """IWAE (nats), effective sample size and Pareto k by metric, (n,) float64 each."""
    stored = parts.columns("importance")
    losses = parts.columns("losses", ["squared_error"])
    nll = _nll(stored, "", _sigma(parts, losses, description), description)
    if nll is None:
        return {}
    log_weights = stored["log_ratio"] - nll
    found = {
        "iwae": importance_weighted_bound(log_weights),
        "iwae_ess": effective_sample_size(log_weights),
    }
    # Few draws do not allow to fit a tail; the two others are defined without it.
    with contextlib.suppress(ValueError):
        found["iwae_pareto_k"] = pareto_k(log_weights)
    return found


def add_importance(sheet: ScoreSheet, parts: RowParts, description: Description) -> None:
    """IWAE with its standard error, mean effective sample size, share of heavy tails."""
    columns = ("iwae", "iwae_ess", "iwae_pareto_k")
    if not sheet.wants(*columns) or "importance" not in parts.units:
        return
    per_image = importance_per_image(parts, description)
    if not per_image:
        return

    def compute() -> Scores:
        scores = {"iwae_ess": Score(float(per_image["iwae_ess"].mean()))}
        scores |= mean_and_error("iwae", per_image["iwae"])
        if "iwae_pareto_k" in per_image:
            limit = pareto_k_limit(parts.spec.iwae_draws)
            scores["iwae_pareto_k"] = Score(float((per_image["iwae_pareto_k"] > limit).mean()))
        return scores

    if "iwae_pareto_k" not in per_image:
        few = f"{parts.spec.iwae_draws} draws are too few to fit the tail of the weights"
        sheet.refuse(Reason("refused", f"{few}; raise --iwae-draws"), "iwae_pareto_k")
    sheet.add(compute, *columns)
    _warn_of_heavy_weights(sheet, parts.spec.iwae_draws)


def _warn_of_heavy_weights(sheet: ScoreSheet, draws: int) -> None:
    heavy = sheet.value("iwae_pareto_k")
    if heavy is not None and heavy > _HEAVY:
        text = (
            f"IWAE: importance weights of {heavy:.1%} of the images have a Pareto shape above "
            f"{pareto_k_limit(draws):.2f}, the limit at {draws} draws: there the bound is no "
            "estimate of log p(x); raise --iwae-draws"
        )
        sheet.warn("heavy_importance_weights", "warning", text)


def add_reconstruction(sheet: ScoreSheet, parts: RowParts) -> None:
    """MSE, MAE, PSNR, SSIM and MS-SSIM at the posterior mean, pixels scaled to 0..1."""
    columns = ("psnr", "perfect_reconstructions", *_ERRORS)
    if "losses" not in parts.units or not sheet.wants(*columns):
        return
    stored = parts.columns("losses", ["psnr", *_ERRORS])
    if "psnr" in stored:
        psnr = MeanPsnr.from_values(stored["psnr"])
        perfect = Score(psnr.perfect)
        sheet.add(lambda: {"perfect_reconstructions": perfect}, "perfect_reconstructions")
        error = psnr.finite.standard_error if psnr.finite.count > 1 else None
        sheet.add(lambda: {"psnr": Score(psnr.mean, error)}, "psnr")
    for name in _ERRORS:
        if name in stored:
            sheet.add(functools.partial(mean_and_error, name, stored[name]), name)
    if "mse" in stored:
        sheet.show("losses", lambda: worst_reconstructions(parts, stored["mse"]))
    for name, side in (("ssim", WINDOW_SIDE), ("ms_ssim", MULTISCALE_SIDE)):
        text = f"needs images of at least {side} pixels a side"
        sheet.refuse(Reason("images_too_small", text), name)


def mean_and_error(name: str, values: Values) -> Scores:
    """Mean and standard error of one value per image."""
    loss = MeanLoss.from_values(values)
    return {name: Score(loss.mean, loss.standard_error)}


def sigma_in_force(parts: RowParts, description: Description) -> float | None:
    """Standard deviation of a gaussian likelihood: declared, or the checkpoint's optimum."""
    return _sigma(parts, parts.columns("losses", ["squared_error"]), description)


def _sigma(parts: RowParts, stored: Columns, description: Description) -> float | None:
    declared = parts.reading.sigma
    if declared != "optimal":
        return declared if isinstance(declared, float) else None
    errors = stored.get("squared_error")
    if errors is None or not errors.any():
        return None
    return optimal_sigma(errors, _dimensions(description))


def _nll(
    stored: Columns, suffix: str, sigma: float | None, description: Description
) -> Values | None:
    """Reconstruction NLL in nats, of any shape: as stored, or from squared errors."""
    if f"reconstruction_nll{suffix}" in stored:
        nll: Values = stored[f"reconstruction_nll{suffix}"]
        return nll
    errors = stored.get(f"squared_error{suffix}")
    if errors is None or sigma is None:
        return None
    constant = _dimensions(description) * (0.5 * LOG_2PI + math.log(sigma))
    total: Values = constant + 0.5 * errors / sigma**2
    return total


def bin_width_of(description: Description) -> float | None:
    """Width of one grey level in units of the model's range; None for probabilities of levels."""
    if description.likelihood not in _DENSITIES:
        return None
    low, high = bounds_of(description.value_range)
    return (high - low) / _GREY_STEPS


def _bits_per_dim(bounds: Values, description: Description) -> Scores:
    bin_width = bin_width_of(description)
    bits = bits_per_dim(-MeanLoss.from_values(bounds).mean, _dimensions(description), bin_width)
    return {"bits_per_dim": Score(float(bits))}


def _dimensions(description: Description) -> int:
    return math.prod(description.image_shape)
