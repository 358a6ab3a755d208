from __future__ import annotations

import re
from pathlib import Path

import pytest

from vae_batch.commands.metrics import metric_details, metric_markdown
from vae_batch.metrics import METRICS

PAGE = Path(__file__).parents[2] / "vae_batch/docs/metrics.md"


def test_the_documentation_holds_the_table_of_the_catalogue() -> None:
    found = re.search(
        r"<!-- vae-batch metrics -->\n(.*?)<!-- end of vae-batch metrics -->",
        PAGE.read_text(encoding="utf-8"),
        re.DOTALL,
    )
    assert found is not None
    assert found[1].strip() == metric_markdown().strip(), (
        "docs/metrics.md is old: put the output of `vae-batch metrics` between its two comments"
    )


def test_every_metric_is_one_line_of_the_table() -> None:
    lines = metric_markdown().splitlines()
    assert len(lines) == 2 + len(METRICS)
    for line, column in zip(lines[2:], METRICS, strict=True):
        assert line.startswith(f"| `{column}`")
        assert line.count(" | ") == 5


def test_one_metric_in_full() -> None:
    said = "\n".join(metric_details("kid"))
    for part in ("Kernel distance (kid)", "group: kid", "better: lower", "1801.01401"):
        assert part in said
    with pytest.raises(KeyError):
        list(metric_details("kidd"))
