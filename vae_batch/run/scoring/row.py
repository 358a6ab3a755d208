"""One row of the score table: conditions, scores, and a reason for each undefined one."""

from __future__ import annotations

import datetime
from typing import Any

from threadpoolctl import threadpool_limits

from vae_batch import __version__
from vae_batch.plan import Reading
from vae_batch.run.planning.run_plan import PlannedRow, RunPlan
from vae_batch.run.scoring.batches import batch_warnings
from vae_batch.run.scoring.influences import write_influences
from vae_batch.run.scoring.latents import add_latents
from vae_batch.run.scoring.losses import add_importance, add_losses, sigma_in_force
from vae_batch.run.scoring.manifolds import add_manifold_scores, near_duplicate_warnings
from vae_batch.run.scoring.memorisation import add_memorisation
from vae_batch.run.scoring.pixel_diagnostics import add_pixel_diagnostics
from vae_batch.run.scoring.reconstruction import add_reconstruction
from vae_batch.run.scoring.report_arrays import write_shown
from vae_batch.run.scoring.samples import add_sample_scores
from vae_batch.run.scoring.score_sheet import ScoreSheet, undefined_metrics
from vae_batch.run.scoring.stored import Damaged, RowParts
from vae_batch.storage import FLAGS_APART, DamagedFileError, gather_receipts, is_activations


def score_row(plan: RunPlan, row: PlannedRow) -> dict[str, Any] | Damaged:
    """All numbers of one row, from reductions and stored losses.

    Returns:
      A row of the score table, or what is damaged.

    Raises:
      OSError: A file could not be read or written.
    """
    try:
        with threadpool_limits(1):
            scores = scores_of(parts_of(plan, row))
        for unit in row.units.values():
            if unit.checkpoint is not None and not is_activations(unit):
                gather_receipts(plan.stores.out, unit)
        return {**row_conditions(plan, row), "status": "scored", **scores}
    except DamagedFileError as damage:
        return Damaged(damage.unit, damage.name)
    except OSError:  # a full or distant store is no fault of the row's
        raise
    except Exception as error:  # isolation: what no metric foresaw costs one row
        return failed_row(plan, row, f"it cannot be scored: {type(error).__name__}: {error}"[:600])


def failed_row(plan: RunPlan, row: PlannedRow, reason: str) -> dict[str, Any]:
    """The row of a checkpoint that could not be scored."""
    return {**row_conditions(plan, row), "status": "failed", "reason": reason}


def row_conditions(plan: RunPlan, row: PlannedRow) -> dict[str, Any]:
    """What every number of a row depends on."""
    spec, reading = plan.spec, row.job.reading
    return {
        "checkpoint": row.checkpoint.label,
        "step": row.checkpoint.step,
        "extractor": row.extractor.name,
        "weights_sha256": row.extractor.weights_sha256,
        "protocol": row.extractor.protocol,
        "n_generated": _generated(row, spec.samples),
        "n_reference": plan.reference.count,
        "left_race_at": row.left_race_at,
        "reference": plan.reference.name,
        "reference_split": plan.reference.split,
        "reference_sha256": plan.reference.sha256,
        "checkpoint_sha256": row.checkpoint.sha256,
        "seed": spec.seed,
        "likelihood": reading.likelihood,
        "sigma": reading.sigma if isinstance(reading.sigma, float) else None,
        "beta": reading.beta,
        "model_range": reading.model_range,
        "second_head": reading.second_head,
        "input_fit": reading.input_fit,
        "fingerprint": row.fingerprint,
        "scored_at": now(),
        "version": __version__,
    }


def _generated(row: PlannedRow, samples: int) -> int:
    """Generated images that a row is of; of losses alone, those that there would be."""
    unit = row.units.get("generated")
    return unit.samples if unit else min(samples, row.left_race_at or samples)


def _sigma_source(reading: Reading) -> str | None:
    """Whether a scale was declared, is the checkpoint's own best, or is learned."""
    return "declared" if isinstance(reading.sigma, float) else reading.sigma


def now() -> str:
    """The time of a score, UTC, to the second."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def parts_of(plan: RunPlan, row: PlannedRow) -> RowParts:
    """The stored files of a planned row."""
    return RowParts(
        plan.stores,
        row.units,
        plan.spec,
        row.job.reading,
        row.extractor.inception_score_reason,
        plan.reference.sha256,
    )


def scores_of(parts: RowParts) -> dict[str, Any]:
    """Every number that the stored files of a row give, with reasons for those they do not.

    Writes the influence of each sample beside the activations, for paired differences, and what
    the report shows beside the numbers.

    Raises:
      DamagedFileError: A stored file differs from its receipt.
    """
    description = parts.description()
    reasons = undefined_metrics(description.missing, parts.no_class_probabilities, parts.spec)
    sheet = ScoreSheet(reasons)
    warnings = list(description.warnings)
    add_losses(sheet, parts, description)
    warnings += add_latents(sheet, parts)
    add_importance(sheet, parts, description)
    add_reconstruction(sheet, parts)
    influences = add_sample_scores(sheet, parts)
    influences |= add_manifold_scores(sheet, parts)
    warnings += near_duplicate_warnings(sheet)
    warnings += add_memorisation(sheet, parts)
    warnings += add_pixel_diagnostics(sheet, parts)
    warnings += batch_warnings(parts)
    if influences:
        write_influences(parts.stores.out, parts.units["generated"], influences)
    write_shown(parts, sheet.shown)
    found = {
        "model_format": description.format,
        "likelihood": description.likelihood,
        "sigma": sigma_in_force(parts, description),
        "sigma_source": _sigma_source(parts.reading),
        "model_range": description.value_range,
        "second_head": description.second_head,
        "condition": description.condition,
        "input_fit": description.input_fit,
        "device": parts.device(),
        "warnings": FLAGS_APART.join(warnings) or None,
    }
    return {**found, **sheet.close()}
