"""Which checkpoint, why, and whether it can be trusted: what a reader has a minute for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from vae_batch.metrics.catalogue import METRICS, Metric, compared_column
from vae_batch.report.charts.ranking import RankedLine, Ranking, compared_title
from vae_batch.report.labels import (
    count,
    interval_decimals,
    number,
    p_value,
    printable,
    significant,
    with_interval,
)
from vae_batch.report.notices import Notice
from vae_batch.report.page.checkpoints import PageCheckpoint
from vae_batch.run.compare.best_checkpoint import Selection, SelectionStep
from vae_batch.run.race.record import Leaving, RaceOutcome
from vae_batch.storage.comparison_file import Difference

#: Tied checkpoints that the verdict names; the rankings have all.
_MOST_NAMED = 8


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
    """The checkpoint that was found best, or those that are tied, and what speaks for and against.

    Attributes:
        heading: Best of how many, and by what, or that there is no single best.
        chosen: The best checkpoint, or the first of those that are tied; without those that the
            page does not know.
        more: Tied checkpoints beside these.
        name: Short name of the best, or how many are tied.
        metric: What decided, or, for a tie, the first metric.
        value: Score of the best by it; "" for a tie.
        interval: The score's own 95 % interval, or "".
        margin: By how much it is better than the next one, and how sure that is, or "".
        grounds: Reasons to trust and to doubt.
        others: What the other comparisons say.
    """

    heading: str
    chosen: tuple[PageCheckpoint, ...]
    more: int
    name: str
    metric: Metric
    value: str
    interval: str
    margin: str
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
    warned: Sequence[Notice],
    checkpoints: Mapping[str, PageCheckpoint],
    race: RaceOutcome | None = None,
) -> Verdict | None:
    """The verdict, or None where none was reached.

    Args:
        selection: Which checkpoint was found best.
        rankings: By each metric.
        warned: Warnings about the best, or about those that are tied.
        checkpoints: By label.
        race: How the race went, if there was one.
    """
    if selection is None:
        return None
    labels = chosen_labels(selection)
    chosen = tuple(checkpoints[name] for name in labels if name in checkpoints)
    views = _other_views(selection, rankings, checkpoints)
    names = [found.short for found in chosen] or [printable(label) for label in labels]
    value, interval = _score(selection, rankings)
    return Verdict(
        heading=_heading(selection, selection.compared + (len(race.left) if race else 0)),
        chosen=chosen[:_MOST_NAMED],
        more=max(0, len(chosen) - _MOST_NAMED),
        name=names[0] if len(labels) == 1 else f"the {len(labels)} tied",
        metric=METRICS[(selection.steps[0] if selection.tied else selection.decided_by).metric],
        value=value,
        interval=interval,
        margin=_margin(selection, rankings, checkpoints),
        grounds=tuple([*_of_race(race), *_grounds(selection, views), *_warnings(warned, chosen)]),
        others=tuple(views),
    )


def chosen_labels(selection: Selection | None) -> tuple[str, ...]:
    """The best checkpoint, or those that are tied for it; none without a selection."""
    if selection is None:
        return ()
    return selection.tied or (selection.decided_by.leader,)


def _deciding_lines(selection: Selection, rankings: Sequence[Ranking]) -> dict[str, RankedLine]:
    """Lines of the ranking by the metric that decided."""
    title = _title(selection.decided_by)
    found = next((each for each in rankings if each.title == title), None)
    return {line.checkpoint: line for line in found.lines} if found else {}


def _score(selection: Selection, rankings: Sequence[Ranking]) -> tuple[str, str]:
    """The score of the best and its 95 % interval; nothing for a tie."""
    if selection.value is None:
        return "", ""
    line = _deciding_lines(selection, rankings).get(selection.decided_by.leader)
    if line is None or line.interval is None:
        return significant(selection.value, 5), ""
    return with_interval(line.value, *line.interval)


def _margin(
    selection: Selection, rankings: Sequence[Ranking], checkpoints: Mapping[str, PageCheckpoint]
) -> str:
    if selection.tied or selection.second is None:
        return ""
    lines = _deciding_lines(selection, rankings)
    difference, rivals = selection.difference, selection.rivals
    if difference is None:  # of version 0.1, which recorded no difference
        second = lines.get(selection.second)
        difference, rivals = (second.from_best if second else None), len(lines) - 1
    if difference is None:
        return ""
    named = checkpoints.get(selection.second)
    unit = METRICS[selection.decided_by.metric].unit
    size, interval = _unsigned(difference)
    p = p_value(difference.p)
    sure = [f"95 % CI {interval}", f"p {p}" if p.startswith("<") else f"p = {p}"]
    unbroken = [text.replace(" ", "\N{NO-BREAK SPACE}") for text in sure]
    adjusted = f", Holm, {rivals} comparisons" if rivals > 1 else ""
    return (
        f"Better by {size}{f' {unit}' if unit else ''} than the next, "
        f"{named.short if named else printable(selection.second)} "
        f"({unbroken[0]}; {unbroken[1]}{adjusted}; same seeds)"
    )


def _unsigned(difference: Difference) -> tuple[str, str]:
    """The size of a difference and its interval."""
    ends = (difference.low, difference.high)
    if difference.value < 0:
        ends = (-difference.high, -difference.low)
    return with_interval(abs(difference.value), *ends)


def _heading(selection: Selection, compared: int) -> str:
    first, last = (_title(step) for step in (selection.steps[0], selection.decided_by))
    if selection.tied:
        return f"No single best of {compared} by {first}"
    if len(selection.steps) == 1:
        return f"Best of {compared} by {first}"
    return f"Best of {compared}: a tie by {first}, decided by {last}"


def _title(step: SelectionStep) -> str:
    return compared_title(step.metric, step.extractor)


def _sentence(text: str) -> str:
    return printable(f"{text[:1].upper()}{text[1:]}.")


def _of_race(race: RaceOutcome | None) -> list[Ground]:
    if race is None or not race.left:
        return []
    dropped = f"{len(race.left)} {'were' if len(race.left) > 1 else 'was'} dropped from the race"
    risk = f"the probability that the best of all was among them is at most {race.alpha:.2g}"
    return [Ground("for", f"{dropped}; {risk}, {race.condition}.")]


def _grounds(selection: Selection, views: Sequence[OtherView]) -> list[Ground]:
    grounds = _of_steps(selection) if selection.compared > 1 else []
    if views:
        agreeing = sum(view.agrees for view in views)
        comparisons = f"{len(views)} other comparison{'s' if len(views) > 1 else ''}"
        text = f"Best or not distinguishable from the best by {agreeing} of {comparisons}."
        grounds.append(Ground("for" if _most_agree(views) else "against", text))
    return [*grounds, _confirmation(selection)]


def _warnings(warned: Sequence[Notice], chosen: Sequence[PageCheckpoint]) -> Iterator[Ground]:
    """What is known against the best; of those that are tied, against which of them."""
    shorts = {checkpoint.label: checkpoint.short for checkpoint in chosen}
    for notice in warned:
        for reason in notice.reasons:
            begins = reason.text.casefold().startswith(notice.title.casefold())
            text = reason.text if begins else f"{notice.title}: {reason.text}"
            if len(chosen) > 1:
                names = (shorts.get(printable(label), "") for label in reason.checkpoints)
                text += f" ({', '.join(filter(None, names))})"
            yield Ground("against", _sentence(text))


def _of_steps(selection: Selection) -> list[Ground]:
    """What the first metric and those after it leave undecided."""
    level, title = len(selection.level), _title(selection.steps[0])
    if level == 1:
        return [Ground("for", "Significantly better than every other checkpoint at 5 %.")]
    grounds = [Ground("open", f"{level} checkpoints are not distinguishable by {title} at 5 %.")]
    if not selection.tied:
        later = ", then by ".join(_title(step) for step in selection.steps[1:])
        return [
            *grounds,
            Ground("for", f"Significantly better than the others of these by {later}."),
        ]
    if selection.images_needed is not None:
        needed = f"About {selection.images_needed:,} images would be needed to separate them"
        grounds.append(Ground("open", f"{needed} by {title}."))
    return grounds


def _confirmation(selection: Selection) -> Ground:
    found = selection.confirmation
    if found is None:
        return Ground("open", "Not confirmed on fresh seeds (--confirm does that).")
    side = {"confirmed": "for", "none": "open"}.get(found.outcome, "against")
    return Ground("open" if found.is_stale else side, _sentence(found.sentence))


def _other_views(
    selection: Selection,
    rankings: Sequence[Ranking],
    checkpoints: Mapping[str, PageCheckpoint],
) -> list[OtherView]:
    own = _title(selection.steps[0] if selection.tied else selection.decided_by)
    others = [ranking for ranking in rankings if ranking.title != own]
    chosen = chosen_labels(selection)
    return [_view(ranking, chosen, checkpoints) for ranking in others]


def _view(
    ranking: Ranking, chosen: Sequence[str], checkpoints: Mapping[str, PageCheckpoint]
) -> OtherView:
    lines = {line.checkpoint: line for line in ranking.lines}
    standing, agrees = _standing(lines, chosen)
    return OtherView(
        title=ranking.title,
        metric=ranking.metric,
        best=checkpoints.get(ranking.best.checkpoint),
        standing=standing,
        agrees=agrees,
    )


def _standing(lines: Mapping[str, RankedLine], chosen: Sequence[str]) -> tuple[str, bool]:
    """Where the best checkpoint, or those that are tied, stand in another ranking."""
    found = [lines[name] for name in chosen if name in lines]
    if not found:
        return "not compared", False
    if len(chosen) > 1:
        level = sum(line.is_best or line.is_level for line in found)
        return f"{level} of {len(chosen)} best or not distinguishable from the best", level > 0
    (line,) = found
    if line.from_best is None or line.is_best:
        return "best", True
    if line.is_level:
        return "not distinguishable from the best", True
    place = [*lines].index(line.checkpoint) + 1
    difference = significant(line.from_best.value, sign="+")
    return f"{difference} from the best, rank {place} of {len(lines)}", False


def _outcome(race: RaceOutcome) -> str:
    fates = {"dropped": race.left, "scored in full": race.stayed, "failed": race.failed,
             "not in the race": race.outside}  # fmt: skip
    said = ", ".join(f"{len(found):,} {fate}" for fate, found in fates.items() if found)
    share = race.images / race.images_in_full if race.images_in_full else 1.0
    return f"{said}. Images: {race.images:,} of {race.images_in_full:,} ({share:.1%})."


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
        outcome: What became of those that entered, and what it saved.
        looks: Samples at each look.
        level: Of each test.
        lines: Those that left, the last ones first.
    """

    title: str
    metric: Metric
    outcome: str
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
    places = interval_decimals(
        (each.difference, -each.standard_error, each.standard_error) for each in left
    )
    metric = METRICS[compared_column(outcome.metric)]
    return RaceView(
        title=compared_title(metric.column, outcome.extractor),
        metric=metric,
        outcome=_outcome(outcome),
        looks=", ".join(count(look) for look in outcome.looks),
        level=significant(outcome.level),
        lines=tuple(_line(leaving, checkpoints, places) for leaving in left),
    )


def _line(leaving: Leaving, checkpoints: Mapping[str, PageCheckpoint], places: int) -> DroppedLine:
    return DroppedLine(
        checkpoint=checkpoints[leaving.checkpoint],
        count=count(leaving.count),
        leader=checkpoints.get(leaving.leader),
        difference=("+" if leaving.difference > 0 else "") + number(leaving.difference, places),
        standard_error=number(leaving.standard_error, places),
        p=p_value(leaving.p),
    )
