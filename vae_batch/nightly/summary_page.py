"""A night's summary as Markdown: first what is wrong, then what is new, then what was left."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from vae_batch.metrics.catalogue import METRICS
from vae_batch.nightly.comparisons import Comparison
from vae_batch.nightly.history import Row
from vae_batch.nightly.regression import Judgement
from vae_batch.nightly.summary import NightSummary
from vae_batch.report.labels import printable

_CODES = {
    0: "nothing wrong",
    3: "some checkpoints failed",
    4: "a regression beyond the tolerance",
}

#: What Markdown or HTML would read as markup inside a line.
_MARKUP = "\\`*<>|~"


def markdown_summary(summary: NightSummary) -> str:
    """The page of a night; ends in a newline."""
    parts = [
        [f"# Night of {summary.date}: {plain(summary.headline)}"],
        [_facts(summary)],
        _section("Regressions", [regression_sentence(j) for j in summary.regressions]),
        _section("Failed", [_failure(row) for row in _one_each(summary.failed)]),
        _section("Not judged", [_not_judged(j) for j in summary.judgements if j.why]),
        *(_metric_tables(column, summary) for column in summary.shown),
        _section("Worse than the best before", list(_worse(summary))),
        _section(
            "Left for the next night", [f"{plain(u.checkpoint)}: {u.why}" for u in summary.left]
        ),
        _section("Failed on several nights, unchanged since, left alone", _given_up(summary)),
        [_ending(summary)],
    ]
    return "\n\n".join("\n".join(part) for part in parts if part) + "\n"


def plain(text: object) -> str:
    """Text with what Markdown or HTML would read as markup or a link made plain."""
    escaped = "".join(f"\\{c}" if c in _MARKUP else c for c in printable(text))
    return escaped.replace("](", "]\\(")


def regression_sentence(judgement: Judgement) -> str:
    """What got worse, by how much, and how sure that is."""
    found = judgement.comparison
    assert found is not None  # nothing regresses without a comparison
    if found.worse_by_at_least is None:
        sure = "plain difference, this metric has no paired interval"
    else:
        sure = f"at least {found.worse_by_at_least:.4g} with 95 % confidence"
    return (
        f"{plain(found.checkpoint)} is worse than {_other(found)} by {found.worse_by:.4g} in "
        f"{_title(found.metric, found.extractor)} ({sure}; tolerance {judgement.tolerance:g}): "
        f"{found.value:.5g} against {found.other_value:.5g}"
    )


def _facts(summary: NightSummary) -> str:
    said = [
        f"{summary.shards_computed} shards computed, {summary.shards_before} were there before; "
        f"{summary.seconds:.0f} s; out {plain(summary.out)}"
    ]
    if summary.selection:
        said.append(f"Of all checkpoints: {plain(summary.selection)}.")
    if not summary.tolerance:
        said.append("No tolerance is declared, so nothing counts as a regression.")
    return "\n".join(said)


def _section(title: str, lines: Sequence[str]) -> list[str]:
    return [f"## {title}", "", *(f"- {line}" for line in lines)] if lines else []


def _failure(row: Row) -> str:
    return f"{plain(row['checkpoint'])}: {plain(row['reason'])}"


def _left(summary: NightSummary) -> list[str]:
    return [f"{plain(found.checkpoint)}: {plain(found.why)}" for found in summary.left]


def _given_up(summary: NightSummary) -> list[str]:
    return [_failure(row) for row in _one_each(summary.given_up)]


def _one_each(rows: Sequence[Row]) -> list[Row]:
    """One row a checkpoint and reason: extractors fail together."""
    return list({(row["checkpoint"], row["reason"]): row for row in rows}.values())


def _not_judged(judgement: Judgement) -> str:
    title = _title(judgement.metric, judgement.extractor)
    return f"{plain(judgement.checkpoint)} by {title}: {plain(judgement.why)}"


def _worse(summary: NightSummary) -> Iterator[str]:
    """What is worse by any metric, beside what is a regression."""
    regressed = {id(judgement.comparison) for judgement in summary.regressions}
    worse: dict[str, list[Comparison]] = {}
    for found in summary.comparisons:
        if found.relation == "best" and found.verdict == "worse" and id(found) not in regressed:
            worse.setdefault(found.checkpoint, []).append(found)
    for checkpoint, comparisons in worse.items():
        shown = ", ".join(
            f"{_title(c.metric, c.extractor)} {_difference(c)} from {_other(c)}"
            for c in comparisons
        )
        yield f"{plain(checkpoint)}: {shown}"


def _metric_tables(column: str, summary: NightSummary) -> list[str]:
    """Tonight's checkpoints by one metric, a table an extractor."""
    metric = METRICS[column]
    extractors = [row["extractor"] for row in summary.scored] if metric.per_extractor else [None]
    lines: list[str] = []
    for extractor in dict.fromkeys(extractors):
        rows = {
            row["checkpoint"]: row
            for row in summary.scored
            if extractor in (None, row["extractor"]) and row[column] is not None
        }
        if rows:
            unit = f", {metric.unit}" if metric.unit else ""
            title = f"{_title(column, extractor)}{unit} ({metric.direction} is better)"
            lines += [
                "",
                f"## {title}",
                "",
                *_table(column, extractor, list(rows.values()), summary),
            ]
    return lines[1:]


def _table(
    column: str, extractor: str | None, rows: Sequence[Row], summary: NightSummary
) -> Iterator[str]:
    found = {
        (c.checkpoint, c.relation): c
        for c in summary.comparisons
        if (c.metric, c.extractor) == (column, extractor)
    }
    headings = ["checkpoint", "value", "against", "difference [95 %]", "p (Holm)", "verdict"]
    yield f"| {' | '.join(headings)} |"
    yield "| :-- | --: | :-- | --: | --: | :-- |"
    for row in rows:
        name, value = plain(row["checkpoint"]), f"{row[column]:.5g}"
        made = [found.get((row["checkpoint"], relation)) for relation in ("best", "latest")]
        pairs = [c for c in made if c is not None]
        if not pairs:
            yield f"| {name} | {value} | nothing before |  |  |  |"
        for c in pairs:
            against = f"{c.relation} before: {_other(c)}"
            cells = (name, f"{c.value:.5g}", against, _difference(c), _p_value(c.p), c.verdict)
            yield f"| {' | '.join(cells)} |"


def _p_value(p: float | None) -> str:
    if p is None:
        return ""
    return f"{p:.2g}" if p > 0 else "< 1e-300"


def _difference(found: Comparison) -> str:
    if found.low is None or found.high is None:
        return f"{found.difference:+.4g} (not paired)"
    return f"{found.difference:+.4g} [{found.low:.4g}, {found.high:.4g}]"


def _other(found: Comparison) -> str:
    if found.other == found.checkpoint:
        return "its own earlier content"
    return plain(found.other) + ("" if found.within_series else " (of another folder)")


def _title(column: str, extractor: str | None) -> str:
    return METRICS[column].short + (f" by {plain(extractor)}" if extractor else "")


def _ending(summary: NightSummary) -> str:
    means = _CODES[summary.exit_code]
    also = "; some checkpoints failed as well" * bool(summary.exit_code == 4 and summary.failed)
    return f"Exit code {summary.exit_code}: {means}{also}. Finished {summary.finished_at}."
