"""Scores of the likelihood side, from stored per-image losses."""

from __future__ import annotations

from typing import Any

import numpy as np

from vae_batch.metrics import MeanLoss, bits_per_dim, elbo
from vae_batch.models.autoencoder.description import Description
from vae_batch.models.image_range import bounds_of
from vae_batch.run.plan import PlannedRow, RunPlan
from vae_batch.run.scoring.stored import read_all

#: Of an 8-bit image: what a density's bits per dimension refer to.
_GREY_LEVELS = 256


def loss_scores(plan: RunPlan, row: PlannedRow, description: Description) -> dict[str, Any]:
    """Means and standard errors of what the checkpoint's parts allow."""
    missing = set(description.missing)
    names = [] if "encoder" in missing or "posterior" in missing else ["kl"]
    if not missing & {"encoder", "decoder"}:
        names += ["reconstruction_nll", "clipped_pixels"]
    columns = read_all(plan.stores.out, row.units["losses"], names)
    clipped = columns.pop("clipped_pixels", None)
    scores = {} if clipped is None else {"clipped_pixels": float(clipped.mean())}
    if {"kl", "reconstruction_nll"} <= set(columns):
        columns["elbo"] = elbo(columns["reconstruction_nll"], columns["kl"])
        nats = -MeanLoss.from_values(columns["elbo"]).mean
        scores["bits_per_dim"] = _bits_per_dim(nats, description)
    for name, values in columns.items():
        loss = MeanLoss.from_values(values)
        scores |= {name: loss.mean, f"{name}_se": loss.standard_error}
    return scores


def _bits_per_dim(nats: float, description: Description) -> float:
    low, high = bounds_of(description.value_range)
    is_density = description.likelihood == "gaussian"
    bin_width = (high - low) / _GREY_LEVELS if is_density else None
    return float(bits_per_dim(nats, int(np.prod(description.image_shape)), bin_width))
