"""Score checkpoints while a training goes on, each when its files are complete."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Set
from dataclasses import dataclass, replace
from pathlib import Path

from vae_batch.evaluation import Evaluation, evaluate_plan, make_executor
from vae_batch.models.checkpoints.listing import find_files
from vae_batch.nightly.night_plan import find_unfinished
from vae_batch.plan import EvaluationSpec, InputError
from vae_batch.plan.quantities import duration, plural
from vae_batch.run.compare.best_checkpoint import Selection
from vae_batch.run.execute.executor import Executor
from vae_batch.run.execute.signals import stoppable
from vae_batch.run.planning.open_run import open_rows, prepare
from vae_batch.run.planning.run_plan import RunPlan
from vae_batch.run.progress.events import EventSink, ignore, say

#: Seconds for which files must not have changed, where the spec does not say: a writer pauses less.
STABLE_FOR = 2.0

#: Seconds between two looks for new files.
POLL = 5.0

#: Looks in a row at which the input may be refused: a training may be replacing a file.
_MOST_REFUSED = 3


@dataclass(frozen=True)
class Ends:
    """What ends a watch, beside Ctrl-C.

    Attributes:
        until: File whose appearance says that the training has ended; what is there is scored.
        idle: Seconds without a new checkpoint.
        patience: Checkpoints in a row that are not significantly better than the best before them.
    """

    until: Path | None = None
    idle: float | None = None
    patience: int | None = None


@dataclass(frozen=True)
class Watched:
    """What a watch found.

    Attributes:
        evaluation: The last one; None where no checkpoint appeared.
        ended_by: A sentence.
        no_better: Whether it ended because nothing became better.
    """

    evaluation: Evaluation | None
    ended_by: str
    no_better: bool = False


def watch(
    spec: EvaluationSpec,
    emit: EventSink,
    ends: Ends,
    scored: Callable[[Evaluation], None] = lambda _: None,
    sleep: Callable[[float], None] = time.sleep,
) -> Watched:
    """Score what is there, then each checkpoint that appears, until something ends it.

    Each time, the table, the comparisons and the page are written as by :func:`evaluate`. A cluster
    that was started stays, and so do its workers with their extractors. A file that is still
    written to waits; a row that failed is tried again when its files change.

    Args:
        spec: Its ``stable_for`` says for how long files must not have changed (default: 2 s).
        emit: Takes the events of each run.
        ends: What ends it.
        scored: Called after each evaluation.
        sleep: Waits between two looks.

    Raises:
        InputError: As ``evaluate``. Checkpoints that match nothing yet are waited for.
        KeyboardInterrupt: A stop was asked for.
    """
    if "stable_for" not in spec.model_fields_set:
        spec = spec.model_copy(update={"stable_for": STABLE_FOR})
    if spec.race is not None:
        raise InputError(
            "a race needs all checkpoints at its start; watch scores them as they come"
        )
    with stoppable(), make_executor(spec) as executor:
        return _Watch(spec, emit, ends, scored, sleep, executor).run()


class _Watch:
    def __init__(
        self,
        spec: EvaluationSpec,
        emit: EventSink,
        ends: Ends,
        scored: Callable[[Evaluation], None],
        sleep: Callable[[float], None],
        executor: Executor,
    ) -> None:
        self._executor = executor
        self._spec, self._emit, self._ends = spec, emit, ends
        self._scored, self._sleep = scored, sleep
        self._seen: object = None
        self._refused = 0
        self._failed: set[tuple[str, str, str]] = set()
        self._news = time.monotonic()
        self._last: Evaluation | None = None
        self._progress = Progress()

    def run(self) -> Watched:
        say(self._emit, f"watching {', '.join(self._patterns())}")
        while True:
            is_over = self._ends.until is not None and self._ends.until.exists()
            self._look(is_over=is_over)
            if is_over:
                return Watched(self._last, f"{self._ends.until} is there: the training has ended")
            patience = self._ends.patience
            if patience is not None and self._progress.since >= patience:
                said = f"nothing significantly better than {self._progress.best} in the last "
                return Watched(
                    self._last, said + plural(self._progress.since, "checkpoint"), no_better=True
                )
            quiet = time.monotonic() - self._news
            if self._ends.idle is not None and quiet >= self._ends.idle:
                return Watched(self._last, f"no new checkpoint for {duration(quiet)}")
            self._sleep(POLL)

    def _patterns(self) -> list[str]:
        named = (*self._spec.checkpoints, self._spec.encoder, self._spec.decoder)
        return [pattern for pattern in named if pattern]

    def _look(self, *, is_over: bool) -> None:
        """Score what is new, if any of it is complete."""
        files = sorted(self._files())
        if not files or (files == self._seen and not is_over):
            return
        began = time.time()
        try:
            plan = prepare(self._spec, ignore)
        except InputError:
            self._refused += 1
            if self._last is None or is_over or self._refused >= _MOST_REFUSED:
                raise  # of the spec, not of a file that is just being replaced
            return
        self._refused = 0
        rows = tuple(row for row in plan.rows if row.mark not in self._failed)
        new = {r.checkpoint.label: r.checkpoint for r in open_rows(replace(plan, rows=rows))}
        stable_for = 0.0 if is_over else self._spec.stable_for
        written, _ = find_unfinished([*new.values()], stable_for, began, self._sleep)
        self._seen = None if written else files
        waiting = {found.checkpoint for found in written}
        if labels := new.keys() - waiting:
            kept = tuple(row for row in rows if row.checkpoint.label not in waiting)
            self._score(replace(plan, rows=kept), labels)

    def _files(self) -> Iterator[tuple[str, int, float]]:
        """Path, size and time of every file; in object stores files appear whole: the path."""
        for pattern in self._patterns():
            try:
                found = find_files(pattern.replace("{step}", "*"))
            except InputError:  # nothing is there yet
                continue
            for file in found:
                local = file.local_path
                try:
                    status = os.stat(local) if local is not None else None
                except OSError:
                    continue
                yield file.path, status.st_size if status else 0, status.st_mtime if status else 0.0

    def _score(self, plan: RunPlan, labels: Set[str]) -> None:
        self._last = evaluate_plan(plan, self._emit, executor=self._executor)
        self._news = time.monotonic()
        failed = {row.key for row in self._last.summary.rows if row.status == "failed"}
        self._failed |= {row.mark for row in plan.rows if row.key in failed}
        self._progress.add(self._last.selection, len(labels - {key[0] for key in failed}))
        self._scored(self._last)


class Progress:
    """How long ago a checkpoint was significantly better than the best before it.

    Attributes:
        best: The checkpoint that no later one is significantly better than; None before any.
        since: Checkpoints that were scored after it.
    """

    def __init__(self) -> None:
        """Nothing has been scored."""
        self.best: str | None = None
        self.since = 0

    def add(self, selection: Selection | None, count: int) -> None:
        """Take a selection among all checkpoints so far, of which ``count`` are new."""
        if selection is None:
            return
        if self.best is None or self.best not in selection.level:
            self.best, self.since = selection.steps[0].leader, 0
        else:
            self.since += count
