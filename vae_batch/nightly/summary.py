"""``nightly/<date>/summary.json`` and ``summary.md``: a night for programs and for people.

The page says first what is wrong, then what is new, then what was left.
"""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from vae_batch.metrics.catalogue import METRICS
from vae_batch.nightly.comparisons import Comparison
from vae_batch.nightly.history import HistoryRow
from vae_batch.nightly.night_plan import Unfinished
from vae_batch.nightly.regression import Judgement
from vae_batch.plan.quantities import Count, plural
from vae_batch.report.comparable_rows import failure_of
from vae_batch.report.labels import printable
from vae_batch.run.output.layout import LATEST, NIGHTS, PAGE_DIGEST, SUMMARY, SUMMARY_PAGE
from vae_batch.storage import ScoreRow, Store
from vae_batch.storage.checked_json import as_kind, decode_as, decode_checked, encode_checked

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Recorded:
    """What programs read in the summary of a night that is done."""

    exit_code: Literal[0, 3, 4]
    rows: list[dict[str, Any]]
    shards_computed: Count = 0
    shards_before: Count = 0


@dataclass(frozen=True)
class NightSummary:
    """What a night found.

    Attributes:
        date: Of the night.
        exit_code: 4 for a regression, else 3 where a checkpoint failed, else 0. A regression goes
            before a failure, which is named beside it: neither hides the other.
        out: The output folder, without credentials.
        shown: Columns of the score table that the page shows.
        tolerance: Metric to how much worse it may be.
        rows: The history's rows of this night.
        judgements: What each tolerance says.
        comparisons: Every new checkpoint against the best and the latest before.
        left: Checkpoints left for the next night.
        given_up: Rows of the score table that failed on several nights and have not changed.
        selection: The sentence on the best of all checkpoints, or None.
        apart: That earlier scores are of another scoring version, in a sentence, or None.
        shards_computed: Tonight.
        shards_before: Of tonight's rows, finished before.
        seconds: Wall time.
        finished_at: UTC.
    """

    date: datetime.date
    exit_code: int
    out: str
    shown: tuple[str, ...]
    tolerance: Mapping[str, float]
    rows: Sequence[HistoryRow]
    judgements: Sequence[Judgement]
    comparisons: Sequence[Comparison]
    left: Sequence[Unfinished]
    given_up: Sequence[ScoreRow]
    selection: str | None
    apart: str | None
    shards_computed: int
    shards_before: int
    seconds: float
    finished_at: str

    @property
    def failed(self) -> list[ScoreRow]:
        """Rows that failed tonight."""
        return [row.row for row in self.rows if not row.is_scored]

    @property
    def scored(self) -> list[ScoreRow]:
        """Rows that were scored tonight."""
        return [row.row for row in self.rows if row.is_scored]

    @property
    def regressions(self) -> list[Judgement]:
        """Tolerances that were exceeded."""
        return [judgement for judgement in self.judgements if judgement.status == "regressed"]

    @property
    def headline(self) -> str:
        """The night in a line."""
        parts = []
        if self.regressions:
            titles = dict.fromkeys(METRICS[found.metric].short for found in self.regressions)
            parts.append(f"regression by {', '.join(titles)}")
        new = _count(self.scored)
        parts.append(f"{plural(new, 'new checkpoint')} scored" if new else "nothing new")
        if self.failed:
            parts.append(f"{_count(self.failed)} failed")
        if self.left:
            parts.append(f"{len(self.left)} left for the next night")
        return "; ".join(parts)

    def to_json(self) -> dict[str, Any]:
        """The summary as JSON values."""
        values = vars(self) | {"headline": self.headline}
        for name in ("judgements", "comparisons", "left"):
            values[name] = [dataclasses.asdict(each) for each in values[name]]
        values["rows"] = [row.to_record() for row in self.rows]
        values["given_up"] = [
            {
                "checkpoint": row.checkpoint,
                "extractor": row.conditions.extractor,
                "reason": row.reason.text if row.reason else None,
            }
            for row in self.given_up
        ]
        plain: dict[str, Any] = json.loads(json.dumps(values, default=str))
        return plain


def write_summary(store: Store, date: datetime.date, summary: Mapping[str, Any], page: str) -> None:
    """Write JSON and Markdown of a night, and the same as the latest; the night's JSON last.

    A night counts as done when its JSON is there, so a crash in between does it again.
    """
    digest = hashlib.sha256(page.encode()).hexdigest()
    content = encode_checked({**summary, PAGE_DIGEST: digest})
    for json_path, page_path in (LATEST, _paths(date)):
        store.write(page_path, page.encode())
        store.write(json_path, content)


