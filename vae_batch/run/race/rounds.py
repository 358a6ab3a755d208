"""Early elimination: rounds over a growing prefix of the samples, and who is dropped at each look.

Each round completes the units of one more prefix for those still in the race, nothing else. Shards
are the full evaluation's own, so that nothing is computed twice, and an interrupted race resumes
from its receipts: it is a function of the stored files. Afterwards the run is scored, the rows of
dropped checkpoints by the samples they had.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NoReturn

from vae_batch.metrics.catalogue import METRICS
from vae_batch.metrics.comparison.elimination import Elimination, Race, race_counts, rare_count
from vae_batch.metrics.comparison.paired_difference import PairedScore
from vae_batch.metrics.samples.frechet_uncertainty import bias_dominated
from vae_batch.plan import InputError, fingerprint
from vae_batch.plan.race_settings import RaceSettings
from vae_batch.plan.shards import Kind
from vae_batch.run.execute.driver import Driver, RowTask
from vae_batch.run.execute.executor import Executor
from vae_batch.run.execute.failures import Failure
from vae_batch.run.execute.score_run import RunSummary, score_rows
from vae_batch.run.execute.signals import uninterrupted
from vae_batch.run.output.stores import storage_faults
from vae_batch.run.planning.open_run import Run, settle
from vae_batch.run.planning.run_plan import PlannedRow, RunPlan, shortened, shortened_unit
from vae_batch.run.progress.events import say
from vae_batch.run.race.record import Leaving, RaceOutcome, read_race, write_race
from vae_batch.run.race.scores import Raced, race_score


def run_race(run: Run, executor: Executor) -> tuple[RunSummary, RaceOutcome]:
    """What `score_run` does, with a race before it: dropped checkpoints are scored no further.

    Args:
        run: With ``race`` in its spec.
        executor: Entered.

    Raises:
        InputError: As `score_run`; or a Fréchet distance is to be raced by too few samples.
        KeyboardInterrupt: A stop was asked for.
    """
    with storage_faults(run.plan.stores.out):
        run = settle(run, executor)
        driver = Driver(run, executor)
        outcome = _known(run.plan)
        if outcome is None:
            outcome = Racing(run, driver).run()
            with uninterrupted():
                run.guard()
                write_race(run.plan.stores.out, outcome)
        say(run.emit, outcome.sentence)
        raced = run.recorded(_shortened(run, outcome))
        return score_rows(raced, driver), outcome


def is_over(run: Run) -> bool:
    """Whether the race has been run, and every row been scored as it was decided."""
    known = _known(run.plan)
    return known is not None and not replace(run, plan=_shortened(run, known)).open_rows


def run_of(plan: RunPlan) -> str:
    """Digest of all that a race depends on."""
    settings = _settings(plan).model_dump(mode="json")
    return fingerprint(race=settings, rows=[row.fingerprint for row in _entries(plan)])


def _known(plan: RunPlan) -> RaceOutcome | None:
    """The outcome of the same race, where it was run before and nothing failed in it."""
    known = read_race(plan.stores.out)
    return known if known is not None and known.run_of == run_of(plan) else None


def _shortened(run: Run, outcome: RaceOutcome) -> RunPlan:
    """The plan with shorter rows for dropped checkpoints that are not scored in full already."""
    open_rows = {row.key for row in run.open_rows}
    # Of equal checkpoints one has raced, and the others were dropped with it.
    identifiers = {row.checkpoint.label: row.job.identifier for row in run.plan.rows}
    counts = {identifiers[label]: count for label, count in outcome.left_at.items()}
    rows = tuple(
        shortened(row, counts[row.job.identifier])
        if row.job.identifier in counts and row.key in open_rows
        else row
        for row in run.plan.rows
    )
    return replace(run.plan, rows=rows)


def _settings(plan: RunPlan) -> RaceSettings:
    if plan.spec.race is None:
        raise ValueError("the spec has no race")
    return plan.spec.race


def _entries(plan: RunPlan) -> list[PlannedRow]:
    """One row for each checkpoint: under the first extractor."""
    name = plan.rows[0].extractor.name
    return [row for row in plan.rows if row.extractor.name == name]


class _Look:
    """The goal of one round: the score of each row by its first samples."""

    #: A race reads activations; a reduction of some would take the place of that of all.
    unreduced: tuple[Kind, ...] = ("generated",)

    def __init__(self, plan: RunPlan) -> None:
        self._terms = replace(plan, rows=())
        self.found: dict[str, Raced] = {}
        self.failed: dict[str, str] = {}

    def task(self, row: PlannedRow, failure: Failure | None) -> RowTask | None:
        if failure is not None:
            self.failed[row.job.identifier] = failure.reason
            return None
        return race_score, (self._terms, row)

    def accept(self, row: PlannedRow, result: Raced, seconds: float) -> None:
        self.found[row.job.identifier] = result

    def save(self, *, force: bool) -> None:
        """Nothing is written before the race is over."""


class Racing:
    """A race under way."""

    def __init__(self, run: Run, driver: Driver) -> None:
        """Begin.

        Raises:
            InputError: A Fréchet distance is to be raced by too few samples.
        """
        self._plan, self._emit, self._driver = run.plan, run.emit, driver
        self._settings = _settings(run.plan)
        self._metric = METRICS[self._settings.metric]
        self._kind = self._metric.raced_over[-1]
        self._outside: dict[str, str] = {}
        entries = {row.job.identifier: row for row in _entries(run.plan)}
        self._names = {identifier: row.checkpoint.label for identifier, row in entries.items()}
        self._rows = self._comparable(entries)
        self._whole = max(row.units[self._kind].samples for row in self._rows.values())
        self._counts = self._looks()
        looks = len(self._counts)
        self._race = Race(self._rows, self._metric.direction, looks, self._settings.alpha)
        self._failed: dict[str, str] = {}
        if self._counts[0] != self._settings.first:
            say(self._emit, self._other_first())

    def _comparable(self, entries: Mapping[str, PlannedRow]) -> dict[str, PlannedRow]:
        """The rows that can race: sets of generated images may be too small, and have no losses.

        Raises:
            InputError: None can.
        """
        counts = {
            n: row.units[self._kind].samples
            for n, row in entries.items()
            if self._kind in row.units
        }
        if not counts:
            raise InputError(
                f"race by {self._settings.metric}: sets of generated images have none; score "
                "without --race, or race by kid"
            )
        for name in entries:
            if name not in counts:
                self._outside[name] = f"it has no {self._settings.metric}"
            elif counts[name] < max(counts.values()):
                self._outside[name] = f"it has {counts[name]:,} samples, fewer than the others"
        return {name: row for name, row in entries.items() if name not in self._outside}

    def _other_first(self) -> str:
        """That the first look is not where it was asked for, and what may move it."""
        causes = f"whole shards, bias and advantages of {self._settings.rare:.2%} of the images"
        return (
            f"race: the first look is at {self._counts[0]:,} samples instead of "
            f"{self._settings.first:,} ({causes} are allowed for)"
        )

    def _looks(self) -> tuple[int, ...]:
        """Samples at each look, in whole shards; those at which nobody may leave are omitted.

        Raises:
            InputError: Nobody could leave before all samples are scored.
        """
        settings, unit = self._settings, next(iter(self._rows.values())).units[self._kind]
        most = min(settings.max or self._whole, self._whole)
        planned = race_counts(min(settings.first, most), settings.growth, most)
        enough = rare_count(settings.rare, len(self._rows), len(planned), settings.alpha)
        if settings.first < enough < most:
            planned = race_counts(enough, settings.growth, most)
        counts = dict.fromkeys(shortened_unit(unit, count).samples for count in planned)
        unbiased = tuple(count for count in counts if not self._is_biased(count))
        if not unbiased:
            self._refuse(most)
        if len(self._rows) > 1 and (most < enough or unbiased[0] >= self._whole):
            raise InputError(self._no_race(most, enough))
        return unbiased

    def _no_race(self, most: int, enough: int) -> str:
        metric, rare = self._settings.metric, self._settings.rare
        if most < enough or self._whole <= enough:
            return (
                f"race by {metric}: nobody may be dropped before {enough:,} samples, since "
                f"{rare:.2%} of the images may carry all of a checkpoint's advantage, and there "
                f"are {most:,}; raise --samples (for losses use more reference images), score "
                "without --race, or set rare = 0 in [race] if no advantage is that rare"
            )
        advice = "raise --samples, or score without --race"
        if self._metric.images_per_dimension:
            advice = f"race by kid, {advice}"
        return (
            f"race by {metric}: its first look at which somebody may be dropped is at all "
            f"{self._whole:,} samples, so that it saves nothing; {advice}"
        )

    def _is_biased(self, count: int) -> bool:
        """Whether bias is known to dominate before anything is computed, as for Inception."""
        row = next(iter(self._rows.values()))
        if not self._metric.images_per_dimension or not row.extractor.feature_dim:
            return False
        counts = [count]
        if self._plan.spec.reference_is == "sample":
            counts.append(row.units["reference"].samples)
        return bias_dominated(row.extractor.feature_dim, *counts)

    def _refuse(self, most: int) -> NoReturn:
        reference = self._plan.reference.count
        raise InputError(
            f"race by fid_corrected: {most} generated and {reference} reference images are too "
            "few to correct its bias, which takes at least 4.88 images per feature dimension; race "
            "by kid, or raise --samples"
        )

    def run(self) -> RaceOutcome:
        """All rounds, until one checkpoint remains or the last look is over."""
        scores: dict[str, PairedScore] = {}
        for number, count in enumerate(self._counts, start=1):
            found = self._score(count)
            if not found:
                break
            sound = {
                name: raced.score
                for name, raced in found.items()
                if raced.score is not None and not raced.is_biased
            }
            if not sound:
                if count == self._counts[-1] and not scores:
                    self._refuse(count)
                continue
            scores = sound
            left = self._race.look(scores)
            self._say(number, count, left)
            if len(self._race.survivors) == 1:
                break
        return self._outcome(self._names, scores)

    def _score(self, count: int) -> dict[str, Raced]:
        """Scores by the first samples of all checkpoints in the race; those without leave it."""
        rows = []
        for name in self._race.survivors:
            row = self._rows[name]
            kinds = self._metric.raced_over
            units = {str(kind): shortened_unit(row.units[kind], count) for kind in kinds}
            rows.append(replace(row, units=units))
        look = _Look(self._plan)
        self._driver.complete(rows, look, rows)
        self._failed |= look.failed
        for name in self._race.survivors:
            raced = look.found.get(name)
            if raced is None or raced.score is None:
                self._race.withdraw(name)
                if raced is not None:
                    self._outside[name] = f"it has no {self._settings.metric}"
        self._set_apart(look.found)
        return {name: look.found[name] for name in self._race.survivors}

    def _set_apart(self, found: Mapping[str, Raced]) -> None:
        """Those under other conditions than most leave the race: nothing compares them."""
        groups: dict[tuple[object, ...], list[str]] = {}
        for name in self._race.survivors:
            groups.setdefault(tuple(found[name].conditions.values()), []).append(name)
        if len(groups) < 2:
            return
        most = max(groups.values(), key=len)  # of equal ones the first
        ours = found[most[0]].conditions
        for name in self._race.survivors:
            if name not in most:
                own = found[name].conditions
                differs = [
                    f"{key} ({own[key]}; in the race {ours[key]})"
                    for key in ours
                    if own[key] != ours[key]
                ]
                self._race.withdraw(name)
                self._outside[name] = (
                    f"{self._settings.metric} is not compared across different "
                    + (", ".join(differs))
                )

    def _say(self, number: int, count: int, left: Sequence[Elimination]) -> None:
        said = (
            f"race, look {number} of {len(self._counts)} at {count:,} samples: "
            f"{len(left)} dropped, {len(self._race.survivors)} remain"
        )
        say(self._emit, said)

    def _outcome(self, names: Mapping[str, str], scores: Mapping[str, PairedScore]) -> RaceOutcome:
        stayed, left = self._race.survivors, self._race.eliminated
        is_ranked = any(name in scores for name in stayed)
        level = self._race.result(scores) if is_ranked else None
        whole = {name: row.units[self._kind].samples for name, row in self._rows.items()}
        in_race = [name for name in self._rows if name not in self._outside]
        spent = sum(left[n].count if n in left else whole[n] for n in in_race)
        per_extractor = self._metric.per_extractor
        return RaceOutcome(
            metric=self._settings.metric,
            extractor=self._plan.rows[0].extractor.name if per_extractor else None,
            alpha=self._settings.alpha,
            rare=self._settings.rare,
            level=self._race.level,
            looks=self._counts,
            left=tuple(_leaving(elimination, names) for elimination in left.values()),
            best=None if level is None else names[level.best],
            members=() if level is None else tuple(names[name] for name in level.members),
            stayed=tuple(names[name] for name in stayed),
            outside={names[name]: reason for name, reason in self._outside.items()},
            failed=tuple(names[name] for name in self._failed),
            images=spent,
            images_in_full=sum(whole[name] for name in in_race),
            # A race in which some failed is run again, so that they are tried again.
            run_of="" if self._failed else run_of(self._plan),
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
