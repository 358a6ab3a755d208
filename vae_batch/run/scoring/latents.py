"""Latent metrics: active units, collapse, information, distance from the prior."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from vae_batch.metrics.likelihood.posterior import (
    COLLAPSED_SHARE,
    aggregate_information,
    aggregate_moment_kl,
    aggregate_prior_mmd,
    latent_usage,
)
from vae_batch.models.sampling import standard_normals
from vae_batch.run.scoring.report_arrays import posterior_histograms, posterior_summary
from vae_batch.run.scoring.score_sheet import Scores, ScoreSheet
from vae_batch.run.scoring.stored import RowParts
from vae_batch.storage import Score

#: Images whose posteriors make up the mixture; its cost grows with the square of their number.
_MOST_IMAGES = 10_000

Values = npt.NDArray[Any]

_USAGE = ("active_units", "collapsed_dimensions")
_INFORMATION = ("mutual_information", "marginal_kl")


def add_latents(sheet: ScoreSheet, parts: RowParts) -> None:
    """Latent metrics, from stored posteriors.

    Warns of a collapsed model, of collapsed dimensions, and of mutual information that measures
    the number of images.
    """
    if not sheet.wants("latent_dimensions", *_USAGE, *_INFORMATION):
        return
    stored = parts.columns("losses", ["mean", "logvar"])
    if "mean" not in stored:
        return
    mean = stored["mean"]
    dimensions = int(np.prod(mean.shape[1:]))
    sheet.add(lambda: {"latent_dimensions": Score(dimensions)}, "latent_dimensions")
    if "logvar" not in stored:
        return
    logvar = stored["logvar"].astype(np.float64)
    sheet.add(lambda: _usage(sheet, mean, logvar), *_USAGE)
    first = slice(_MOST_IMAGES)
    seed, count = parts.spec.seed, len(mean[first])
    # The same draws as those whose reconstructions are scored.
    noise = standard_normals(seed, "posterior_noise", 0, count, mean.shape[1:])
    draws = mean[first] + np.exp(0.5 * logvar[first]) * noise
    kl = sheet.shown.get("losses", {}).get("kl_per_dimension")
    if kl is not None:
        sheet.show("losses", lambda: posterior_histograms(draws, kl))
    sheet.add(lambda: _information(sheet, draws, mean[first], logvar[first]), *_INFORMATION)
    sheet.add(
        lambda: {"aggregate_prior_kl": Score(aggregate_moment_kl(mean, logvar).kl)},
        "aggregate_prior_kl",
    )
    sheet.add(
        lambda: {"aggregate_prior_mmd": Score(aggregate_prior_mmd(draws, seed))},
        "aggregate_prior_mmd",
    )


def _usage(sheet: ScoreSheet, mean: Values, logvar: Values) -> Scores:
    usage = latent_usage(mean, logvar)
    sheet.show("losses", lambda: posterior_summary(mean, logvar, usage))
    collapsed = np.flatnonzero(usage.low_kl_shares >= COLLAPSED_SHARE)
    if usage.is_collapsed:
        sheet.warn(
            "posterior_collapse",
            "severe",
            f"posterior collapse: the latents carry {usage.rate:.3g} nats in "
            f"{usage.active_units} active units, so the decoder ignores them",
        )
    elif len(collapsed):
        names = ", ".join(map(str, collapsed[:8])) + (", ..." if len(collapsed) > 8 else "")
        sheet.warn(
            "collapsed_dimensions",
            "info",
            f"{len(collapsed)} of {usage.kl.size} latent dimensions are collapsed ({names})",
        )
    return {
        "active_units": Score(usage.active_units),
        "collapsed_dimensions": Score(len(collapsed)),
    }


def _information(sheet: ScoreSheet, draws: Values, mean: Values, logvar: Values) -> Scores:
    found = aggregate_information(draws, mean, logvar)
    if found.is_saturated:
        sheet.warn(
            "saturated_information",
            "info",
            f"mutual information is saturated: within 2 nats of ln {found.count} = "
            f"{found.ceiling:.2f} it measures the number of images; marginal KL is too high by as "
            "much",
        )
    return {
        "mutual_information": Score(found.mutual_information),
        "marginal_kl": Score(found.marginal_kl),
    }