def read_summary(store: Store, date: datetime.date) -> tuple[dict[str, Any], str] | None:
    """JSON and Markdown of a night; None where it is not done."""
    path, page_path = _paths(date)
    content, page = store.find(path), store.find(page_path)
    if content is None or page is None:
        return None
    try:
        summary = decode_checked(content)
        as_kind(_Recorded, summary)
    except ValueError:  # damaged; the history has what it takes to write it again
        return None
    digest = summary.pop(PAGE_DIGEST, None)  # 0.1 wrote none
    if digest not in (None, hashlib.sha256(page).hexdigest()):
        return None
    return summary, page.decode(errors="replace")


def recorded_rows(store: Store) -> list[HistoryRow]:
    """The history's rows of all nights whose summary can be read, by date."""
    rows: list[HistoryRow] = []
    for name in store.folders(NIGHTS):
        try:
            content = store.find(f"{NIGHTS}/{name}/{SUMMARY}")
            found = decode_as(_Recorded, content).rows if content is not None else []
            rows += [HistoryRow.from_json(row) for row in found]
        except (ValueError, KeyError, TypeError):  # damaged
            _log.warning("%s/%s/%s/%s is damaged, so that the rows of this night are missing in "
                         "the history", store.shown, NIGHTS, name, SUMMARY)  # fmt: skip
    return rows


def _paths(date: datetime.date) -> tuple[str, str]:
    folder = f"{NIGHTS}/{date}"
    return f"{folder}/{SUMMARY}", f"{folder}/{SUMMARY_PAGE}"


def _count(rows: Sequence[ScoreRow]) -> int:
    return len({row.checkpoint for row in rows})


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
        _section("Failed", _failures(summary.failed)),
        _section("Not judged", [_not_judged(j) for j in summary.judgements if j.why]),
        *(_metric_tables(column, summary) for column in summary.shown),
        _section("Worse than the best before", list(_worse(summary))),
        _section(
            "Left for the next night",
            [f"{plain(u.checkpoint)}: {plain(u.why)}" for u in summary.left],
        ),
        _section(
            "Failed on several nights, unchanged since, left alone", _failures(summary.given_up)
        ),
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
        f"{plural(summary.shards_computed, 'shard')} computed, {summary.shards_before} before; "
        f"{summary.seconds:.0f} s; out {plain(summary.out)}"
    ]
    if summary.selection:
        said.append(f"Of all checkpoints: {plain(summary.selection)}.")
    if summary.apart:
        said.append(summary.apart)
    if not summary.tolerance:
        said.append("No tolerance is declared, so nothing counts as a regression.")
    return "\n".join(said)


def _section(title: str, lines: Sequence[str]) -> list[str]:
    return [f"## {title}", "", *(f"- {line}" for line in lines)] if lines else []


def _failures(rows: Sequence[ScoreRow]) -> list[str]:
    """One line per checkpoint and reason: extractors fail together."""
    found = (f"{plain(row.checkpoint)}: {plain(failure_of(row))}" for row in rows)
    return list(dict.fromkeys(found))


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
    scored = summary.scored
    extractors = [row.conditions.extractor for row in scored] if metric.per_extractor else [None]
    lines: list[str] = []
    for extractor in dict.fromkeys(extractors):
        values = {
            row.checkpoint: value
            for row in scored
            if extractor in (None, row.conditions.extractor)
            and (value := row.value(column)) is not None
        }
        if values:
            unit = f", {metric.unit}" if metric.unit else ""
            title = f"{_title(column, extractor)}{unit} ({metric.direction} is better)"
            lines += [
                "",
                f"## {title}",
                "",
                *_table(column, extractor, values, summary),
            ]
    return lines[1:]


def _table(
    column: str, extractor: str | None, values: Mapping[str, float], summary: NightSummary
) -> Iterator[str]:
    found = {
        (c.checkpoint, c.relation): c
        for c in summary.comparisons
        if (c.metric, c.extractor) == (column, extractor)
    }
    headings = ["checkpoint", "value", "against", "difference [95 %]", "p (Holm)", "verdict"]
    yield f"| {' | '.join(headings)} |"
    yield "| :-- | --: | :-- | --: | --: | :-- |"
    for checkpoint, value in values.items():
        name = plain(checkpoint)
        made = [found.get((checkpoint, relation)) for relation in ("best", "latest")]
        pairs = [c for c in made if c is not None]
        if not pairs:
            yield f"| {name} | {value:.5g} | nothing before |  |  |  |"
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
