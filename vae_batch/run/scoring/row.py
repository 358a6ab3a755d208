"""One row of the score table: conditions, scores, and a reason for each undefined score."""

from __future__ import annotations

import datetime
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from threadpoolctl import threadpool_limits

from vae_batch import __version__
from vae_batch.metrics.catalogue import METRICS, PLUG_INS
from vae_batch.models.autoencoder.description import Description
from vae_batch.models.references.subset import subset_in_words
from vae_batch.plan import SCORING_VERSION, Reading
from vae_batch.run.execute.failures import Failure, failure_of, write_traceback
from vae_batch.run.planning.run_plan import PlannedRow, RunPlan
from vae_batch.run.planning.units import generated_by
from vae_batch.run.scoring.latents import add_latents
from vae_batch.run.scoring.losses import (
    add_importance,
    add_losses,
    add_reconstruction,
    bin_width_of,
    sigma_in_force,
)
from vae_batch.run.scoring.manifolds import SET_COLUMNS, add_manifold_scores
from vae_batch.run.scoring.memorisation import add_memorisation
from vae_batch.run.scoring.pixel_diagnostics import add_pixel_diagnostics
from vae_batch.run.scoring.plug_ins import add_plug_ins
from vae_batch.run.scoring.protocols import add_protocol_scores, undefined_of_tool
from vae_batch.run.scoring.report_arrays import write_shown
from vae_batch.run.scoring.samples import add_sample_scores
from vae_batch.run.scoring.score_sheet import ScoreSheet, columns_of, undefined_metrics
from vae_batch.run.scoring.stored import Damaged, RowParts, write_influences
from vae_batch.storage import (
    Conditions,
    DamagedFileError,
    Provenance,
    Reason,
    Receipt,
    RowWarning,
    ScoreRow,
    gather_receipts,
    is_activations,
    read_receipt,
    unit_progress_of,
)

#: Receipts read at a time: object stores answer slowly.
_READERS = 8

_AT_CODE = (
    "the encoder has no posterior, so that the reconstruction NLL is that at its code; it is not "
    "ranked with checkpoints whose z is drawn from a posterior"
)

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Scored:
    """What the stored files of a row give.

    Attributes:
        sheet: Scores, warnings, and the exceptions that some metrics raised.
        description: How the checkpoint was read.
        sigma: Standard deviation of a gaussian likelihood, declared or the checkpoint's optimum.
        reading: What was declared about the checkpoint.
        device: Kind of device that computed the files.
    """

    sheet: ScoreSheet
    description: Description
    sigma: float | None
    reading: Reading
    device: str | None

    def row(self, planned: ScoreRow, otherwise: Reason | None = None) -> ScoreRow:
        """A row of the same conditions, with what has been found.

        Args:
            planned: The row without scores.
            otherwise: Reason of metrics that nothing is known of; see :meth:`ScoreSheet.close`.
        """
        conditions = _described(planned.conditions, self.description, self.sigma, self.reading)
        return replace(
            planned,
            conditions=replace(conditions, feature_dim=self.sheet.feature_dim),
            provenance=replace(planned.provenance, device=self.device),
            scores=self.sheet.close(otherwise),
            warnings=(*planned.warnings, *self.sheet.warnings),
        )


def _described(
    planned: Conditions, found: Description, sigma: float | None, reading: Reading
) -> Conditions:
    """The conditions of a row, with how its checkpoint was read."""
    return replace(
        planned,
        model_format=found.format,
        likelihood=found.likelihood,
        sigma=sigma,
        sigma_source=_sigma_source(reading),
        bin_width=bin_width_of(found),
        model_range=found.value_range,
        second_head=found.second_head,
        condition=found.condition,
        input_fit=found.input_fit,
        latent=_latent(found),
    )


def held_conditions(
    plan: RunPlan, row: PlannedRow, parts: RowParts, names: Iterable[str]
) -> dict[str, object]:
    """Conditions of a row that is not scored yet, by name, as rows must share them.

    How the checkpoint was read is known where its description is among the parts.
    """
    planned = _planned(plan, row)
    if "description" in parts.units:
        sigma, found = planned.conditions.sigma, parts.description()
        conditions = _described(planned.conditions, found, sigma, parts.reading)
        planned = replace(planned, conditions=conditions)
    return planned.held(names)


def score_row(plan: RunPlan, row: PlannedRow) -> ScoreRow | Damaged:
    """All scores of one row, from reductions and stored losses.

    An unexpected exception costs the metrics that were being computed: the row fails, its other
    scores stay, and the traceback is written below the output folder.

    Returns:
        A row of the score table, or which file is damaged.

    Raises:
        OSError: A file could not be read or written.
    """
    try:
        with threadpool_limits(1):
            scored = scores_of(parts_of(plan, row))
        for unit in row.units.values():
            if unit.checkpoint is not None and not is_activations(unit):
                gather_receipts(plan.stores.out, unit)
        found = scored.row(_planned(plan, row))
    except DamagedFileError as damage:
        return Damaged(damage.unit, damage.name)
    except OSError:  # a full or distant store is no fault of the row
        raise
    except Exception as error:  # isolation: what no metric foresaw costs one row
        _log.exception("cannot score %s", row.checkpoint.label)
        return _failed(plan, _planned(plan, row), failure_of(error))
    failures = scored.sheet.failures
    return _failed(plan, found, failures[0]) if failures else found


