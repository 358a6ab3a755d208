"""One night: find what is new, score it, compare it, remember it, and say it."""

from __future__ import annotations

import datetime
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from vae_batch.nightly.comparisons import Entry, apart_by_version, compare_new
from vae_batch.nightly.history import HistoryRow, has_history, read_history, upsert_history
from vae_batch.nightly.night_plan import (
    Table,
    Tonight,
    adopted_rows,
    choose_rows,
    new_rows,
    refreshed_rows,
    rows_before,
)
from vae_batch.nightly.regression import (
    exit_code_of,
    judge,
    judged_by,
    newest_of_each,
    require_tolerances,
    with_verdicts,
)
from vae_batch.nightly.summary import (
    NightSummary,
    markdown_summary,
    read_summary,
    recorded_rows,
    write_summary,
)
from vae_batch.plan import EvaluationSpec, InputError
from vae_batch.run.compare.best_checkpoint import read_selection
from vae_batch.run.execute.signals import stoppable, uninterrupted
from vae_batch.run.output.layout import NIGHTS
from vae_batch.run.output.lease import output_lease
from vae_batch.run.output.run_record import ScoredRow, open_record, read_record, scored_rows
from vae_batch.run.planning.open_run import prepare
from vae_batch.run.progress.events import EventSink, say
from vae_batch.run.scoring.row import now
from vae_batch.storage import Store, read_score_rows

if TYPE_CHECKING:
    from vae_batch.evaluation import Evaluation

#: Seconds that a second night waits for the first where the spec's ``wait`` says nothing.
USUAL_WAIT = 6 * 3600.0

#: Scored rows with their files, by checkpoint, extractor and fingerprint.
Pairing = dict[tuple[str, str, str | None], ScoredRow]


@dataclass(frozen=True)
class Night:
    """A night that is done.

    Attributes:
        summary: What ``summary.json`` holds.
        page: What ``summary.md`` holds.
        already_done: Whether it had been done before, and nothing has come since.
    """

    summary: Mapping[str, Any]
    page: str
    already_done: bool

    @property
    def exit_code(self) -> int:
        """0 nothing wrong, 3 some checkpoints failed, 4 a regression."""
        return int(self.summary["exit_code"])


def run_night(spec: EvaluationSpec, date: datetime.date, emit: EventSink) -> Night:
    """Score what is new into the spec's output folder, and write history and summary.

    Nightly runs are idempotent. A second run of the same date waits for the first and ends with
    its exit code. A run that was killed resumes where it stopped. Checkpoints that appear later
    on the same date are added to the same summary.

    Args:
        spec: Its ``wait`` says how long to wait for another night or run; :data:`USUAL_WAIT` where
            it is not given.
        date: Of the night, which identifies it.
        emit: Takes the events of the run.

    Raises:
        InputError: Something given cannot be used, or another night holds the output too long.
        KeyboardInterrupt: A stop was asked for; the same night goes on from there.
    """
    began = time.time()
    require_tolerances(spec)
    if spec.race is not None:
        raise InputError(
            "a night compares each new checkpoint in full with the best before, so that race "
            f"= {spec.race.metric} has no place in it; take race out of the spec"
        )
    wait = spec.wait if "wait" in spec.model_fields_set else USUAL_WAIT
    patient = spec.model_copy(update={"wait": wait})
    nights = Store.open(spec.out).folder(NIGHTS)
    run = f"night of {date}"
    with stoppable(), output_lease(nights, wait_s=wait, run=run, tell=partial(say, emit)) as lease:
        return _Night(patient, date, emit, began, lease.require).run()


