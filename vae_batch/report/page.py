"""The report page: one HTML file that needs nothing beside it, and asks nothing of a network."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from vae_batch.metrics.catalogue import Metric
from vae_batch.report.comparison_view import comparison_tables
from vae_batch.report.gallery import Gallery, check_gallery
from vae_batch.report.labels import printable
from vae_batch.report.notices import notices
from vae_batch.report.page_pictures import (
    PagePanel,
    curve_pictures,
    film_strip_sprite,
    page_panels,
    panel_budget,
)
from vae_batch.report.score_rows import ScoreRow, details_in, headlines_in, read_rows
from vae_batch.report.score_text import ARROWS
from vae_batch.report.score_view import ScoreTable, score_tables
from vae_batch.report.sprites import Sprite
from vae_batch.run.selecting import Selection

_MOST_OPEN = 4
_DIRECTIONS = {
    "lower": "lower is better",
    "higher": "higher is better",
    "neither": "neither direction is better by itself",
}


@dataclass(frozen=True)
class Section:
    """One checkpoint's part of the page."""

    anchor: str
    label: str
    is_open: bool
    panels: tuple[PagePanel, ...]


def render_page(
    scores: pd.DataFrame,
    galleries: Mapping[str, Gallery],
    provenance: Mapping[str, object],
    comparisons: Sequence[Mapping[str, object]] = (),
    selection: Selection | None = None,
) -> str:
    """The report as one self-contained HTML document.

    Everything that comes from files, names and reasons included, is escaped; the page carries a
    content security policy under which nothing but its own script runs and nothing is fetched.

    Args:
        scores: the score table, one row for each checkpoint and extractor.
        galleries: pictures by checkpoint label; a checkpoint may have none.
        provenance: what made the scores, such as the spec and versions; mappings may nest.
        comparisons: paired differences between checkpoints, as `read_comparisons` gives them.
        selection: which checkpoint was found best; None where none was.

    Raises:
        ValueError: the score table or a gallery is not as documented.
    """
    for checkpoint, gallery in galleries.items():
        check_gallery(checkpoint, gallery)
    rows, metrics = read_rows(scores), headlines_in(scores)
    sections = _sections(rows, galleries)
    environment = _environment()
    script = _source(environment, "report.js")
    return environment.get_template("report.html.j2").render(
        style=_source(environment, "report.css"),
        script=script,
        script_hash=_script_hash(script),
        checkpoints=len({row.checkpoint for row in rows}),
        failed=len({row.checkpoint for row in rows if row.failure is not None}),
        metrics=metrics,
        arrows=ARROWS,
        directions=_DIRECTIONS,
        notices=notices(rows, metrics, galleries),
        tables=score_tables(rows, metrics),
        selection=_sentences(selection),
        compared=comparison_tables(comparisons, selection and selection.metric),
        details=_details(rows, details_in(scores)),
        all_metrics=[*metrics, *details_in(scores)],
        curves=curve_pictures(scores),
        film_strip=film_strip_sprite(rows, galleries),
        anchors={section.label: section.anchor for section in sections},
        sections=sections,
        shared=_shared_sprites(sections),
        provenance=list(_flat(provenance)),
    )


def _sentences(selection: Selection | None) -> list[str]:
    if selection is None:
        return []
    sentences = (selection.sentence, selection.confirmation)
    return [printable(f"{text[0].upper()}{text[1:]}.") for text in sentences if text]


def _details(
    rows: Sequence[ScoreRow], metrics: Sequence[Metric]
) -> list[tuple[str, list[Metric], list[ScoreTable]]]:
    """Tables of the metrics that are no headlines: name of the group, its metrics, its tables."""
    groups: dict[str, list[Metric]] = {}
    for metric in metrics:
        groups.setdefault(metric.group, []).append(metric)
    return [
        (name.replace("_", " "), group, score_tables(rows, group)) for name, group in groups.items()
    ]


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("vae_batch.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["printable"] = printable
    return environment


def _source(environment: Environment, name: str) -> Markup:
    """A part of the page that is ours and must not be escaped."""
    if environment.loader is None:
        raise ValueError("page templates: expected a loader, found none")
    return Markup(environment.loader.get_source(environment, name)[0])


def _script_hash(script: str) -> str:
    digest = hashlib.sha256(script.encode("utf-8")).digest()
    return f"sha256-{base64.b64encode(digest).decode('ascii')}"


def _sections(rows: Sequence[ScoreRow], galleries: Mapping[str, Gallery]) -> list[Section]:
    """Checkpoints with pictures in table order; of many, only the last starts open."""
    order = dict.fromkeys([*(row.checkpoint for row in rows), *galleries])
    shown = [checkpoint for checkpoint in order if checkpoint in galleries]
    budget = panel_budget(len(shown))
    real: dict[bytes, Sprite] = {}
    return [
        Section(
            anchor=f"checkpoint-{index + 1}",
            label=checkpoint,
            is_open=len(shown) <= _MOST_OPEN or index == len(shown) - 1,
            panels=tuple(page_panels(checkpoint, galleries[checkpoint], budget, real)),
        )
        for index, checkpoint in enumerate(shown)
    ]


def _shared_sprites(sections: Sequence[Section]) -> dict[str, tuple[str, Sprite]]:
    """Element id and sprite of every picture that the page keeps once, by its key."""
    panels = (panel for section in sections for panel in section.panels if panel.shared)
    unique = {panel.shared: panel.sprite for panel in panels}
    return {key: (f"shared-{i}", shown) for i, (key, shown) in enumerate(unique.items())}


def _flat(values: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Nested mappings as dotted names and text; a sequence becomes one comma-separated line."""
    for name, value in values.items():
        path = printable(f"{prefix}{name}")
        if isinstance(value, Mapping):
            yield from _flat(value, f"{path}.")
        elif isinstance(value, list | tuple):
            yield path, printable(", ".join(str(item) for item in value))
        else:
            yield path, printable("-" if value is None else value)
