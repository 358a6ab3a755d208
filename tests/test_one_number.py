"""The same name shows the same number wherever it stands: over the whole metric table."""

from __future__ import annotations

import html
import re
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow.csv
import pytest

import vae_batch
from vae_batch.metrics.catalogue import COMPARED, METRICS
from vae_batch.plan import InputError, make_spec
from vae_batch.report.charts.ranking import read_rankings
from vae_batch.report.comparable_rows import details_in, headlines_in
from vae_batch.report.labels import interval_decimals, number
from vae_batch.report.page.checkpoints import page_checkpoints
from vae_batch.report.page.score_tables import score_tables
from vae_batch.report.score_text import Footnotes, column_decimals, text_rows
from vae_batch.report.sinks.scored_checkpoints import scored_checkpoints
from vae_batch.results import Results
from vae_batch.run.compare.best_checkpoint import select_best
from vae_batch.run.compare.pairwise import compare_among
from vae_batch.run.progress.events import ignore

#: Metrics that 8x8 digits, 150 samples and an unknown beta leave undefined.
UNDEFINED = {"beta_objective", "ssim", "ms_ssim", "kid_subsets", "kid_subsets_std"}


@pytest.fixture(scope="module")
def results(toy_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Results:
    """A run of all metrics."""
    with pytest.MonkeyPatch.context() as patch:  # no test here looks at the figures
        patch.setattr("vae_batch.report.bundle.replace_figures", lambda *_: {})
        return vae_batch.score(
            checkpoints=[str(toy_folder / "runs")],
            reference="digits",
            reference_samples=110,
            training="train",
            training_samples=120,
            extractors=[str(toy_folder / "classifier.keras")],
            samples=150,
            batch_size=16,
            splits=5,
            iwae_draws=32,
            iwae_images=40,
            workers=0,
            metrics="all",
            out=str(tmp_path_factory.mktemp("number") / "out"),
            progress=ignore,
        )


def test_every_metric_of_the_table_has_a_value_here(results: Results) -> None:
    for row in results.run.rows:
        undefined = {column for column in METRICS if row.value(column) is None}
        assert undefined <= UNDEFINED, {c: row.score(c).reason for c in undefined - UNDEFINED}


@pytest.mark.parametrize("column", METRICS)
def test_one_metric_is_one_number_everywhere(results: Results, column: str) -> None:
    metric, rows = METRICS[column], results.run.rows
    values = {row.checkpoint: row.value(column) for row in rows}
    stored = pyarrow.csv.read_csv(f"{results.out}/scores.csv").to_pylist()
    assert {row["checkpoint"]: row[column] or None for row in stored} == {
        name: value or None for name, value in values.items()
    }
    (extractor,) = {slug for each in scored_checkpoints(results.run) for slug in each.rows}
    tag = f"{column}/{extractor}" if metric.per_extractor else column
    for each in scored_checkpoints(results.run):  # what MLflow and TensorBoard are given
        assert each.scalars().get(tag) == values[each.label]
    texts = text_rows(rows, [metric], Footnotes())  # terminal and notebook
    decimals = column_decimals(rows, [metric])[column]
    for row in rows:
        if (value := values[row.checkpoint]) is not None:
            assert texts[row.key][column].startswith(number(value, decimals))
    cells = page_cells(results, column)
    assert cells == {name: repr(v) for name, v in values.items() if v is not None}
    assert all(f'data-sort="{exact}"' in results.page for exact in cells.values())
    if metric in headlines_in(rows) and not metric.spread_of and any(values.values()):
        shown = html.unescape(re.sub("<[^>]*>", " ", results._repr_html_()))
        assert all(number(v, decimals) in shown for v in values.values() if v is not None)


@pytest.mark.parametrize("metric", [m for m in COMPARED if m.interval], ids=lambda m: m.column)
def test_a_published_interval_is_that_of_the_ranking_and_of_the_page(
    results: Results, metric: Any
) -> None:
    run = results.run
    published = {
        row.checkpoint: tuple(row.value(end) for end in metric.interval) for row in run.rows
    }
    assert None not in {end for ends in published.values() for end in ends}
    (ranking,) = (r for r in read_rankings(run.comparisons, run.rows) if r.metric == metric)
    assert {line.checkpoint: line.interval for line in ranking.lines} == published
    places = interval_decimals((line.value, *line.interval) for line in ranking.lines)
    texts = [f"[{', '.join(number(end, places) for end in ends)}]" for ends in published.values()]
    assert all(text in html.unescape(results.page) for text in texts), texts


def page_cells(results: Results, column: str) -> dict[str, str]:
    """The numbers of a metric in the page's tables, to all their digits."""
    rows = results.run.rows
    tables = score_tables(rows, headlines_in(rows), details_in(rows), page_checkpoints(rows, {}))
    return {
        line.checkpoint.label: cell.exact
        for table in tables
        for line in table.lines
        for cell in line.cells
        if cell.key.partition("-")[2] == column and cell.exact
    }


@pytest.mark.parametrize("metric", COMPARED, ids=lambda metric: metric.column)
def test_comparisons_and_verdicts_have_the_number_of_the_table(
    results: Results, metric: Any
) -> None:
    column, run = metric.column, results.run
    compared = [each for each in run.comparisons if each.metric == column]
    values = {row.checkpoint: row.value(column) for row in run.rows}
    assert {each.checkpoint: each.value for each in compared} == {
        name: value for name, value in values.items() if value is not None
    }
    spec = make_spec({**run.record.spec.model_dump(), "select": column})
    if not compared:
        assert column in UNDEFINED
        with pytest.raises(InputError, match="no checkpoint has a value of it"):
            select_best(run.comparisons, spec, partial(compare_among, results.out))
        return
    selection = select_best(run.comparisons, spec, partial(compare_among, results.out))
    assert selection is not None
    for step in selection.steps:
        (row,) = (row for row in run.rows if row.checkpoint == step.leader)
        assert step.value == row.value(step.metric)
    if selection.best is not None:
        assert f"{selection.best}, {selection.value:.5g}, n = " in selection.sentence
