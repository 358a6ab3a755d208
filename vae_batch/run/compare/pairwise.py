"""Which checkpoint is better: paired differences between the rows of one output folder."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace

from vae_batch.metrics.catalogue import COMPARED, METRICS, PLUG_INS, compared_column
from vae_batch.metrics.catalogue.metric import SAME_PROTOCOL
from vae_batch.metrics.comparison.paired_difference import PairedDifference, PairedScore
from vae_batch.metrics.comparison.ranking import require_same_conditions
from vae_batch.plan import SCORING_VERSION, InputError
from vae_batch.plan.credentials import without_credentials
from vae_batch.run.compare.streaming import Compared, ScoreReader, compare_streamed
from vae_batch.run.output.run_record import ScoredRow, open_record, scored_rows
from vae_batch.run.scoring.losses import importance_per_image
from vae_batch.run.scoring.plug_ins import RowArrays, plug_in_score
from vae_batch.run.scoring.stored import read_influences
from vae_batch.storage import (
    DamagedFileError,
    Store,
    comparison_inputs,
    read_comparisons,
    write_comparisons,
)
from vae_batch.storage.comparison_file import Comparison, Difference

Scores = dict[str, PairedScore]


def compare_run(location: str) -> list[Comparison]:
    """Compare all scored rows of an output folder and write ``comparisons.parquet``.

    Each metric of the table that is ``compared`` is, under the name and with the value of its
    score column. Rows are compared only with rows of the same conditions, and rows that left a
    race are not compared. If the rows are those that were compared last time, only that table is
    read.

    Raises:
        InputError: No run has begun there.
    """
    rows = _in_full(scored_rows(location, open_record(location)))
    if not rows:
        return []
    out, inputs = rows[0].parts.stores.out, _inputs(rows)
    known = _known(out, inputs)
    if known is not None:
        return known
    reader = _Reading()
    compared = _compare(rows, reader)
    write_comparisons(out, compared, None if reader.lacks_files else inputs)
    return compared


def _in_full(rows: Sequence[ScoredRow]) -> list[ScoredRow]:
    """Without those dropped by early elimination, which has compared their partial samples."""
    return [row for row in rows if row.row.conditions.left_race_at is None]


def _inputs(rows: Sequence[ScoredRow]) -> str:
    """Digest of everything that is compared; a row that is scored again has another time."""
    made_of = [row.row.to_record() for row in rows]
    text = json.dumps([SCORING_VERSION, made_of], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def _known(out: Store, inputs: str) -> list[Comparison] | None:
    """The comparisons of the same rows, where they have been written and are intact."""
    try:
        same = comparison_inputs(out) == inputs
        return read_comparisons(out) if same and out.exists("comparisons.csv") else None
    except OSError:  # damaged, and so written anew
        return None


def rows_of_runs(location_a: str, location_b: str) -> list[ScoredRow]:
    """The rows of two output folders that may be compared with each other.

    A checkpoint that both have is told apart by its folder.

    Raises:
        InputError: A folder holds no scored row, or no extractor of the one was used for the other
            under the same conditions; names what differs.
    """
    places = (location_a, location_b)
    runs = {name: _in_full(scored_rows(name, open_record(name))) for name in places}
    for name, rows in runs.items():
        if not rows:
            raise InputError(f"{name} holds no scored rows; run `vae-batch score` first")
    _require_common_conditions(*runs.values())
    labels = [{row.row.checkpoint for row in rows} for rows in runs.values()]
    both = set.intersection(*labels) if len(labels) > 1 else set()
    return [_named(row, name, both) for name, rows in runs.items() for row in rows]


def compare_rows(
    rows: Sequence[ScoredRow], metrics: Collection[str] | None = None
) -> list[Comparison]:
    """Comparisons of rows, each with those of the same conditions, by some or all metrics."""
    return _compare(rows, _Reading(), metrics)


def compare_among(
    location: str, checkpoints: Sequence[str], metric: str, extractor: str | None
) -> list[Comparison]:
    """Compare some checkpoints of an output folder by one metric, as if there were no others.

    Raises:
        InputError: No run has begun there.
    """
    rows = _in_full(scored_rows(location, open_record(location)))
    return compare_some(rows, checkpoints, metric, extractor)


def compare_some(
    rows: Sequence[ScoredRow], checkpoints: Collection[str], metric: str, extractor: str | None
) -> list[Comparison]:
    """As :func:`compare_among`, of rows that have been read."""
    found = compare_rows([row for row in rows if row.row.checkpoint in checkpoints], (metric,))
    return [each for each in found if each.extractor == extractor]


def paired_scores(row: ScoredRow) -> Scores:
    """Scores of a row that can be compared index by index, by column of the score table."""
    reading = _Reading()
    return {**reading.losses(row), **reading.distances(row)}


def _require_common_conditions(a: Sequence[ScoredRow], b: Sequence[ScoredRow]) -> None:
    """Refuse two runs that share the conditions of no extractor."""
    refusal: ValueError | None = None
    for left in _protocols(a):
        for right in _protocols(b):
            try:
                require_same_conditions(left, right)
            except ValueError as error:
                same_extractor = left["extractor"] == right["extractor"]
                refusal = error if refusal is None or same_extractor else refusal
            else:
                return
    raise InputError(str(refusal))


def _protocols(rows: Sequence[ScoredRow]) -> list[dict[str, object]]:
    """The protocols of some rows, each once."""
    found = {str(held): held for row in rows for held in [row.row.conditions.of(SAME_PROTOCOL)]}
    return [found[said] for said in sorted(found)]


def _one_each(rows: Sequence[ScoredRow]) -> list[ScoredRow]:
    """Of each checkpoint the row with most scores that need no extractor; the last of several."""
    columns = [metric.column for metric in COMPARED if metric.compared == "images"]
    found: dict[str, tuple[int, ScoredRow]] = {}
    for row in rows:
        count = sum(row.row.value(column) is not None for column in columns)
        if count >= found.get(row.row.checkpoint, (0, row))[0]:
            found[row.row.checkpoint] = (count, row)
    return [row for _, row in found.values()]


def _named(row: ScoredRow, folder: str, both: Collection[str]) -> ScoredRow:
    """The row under a label that no row of the other run has."""
    label = row.row.checkpoint
    if label in both:
        label = f"{without_credentials(folder)}: {label}"
    return replace(row, row=replace(row.row, checkpoint=label))


class _Reading:
    """Reads the scores of rows, and notes whether files were missing or damaged."""

    def __init__(self) -> None:
        self.lacks_files = False

    def losses(self, row: ScoredRow) -> Scores:
        return self._read(_losses_of, row)

    def distances(self, row: ScoredRow) -> Scores:
        return self._read(_distances_of, row)

    def _read(self, read: Callable[[ScoredRow], Scores], row: ScoredRow) -> Scores:
        try:
            return read(row)
        except DamagedFileError:
            self.lacks_files = True
            return {}


def _compare(
    rows: Sequence[ScoredRow], reading: _Reading, only: Collection[str] | None = None
) -> list[Comparison]:
    """Compare per-image metrics once per checkpoint, the others once per extractor, too."""
    found: list[Comparison] = []
    for some, how, read in (
        (_one_each(rows), "images", reading.losses),
        (rows, "samples", reading.distances),
    ):
        metrics = [
            m.column for m in COMPARED if m.compared == how and (not only or m.column in only)
        ]
        for metric, table in compare_streamed(some, metrics, _group_of, ScoreReader(read)):
            found += [_comparison(metric, compared) for compared in table]
    return found


def _group_of(row: ScoredRow, metric: str) -> tuple[object, ...]:
    return tuple(row.row.held(METRICS[metric].conditions).values())


def _comparison(metric: str, compared: Compared) -> Comparison:
    line, row = compared.line, compared.row.row
    best, previous = line.against_best, line.against_previous
    return Comparison(
        metric=metric,
        extractor=row.conditions.extractor if METRICS[metric].per_extractor else None,
        checkpoint=line.checkpoint,
        step=row.step,
        value=line.value,
        n=compared.count,
        is_best=line.is_best,
        level_with_best=line.level_with_best,
        best=compared.best,
        from_best=_difference(best, line.best_p),
        from_best_unpaired_se=None if best is None else best.unpaired_standard_error,
        previous=None if previous is None else compared.previous,
        from_previous=_difference(previous, line.previous_p),
        verdict=None if previous is None else line.verdict,
    )


def _difference(found: PairedDifference | None, p: float) -> Difference | None:
    if found is None:
        return None
    return Difference(found.difference, found.standard_error, found.low, found.high, p)


def _losses_of(row: ScoredRow) -> Scores:
    """Scores of the test images, with one value per image, as far as the row has them."""
    parts, wanted = row.parts, [m for m in COMPARED if row.row.value(m.column) is not None]
    arrays = RowArrays(parts, parts.description())
    values = arrays.losses()
    if "importance" in parts.units and row.row.value("iwae") is not None:
        values |= importance_per_image(parts, arrays.description)
    scores = {
        m.column: PairedScore.from_values(values[m.column]) for m in wanted if m.column in values
    }
    for metric in PLUG_INS:
        if metric in wanted and metric.compared == "images":
            found = plug_in_score(metric, arrays)
            if isinstance(found, PairedScore):
                scores[metric.column] = found
    return _with_values_of(row, scores)


def _with_values_of(row: ScoredRow, scores: Scores) -> Scores:
    """The scores that the row has, with the row's own values."""
    values = {column: row.row.value(column) for column in scores}
    return {
        column: score.with_value(value)
        for column, score in scores.items()
        if (value := values[column]) is not None
    }


def _distances_of(row: ScoredRow) -> Scores:
    """Scores of the generated samples, with the influence of each sample.

    Influences are stored under the name of the metric that they were derived for, such as
    ``fid``; the score is that of the column that stands for it in comparisons.
    """
    generated = row.parts.units.get("generated")
    if generated is None:
        return {}
    stored = read_influences(row.parts.stores.out, generated)
    return _with_values_of(row, {compared_column(name): score for name, score in stored.items()})
