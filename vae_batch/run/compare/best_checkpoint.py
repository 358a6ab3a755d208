"""The best checkpoint by one metric, with its rivals, intervals and confirmation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from vae_batch.metrics.catalogue import DEFAULT_CHOICE, METRICS, compared_column
from vae_batch.plan import EvaluationSpec, InputError
from vae_batch.plan.quantities import plural
from vae_batch.storage import Store
from vae_batch.storage.checked_json import decode_checked, encode_checked
from vae_batch.storage.comparison_file import Comparison

SELECTION = "selection.json"

#: Folder of the confirmation's own run, below the output folder.
CONFIRMATION = "confirmation"

#: Added to the seed of a run for its confirmation: any number but 0 gives fresh draws.
CONFIRMATION_SEED = 1_000_003


@dataclass(frozen=True)
class Selection:
    """Which checkpoint is best by one metric.

    Attributes:
        metric: Column of the score table.
        extractor: Under which it was measured; None for metrics that need none.
        best: Label of the best checkpoint.
        value: Its score, as in the score table.
        level: All checkpoints that are not distinguishable from it, itself among them.
        second: The next best checkpoint, or None where only one was scored.
        compared: Number of checkpoints compared.
        sentence: All of that for a person.
        confirmation: Result of a comparison on fresh seeds; None where none was asked for.
    """

    metric: str
    extractor: str | None
    best: str
    value: float
    level: tuple[str, ...]
    second: str | None
    compared: int
    sentence: str
    confirmation: str | None = None


def select_best(comparisons: Sequence[Comparison], spec: EvaluationSpec) -> Selection | None:
    """The best checkpoint by the metric asked for, or by the first of the default ones.

    Raises:
        InputError: No checkpoint was compared by the metric asked for.
    """
    raced = (spec.race.metric,) if spec.race else ()
    for metric in (spec.select,) if spec.select else (*raced, *DEFAULT_CHOICE):
        rows = [row for row in comparisons if row.metric == metric]
        if rows:
            return _selection(metric, _first_group(rows), is_race=spec.race is not None)
    if spec.select and comparisons:
        compared = sorted({row.metric for row in comparisons})
        raise InputError(
            f"--select {spec.select}: no checkpoint has a value of it{_needed(spec.select)}; "
            f"checkpoints were compared by {', '.join(compared)}"
        )
    return None


def _needed(metric: str) -> str:
    images = METRICS[metric].images_per_dimension
    return f" (it needs {images:.2f} images per feature dimension)" if images else ""


def write_selection(store: Store, selection: Selection) -> None:
    """Write ``selection.json``."""
    store.write(SELECTION, encode_checked(asdict(selection)))


def read_selection(store: Store) -> Selection | None:
    """What was selected; None where nothing was.

    Raises:
        InputError: The file is damaged.
    """
    found = store.find(SELECTION)
    if found is None:
        return None
    try:
        values = decode_checked(found)
        # Version 0.1 called the corrected Fréchet distance ``fid``.
        named = {"metric": compared_column(values["metric"]), "level": tuple(values["level"])}
        return Selection(**{**values, **named})
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(
            f"{store.shown}/{SELECTION} is damaged ({error}); `vae-batch verify --mend` takes it "
            "away, and `vae-batch score` writes it anew"
        ) from None


def confirmed(selection: Selection, fresh: Sequence[Comparison]) -> str:
    """What the same comparison says on fresh seeds.

    Args:
        selection: Made on the run's own seeds.
        fresh: Comparisons of the best and the second on other seeds.
    """
    rows = {
        row.checkpoint: row
        for row in fresh
        if row.metric == selection.metric and row.extractor == selection.extractor
    }
    best, second = rows.get(selection.best), rows.get(selection.second or "")
    if best is None or second is None:
        return "fresh seeds gave no comparison of the best and the second"
    if not best.is_best:
        loser, again = best, "not confirmed: on fresh seeds the second is better"
    elif second.level_with_best:
        loser, again = second, "not confirmed: on fresh seeds the two are not distinguishable"
    else:
        loser, again = second, "confirmed on fresh seeds"
    return f"{again} ({_difference(loser)})"


def title_of(metric: str, extractor: str | None) -> str:
    """What checkpoints were compared by, in short."""
    return METRICS[compared_column(metric)].short + (f"[{extractor}]" if extractor else "")


def level_in_words(rivals: Sequence[str]) -> str:
    """Checkpoints that are not distinguishable from the best: their number, and the first few."""
    shown = ", ".join(rivals[:4]) + (", ..." if len(rivals) > 4 else "")
    return f"{plural(len(rivals), 'other')} not distinguishable from it: {shown}"


def _first_group(rows: Sequence[Comparison]) -> list[Comparison]:
    """Rows that were compared with the first one."""
    return [row for row in rows if row.group == rows[0].group]


def _selection(metric: str, rows: Sequence[Comparison], *, is_race: bool) -> Selection:
    best = next(row for row in rows if row.is_best)
    sign = METRICS[metric].sign
    others = sorted((row for row in rows if row is not best), key=lambda row: sign * row.value)
    level = tuple(row.checkpoint for row in rows if row.level_with_best)
    return Selection(
        metric=metric,
        extractor=best.extractor,
        best=best.checkpoint,
        value=best.value,
        level=level,
        second=others[0].checkpoint if others else None,
        compared=len(rows),
        sentence=_sentence(metric, best, others, level, is_race=is_race),
    )


def _sentence(
    metric: str,
    best: Comparison,
    others: Sequence[Comparison],
    level: Sequence[str],
    *,
    is_race: bool,
) -> str:
    title = title_of(metric, best.extractor)
    said = f"best by {title}: {best.checkpoint}, {best.value:.5g}, n = {best.n:,}"
    if not others:
        alone = "all others were dropped" if is_race else "only one checkpoint was compared"
        return f"{said}; {alone}"
    rivals = [name for name in level if name != best.checkpoint]
    if rivals:
        said += f"; {level_in_words(rivals)}"
    return f"{said}; next is {others[0].checkpoint}, {_difference(others[0], len(others))}"


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
