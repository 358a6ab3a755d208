"""What the latents carry: active units, collapse, information, and how far from the prior."""

from __future__ import annotations

import numpy as np

from vae_batch.metrics.likelihood.aggregate_posterior import (
    aggregate_information,
    aggregate_moment_kl,
    aggregate_prior_mmd,
)
from vae_batch.metrics.likelihood.posterior import COLLAPSED_SHARE, latent_usage
from vae_batch.models.sampling import standard_normals
from vae_batch.run.scoring.report_arrays import posterior_histograms, posterior_summary
from vae_batch.run.scoring.score_sheet import Row, ScoreSheet
from vae_batch.run.scoring.stored import RowParts

#: Images whose posteriors make the mixture; its cost grows with their square.
_MOST_IMAGES = 10_000

_USAGE = ("active_units", "collapsed_dimensions")
_INFORMATION = ("mutual_information", "marginal_kl")


def add_latents(sheet: ScoreSheet, parts: RowParts) -> list[str]:
    """Latent metrics, from stored posteriors.

    Returns:
      Warnings: a collapsed model or dimensions, and mutual information that measures n.
    """
    if not sheet.wants("latent_dimensions", *_USAGE, *_INFORMATION):
        return []
    stored = parts.columns("losses", ["mean", "logvar"])
    if "mean" not in stored:
        return []
    mean = stored["mean"]
    dimensions = int(np.prod(mean.shape[1:]))
    sheet.add(lambda: {"latent_dimensions": dimensions}, "latent_dimensions")
    if "logvar" not in stored:
        return []
    warnings: list[str] = []
    logvar = stored["logvar"].astype(np.float64)
    sheet.add(lambda: _usage(sheet, mean, logvar, warnings), *_USAGE)
    first = slice(_MOST_IMAGES)
    seed, count = parts.spec.seed, len(mean[first])
    # The same draws as those whose reconstructions are scored.
    noise = standard_normals(seed, "posterior_noise", 0, count, mean.shape[1:])
    draws = mean[first] + np.exp(0.5 * logvar[first]) * noise
    kl = sheet.shown.get("losses", {}).get("kl_per_dimension")
    if kl is not None:
        sheet.show("losses", lambda: posterior_histograms(draws, kl))
    sheet.add(lambda: _information(draws, mean[first], logvar[first], warnings), *_INFORMATION)
    sheet.add(
        lambda: {"aggregate_prior_kl": aggregate_moment_kl(mean, logvar).kl}, "aggregate_prior_kl"
    )
    sheet.add(
        lambda: {"aggregate_prior_mmd": aggregate_prior_mmd(draws, seed)}, "aggregate_prior_mmd"
    )
    return warnings


def _usage(sheet: ScoreSheet, mean: np.ndarray, logvar: np.ndarray, warnings: list[str]) -> Row:
    usage = latent_usage(mean, logvar)
    sheet.show("losses", lambda: posterior_summary(mean, logvar, usage))
    collapsed = np.flatnonzero(usage.low_kl_shares >= COLLAPSED_SHARE)
    if usage.is_collapsed:
        warnings.append(
            f"posterior collapse: the latents carry {usage.rate:.3g} nats in "
            f"{usage.active_units} active units, so the decoder ignores them"
        )
    elif len(collapsed):
        names = ", ".join(map(str, collapsed[:8])) + (", ..." if len(collapsed) > 8 else "")
        warnings.append(
            f"{len(collapsed)} of {usage.kl.size} latent dimensions are collapsed ({names})"
        )
    return {"active_units": usage.active_units, "collapsed_dimensions": len(collapsed)}


def _information(
    draws: np.ndarray, mean: np.ndarray, logvar: np.ndarray, warnings: list[str]
) -> Row:
    found = aggregate_information(draws, mean, logvar)
    if found.is_saturated:
        warnings.append(
            f"mutual information is saturated: within 2 nats of ln {found.count} = "
            f"{found.ceiling:.2f} it measures the number of images; marginal KL is too high by as "
            "much"
        )
    return {"mutual_information": found.mutual_information, "marginal_kl": found.marginal_kl}
