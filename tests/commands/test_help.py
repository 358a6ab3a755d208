"""`vae-batch help storage` names every file and column of a real run, and its queries are right."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from support.runs.serial_runs import score
from typer.testing import CliRunner

from vae_batch.cli import app
from vae_batch.storage.score_schema import SCHEMA


@pytest.fixture(scope="module")
def page() -> str:
    done = CliRunner().invoke(app, ["help", "storage"])
    assert done.exit_code == 0
    return done.stdout


@pytest.fixture(scope="module")
def out(toy_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("storage")
    settings: dict[str, Any] = {
        "checkpoints": [str(toy_folder / "runs")],
        "extractors": [str(toy_folder / "classifier.keras")],
        "reference": "digits",
        "reference_samples": 60,
        "samples": 60,
        "splits": 2,
        "batch_size": 16,
        "iwae_draws": 4,
        "iwae_images": 20,
        "metrics": "losses,iwae,reconstruction,fid,kid,diagnostics,reconstruction_fid",
        "workers": 0,
        "out": str(folder / "results"),
    }
    score(settings)
    return folder / "results"


def pattern_of(path: str) -> str:
    """A documented path as a regular expression."""
    text = re.escape(path).replace(r"\*", "[^/]*").replace(r"\.\.\.", ".*")
    for name in ("checkpoint=C", "extractor=E", "images-R"):
        text = text.replace(re.escape(name), re.escape(name)[:-1] + "[^/]+")
    return text.replace("activations/E/", "activations/[^/]+/").replace("A\\-B", "[0-9]+-[0-9]+")


def test_every_file_of_a_run_is_described(page: str, out: Path) -> None:
    named = re.findall(r"`([\w./=*-]+)`", page.partition("## Queries")[0])
    kinds = [re.compile(pattern_of(path)) for path in named if "." in path or "/" in path]
    files = [path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()]
    assert len(files) > 30
    unknown = [
        file
        for file in files
        if not file.endswith(("receipt.json", "receipts.json"))
        and not any(kind.fullmatch(file) or kind.match(file + "/") for kind in kinds)
    ]
    kept = {re.sub("=[^/]+|[0-9]+", "", file) for file in unknown}
    assert kept == set()


def test_every_column_is_described(page: str, out: Path) -> None:
    for path in out.rglob("*.parquet"):
        if path.parent != out:  # those of scores have `vae-batch metrics`
            columns = pq.read_schema(path).names
            assert [name for name in columns if f"`{name}`" not in page] == [], path
    assert len(SCHEMA) > 100


def test_the_queries_run(page: str, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    duckdb = pytest.importorskip("duckdb", reason="comes with the test extra")
    monkeypatch.chdir(out.parent)
    first, kinds, second, scores = (
        duckdb.sql(text).fetchall() for text in re.findall(r"```sql\n(.*?)```", page, re.S)
    )
    assert [(name[:9], n) for name, n, _ in first] == [(f"step-000{i}", 60) for i in (1, 2, 3)]
    assert all(0.1 <= confidence <= 1 for *_, confidence in first)
    assert [row[:2] for row in kinds] == [
        ("generated", 180),
        ("reconstructed", 180),
        ("reference", 60),
    ]
    assert len(second) == 10
    values = [nll for _, nll, _ in second]
    assert values == sorted(values, reverse=True)
    distances = [row[2] for row in scores]
    assert len(distances) == 3
    assert distances == sorted(distances)
