"""A run as a notebook's cell shows it: what is best, the narrow table, the film strip."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from pathlib import Path
from urllib.parse import quote

from markupsafe import Markup, escape

from vae_batch.metrics.catalogue import Metric
from vae_batch.plan.location import is_uri
from vae_batch.report.comparable_rows import Key, best_marks
from vae_batch.report.labels import count, printable
from vae_batch.report.score_text import Column, Footnotes, columns_of, text_rows
from vae_batch.run.compare.best_checkpoint import Selection
from vae_batch.run.output.layout import PAGE
from vae_batch.storage.score_rows import ScoreRow

_WORDS = ("checkpoint", "step", "extractor", "n")
_SCROLLED = "max-height:26em;overflow:auto;margin:.5em 0"
_NOTE = "font-size:.85em;opacity:.8;margin:.2em 0"


def notebook_html(
    rows: Sequence[ScoreRow], selection: Selection | None, film_strip: bytes | None, out: str
) -> str:
    """A fragment of HTML that needs nothing beside it; all that comes from files is escaped.

    Colours are the notebook's own, so that it reads on dark and on light.

    Args:
        rows: Of the score table.
        selection: Which checkpoint was found best; None where none was.
        film_strip: A PNG, shown inline; None where there is none.
        out: Path or URI of the output folder.
    """
    selected = selection.metric if selection else None
    parts = [
        Markup("<div>"),
        *(_paragraph(text, "font-weight:bold") for text in _said(selection)),
        _table(rows, columns_of(rows, selected)),
        _picture(film_strip),
        _link(f"{out.rstrip('/')}/{PAGE}"),
        Markup("</div>"),
    ]
    return str(Markup("").join(parts))


def _said(selection: Selection | None) -> list[str]:
    if selection is None:
        return ["No checkpoint was selected as best."]
    return [f"{text[0].upper()}{text[1:]}." for text in selection.sentences]


def _paragraph(text: str, style: str) -> Markup:
    return Markup('<p style="{}">{}</p>').format(style, printable(text))


def _table(rows: Sequence[ScoreRow], columns: Sequence[Column]) -> Markup:
    """Checkpoint, step, extractor and metrics; footnotes give every reason."""
    footnotes = Footnotes()
    metrics = [column.metric for column in columns]
    texts, best = text_rows(rows, metrics, footnotes), best_marks(rows, metrics)
    tips = [f"{m.title}. {m.definition}" for m in metrics]
    heads = [_cell("th", c.heading, tip) for c, tip in zip(columns, tips, strict=True)]
    lines = [_line(row, texts[row.key], metrics, best) for row in rows]
    notes = [_paragraph(line, _NOTE) for line in footnotes.lines()]
    starred = [_paragraph("bold: best point estimate among comparable rows", _NOTE)] if best else []
    words = [_cell("th", name, number=name in ("step", "n")) for name in _WORDS]
    return Markup(
        '<div style="{}"><table><thead><tr>{}</tr></thead><tbody>{}</tbody></table></div>{}'
    ).format(_SCROLLED, _joined([*words, *heads]), _joined(lines), _joined([*starred, *notes]))


def _line(
    row: ScoreRow, texts: dict[str, str], metrics: Sequence[Metric], best: set[tuple[Key, str]]
) -> Markup:
    words = texts | {"step": count(row.step)}
    cells = [_cell("td", words[name], number=name in ("step", "n")) for name in _WORDS]
    for metric in metrics:
        text = texts[metric.column]
        is_best = (row.key, metric.column) in best
        cells.append(_cell("td", text.replace("*", ""), bold=is_best))
    return Markup("<tr>{}</tr>").format(_joined(cells))


def _cell(tag: str, text: str, tip: str = "", *, bold: bool = False, number: bool = True) -> Markup:
    inner = Markup("<b>{}</b>").format(text) if bold else escape(text)
    align = Markup(' style="text-align:{}"').format("right" if number else "left")
    title = Markup(' title="{}"').format(tip) if tip else ""
    return Markup("<{0}{1}{2}>{3}</{0}>").format(Markup(tag), align, title, inner)


def _picture(png: bytes | None) -> Markup:
    if png is None:
        return Markup("")
    image = Markup(
        '<img alt="the same latents through training, one row per checkpoint" '
        'style="max-width:100%" src="data:image/png;base64,{}">'
    ).format(base64.b64encode(png).decode("ascii"))
    return Markup("<div>{}</div>").format(image)


def _link(page: str) -> Markup:
    """A link that a notebook's server opens where the page lies below its folder; else a path."""
    path = Path(page)
    below = path.is_absolute() and path.is_relative_to(Path.cwd())
    relative = path.relative_to(Path.cwd()) if below else path
    if relative.is_absolute() or is_uri(page):
        return _paragraph(page, _NOTE)
    link = Markup('<a href="{}" target="_blank">{}</a>')
    return Markup('<p style="{}">{}</p>').format(
        _NOTE, link.format(quote(relative.as_posix()), printable(page))
    )


def _joined(parts: Iterable[Markup]) -> Markup:
    return Markup("").join(parts)
