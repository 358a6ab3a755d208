"""A metric of another package: everywhere that a shipped one is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from vae_batch.metrics.catalogue import METRICS, plug_ins
from vae_batch.metrics.catalogue.metric import SHIPPED_GROUPS
from vae_batch.metrics.catalogue.plug_ins import ENTRY_POINTS, groups_of_plug_ins, load_plug_ins
from vae_batch.storage import Store, read_score_rows

EXAMPLE = Path(__file__).parents[1] / "plugins/vae_batch_typicality.py"
SCORE = """
import json, sys
from vae_batch.evaluation import evaluate
from vae_batch.plan import make_spec
from vae_batch.run.progress.events import ignore
evaluate(make_spec(json.loads(sys.argv[1])), ignore)
"""


def installed(site: Path, content: str, target: str, module: str = "vae_batch_typicality") -> Path:
    """A package with an entry point below a folder, as pip would install it."""
    metadata = site / f"{module}-1.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(f"[{ENTRY_POINTS}]\ntoy = {module}:{target}\n")
    (site / f"{module}.py").write_text(content)
    return site


def python(site: Path, *arguments: str) -> str:
    path = os.pathsep.join([str(site), *sys.path])
    done = subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": path},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return installed(tmp_path_factory.mktemp("site"), EXAMPLE.read_text(), "TYPICALITY")


@pytest.fixture(scope="module")
def out(toy_folder: Path, site: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run over the toy checkpoints, selected by the plug-in's metric."""
    out = tmp_path_factory.mktemp("scored") / "out"
    settings = {
        "checkpoints": [str(toy_folder / "runs/step-000[12]")],
        "reference": "digits",
        "reference_samples": 40,
        "extractors": [str(toy_folder / "classifier.keras")],
        "samples": 60,
        "shard_size": 64,
        "batch_size": 16,
        "splits": 2,
        "workers": 0,
        "metrics": "losses,typicality",
        "select": "typicality",
        "out": str(out),
    }
    python(site, "-c", SCORE, json.dumps(settings))
    return out


def rows_of(file: Path) -> list[dict[str, Any]]:
    return pq.read_table(file).to_pylist()


def test_it_is_a_column_of_the_score_table(out: Path) -> None:
    rows = rows_of(out / "scores.parquet")
    assert len(rows) == 2
    for row in rows:
        assert row["typicality"] > 0
        assert row["typicality_se"] > 0
        assert row["typicality_reason"] is None


def test_it_is_compared_and_selected_by(out: Path) -> None:
    scores = {row["checkpoint"]: row["typicality"] for row in rows_of(out / "scores.parquet")}
    compared = [
        row for row in rows_of(out / "comparisons.parquet") if row["metric"] == "typicality"
    ]
    assert {row["checkpoint"]: row["value"] for row in compared} == scores
    assert all(row["from_best_se"] > 0 for row in compared if not row["is_best"])
    selection = json.loads((out / "selection.json").read_text())
    assert selection["metric"] == "typicality"
    assert selection["value"] == min(scores.values())


def test_it_has_a_curve_and_stands_on_the_page(out: Path) -> None:
    assert list((out / "figures").rglob("curves-typicality*"))
    page = (out / "report.html").read_text()
    assert "Distance from the typical norm" in page
    assert "it sees one number per image" in page


def test_the_command_metrics_explains_it(site: Path) -> None:
    call = ("-c", "from vae_batch.cli import app; app()", "metrics")
    assert "| `typicality` ± |" in python(site, *call)
    assert "arXiv:1906.02994" in python(site, *call, "typicality")


def test_a_folder_with_its_column_is_read_without_the_package(out: Path) -> None:
    rows = read_score_rows(Store.open(str(out)))
    assert [row.value("elbo") is not None for row in rows] == [True] * 2


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("import nothing_of_the_name\nTOY = 0", "No module named 'nothing_of_the_name'"),
        ("TOY = 0", "expected a Metric or a sequence of them, found 0"),
        (EXAMPLE.read_text().replace('"typicality",', '"kid",', 1), "has the column kid"),
        (EXAMPLE.read_text().replace("    compute=typicality,", ""), "needs `compute`"),
    ],
)
def test_one_that_cannot_be_used_is_named(
    content: str, why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = f"toy_{abs(hash(why))}"
    target = "TYPICALITY" if "TYPICALITY" in content else "TOY"
    monkeypatch.syspath_prepend(str(installed(tmp_path, content, target, module)))
    found, broken = load_plug_ins(METRICS)
    assert not found
    ((title, reason),) = broken.items()
    assert title == f"metric plug-in 'toy' of package {module} ({module}:{target})"
    assert why in reason


def test_a_new_group_reads_what_its_metrics_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(
        str(installed(tmp_path, EXAMPLE.read_text(), "TYPICALITY", "toy_group"))
    )
    found, broken = plug_ins.load_plug_ins(METRICS)
    assert not broken
    (group,) = groups_of_plug_ins(found.values(), SHIPPED_GROUPS)
    assert (group.name, group.reads, group.is_default) == (
        "typicality",
        ("generated", "reference"),
        True,
    )
