"""Paired comparisons in words: who is best, who is level with it, by how much."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vae_batch.metrics.catalogue import METRICS
from vae_batch.report.labels import p_value, printable, significant, without_shared_folder


@dataclass(frozen=True)
class ComparedLine:
    """One checkpoint against the best and against the one before it, in words.

    Attributes:
        checkpoint: its label.
        short: without the folder that all share.
        value: its score.
        mark: "best", "level with best" or "".
        from_best: difference and 95 % interval, or "".
        best_p: Holm-adjusted p-value, or "".
        from_previous: difference and 95 % interval, or "".
        verdict: better, worse or level, against the checkpoint before it.
    """

    checkpoint: str
    short: str
    value: str
    mark: str
    from_best: str
    best_p: str
    from_previous: str
    verdict: str


@dataclass(frozen=True)
class ComparedTable:
    """All checkpoints compared by one metric under one extractor."""

    title: str
    definition: str
    count: str
    lines: tuple[ComparedLine, ...]


Compared = Mapping[str, Any]
"""A row of the table of comparisons."""


def compared_groups(
    rows: Sequence[Compared], selected: str | None = None
) -> list[tuple[Compared, ...]]:
    """Rows compared with each other, best first; those of the metric `selected` come first.

    A checkpoint that was compared with no other is left out.
    """
    groups: dict[tuple[Any, ...], list[Compared]] = {}
    for row in sorted(rows, key=lambda row: row["metric"] != selected):
        groups.setdefault((row["metric"], row["extractor"], row["best"]), []).append(row)
    return [tuple(_best_first(group)) for group in groups.values() if len(group) > 1]


def _best_first(rows: Sequence[Compared]) -> list[Compared]:
    sign = -1 if METRICS[rows[0]["metric"]].direction == "higher" else 1
    return sorted(rows, key=lambda row: (not row["is_best"], sign * row["value"]))


def compared_title(row: Compared) -> str:
    """What a group is compared by: the metric and its extractor."""
    title = METRICS[row["metric"]].title
    return f"{title} ({printable(row['extractor'])})" if row["extractor"] else title


def level_mark(row: Compared) -> str:
    """How a row stands to the best: "best", "level with best" or ""."""
    return "best" if row["is_best"] else "level with best" if row["level_with_best"] else ""


def comparison_tables(rows: Sequence[Compared], selected: str | None = None) -> list[ComparedTable]:
    """One table for each metric, extractor and set of comparable rows, best first.

    Args:
        rows: of the table of comparisons.
        selected: metric whose tables come first.
    """
    names = list(dict.fromkeys(str(row["checkpoint"]) for row in rows))
    shorts = dict(zip(names, without_shared_folder(names), strict=True))
    return [_table(group, shorts) for group in compared_groups(rows, selected)]


def _table(rows: Sequence[Compared], shorts: Mapping[str, str]) -> ComparedTable:
    lines = tuple(_line(row, shorts) for row in rows)
    definition = METRICS[rows[0]["metric"]].definition
    return ComparedTable(compared_title(rows[0]), definition, f"{rows[0]['n']:,}", lines)


def _line(row: Compared, shorts: Mapping[str, str]) -> ComparedLine:
    return ComparedLine(
        checkpoint=row["checkpoint"],
        short=printable(shorts[row["checkpoint"]]),
        value=significant(row["value"]),
        mark=level_mark(row),
        from_best=_difference(row, "from_best"),
        best_p=p_value(row["from_best_p"]),
        from_previous=_difference(row, "from_previous"),
        verdict=row["verdict"] or "",
    )


def _difference(row: Compared, name: str) -> str:
    if row[name] is None:
        return ""
    low, high = significant(row[f"{name}_low"]), significant(row[f"{name}_high"])
    return f"{significant(row[name], sign='+')} [{low}, {high}]"
