"""Every figure of a report as files, with an index that says what is there and what is not."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from vae_batch.metrics.catalogue import DEFAULT_CHOICE, METRICS
from vae_batch.report.charts.ranking import Ranking, read_rankings
from vae_batch.report.comparable_rows import Measured, finite_value, measured_under
from vae_batch.report.figures.chart_plans import (
    checkpoint_charts,
    combined_charts,
    metric_curves,
    ranking_figures,
    rate_distortion,
)
from vae_batch.report.figures.plates import film_strip_figure, plate_figures
from vae_batch.report.figures.printing import LeftOut, PlannedFigure, print_style
from vae_batch.report.gallery import Gallery
from vae_batch.report.labels import slugs, without_shared_folder
from vae_batch.run.compare.best_checkpoint import Selection
from vae_batch.storage import Store
from vae_batch.storage.checked_json import parse_json
from vae_batch.storage.comparison_file import Comparison
from vae_batch.storage.score_rows import ScoreRow

Write = Callable[[str, bytes], None]

_WRITERS = 4  # files on their way at a time: a disk syncs each, an object store answers slowly

MOST_CHECKPOINTS = 8
"""Checkpoints with plates of their own, so that a thousand of them fill no disk."""

INDEX = "index.json"
"""Lists the figures and their files, and what was left out and why."""


def write_figures(
    rows: Sequence[ScoreRow],
    galleries: Mapping[str, Gallery],
    write: Write,
    comparisons: Sequence[Comparison] = (),
    selection: Selection | None = None,
) -> list[str]:
    """Draw every figure and hand each file to ``write(name, content)``.

    Charts are written as ``.png``, ``.pdf`` and ``.svg``, plates of images as ``.png`` and
    ``.pdf``, and all with a ``.json`` of the numbers in them. What there is no data for is left
    out. Of more than 8 checkpoints with pictures, the best, the worst, the last and those not
    distinguishable from the best have figures of their own. Equal input gives equal bytes.

    Args:
        rows: Of the score table.
        galleries: Pictures by checkpoint label; a checkpoint may have none.
        write: Called once for each file, with a file-safe name.
        comparisons: Paired differences between checkpoints, as ``read_comparisons`` gives them.
        selection: Which checkpoint was found best; None where none was.

    Returns:
        The names written, in order; the last is ``index.json``.
    """
    rankings = read_rankings(comparisons, rows, selection)
    chosen = choose_checkpoints(rows, [*galleries], rankings, selection)
    names: list[str] = []
    entries: list[dict[str, Any]] = []
    left_out: list[dict[str, Any]] = []
    figures = planned_figures(rows, galleries, chosen, rankings)
    with print_style():
        for figure in figures:
            if isinstance(figure, LeftOut):
                left_out.append(_without_none(vars(figure)))
                continue
            files = _files(figure)
            for name, content in files.items():
                write(name, content)
            names += files
            entries.append(_entry(figure, [*files]))
    index = {"figures": entries, "left_out": left_out, **_shown(chosen)}
    write(INDEX, _json(index))
    return [*names, INDEX]


def planned_figures(
    rows: Sequence[ScoreRow],
    galleries: Mapping[str, Gallery],
    chosen: Chosen,
    rankings: Sequence[Ranking],
) -> Iterator[PlannedFigure | LeftOut]:
    """The figures of a report in order, not drawn yet; see :func:`write_figures`."""
    yield from metric_curves(rows)
    yield from ranking_figures(rankings)
    yield from rate_distortion(rows)
    yield film_strip_figure(rows, galleries, chosen.reasons)
    shown = {checkpoint: galleries[checkpoint] for checkpoint in chosen.reasons}
    shorts = dict(zip(shown, without_shared_folder([*shown]), strict=True))
    yield from combined_charts(shown, shorts)
    names = slugs([*(row.checkpoint for row in rows), *galleries])
    for checkpoint, gallery in shown.items():
        slug = names[checkpoint]
        yield from plate_figures(checkpoint, slug, gallery)
        yield from checkpoint_charts(checkpoint, slug, gallery)


def _files(figure: PlannedFigure) -> dict[str, bytes]:
    """A figure's files by name, the JSON last."""
    drawn = figure.draw()
    files = {f"{figure.name}.{suffix}": content for suffix, content in drawn.files.items()}
    values = {
        "figure": figure.name,
        "title": figure.title,
        "checkpoint": figure.checkpoint,
        "inches": [*drawn.inches],
        **figure.values,
        **drawn.values,
    }
    return {**files, f"{figure.name}.json": _json(_without_none(values))}


def _entry(figure: PlannedFigure, files: list[str]) -> dict[str, Any]:
    entry = {
        "name": figure.name,
        "title": figure.title,
        "kind": figure.values["kind"],
        "checkpoint": figure.checkpoint,
        "files": files,
    }
    return _without_none(entry)


