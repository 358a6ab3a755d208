"""The command ``vae-batch metrics``: what each number means."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from typing import Annotated

import typer

from vae_batch.commands.exit_codes import exit_codes
from vae_batch.commands.output import print_text, stdout_console
from vae_batch.metrics.catalogue import METRICS, Metric
from vae_batch.plan import InputError


def metrics(
    column: Annotated[
        str | None, typer.Argument(help="A column of the score table; all when not given.")
    ] = None,
) -> None:
    """List the metrics, or say what one of them means, needs and comes from."""
    if column is None:
        print_text(metric_markdown())
        return
    with exit_codes():
        if column not in METRICS:
            near = difflib.get_close_matches(column, METRICS, n=3)
            hint = f"did you mean {', '.join(near)}?" if near else "`vae-batch metrics` lists all"
            raise InputError(f"metric {column!r} is not in the table; {hint}")
    console = stdout_console()
    for line in metric_details(column):
        console.print(line, markup=False, highlight=False)


_ARROWS = {"lower": "lower", "higher": "higher", "neither": "-"}


def metric_markdown() -> str:
    """Every metric as a Markdown table: column, meaning, unit, better, group, needs, source."""
    lines = [
        "| column | what it is | unit | better | group | images needed |",
        "| :-- | :-- | :-- | :-- | :-- | :-- |",
    ]
    lines += [f"| {' | '.join(map(_escaped, _cells(metric)))} |" for metric in METRICS.values()]
    return "\n".join(lines)


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
