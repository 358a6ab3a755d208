"""The metric table in words, for the README and the terminal, made from the catalogue."""

from __future__ import annotations

from collections.abc import Iterator

from vae_batch.metrics.catalogue import METRICS, Metric

_ARROWS = {"lower": "lower", "higher": "higher", "neither": "-"}


def metric_markdown() -> str:
    """Every metric as a Markdown table: column, meaning, unit, better, group, needs, source."""
    lines = [
        "| column | what it is | unit | better | group | images needed |",
        "| :-- | :-- | :-- | :-- | :-- | :-- |",
    ]
    lines += [f"| {' | '.join(map(_escaped, _cells(metric)))} |" for metric in METRICS.values()]
    return "\n".join(lines) + "\n"


def metric_details(column: str) -> Iterator[str]:
    """All that is known of one metric, a line each.

    Raises:
      KeyError: There is no such column.
    """
    metric = METRICS[column]
    yield f"{metric.title} ({column}{', ' + metric.unit if metric.unit else ''})"
    yield metric.definition
    yield f"better: {_ARROWS[metric.direction]}; group: {metric.group}"
    if metric.needs:
        yield f"needs: {', '.join(need.replace('_', ' ') for need in metric.needs)}"
    if metric.requirement:
        yield f"images: {metric.requirement}"
    yield f"source: {metric.source}"


def _cells(metric: Metric) -> tuple[str, ...]:
    named = f"`{metric.column}`" + (" ±" if metric.standard_error else "")
    return (
        named,
        metric.title,
        metric.unit,
        _ARROWS[metric.direction],
        f"`{metric.group}`",
        metric.requirement,
    )


def _escaped(text: str) -> str:
    return text.replace("|", "\\|")