def _shown(chosen: Chosen) -> dict[str, Any]:
    """Which checkpoints have figures of their own, and which only stand in those of several."""
    return {
        "checkpoints": [
            {"checkpoint": checkpoint, "why": why} for checkpoint, why in chosen.reasons.items()
        ],
        "checkpoints_in_combined_figures_only": [*chosen.others],
    }


def _without_none(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _json(values: Mapping[str, Any]) -> bytes:
    return (json.dumps(values, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()


def replace_figures(
    folder: Store,
    rows: Sequence[ScoreRow],
    galleries: Mapping[str, Gallery],
    comparisons: Sequence[Comparison],
    selection: Selection | None,
) -> dict[str, str]:
    """Write all figures into ``folder``, then remove those of an earlier report that are no more.

    The index is written when every file that it lists is there.

    Returns:
        The names written, as ``write_figures`` gives them, and the SHA-256 of each file.

    Raises:
        OSError: A file cannot be written.
    """
    content = folder.find(INDEX)
    former = () if content is None else files_of_index(content)
    writing: list[Future[None]] = []
    digests: dict[str, str] = {}
    with ThreadPoolExecutor(_WRITERS) as pool:

        def write(name: str, content: bytes) -> None:
            if name == INDEX:
                for file in writing:
                    file.result()
            digests[name] = hashlib.sha256(content).hexdigest()
            writing.append(pool.submit(folder.write, name, content))

        names = write_figures(rows, galleries, write, comparisons, selection)
        writing[-1].result()
    for name in sorted({*former} - {*names}):
        folder.delete(name)
    return {name: digests[name] for name in names}


def files_of_index(index: bytes) -> tuple[str, ...]:
    """Files that an earlier report wrote beside its index; none where the index is damaged."""
    try:
        found = [name for figure in parse_json(index)["figures"] for name in figure["files"]]
    except (ValueError, KeyError, TypeError):
        return ()
    return tuple(name for name in found if isinstance(name, str) and "/" not in name)


_TIED = "tied for best"
_LEVEL = "not distinguishable from the best by the first metric"


@dataclass(frozen=True)
class Chosen:
    """Checkpoints with plates of their own.

    Attributes:
        reasons: Why each was chosen, by its label, in table order.
        others: Checkpoints with pictures that were not.
    """

    reasons: Mapping[str, str]
    others: tuple[str, ...]


def choose_checkpoints(
    rows: Sequence[ScoreRow],
    pictured: Collection[str],
    rankings: Sequence[Ranking],
    selection: Selection | None,
) -> Chosen:
    """All checkpoints with pictures where they are few; else those that decide.

    These are the best, the worst, the last, and those not distinguishable from the best.

    Args:
        rows: Of the score table.
        pictured: Checkpoints with pictures.
        rankings: The first one says which is best and which worst; without any, the score table.
        selection: Which checkpoint was found best; None where none was.
    """
    order = [label for label in dict.fromkeys(row.checkpoint for row in rows) if label in pictured]
    order += [label for label in pictured if label not in order]
    if len(order) <= MOST_CHECKPOINTS:
        return Chosen(dict.fromkeys(order, "all have pictures"), ())
    ranked = _ranked(rows, rankings)
    ranked = [label for label in ranked if label in pictured]
    first = selection.decided_by.leader if selection else "".join(ranked[:1])
    wanted: dict[str, str] = {}
    if first in pictured:
        wanted = {first: _TIED if selection and selection.tied else "best"}
    if ranked:
        wanted.setdefault(ranked[-1], "worst")
    wanted.setdefault(_last(rows, order), "last")
    groups = ((selection.tied, _TIED), (selection.level, _LEVEL)) if selection else ()
    for labels, reason in groups:
        for label in ranked:
            if label in labels:
                wanted.setdefault(label, reason)
    kept = {*list(wanted)[:MOST_CHECKPOINTS]}
    reasons = {label: wanted[label] for label in order if label in kept}
    return Chosen(reasons, tuple(label for label in order if label not in kept))


def _ranked(rows: Sequence[ScoreRow], rankings: Sequence[Ranking]) -> list[str]:
    """Checkpoints from best to worst by the first ranking, or else by their scores."""
    if rankings:
        return [line.checkpoint for line in rankings[0].lines]
    for metric in (METRICS[name] for name in DEFAULT_CHOICE):
        values: dict[Measured, dict[str, float]] = {}
        for row in rows:
            value = finite_value(row, metric.column)
            if row.status == "scored" and value is not None:
                values.setdefault(measured_under(row, metric), {})[row.checkpoint] = value
        for scores in values.values():
            return sorted(scores, key=lambda label: metric.sign * scores[label])
    return []


def _last(rows: Sequence[ScoreRow], order: Sequence[str]) -> str:
    """The checkpoint of the greatest step, or of the last row."""
    steps = {row.checkpoint: row.step for row in rows}
    return max(enumerate(order), key=lambda entry: (steps.get(entry[1]) or -1, entry[0]))[1]
