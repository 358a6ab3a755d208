"""The rounds of a race: a prefix of the samples of all that are in it, a look, and who leaves.

Each round computes the missing shards of one more prefix for those still in the race, nothing
else. Shards are the full evaluation's own, so that nothing is computed twice, whoever stays, and
a race that was broken off goes on from its receipts: it is a function of the stored files.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NoReturn

from vae_batch.metrics.catalogue import METRICS
from vae_batch.metrics.comparison.paired_difference import PairedScore
from vae_batch.metrics.comparison.race import Elimination, Race, race_counts
from vae_batch.metrics.samples.frechet_uncertainty import bias_dominated
from vae_batch.plan import InputError, fingerprint
from vae_batch.plan.race_settings import RaceSettings
from vae_batch.run.execute.driver import Driver
from vae_batch.run.execute.executor import Executor
from vae_batch.run.execute.failures import Failure
from vae_batch.run.execute.signals import uninterrupted
from vae_batch.run.planning.prepare import rows_to_score
from vae_batch.run.planning.run_plan import PlannedRow, RunPlan, shortened_unit
from vae_batch.run.progress.events import EventSink, say
from vae_batch.run.race.record import Leaving, RaceOutcome
from vae_batch.run.race.scores import Raced, race_score
from vae_batch.run.scoring.row import failed_row
from vae_batch.storage import Reason, upsert_scores


def run_of(plan: RunPlan) -> str:
    """Digest of all that a race depends on."""
    settings = _settings(plan).model_dump(mode="json")
    return fingerprint(race=settings, rows=[row.fingerprint for row in _entries(plan)])


def _settings(plan: RunPlan) -> RaceSettings:
    if plan.spec.race is None:
        raise ValueError("the spec has no race")
    return plan.spec.race


def _entries(plan: RunPlan) -> list[PlannedRow]:
    """One row for each checkpoint: under the first extractor."""
    name = plan.rows[0].extractor.name
    return [row for row in plan.rows if row.extractor.name == name]


class _Round(Driver):
    """One round: the missing shards of some short rows, and a score of each."""

    #: A race reads activations; a reduction of some would take the place of that of all.
    _unreduced = ("generated",)

    def __init__(self, *arguments: Any) -> None:  # noqa: ANN401
        super().__init__(*arguments)
        self.found: dict[str, Raced] = {}
        self.reasons: dict[str, str] = {}

    @property
    def _of_row(self) -> Callable[[RunPlan, PlannedRow], Any]:
        return race_score

    def _accept(self, row: PlannedRow, result: Any) -> str:  # noqa: ANN401
        self.found[row.job.identifier] = result
        return ""

    def _fail(self, checkpoint: str, failure: Failure) -> None:
        super()._fail(checkpoint, failure)
        self.reasons[checkpoint] = failure.reason


class Racing:
    """A race under way.

    Attributes:
      failed: Identifiers of checkpoints that failed in it, and why.
      computed: Shards computed by it.
    """

    def __init__(
        self,
        plan: RunPlan,
        executor: Executor,
        emit: EventSink,
        guard: Callable[[], None],
    ) -> None:
        """Begin; see `racing.race`.

        Raises:
          InputError: A Fréchet distance is to be raced by too few samples.
        """
        self._plan, self._executor, self._emit = plan, executor, emit
        self._guard = guard
        self._settings = _settings(plan)
        self._rows = {row.job.identifier: row for row in _entries(plan)}
        self._kind = METRICS[self._settings.metric].raced_over[-1]
        self._whole = min(row.units[self._kind].samples for row in self._rows.values())
        self._counts = self._looks()
        self._race = Race(self._rows, self._direction, len(self._counts), self._settings.alpha)
        self._outside: dict[str, str] = {}
        self.failed: dict[str, str] = {}
        self.computed = 0

    @property
    def _direction(self) -> str:
        return METRICS[self._settings.metric].direction

    def _looks(self) -> tuple[int, ...]:
        """Samples at each look, in whole shards; those that bias dominates are left out."""
        settings, unit = self._settings, next(iter(self._rows.values())).units[self._kind]
        most = min(settings.max or self._whole, self._whole)
        planned = race_counts(min(settings.first, most), settings.growth, most)
        counts = dict.fromkeys(shortened_unit(unit, count).samples for count in planned)
        return tuple(count for count in counts if not self._is_biased(count)) or self._refuse(most)

    def _is_biased(self, count: int) -> bool:
        """Whether that is known before anything is computed: of Inception's features it is."""
        row = next(iter(self._rows.values()))
        if not METRICS[self._settings.metric].images_per_dimension or not row.extractor.feature_dim:
            return False
        return bias_dominated(count, row.units["reference"].samples, row.extractor.feature_dim)

    def _refuse(self, most: int) -> NoReturn:
        reference = self._plan.reference.count
        raise InputError(
            f"race by fid_corrected: {most} generated and {reference} reference images are too "
            "few for it: it needs 4.88 images per feature dimension; race by kid, or raise "
            "--samples"
        )

    def run(self) -> RaceOutcome:
        """All rounds, until one is left or the last look is over."""
        scores: dict[str, PairedScore] = {}
        names = {identifier: row.checkpoint.label for identifier, row in self._rows.items()}
        for number, count in enumerate(self._counts, start=1):
            found = self._score(count)
            if any(score.is_biased for score in found.values()):
                if count == self._counts[-1]:
                    self._refuse(count)
                continue
            scores = {name: raced.score for name, raced in found.items() if raced.score is not None}
            if not scores:
                break
            left = self._race.look(scores, {name: found[name].bias_bound for name in scores})
            self._say(number, count, left)
            if len(self._race.survivors) == 1:
                break
        return self._outcome(names, scores)

    def _score(self, count: int) -> dict[str, Raced]:
        """Scores of the first samples of all that are in the race; others are taken out."""
        needed = METRICS[self._settings.metric].raced_over
        rows = []
        for name in self._race.survivors:
            row = self._rows[name]
            units = {str(kind): shortened_unit(row.units[kind], count) for kind in needed}
            rows.append(replace(row, units=units))
        plan = replace(self._plan, rows=tuple(rows))
        done = _Round(plan, rows, self._executor, self._emit, self._guard)
        self.computed += done.run().shards_computed
        self.failed |= done.reasons
        for name in self._race.survivors:
            raced = done.found.get(name)
            if raced is None or raced.score is None:
                self._race.withdraw(name)
                if raced is not None:
                    self._outside[name] = f"it has no {self._settings.metric}"
        return {name: done.found[name] for name in self._race.survivors}

    def _say(self, number: int, count: int, left: Sequence[Elimination]) -> None:
        said = (
            f"race, look {number} of {len(self._counts)} at {count:,}: {len(left)} left, "
            f"{len(self._race.survivors)} go on"
        )
        say(self._emit, said)

    def write_failures(self) -> None:
        """Failed rows of those that failed, of every extractor."""
        rows = [row for row in rows_to_score(self._plan) if row.job.identifier in self.failed]
        reasons = [Reason("unexpected", self.failed[row.job.identifier]) for row in rows]
        pairs = zip(rows, reasons, strict=True)
        failed = [failed_row(self._plan, row, reason) for row, reason in pairs]
        if failed:
            with uninterrupted():
                self._guard()
                upsert_scores(self._plan.stores.out, failed)

    def _outcome(self, names: Mapping[str, str], scores: Mapping[str, PairedScore]) -> RaceOutcome:
        stayed, left = self._race.survivors, self._race.eliminated
        level = self._race.result(scores) if stayed else None
        whole = {name: row.units[self._kind].samples for name, row in self._rows.items()}
        in_race = [name for name in names if name not in self._outside]
        spent = sum(left[n].count if n in left else whole[n] for n in in_race)
        per_extractor = METRICS[self._settings.metric].per_extractor
        return RaceOutcome(
            metric=self._settings.metric,
            extractor=self._plan.rows[0].extractor.name if per_extractor else None,
            alpha=self._settings.alpha,
            level=self._race.level,
            looks=self._counts,
            left=tuple(_leaving(elimination, names) for elimination in left.values()),
            best=None if level is None else names[level.best],
            members=() if level is None else tuple(names[name] for name in level.members),
            stayed=tuple(names[name] for name in stayed),
            outside={names[name]: reason for name, reason in self._outside.items()},
            failed=tuple(names[name] for name in self.failed),
            images=spent,
            images_in_full=sum(whole[name] for name in in_race),
            # A race in which some failed is run again, so that they are tried again.
            run_of="" if self.failed else run_of(self._plan),
        )


def _leaving(elimination: Elimination, names: Mapping[str, str]) -> Leaving:
    found = elimination.difference
    return Leaving(
        names[elimination.checkpoint],
        elimination.count,
        names[elimination.leader],
        found.difference,
        found.standard_error,
        elimination.p_value,
    )
