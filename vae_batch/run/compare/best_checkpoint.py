"""Which checkpoint is best: metrics asked in order, ties and rivals, and confirmation."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Annotated, Any, Literal

from pydantic import Field

from vae_batch.metrics.catalogue import DEFAULT_CHOICE, METRICS, compared_column
from vae_batch.metrics.comparison.paired_difference import count_to_separate
from vae_batch.plan import EvaluationSpec, InputError
from vae_batch.plan.quantities import plural
from vae_batch.run.compare.pairwise import compare_among, compare_run
from vae_batch.storage import ScoreRow, Store, read_score_rows
from vae_batch.storage.checked_json import decode_as, encode_checked
from vae_batch.storage.comparison_file import Comparison, Difference

SELECTION = "selection.json"

#: Folder of the confirmation's own run, below the output folder.
CONFIRMATION = "confirmation"

#: Added to the seed of a run for its confirmation: any number but 0 gives fresh draws.
CONFIRMATION_SEED = 1_000_003

#: Probability with which the images that a tie is said to need would separate it.
_POWER = 0.8

#: Checkpoints of a group that a sentence names; the others are counted.
_NAMED = 4

#: Comparisons of some checkpoints by one metric and extractor, with nobody else.
Among = Callable[[Sequence[str], str, str | None], list[Comparison]]


@dataclass(frozen=True)
class SelectionStep:
    """What one metric says of the checkpoints that the metrics before it could not separate.

    Attributes:
        metric: Column of the score table.
        extractor: Under which it was measured; None for metrics that need none.
        leader: Label of the best of them by it.
        value: The leader's score, as in the score table.
        n: Test images or generated samples that it is computed from.
        left: Those that are not significantly worse, in the table's order, the leader among them.
    """

    metric: str
    extractor: str | None
    leader: str
    value: float
    n: int
    left: tuple[str, ...]

    @property
    def title(self) -> str:
        """The metric and its extractor, in short."""
        return title_of(self.metric, self.extractor)


#: What fresh seeds said of the best and its closest rival: that the best is better, that they are
#: not distinguishable, that the rival is better, or nothing.
Outcome = Literal["confirmed", "level", "reversed", "none"]


@dataclass(frozen=True)
class Confirmation:
    """A comparison of the best checkpoint and its closest rival on fresh seeds.

    Attributes:
        outcome: What it said.
        text: That in words, with the difference.
        made_for: Digest of the two checkpoints' rows and of the metric; see
            ``confirmation_inputs``.
        is_stale: Whether the selection has changed since, or one of the two rows.
    """

    outcome: Outcome
    text: str
    made_for: str
    is_stale: bool = False

    @property
    def sentence(self) -> str:
        """The text, with a note where it is stale."""
        if not self.is_stale:
            return self.text
        return (
            f"stale confirmation, of an earlier selection or earlier scores: {self.text}; "
            "--confirm makes it anew"
        )


@dataclass(frozen=True)
class Selection:
    """Which checkpoint is best, or which ones cannot be told apart.

    Checkpoints are compared by the first metric of an order. Where it leaves several that it
    cannot distinguish, the next metric that separates some of them narrows the group, and so on.

    Attributes:
        steps: The first metric, then each that narrowed the group.
        compared: Number of checkpoints compared by the first metric.
        second: The best one's closest rival by the metric that decided; None without a rival.
        sentence: All of that for a person.
        undecided_by: Titles of later metrics that separated none of those left at the end; empty
            where one checkpoint is best.
        images_needed: About how many images the first metric needs to separate those left at the
            end; None where one checkpoint is best, or no number would do.
        confirmation: Result of a comparison on fresh seeds; None where none was asked for.
        difference: Of the second from the best; None without a rival, and in files of 0.1.
        rivals: Checkpoints that the best was compared with by the metric that decided, over which
            the p-value is adjusted; 0 where ``difference`` is None.
    """

    steps: Annotated[tuple[SelectionStep, ...], Field(min_length=1)]
    compared: int
    second: str | None
    sentence: str
    undecided_by: tuple[str, ...] = ()
    images_needed: int | None = None
    confirmation: Confirmation | None = None
    difference: Difference | None = None
    rivals: int = 0

    @property
    def metric(self) -> str:
        """Column of the first metric, by which all were compared."""
        return self.steps[0].metric

    @property
    def extractor(self) -> str | None:
        """Extractor of the first metric."""
        return self.steps[0].extractor

    @property
    def level(self) -> tuple[str, ...]:
        """Checkpoints that the first metric cannot distinguish from its leader, that included."""
        return self.steps[0].left

    @property
    def tied(self) -> tuple[str, ...]:
        """Checkpoints that no metric of the order separated; empty where one is best."""
        left = self.steps[-1].left
        return left if len(left) > 1 else ()

    @property
    def best(self) -> str | None:
        """Label of the best checkpoint; None where several are tied."""
        return None if self.tied else self.steps[-1].leader

    @property
    def decided_by(self) -> SelectionStep:
        """The last step, whose metric left one checkpoint, or the fewest."""
        return self.steps[-1]

    @property
    def value(self) -> float | None:
        """Score of the best checkpoint by the metric that decided; None where several are tied."""
        return None if self.tied else self.steps[-1].value

    @property
    def sentences(self) -> tuple[str, ...]:
        """What was selected, and its confirmation if there is one."""
        return (self.sentence, *([self.confirmation.sentence] if self.confirmation else []))


def select_again(location: str, spec: EvaluationSpec) -> Selection | None:
    """Compare the rows of an output folder and select among them; nothing is written but that.

    The confirmation of the selection that stands there is kept, marked as stale where it is not
    of the new one.

    Raises:
        InputError: As ``select_best``, or no run has begun there.
    """
    out = Store.open(location)
    selection = select_best(compare_run(location), spec, partial(compare_among, location))
    former: Selection | None = None
    with suppress(InputError):  # damaged, and so written anew
        former = read_selection(out)
    confirmation = former.confirmation if former else None
    if selection is None or confirmation is None or confirmation.outcome == "none":
        return selection
    is_stale = confirmation.made_for != confirmation_inputs(selection, read_score_rows(out))
    return replace(selection, confirmation=replace(confirmation, is_stale=is_stale))


def select_best(
    comparisons: Sequence[Comparison], spec: EvaluationSpec, among: Among
) -> Selection | None:
    """The best checkpoint by the metric asked for, or by the default order of metrics.

    A tie is passed on to the next metric of the order. Each metric tests at 5 %, adjusted by Holm
    within its table.

    Args:
        comparisons: Of all checkpoints.
        spec: Says which metric comes first.
        among: Compares some of them where a metric's best is not one of them, so that the
            comparisons do not hold their differences.

    Raises:
        InputError: No checkpoint was compared by the metric asked for.
    """
    first = _first_metrics(spec)
    metric = next((m for m in first if any(row.metric == m for row in comparisons)), None)
    if metric is None:
        if spec.select and comparisons:
            compared = sorted({row.metric for row in comparisons})
            raise InputError(
                f"--select {spec.select}: no checkpoint has a value of it{_needed(spec.select)}; "
                f"checkpoints were compared by {', '.join(compared)}"
            )
        return None
    group = next(row.group for row in comparisons if row.metric == metric)
    table = [row for row in comparisons if row.group == group]
    steps, deciding = [_step(table)], table
    undecided: list[str] = []
    order = [*dict.fromkeys([metric, *DEFAULT_CHOICE])]
    for rows in _tables(comparisons, order, but=group):
        left = steps[-1].left
        if len(left) == 1:
            break
        inside = _within(rows, left, among)
        if len(inside) < 2:
            continue
        step = _step(inside, left)
        if len(step.left) < len(left):
            steps.append(step)
            deciding, undecided = inside, []
        else:
            undecided.append(step.title)
    if len(steps[-1].left) == 1:
        return _decided(steps, table, deciding, is_race=spec.race is not None)
    return _tied(steps, undecided, len(table), _within(table, steps[-1].left, among))


def _first_metrics(spec: EvaluationSpec) -> tuple[str, ...]:
    if spec.select:
        return (spec.select,)
    return (*((spec.race.metric,) if spec.race else ()), *DEFAULT_CHOICE)


def _needed(metric: str) -> str:
    images = METRICS[metric].images_per_dimension
    return f" (it needs {images:.2f} images per feature dimension)" if images else ""


def _tables(
    comparisons: Sequence[Comparison], metrics: Sequence[str], but: tuple[str, str | None, str]
) -> Iterator[list[Comparison]]:
    """Rows that were compared with each other, by metrics in order, without the first table."""
    for metric in metrics:
        groups: dict[tuple[str, str | None, str], list[Comparison]] = {}
        for row in comparisons:
            if row.metric == metric and row.group != but:
                groups.setdefault(row.group, []).append(row)
        yield from groups.values()


def _within(rows: Sequence[Comparison], left: Sequence[str], among: Among) -> list[Comparison]:
    """Comparisons of those left with the best of them, as far as they are in a table."""
    inside = [row for row in rows if row.checkpoint in left]
    if len(inside) < 2 or any(row.is_best for row in inside):
        return inside
    first = inside[0]
    found = among([row.checkpoint for row in inside], first.metric, first.extractor)
    return found if len({row.group for row in found}) == 1 else []


def _step(rows: Sequence[Comparison], left: Sequence[str] | None = None) -> SelectionStep:
    """The step of a table; of ``left``, those stay that no other is significantly better than."""
    leader = next(row for row in rows if row.is_best)
    worse = {row.checkpoint for row in rows if not row.level_with_best}
    names = [row.checkpoint for row in rows] if left is None else left
    kept = tuple(name for name in names if name not in worse)
    return SelectionStep(
        leader.metric, leader.extractor, leader.checkpoint, leader.value, leader.n, kept
    )


def _decided(
    steps: Sequence[SelectionStep],
    table: Sequence[Comparison],
    deciding: Sequence[Comparison],
    *,
    is_race: bool,
) -> Selection:
    last = steps[-1]
    sign = METRICS[last.metric].sign
    rivals = [row for row in deciding if not row.is_best]
    second = min(rivals, key=lambda row: sign * row.value, default=None)
    value = f"{last.leader}, {last.value:.5g}, n = {last.n:,}"
    said = [f"best by {last.title}: {value}"]
    if len(steps) > 1:
        said = [*_narrowing(steps[:-1]), f"{last.title} decides: {value}"]
    if second is None:
        said += ["all others were dropped" if is_race else "only one checkpoint was compared"]
    else:
        said += [f"next is {second.checkpoint}, {_difference(second, len(rivals))}"]
    rival = None if second is None else second.checkpoint
    return Selection(
        tuple(steps),
        len(table),
        rival,
        "; ".join(said),
        difference=second.from_best if second else None,
        rivals=len(rivals),
    )


def _tied(
    steps: Sequence[SelectionStep],
    undecided: Sequence[str],
    compared: int,
    inside: Sequence[Comparison],
) -> Selection:
    """A selection without a best; ``inside`` compares those left by the first metric."""
    said = _narrowing(steps)
    said[0] = f"no single best of {compared:,}: {said[0]}"
    if undecided:
        said[-1] += f", nor by {' or '.join(undecided)}"
    needed = _images_needed(inside)
    title, metric = steps[0].title, METRICS[steps[0].metric]
    images = "test images" if metric.compared == "images" else "generated images"
    if needed is None:
        said += [f"their differences by {title} are 0, so no number of images separates them"]
    else:
        said += [
            f"about {needed:,} {images} would be needed to separate them by {title} "
            f"({_POWER:.0%} power, if the differences are as measured)"
        ]
    return Selection(tuple(steps), compared, None, "; ".join(said), tuple(undecided), needed)


def _narrowing(steps: Sequence[SelectionStep]) -> list[str]:
    """What each metric leaves, in words."""
    first, *others = steps
    said = [f"{_names(first.left)} are not distinguishable by {first.title} (n = {first.n:,})"]
    return said + [
        f"of these, {_names(step.left)} are not distinguishable by {step.title} (n = {step.n:,})"
        for step in others
    ]


def _names(names: Sequence[str]) -> str:
    """Such as ``a and b`` or ``a, b, c, d and 12 others``."""
    more = len(names) - _NAMED
    *firsts, last = [*names[:_NAMED], plural(more, "other")] if more > 1 else names
    return f"{', '.join(firsts)} and {last}" if firsts else last


def _images_needed(rows: Sequence[Comparison]) -> int | None:
    """Images that separate the leader from all others, at the power and level of this module."""
    counts = [
        count_to_separate(
            row.from_best.value, row.from_best.standard_error, row.n, len(rows) - 1, _POWER
        )
        for row in rows
        if row.from_best is not None
    ]
    known = [count for count in counts if count is not None]
    return max(known) if known and len(known) == len(counts) else None


def write_selection(store: Store, selection: Selection) -> None:
    """Write ``selection.json``: the fields, and what follows from them."""
    derived = ("metric", "extractor", "level", "tied", "best", "value")
    values = {name: getattr(selection, name) for name in derived}
    store.write(SELECTION, encode_checked(values | asdict(selection)))


def read_selection(store: Store) -> Selection | None:
    """What was selected; None where nothing was.

    Raises:
        InputError: The file is damaged.
    """
    found = store.find(SELECTION)
    if found is None:
        return None
    try:
        return decode_as(Selection, found, _renewed)
    except ValueError as error:
        raise InputError(
            f"{store.shown_path(SELECTION)} is damaged ({error}); `vae-batch verify {store.shown} "
            "--mend` deletes it, and `vae-batch score` writes it anew"
        ) from None


def _renewed(values: dict[str, Any]) -> dict[str, Any]:
    """The fields of a selection, of version 0.1, too.

    That compared by one metric, called the corrected FID ``fid``, and did not record what a
    confirmation was made for.
    """
    if "steps" not in values:
        step = {name: values[name] for name in ("extractor", "value")}
        metric = compared_column(values["metric"])
        step |= {"metric": metric, "leader": values["best"], "left": values["level"], "n": 0}
        values = {**values, "steps": [step]}
    said = values.get("confirmation")
    if isinstance(said, str):
        outcome = "confirmed" if said.startswith("confirmed") else "none"
        confirmation = {"outcome": outcome, "text": said, "made_for": "", "is_stale": True}
        values = {**values, "confirmation": confirmation}
    return values


def confirmed(
    selection: Selection, fresh: Sequence[Comparison], rows: Iterable[ScoreRow]
) -> Confirmation:
    """What the comparison that decided says on fresh seeds.

    Args:
        selection: Made on the run's own seeds.
        fresh: Comparisons of the best and the second on other seeds.
        rows: Of the run's own score table.
    """
    rows, decider = list(rows), selection.decided_by
    made_for = confirmation_inputs(selection, rows)
    if sets := sets_of_images(selection, rows):
        text = f"not confirmed: {' and '.join(sets)} cannot be drawn on fresh seeds (it is a set)"
        return Confirmation("none", text, made_for)
    found = {
        row.checkpoint: row
        for row in fresh
        if row.metric == decider.metric and row.extractor == decider.extractor
    }
    best, second = found.get(selection.best or ""), found.get(selection.second or "")
    if best is None or second is None:
        why = "fresh seeds gave no comparison of the best and the second"
        if selection.second is None:
            many = "no single checkpoint is best"
            why = f"nothing to confirm, as {many if selection.tied else 'there is no second'}"
        return Confirmation("none", why, made_for)
    if not best.is_best:
        text = f"not confirmed: on fresh seeds the second is better ({_difference(best)})"
        return Confirmation("reversed", text, made_for)
    difference = _difference(second)
    if second.level_with_best:
        text = f"not confirmed: on fresh seeds the two are not distinguishable ({difference})"
        return Confirmation("level", text, made_for)
    return Confirmation("confirmed", f"confirmed on fresh seeds ({difference})", made_for)


def sets_of_images(selection: Selection, rows: Iterable[ScoreRow]) -> list[str]:
    """Which of the best and the second are sets of generated images, that no seed changes."""
    pair = (selection.best, selection.second)
    sets = (row for row in rows if row.conditions.generated_subset is not None)
    return sorted({row.checkpoint for row in sets if row.checkpoint in pair})


def confirmation_inputs(selection: Selection, rows: Iterable[ScoreRow]) -> str:
    """Digest of what a confirmation is of: metric, both checkpoints, and their rows."""
    decider = selection.decided_by
    pair = [selection.best, selection.second]
    marks = {
        (row.checkpoint, row.provenance.fingerprint)
        for row in rows
        if row.checkpoint in pair and decider.extractor in (None, row.conditions.extractor)
    }
    content = [decider.metric, decider.extractor, pair, sorted(marks, key=str)]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def title_of(metric: str, extractor: str | None) -> str:
    """What checkpoints were compared by, in short."""
    return METRICS[compared_column(metric)].short + (f"[{extractor}]" if extractor else "")


def level_in_words(rivals: Sequence[str]) -> str:
    """Checkpoints that are not distinguishable from the best: their number, and the first few."""
    shown = ", ".join(rivals[:4]) + (", ..." if len(rivals) > 4 else "")
    return f"{plural(len(rivals), 'other')} not distinguishable from it: {shown}"


def _difference(row: Comparison, tests: int | None = None) -> str:
    """A difference from the best, its interval and its adjusted p-value, in words."""
    found = row.from_best
    if found is None:
        raise ValueError(f"{row.checkpoint} is the best, which has no difference from itself")
    said = f"p = {found.p:.2g}" if found.p >= 0.001 else "p < 0.001"
    adjusted = f" (Holm, {plural(tests, 'comparison')})" if tests and tests > 1 else ""
    return (
        f"difference from the best {found.value:+.4g}, 95 % CI [{found.low:.4g}, "
        f"{found.high:.4g}], {said}{adjusted}, same seeds"
    )