def _failed(plan: RunPlan, found: ScoreRow, failure: Failure) -> ScoreRow:
    reason = Reason("unexpected", f"it cannot be scored: {failure.reason}")
    path = write_traceback(plan.stores.out, found.checkpoint, failure.traceback)
    return replace(found, status="failed", reason=reason, traceback=path)


def failed_row(
    plan: RunPlan, row: PlannedRow, reason: Reason, traceback: str | None = None
) -> ScoreRow:
    """The row of a checkpoint of which some units could not be computed.

    Metrics whose units are complete keep their scores; the others are null with ``reason``.

    Args:
        plan: Of the run; of its rows none is needed.
        row: The planned row.
        reason: Why it failed.
        traceback: Path of the failure's traceback below the output folder, where there is one.

    Raises:
        OSError: The output store cannot be written to.
    """
    planned = replace(_planned(plan, row), status="failed", reason=reason, traceback=traceback)
    try:
        complete = _complete_kinds(plan, row)
        parts = parts_of(plan, row)
        if "description" in complete:
            units = {kind: unit for kind, unit in row.units.items() if kind in complete}
            with threadpool_limits(1):
                return scores_of(replace(parts, units=units)).row(planned, reason)
        undefined = undefined_metrics(
            {}, parts.no_class_probabilities, plan.spec, parts.reference_kind
        )
        return replace(planned, scores=ScoreSheet(undefined).close(reason))
    except Exception:  # the row has failed for another reason already
        _log.exception("cannot score what is complete of %s", row.checkpoint.label)
        return replace(planned, scores=ScoreSheet({}).close(reason))


def _complete_kinds(plan: RunPlan, row: PlannedRow) -> set[str]:
    """Kinds of units whose files are all there; activations count only beside a reference."""
    kinds = list(row.units)
    units = [(plan.stores.holding(unit), unit) for unit in row.units.values()]
    complete = set()
    for kind, (_, unit), progress in zip(kinds, units, unit_progress_of(units), strict=True):
        is_whole = len(progress.shards) == unit.shard_count
        if is_whole and (progress.is_reduced or not is_activations(unit)):
            complete.add(kind)
    return complete if "reference" in complete else complete - {"generated", "reconstructed"}


def _planned(plan: RunPlan, row: PlannedRow) -> ScoreRow:
    """The row without scores: what every number of it depends on."""
    spec, reading = plan.spec, row.job.reading
    count, subset = generated_by(spec, row.checkpoint)
    conditions = Conditions(
        extractor=row.extractor.name,
        tool=row.extractor.tool,
        weights_sha256=row.extractor.weights_sha256,
        protocol=row.extractor.protocol,
        n_generated=_generated(row, count),
        generated_subset=subset,
        n_reference=plan.reference.count or None,
        left_race_at=row.left_race_at,
        reference=plan.reference.name,
        reference_split=plan.reference.split,
        reference_sha256=plan.reference.sha256,
        reference_is=spec.reference_is,
        reference_kind=plan.reference.kind,
        reference_protocol=plan.reference.protocol,
        reference_fit=plan.reference.fit,
        checkpoint_sha256=row.checkpoint.sha256,
        seed=spec.seed,
        likelihood=reading.likelihood,
        sigma=reading.sigma if isinstance(reading.sigma, float) else None,
        beta=reading.beta,
        model_range=reading.model_range,
        second_head=reading.second_head,
        input_fit=reading.input_fit,
        reference_subset=plan.reference.subset,
        iwae_draws=spec.iwae_draws if "importance" in row.units else None,
        iwae_images=_iwae_images(plan, row),
        scoring_version=SCORING_VERSION,
    )
    provenance = Provenance(row.fingerprint, now(), __version__)
    unlike = plan.reference.unlike_rest
    return ScoreRow(
        *(row.checkpoint.label, row.checkpoint.step, "scored", conditions, provenance),
        warnings=(RowWarning("reference_subset", "warning", unlike),) if unlike else (),
    )


def _iwae_images(plan: RunPlan, row: PlannedRow) -> str | None:
    unit = row.units.get("importance")
    if unit is None:
        return None
    return subset_in_words(plan.spec.reference_subset, unit.samples, plan.reference.count)


def _latent(found: Description) -> str | None:
    """Where the reconstruction NLL decodes from; see ``Conditions.latent``."""
    if {"encoder", "decoder"} & set(found.missing):
        return None
    return "code" if "posterior" in found.missing else "draw"


def _generated(row: PlannedRow, samples: int) -> int:
    """Generated images of a row; without activations, as many as there would be."""
    unit = row.units.get("generated")
    return unit.samples if unit else min(samples, row.left_race_at or samples)


