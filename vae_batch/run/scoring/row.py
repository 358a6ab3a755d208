"""One row of the score table: conditions, scores, and a reason for each undefined one."""

from __future__ import annotations

import datetime
from typing import Any

from threadpoolctl import threadpool_limits

from vae_batch import __version__
from vae_batch.metrics import METRICS
from vae_batch.models.autoencoder.description import Description
from vae_batch.run.plan import PlannedRow, RunPlan
from vae_batch.run.scoring.losses import loss_scores
from vae_batch.run.scoring.samples import sample_scores
from vae_batch.run.scoring.stored import Damaged
from vae_batch.storage import DamagedFileError, read_verified


def score_row(plan: RunPlan, row: PlannedRow) -> dict[str, Any] | Damaged:
    """All numbers of one row, from reductions and stored losses.

    Returns:
      A row of the score table, or what is damaged.
    """
    try:
        with threadpool_limits(1):
            return {**row_conditions(plan, row), "status": "scored", **_scores(plan, row)}
    except DamagedFileError as damage:
        return Damaged(damage.unit, damage.name)


def failed_row(plan: RunPlan, row: PlannedRow, reason: str) -> dict[str, Any]:
    """The row of a checkpoint that could not be scored."""
    return {**row_conditions(plan, row), "status": "failed", "reason": reason}


def row_conditions(plan: RunPlan, row: PlannedRow) -> dict[str, Any]:
    """What every number of a row depends on."""
    spec, reading = plan.spec, row.subject.reading
    return {
        "checkpoint": row.checkpoint.label,
        "step": row.checkpoint.step,
        "extractor": row.extractor.name,
        "weights_sha256": row.extractor.weights_sha256,
        "protocol": row.extractor.protocol,
        "n_generated": spec.samples,
        "n_reference": plan.reference.count,
        "reference": plan.reference.name,
        "reference_split": plan.reference.split,
        "reference_sha256": plan.reference.sha256,
        "checkpoint_sha256": row.checkpoint.sha256,
        "seed": spec.seed,
        "likelihood": reading.likelihood,
        "sigma": reading.sigma,
        "beta": reading.beta,
        "model_range": reading.model_range,
        "second_head": reading.second_head,
        "input_fit": reading.input_fit,
        "fingerprint": row.fingerprint,
        "scored_at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "version": __version__,
    }


def _scores(plan: RunPlan, row: PlannedRow) -> dict[str, Any]:
    description = _description(plan, row)
    reasons = undefined_metrics(description, row.extractor.inception_score_reason)
    scores = {
        **_found_out(description),
        **loss_scores(plan, row, description),
        **sample_scores(plan, row, reasons),
    }
    kept = {name: value for name, value in scores.items() if name not in reasons}
    return {**kept, **{f"{column}_reason": reason for column, reason in reasons.items()}}


def undefined_metrics(
    description: Description, no_class_probabilities: str | None
) -> dict[str, str]:
    """Metrics that a checkpoint cannot have, each with its reason.

    Args:
      description: What the checkpoint lacks.
      no_class_probabilities: Why the extractor has none, or None where it has.
    """
    absent = dict(description.missing)
    if no_class_probabilities:
        absent["class_probabilities"] = no_class_probabilities
    return {
        column: next(absent[need] for need in metric.needs if need in absent)
        for column, metric in METRICS.items()
        if set(metric.needs) & set(absent)
    }


def _found_out(description: Description) -> dict[str, Any]:
    """What loading the checkpoint told, beside what was declared."""
    return {
        "model_format": description.format,
        "likelihood": description.likelihood,
        "model_range": description.value_range,
        "second_head": description.second_head,
        "condition": description.condition,
        "input_fit": description.input_fit,
        "warnings": "; ".join(description.warnings) or None,
    }


def _description(plan: RunPlan, row: PlannedRow) -> Description:
    unit = row.units["description"]
    content = read_verified(plan.stores.out, unit, unit.shards()[0].name)
    return Description.from_json(content)
