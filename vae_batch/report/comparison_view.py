"""Paired comparisons as the page shows them: who is best, who is level with it, by how much."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vae_batch.metrics.catalogue import METRICS
from vae_batch.report.labels import printable, without_shared_folder

_DIGITS = 4
_MINUS = "\N{MINUS SIGN}"


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


def comparison_tables(
    rows: Sequence[Mapping[str, Any]], selected: str | None = None
) -> list[ComparedTable]:
    """One table for each metric, extractor and set of comparable rows, best first.

    Args:
        rows: of the table of comparisons.
        selected: metric whose tables come first.
    """
    groups: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for row in sorted(rows, key=lambda row: row["metric"] != selected):
        groups.setdefault((row["metric"], row["extractor"], row["best"]), []).append(row)
    names = list(dict.fromkeys(str(row["checkpoint"]) for row in rows))
    shorts = dict(zip(names, without_shared_folder(names), strict=True))
    return [
        _table(key[0], key[1], group, shorts) for key, group in groups.items() if len(group) > 1
    ]


def _table(
    name: str, extractor: str | None, rows: Sequence[Mapping[str, Any]], shorts: Mapping[str, str]
) -> ComparedTable:
    metric = METRICS[name]
    sign = -1 if metric.direction == "higher" else 1
    ordered = sorted(rows, key=lambda row: sign * row["value"])
    title = f"{metric.title} ({printable(extractor)})" if extractor else metric.title
    corrected = ", bias-corrected" if name == "fid" else ""
    lines = tuple(_line(row, shorts) for row in ordered)
    return ComparedTable(title + corrected, metric.definition, f"{rows[0]['n']:,}", lines)


def _line(row: Mapping[str, Any], shorts: Mapping[str, str]) -> ComparedLine:
    mark = "best" if row["is_best"] else "level with best" if row["level_with_best"] else ""
    return ComparedLine(
        checkpoint=row["checkpoint"],
        short=printable(shorts[row["checkpoint"]]),
        value=_number(row["value"]),
        mark=mark,
        from_best=_difference(row, "from_best"),
        best_p=_p_value(row["from_best_p"]),
        from_previous=_difference(row, "from_previous"),
        verdict=row["verdict"] or "",
    )


def _p_value(p: float | None) -> str:
    if p is None:
        return ""
    return f"{p:.2g}" if p > 0 else "< 1e-300"


def _difference(row: Mapping[str, Any], name: str) -> str:
    if row[name] is None:
        return ""
    low, high = _number(row[f"{name}_low"]), _number(row[f"{name}_high"])
    return f"{_number(row[name], sign='+')} [{low}, {high}]"


def _number(value: float, sign: str = "") -> str:
    return f"{value:{sign}.{_DIGITS}g}".replace("-", _MINUS)