def _sigma_source(reading: Reading) -> str | None:
    """Whether a scale was declared, is the checkpoint's own optimum, or is learned."""
    return "declared" if isinstance(reading.sigma, float) else reading.sigma


def now() -> str:
    """The present time, UTC, ISO 8601 to the second."""
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
        row.extractor.tool,
        plan.reference.notes,
        plan.reference.kind,
        plan.reference.count or None,
    )


def scores_of(parts: RowParts) -> Scored:
    """Every score that the stored files of a row give.

    Writes the influence of each sample beside the activations, for paired differences, and the
    arrays that the report shows.

    Raises:
        DamagedFileError: A stored file differs from its receipt.
    """
    description = parts.description()
    undefined = undefined_metrics(
        description.missing, parts.no_class_probabilities, parts.spec, parts.reference_kind
    )
    if parts.tool is not None:
        undefined = undefined_of_tool(parts.tool, undefined)
    sheet = ScoreSheet(undefined)
    for text in description.warnings:
        sheet.warn("checkpoint_reading", "warning", text)
    if _latent(description) == "code":
        sheet.warn("estimator", "info", _AT_CODE)
    for text in parts.notes:
        sheet.warn("reference_reading", "info", text)
    for columns, add_scores in _stages(description, parts.tool):
        with sheet.isolated(*columns):
            add_scores(sheet, parts)
    receipts = _receipts_of_shards(parts)
    _warn_of_smaller_batches(sheet, parts.spec.batch_size, receipts)
    _warn_of_devices(sheet, receipts)
    if sheet.influences:
        write_influences(parts.stores.out, parts.units["generated"], sheet.influences)
    write_shown(parts, sheet.shown)
    sigma = sigma_in_force(parts, description)
    return Scored(sheet, description, sigma, parts.reading, parts.device())


_Stage = Callable[[ScoreSheet, RowParts], None]


def _stages(description: Description, tool: str | None) -> Iterator[tuple[list[str], _Stage]]:
    """What computes scores, in order, and the columns that it gives.

    The order is that of warnings; the report's posterior histograms need the latents' own arrays.
    """
    if tool is not None:
        yield list(METRICS), lambda sheet, parts: add_protocol_scores(sheet, parts, tool)
        return
    distances = ("fid", "fid_infinity", "inception_score", "reconstruction_fid")
    yield columns_of("losses"), lambda sheet, parts: add_losses(sheet, parts, description)
    yield columns_of("latents"), add_latents
    yield columns_of("iwae"), lambda sheet, parts: add_importance(sheet, parts, description)
    yield columns_of("reconstruction"), add_reconstruction
    yield columns_of(*distances), add_sample_scores
    yield [*columns_of("kid", "precision"), *SET_COLUMNS], add_manifold_scores
    yield columns_of("memorisation"), add_memorisation
    yield columns_of("diagnostics"), add_pixel_diagnostics
    plug_ins = [metric.column for metric in PLUG_INS]
    yield plug_ins, lambda sheet, parts: add_plug_ins(sheet, parts, description)


def _receipts_of_shards(parts: RowParts) -> list[Receipt]:
    """Receipts of all shards of the row that were computed in batches."""
    shards = [(kind, unit, s.name) for kind, unit in parts.units.items() for s in unit.shards()]
    with ThreadPoolExecutor(_READERS) as pool:
        receipts = pool.map(lambda s: read_receipt(parts.store_of(s[0]), s[1], s[2]), shards)
        return [receipt for receipt in receipts if receipt and receipt.batch_size]


def _warn_of_smaller_batches(
    sheet: ScoreSheet, asked: int | None, receipts: Sequence[Receipt]
) -> None:
    """Warn where memory ran out."""
    fewer = [r.batch_size for r in receipts if asked is not None and r.batch_size < asked]
    if fewer:
        sheet.warn(
            "smaller_batches",
            "info",
            f"{len(fewer)} of {len(receipts)} shards were computed in batches of "
            f"{' or '.join(map(str, sorted(set(fewer), reverse=True)))} instead of {asked} after "
            "out-of-memory; on this device the last digits may differ",
        )


def _warn_of_devices(sheet: ScoreSheet, receipts: Sequence[Receipt]) -> None:
    """Warn where another run may give other last digits because of its devices."""
    kinds = Counter(receipt.device for receipt in receipts)
    if len(kinds) > 1:
        counts = ", ".join(f"{count} on {kind}" for kind, count in sorted(kinds.items()))
        sheet.warn(
            "device",
            "warning",
            f"its shards were computed on several kinds of device ({counts}), whose last digits "
            "differ; a run on one kind, into another --out, has the same digits each time",
        )
    varying = sum(not receipt.is_deterministic for receipt in receipts)
    if varying:
        sheet.warn(
            "device",
            "warning",
            f"{varying} of {len(receipts)} shards were computed by operations that have no "
            "deterministic kernel on this device, or that draw without a seed: their last digits, "
            "or what is drawn, change from run to run",
        )
