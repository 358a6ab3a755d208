"""Which checkpoint, why, and whether it can be trusted: what a reader has a minute for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from vae_batch.metrics.catalogue import METRICS, Metric, compared_column
from vae_batch.report.charts.ranking import Ranking, compared_title
from vae_batch.report.labels import count, p_value, printable, significant
from vae_batch.report.notices import warning_title
from vae_batch.report.page.checkpoints import PageCheckpoint
from vae_batch.run.compare.best_checkpoint import Selection
from vae_batch.run.race.record import Leaving, RaceOutcome
from vae_batch.storage.score_rows import ScoreRow


@dataclass(frozen=True)
class Ground:
    """One reason to trust or to doubt: "for", "against" or "open", and words."""

    side: str
    text: str


@dataclass(frozen=True)
class OtherView:
    """What another comparison says: who is best there, and where the chosen one stands."""

    title: str
    metric: Metric
    best: PageCheckpoint | None
    standing: str
    agrees: bool


@dataclass(frozen=True)
class Verdict:
    """The checkpoint that was found best, and what speaks for and against it.

    Attributes:
        best: The checkpoint, or None where the page does not know it.
        name: Its short name.
        metric: What it is best by.
        title: That and the extractor, in words.
        value: Its score.
        compared: Number of checkpoints compared, including those that a race dropped.
        level: Others that are not distinguishable from it.
        sentence: As it was recorded.
        grounds: Reasons to trust and to doubt.
        others: What the other comparisons say.
    """

    best: PageCheckpoint | None
    name: str
    metric: Metric
    title: str
    value: str
    compared: int
    level: tuple[PageCheckpoint, ...]
    sentence: str
    grounds: tuple[Ground, ...]
    others: tuple[OtherView, ...]

    @property
    def agreed(self) -> bool:
        """Whether most of the other comparisons find the same checkpoint best, or level."""
        return _most_agree(self.others)


def _most_agree(views: Sequence[OtherView]) -> bool:
    return 2 * sum(view.agrees for view in views) > len(views)


def verdict_of(
    selection: Selection | None,
    rankings: Sequence[Ranking],
    rows: Sequence[ScoreRow],
    checkpoints: Mapping[str, PageCheckpoint],
    race: RaceOutcome | None = None,
) -> Verdict | None:
    """The verdict, or None where none was reached."""
    if selection is None:
        return None
    chosen = checkpoints.get(selection.best)
    views = _other_views(selection, rankings, checkpoints)
    level = [name for name in selection.level if name != selection.best]
    return Verdict(
        best=chosen,
        name=chosen.short if chosen else printable(selection.best),
        metric=METRICS[selection.metric],
        title=compared_title(selection.metric, selection.extractor),
        value=significant(selection.value, 5),
        compared=selection.compared + (len(race.left) if race else 0),
        level=tuple(checkpoints[name] for name in level if name in checkpoints),
        sentence=_sentence(selection.sentence),
        grounds=tuple([*_of_race(race), *_grounds(selection, len(level), views, rows)]),
        others=tuple(views),
    )


def _sentence(text: str) -> str:
    return printable(f"{text[:1].upper()}{text[1:]}.")


def _of_race(race: RaceOutcome | None) -> list[Ground]:
    if race is None or not race.left:
        return []
    dropped = f"{len(race.left)} {'were' if len(race.left) > 1 else 'was'} dropped from the race"
    risk = f"the probability that the best of all was among them is at most {race.alpha:.2g}"
    return [Ground("for", f"{dropped}; {risk}, {race.condition}.")]


def _grounds(
    selection: Selection, level: int, views: Sequence[OtherView], rows: Sequence[ScoreRow]
) -> list[Ground]:
    grounds = [_confirmation(selection)]
    if selection.compared > 1:
        alone = "Significantly better than every other checkpoint at 5 %."
        others = "1 other checkpoint is" if level == 1 else f"{level} other checkpoints are"
        many = f"{others} not distinguishable from it at 5 %."
        grounds.append(Ground("open", many) if level else Ground("for", alone))
    if views:
        agreeing = sum(view.agrees for view in views)
        comparisons = f"{len(views)} other comparison{'s' if len(views) > 1 else ''}"
        text = f"Best or not distinguishable from the best by {agreeing} of {comparisons}."
        grounds.append(Ground("for" if _most_agree(views) else "against", text))
    own = [row for row in rows if row.checkpoint == selection.best]
    warned = dict.fromkeys(warning for row in own for warning in row.warnings)
    return grounds + [
        Ground("against", printable(f"{warning_title(warning)}: {warning.text}."))
        for warning in warned
        if warning.severity != "info"
    ]


def _confirmation(selection: Selection) -> Ground:
    said = selection.confirmation
    if said is None:
        return Ground("open", "Not confirmed on fresh seeds (--confirm does that).")
    return Ground("for" if said.startswith("confirmed") else "against", _sentence(said))


def _other_views(
    selection: Selection,
    rankings: Sequence[Ranking],
    checkpoints: Mapping[str, PageCheckpoint],
) -> list[OtherView]:
    own = compared_title(selection.metric, selection.extractor)
    others = [ranking for ranking in rankings if ranking.title != own]
    return [_view(ranking, selection.best, checkpoints) for ranking in others]


def _view(ranking: Ranking, chosen: str, checkpoints: Mapping[str, PageCheckpoint]) -> OtherView:
    lines = {line.checkpoint: line for line in ranking.lines}
    line = lines.get(chosen)
    if line is None:
        standing, agrees = "not compared", False
    elif line.from_best is None or line.is_best:
        standing, agrees = "best", True
    elif line.is_level:
        standing, agrees = "not distinguishable from the best", True
    else:
        place = [*lines].index(chosen) + 1
        difference = significant(line.from_best.value, sign="+")
        standing, agrees = f"{difference} from the best, rank {place} of {len(lines)}", False
    return OtherView(
        title=ranking.title,
        metric=ranking.metric,
        best=checkpoints.get(ranking.best.checkpoint),
        standing=standing,
        agrees=agrees,
    )


@dataclass(frozen=True)
class DroppedLine:
    """A checkpoint that the race dropped, in words."""

    checkpoint: PageCheckpoint
    count: str
    leader: PageCheckpoint | None
    difference: str
    standard_error: str
    p: str


@dataclass(frozen=True)
class RaceView:
    """A race as the page shows it.

    Attributes:
        title: What was raced by.
        metric: That metric.
        sentence: The outcome.
        looks: Samples at each look.
        level: Of each test.
        lines: Those that left, the last ones first.
    """

    title: str
    metric: Metric
    sentence: str
    looks: str
    level: str
    lines: tuple[DroppedLine, ...]


def race_view(
    outcome: RaceOutcome | None, checkpoints: Mapping[str, PageCheckpoint]
) -> RaceView | None:
    """The view of a race; None where there was none."""
    if outcome is None:
        return None
    left = [leaving for leaving in reversed(outcome.left) if leaving.checkpoint in checkpoints]
    said, metric = outcome.sentence, METRICS[compared_column(outcome.metric)]
    return RaceView(
        title=compared_title(metric.column, outcome.extractor),
        metric=metric,
        sentence=printable(f"{said[:1].upper()}{said[1:]}."),
        looks=", ".join(count(look) for look in outcome.looks),
        level=significant(outcome.level),
        lines=tuple(_line(leaving, checkpoints) for leaving in left),
    )


def _line(leaving: Leaving, checkpoints: Mapping[str, PageCheckpoint]) -> DroppedLine:
    return DroppedLine(
        checkpoint=checkpoints[leaving.checkpoint],
        count=count(leaving.count),
        leader=checkpoints.get(leaving.leader),
        difference=significant(leaving.difference, sign="+"),
        standard_error=significant(leaving.standard_error),
        p=p_value(leaving.p),
    )
