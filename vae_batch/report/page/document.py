"""The page put together: sections in order, styles and script inside, and a strict policy."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from vae_batch.metrics.catalogue import METRICS, Metric
from vae_batch.report.charts.chart import DARK, LIGHT, legend_of
from vae_batch.report.charts.curve_charts import CurveChart, curve_charts
from vae_batch.report.charts.curves import read_curves
from vae_batch.report.charts.ranking import Ranking, read_rankings
from vae_batch.report.charts.rate_distortion import plane_chart, plane_names, read_planes
from vae_batch.report.comparable_rows import details_in, headlines_in
from vae_batch.report.gallery import Gallery
from vae_batch.report.gallery_panels import strip_rows
from vae_batch.report.labels import printable, significant, slugs
from vae_batch.report.notices import Notice, divided, notices
from vae_batch.report.page.chart_svg import CURVE, PLANE, Drawing, DrawnKey, draw_chart, draw_key
from vae_batch.report.page.checkpoints import PageCheckpoint, page_checkpoints
from vae_batch.report.page.pictures import (
    Panel,
    checkpoint_panels,
    film_strip_sprites,
    shared_pictures,
    verdict_sprite,
)
from vae_batch.report.page.provenance import headline_of, provenance_of
from vae_batch.report.page.rankings import shown_rankings
from vae_batch.report.page.score_tables import score_tables
from vae_batch.report.page.verdict import chosen_labels, race_view, verdict_of
from vae_batch.report.score_text import ARROWS
from vae_batch.run.compare.best_checkpoint import Selection
from vae_batch.run.output.layout import FIGURES
from vae_batch.run.race.record import RaceOutcome
from vae_batch.storage.comparison_file import Comparison
from vae_batch.storage.score_rows import ScoreRow

_DIRECTIONS = {
    "lower": "lower is better",
    "higher": "higher is better",
    "neither": "neither direction is better by itself",
}
_STYLES = ("theme.css", "layout.css", "tables.css", "charts.css", "pictures.css", "print.css")
_SCRIPTS = ("tooltip.js", "arrows.js", "tables.js", "compare.js", "enlarge.js", "print.js")
_SUFFIXES = ("png", "pdf", "svg")


@dataclass(frozen=True)
class ShownCurve:
    """The chart of one metric under one extractor."""

    content: CurveChart
    drawing: Drawing


@dataclass(frozen=True)
class ShownPlane:
    """A rate-distortion plane, its legend and its best checkpoint with that one's ELBO."""

    name: str
    drawing: Drawing
    keys: tuple[DrawnKey, ...]
    best: PageCheckpoint
    elbo: str


@dataclass(frozen=True)
class Section:
    """One checkpoint's part of the page; ``slug`` ends the names of its figures' files."""

    checkpoint: PageCheckpoint
    slug: str
    panels: tuple[Panel, ...]