class _Night:
    """One night under way, by the one holder of its lease."""

    def __init__(
        self,
        spec: EvaluationSpec,
        date: datetime.date,
        emit: EventSink,
        began: float,
        guard: Callable[[], None],
    ) -> None:
        self._guard = guard
        self._spec, self._date, self._emit, self._began = spec, date, emit, began
        self._out = Store.open(spec.out)
        self._history = read_history(self._out)
        if not has_history(self._out):  # the first night, or `verify --mend` removed it
            self._history = recorded_rows(self._out)

    def run(self) -> Night:
        # Taken before this night's plan is recorded: a checkpoint that was overwritten since is
        # compared with what it was.
        pairing = self._pairing()
        plan = prepare(self._spec, self._emit)
        tonight = choose_rows(plan, self._history, self._date, self._began)
        if not has_history(self._out):
            adopted = adopted_rows(self._table(), tonight, self._history)
            self._history = upsert_history(self._out, [*adopted, *self._history])
        evaluation = None
        if tonight.attempted:
            from vae_batch.evaluation import evaluate_plan  # half of an idle night's seconds

            evaluation = evaluate_plan(tonight.plan, self._emit)
        table = self._table()
        news = new_rows(table, tonight, self._history, self._date)
        recorded = read_summary(self._out, self._date)
        if recorded is not None and not news:
            return Night(*recorded, already_done=True)
        refreshed = refreshed_rows(table, self._history)
        if refreshed:
            self._history = upsert_history(self._out, refreshed)
        pairing |= self._pairing()
        earlier = recorded[0] if recorded else {}
        return self._conclude(tonight, evaluation, news, pairing, earlier)

    def _pairing(self) -> Pairing:
        if read_record(self._out) is None:
            return {}
        found = scored_rows(self._spec.out, open_record(self._spec.out))
        return {(*each.row.key, each.row.provenance.fingerprint): each for each in found}

    def _table(self) -> Table:
        return {row.key: row for row in read_score_rows(self._out)}

    def _conclude(
        self,
        tonight: Tonight,
        evaluation: Evaluation | None,
        news: Sequence[HistoryRow],
        pairing: Pairing,
        earlier: Mapping[str, Any],
    ) -> Night:
        """Compare, judge, and write history and summary."""
        tolerance = self._spec.tolerance
        rows = [*(row for row in self._history if row.is_of(self._date)), *news]
        new = [Entry(row, pairing.get(row.mark)) for row in rows if row.is_scored]
        past = rows_before(self._history, self._date)
        before = [Entry(row, pairing.get(row.mark)) for row in past]
        comparisons = compare_new(new, before, tolerance)
        newest = newest_of_each(new)
        table = self._table()
        judgements = judge(tolerance, newest, comparisons, table) if before else []
        selection = evaluation.selection if evaluation else read_selection(self._out)
        column = judged_by(selection, rows)
        rows = with_verdicts(rows, column, newest, comparisons, judgements)
        computed, done = _shards(evaluation, earlier)
        summary = NightSummary(
            date=self._date,
            exit_code=exit_code_of(rows, judgements),
            out=self._out.shown,
            shown=tuple(dict.fromkeys([*tolerance, column, "elbo"])),
            tolerance=tolerance,
            rows=rows,
            judgements=judgements,
            comparisons=comparisons,
            left=tonight.left,
            given_up=[table[key] for key in sorted(tonight.given_up) if key in table],
            selection=selection.sentence if selection else None,
            apart=apart_by_version(new, before),
            shards_computed=computed,
            shards_before=done,
            seconds=round(time.time() - self._began, 1),
            finished_at=now(),
        )
        values, page = summary.to_json(), markdown_summary(summary)
        with uninterrupted():
            self._guard()
            self._history = upsert_history(self._out, rows)
            write_summary(self._out, self._date, values, page)
        return Night(values, page, already_done=False)


def _shards(evaluation: Evaluation | None, earlier: Mapping[str, Any]) -> tuple[int, int]:
    """Shards computed and found on this date, by an earlier firing too."""
    computed, done = earlier.get("shards_computed", 0), earlier.get("shards_before", 0)
    if evaluation is not None:
        computed += evaluation.summary.shards_computed
        done += evaluation.summary.shards_before
    return computed, done