def render_page(
    rows: Sequence[ScoreRow],
    galleries: Mapping[str, Gallery],
    provenance: Mapping[str, object],
    comparisons: Sequence[Comparison] = (),
    selection: Selection | None = None,
    race: RaceOutcome | None = None,
    figures: Collection[str] = (),
) -> str:
    """The report as one self-contained HTML document.

    Everything that comes from files, names and reasons included, is escaped; the page carries a
    content security policy under which nothing but its own style and script is used and nothing
    is fetched. Equal input gives equal bytes.

    Args:
        rows: Of the score table, one for each checkpoint and extractor.
        galleries: Pictures by checkpoint label; a checkpoint may have none.
        provenance: What made the scores, such as the spec and versions; mappings may nest.
        comparisons: Paired differences between checkpoints, as ``read_comparisons`` gives them.
        selection: Which checkpoint was found best; None where none was.
        race: How the race went that the checkpoints were scored by; None where there was none.
        figures: Names of the files in the folder ``figures`` beside the page, to which it links.
    """
    headlines, details = headlines_in(rows), details_in(rows)
    checkpoints = page_checkpoints(rows, galleries)
    panels = checkpoint_panels(galleries)
    curves = curve_charts(read_curves(rows))
    rankings = read_rankings(comparisons, rows, selection)
    chosen, level = chosen_labels(selection), selection.level if selection else ()
    about, others = divided(notices(rows, headlines, galleries), chosen)
    named = {label: checkpoints[label].short for label in chosen if label in checkpoints}
    environment = _environment()
    environment.globals["files_of"] = partial(_files_of, frozenset(figures))
    style, script = _style(environment), _sources(environment, "scripts", _SCRIPTS)
    return environment.get_template("page.html.j2").render(
        style=style,
        style_hash=_hash(style),
        script=script,
        script_hash=_hash(script),
        arrows=ARROWS,
        directions=_DIRECTIONS,
        checkpoints=checkpoints,
        output=printable(provenance.get("output", "")),
        failed=sum(bool(named.failure) for named in checkpoints.values()),
        headline=headline_of(rows),
        notices=_by_level(others),
        verdict=verdict_of(selection, rankings, about, checkpoints, race),
        verdict_sprite=verdict_sprite(named, galleries),
        race=race_view(race, checkpoints),
        rankings=shown_rankings(rankings, checkpoints),
        provenance=provenance_of(rows, provenance),
        tables=score_tables(
            rows, headlines, details, checkpoints, selection.metric if selection else None
        ),
        curves=[ShownCurve(each, draw_chart(each.chart, CURVE)) for each in curves],
        curve_keys=[draw_key(key) for key in legend_of(each.chart for each in curves)],
        planes=_planes(rows, checkpoints),
        film_strip=film_strip_sprites(rows, galleries, level),
        not_in_strip=len(checkpoints) - len(strip_rows(rows, keep=level)),
        sections=_sections(
            checkpoints, panels, slugs([*(row.checkpoint for row in rows), *galleries])
        ),
        shared=shared_pictures(panels),
        metrics=_defined([*headlines, *details], rankings),
    )


def _planes(
    rows: Sequence[ScoreRow], checkpoints: Mapping[str, PageCheckpoint]
) -> list[ShownPlane]:
    planes = read_planes(rows)
    charts = [plane_chart(plane) for plane in planes]
    return [
        ShownPlane(
            name,
            draw_chart(chart, PLANE),
            tuple(draw_key(key) for key in chart.keys),
            checkpoints[plane.best.row.checkpoint],
            significant(plane.best.elbo, 5),
        )
        for plane, name, chart in zip(planes, plane_names(planes), charts, strict=True)
    ]


def _by_level(found: Sequence[Notice]) -> dict[str, list[Notice]]:
    return {
        level: [notice for notice in found if notice.level == level]
        for level in ("failed", "warning", "note")
    }


def _sections(
    checkpoints: Mapping[str, PageCheckpoint],
    panels: Mapping[str, tuple[Panel, ...]],
    names: Mapping[str, str],
) -> list[Section]:
    return [
        Section(named, names[label], panels.get(label, ())) for label, named in checkpoints.items()
    ]


def _files_of(figures: Collection[str], name: str) -> list[tuple[str, str]]:
    """Suffix and relative address of the files of a figure that exist."""
    files = [(suffix, f"{name}.{suffix}") for suffix in _SUFFIXES]
    return [(suffix.upper(), f"{FIGURES}/{file}") for suffix, file in files if file in figures]


def _defined(shown: Sequence[Metric], rankings: Sequence[Ranking]) -> list[Metric]:
    """Every metric that the page names, in the catalogue's order."""
    columns = {metric.column for metric in shown} | {r.metric.column for r in rankings}
    return [metric for column, metric in METRICS.items() if column in columns]


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


def _style(environment: Environment) -> Markup:
    """The style sheets, and the colours of series from the theme that figures are drawn in."""
    light, dark = (
        "".join(f"--s{index}:{colour};" for index, colour in enumerate(theme.series))
        for theme in (LIGHT, DARK)
    )
    dark_screen = "@media screen and (prefers-color-scheme:dark)"
    colours = f":root{{{light}}}{dark_screen}{{:root{{{dark}}}}}\n"
    return Markup(colours) + _sources(environment, "styles", _STYLES)


def _sources(environment: Environment, folder: str, names: Sequence[str]) -> Markup:
    """Files of the page that are ours and must not be escaped, one after the other."""
    if environment.loader is None:
        raise ValueError("page templates: expected a loader, found none")
    found = (environment.loader.get_source(environment, f"{folder}/{name}")[0] for name in names)
    return Markup("".join(found))


def _hash(source: str) -> str:
    digest = hashlib.sha256(source.encode("utf-8")).digest()
    return f"sha256-{base64.b64encode(digest).decode('ascii')}"
