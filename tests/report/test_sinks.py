"""What trackers of experiments read back of a run, with their own libraries."""

from __future__ import annotations

import dataclasses
import io
import json
import re
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from report.examples import failed_row, gallery_of, score_row, score_table, with_values

from vae_batch.metrics.catalogue import METRICS
from vae_batch.plan import InputError
from vae_batch.report.finished_run import FinishedRun
from vae_batch.report.sinks.mlflow_store import write_mlflow
from vae_batch.report.sinks.scored_checkpoints import lines_of, pictures, scored_checkpoints
from vae_batch.report.sinks.tensorboard import write_tensorboard
from vae_batch.report.sinks.text_tables import latex_table, markdown_table
from vae_batch.report.sinks.training_runs import Logged
from vae_batch.report.sinks.wandb_files import write_wandb
from vae_batch.run.output.run_record import RunRecord
from vae_batch.storage import Store


@dataclasses.dataclass(frozen=True)
class ExampleRun(FinishedRun):
    """A run whose pictures are made from arithmetic."""

    def gallery(self, checkpoint: str) -> dict[str, np.ndarray]:
        return {} if checkpoint.endswith("2") else gallery_of(100 + int(checkpoint[-1]))


def example_run(out: Path, *rows: dict[str, object]) -> ExampleRun:
    out.mkdir(exist_ok=True)
    record = RunRecord({}, None, ())  # type: ignore[arg-type]
    return ExampleRun(Store.open(str(out)), record, score_table(*rows), [], None)


@pytest.fixture
def run(tmp_path: Path) -> ExampleRun:
    """Two extractors; step 2 failed; step 3 has a null, an infinity and warnings."""
    flagged = {"warnings": "blurred: few high frequencies | two\x1b[1m images alike"}
    return example_run(
        tmp_path / "out",
        score_row("runs/step-1", 1, fid=30.0),
        score_row("runs/step-1", 1, fid=3.5, extractor="digits@1a2b"),
        failed_row("runs/step-2", 2, "the decoder gave NaN"),
        failed_row("runs/step-2", 2, "the decoder gave NaN") | {"extractor": "digits@1a2b"},
        score_row("runs/step-3", 3, fid=20.0, inception_score=None, **flagged),
        score_row("runs/step-3", 3, fid=float("inf"), extractor="digits@1a2b", **flagged),
    )


def test_numbers_of_nulls_failures_and_infinities_are_left_out(run: ExampleRun) -> None:
    first, failed, last = scored_checkpoints(run)
    assert first.scalars()["fid/inception-2015"] == 30.0
    assert first.scalars()["fid/digits-1a2b"] == 3.5
    assert first.scalars()["elbo"] == -110.0
    assert failed.scalars() == {}
    assert failed.failures == ["the decoder gave NaN"]
    assert "fid/digits-1a2b" not in last.scalars()
    assert "inception_score/inception-2015" not in last.scalars()
    assert last.warnings == ["blurred: few high frequencies", "two\\u{1b}[1m images alike"]


def test_pictures_keep_their_pixels() -> None:
    """64 samples of level 77 in 8 columns: 8 images of 8 px, each 8 times enlarged, 7 gaps."""
    drawn = dict(pictures(gallery_of(77)))
    assert list(drawn) == ["samples", "film_strip", "reconstructions"]
    samples = np.asarray(Image.open(io.BytesIO(drawn["samples"].png)))
    assert samples.shape == (8 * 64 + 7, 8 * 64 + 7)
    assert (samples[:64, :64] == 77).all()
    assert (drawn["film_strip"].width, drawn["film_strip"].height) == (10 * 64 + 9, 64)


def test_lines_keep_points_apart(tmp_path: Path) -> None:
    """One line; then two runs that share steps; then one without a step and one step twice."""

    def named(*steps: tuple[str, int | None]) -> list[str]:
        rows = [score_row(label, step) for label, step in steps]
        return list(lines_of(scored_checkpoints(example_run(tmp_path / "o", *rows))).values())

    assert named(("a/s1", 1), ("a/s2", 2)) == ["", ""]
    assert named(("a/s1", 1), ("b/s2", 2)) == ["", ""]
    assert named(("a/s1", 1), ("b/s1", 1), ("b/s2", 2)) == ["a", "b", "b"]
    assert named(("a/s1", 1), ("a/x", None)) == ["", "a-x"]
    assert named(("a/s1", 1), ("a/t1", 1)) == ["a-s1", "a-t1"]


def tensorboard_events(folder: Path) -> Any:
    accumulators = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator",
        reason="reading back needs the package tensorboard: pip install '.[tensorboard]'",
    )
    events = accumulators.EventAccumulator(str(folder), size_guidance={"tensors": 0})
    events.Reload()
    return events


def points(events: Any, tag: str) -> list[tuple[int, Any]]:
    from tensorboard.util import tensor_util

    found = events.Tensors(tag)
    return [(event.step, tensor_util.make_ndarray(event.tensor_proto)) for event in found]


def test_tensorboard_reads_back_curves_pictures_and_words(run: ExampleRun, tmp_path: Path) -> None:
    written = write_tensorboard(run, str(tmp_path / "logs"))
    assert Path(written.folder).parent == tmp_path / "logs"
    assert Path(written.folder).name.startswith("out-")
    events = tensorboard_events(Path(written.folder))
    assert points(events, "fid/inception-2015") == [(1, 30.0), (3, 20.0)]
    assert points(events, "fid/digits-1a2b") == [(1, 3.5)]
    assert points(events, "elbo") == [(1, -110.0), (3, -110.0)]
    shown_by = {
        tag: events.SummaryMetadata(tag).plugin_data.plugin_name for tag in events.Tags()["tensors"]
    }
    assert shown_by["elbo"] == "scalars"
    described = events.SummaryMetadata("fid/digits-1a2b").summary_description
    assert described == METRICS["fid"].definition
    assert shown_by["samples"] == "images"
    assert shown_by["warnings"] == shown_by["failures"] == "text"
    assert [step for step, _ in points(events, "film_strip")] == [1, 3]
    width, height, png = points(events, "samples")[1][1]
    picture = Image.open(io.BytesIO(png))
    assert picture.size == (int(width), int(height))
    assert np.asarray(picture)[0, 0] == 103
    ((step, text),) = points(events, "failures")
    assert (step, text.item()) == (2, b"runs/step-2:\n\n- the decoder gave NaN")
    counted = sum(len(events.Tensors(tag)) for tag in events.Tags()["tensors"])
    assert counted == written.scalars + written.images + written.texts


def test_exporting_twice_leaves_the_last_export_alone(run: ExampleRun, tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    (logs / "mine").mkdir(parents=True)
    (logs / "mine/events.out.tfevents.1.mine").write_bytes(b"")
    folders = {write_tensorboard(run, str(logs)).folder for _ in range(2)}
    assert len(folders) == 1
    assert len(list(Path(folders.pop()).rglob("events.*"))) == 1
    assert (logs / "mine/events.out.tfevents.1.mine").exists()


def test_other_outputs_of_the_same_name_keep_apart(tmp_path: Path) -> None:
    for parent in ("a", "b"):
        (tmp_path / parent).mkdir()
        one = example_run(tmp_path / parent / "out", score_row("step-1", 1))
        write_tensorboard(one, str(tmp_path / "logs"))
    assert len(list((tmp_path / "logs").iterdir())) == 2


def test_a_log_folder_that_is_a_file_is_named(run: ExampleRun, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(InputError, match=r"--tensorboard .*taken cannot be written"):
        write_tensorboard(run, str(tmp_path / "taken"))


def mlflow_installed() -> Any:
    return pytest.importorskip("mlflow", reason="needs the package mlflow: pip install '.[mlflow]'")


def mlflow_client(monkeypatch: pytest.MonkeyPatch, uri: str) -> Any:
    mlflow = mlflow_installed()
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    return mlflow.MlflowClient(tracking_uri=uri)


def runs_by_name(client: Any, experiment: str) -> dict[str, Any]:
    found = client.get_experiment_by_name(experiment)
    runs = client.search_runs([found.experiment_id])
    assert len({run.info.run_name for run in runs}) == len(runs)
    return {run.info.run_name: run for run in runs}


def history(client: Any, run: Any, metric: str) -> list[tuple[int, float]]:
    points = client.get_metric_history(run.info.run_id, metric)
    return sorted((point.step, point.value) for point in points)


def test_a_training_run_is_one_run_of_mlflow_with_its_steps_as_a_series(
    run: ExampleRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    figures = run.store.folder("figures")
    for name in ("samples-runs-step-1.png", "samples-runs-step-3.png", "curves.png"):
        figures.write(name, name.encode())
    client = mlflow_client(monkeypatch, str(tmp_path / "mlruns"))
    assert write_mlflow(run, str(tmp_path / "mlruns"), "vaes") == Logged(created=1)
    ((name, found),) = runs_by_name(client, "vaes").items()
    assert name == "runs"
    assert history(client, found, "fid/inception-2015") == [(1, 30.0), (3, 20.0)]
    assert history(client, found, "fid/digits-1a2b") == [(1, 3.5)], "an infinity is no number"
    assert history(client, found, "elbo") == [(1, -110.0), (3, -110.0)]
    low, high = (history(client, found, f"elbo_{end}") for end in ("low", "high"))
    assert low == [(step, pytest.approx(-110 - 1.96 * 0.6)) for step in (1, 3)]
    assert high == [(step, pytest.approx(-110 + 1.96 * 0.6)) for step in (1, 3)]
    assert found.data.params["n_generated"] == "10000"
    assert found.data.params["protocol/digits-1a2b"] == "inception-2015/tf1"
    tags = found.data.tags
    assert tags["vae_batch.checkpoint.1"] == "runs/step-1"
    assert tags["vae_batch.checkpoint.3"] == "runs/step-3"
    assert tags["status"] == "1 of 3 failed"
    assert tags["reasons"] == "runs/step-2: the decoder gave NaN"
    assert "runs/step-3: blurred" in tags["warnings"]
    assert found.info.status == "FINISHED"
    folder = Path(client.download_artifacts(found.info.run_id, "", str(tmp_path)))
    assert {file.name for file in (folder / "figures").iterdir()} == {
        "samples-runs-step-1.png",
        "samples-runs-step-3.png",
    }
    rows = json.loads((folder / "rows.json").read_text())
    assert [row["fid"] for row in rows] == [30.0, 3.5, None, None, 20.0, "inf"]


def test_mlflow_takes_the_same_run_once_and_a_changed_one_anew(
    run: ExampleRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = str(tmp_path / "mlruns")
    client = mlflow_client(monkeypatch, uri)
    write_mlflow(run, uri, "vaes")
    assert write_mlflow(run, uri, "vaes") == Logged(kept=1)
    elbos = [-90.0 if row.value("elbo") == -110.0 else row.value("elbo") for row in run.rows]
    changed = dataclasses.replace(run, rows=with_values(run.rows, "elbo", *elbos))
    assert write_mlflow(changed, uri, "vaes") == Logged(replaced=1)
    later = score_table(score_row("runs/step-4", 4, elbo=-80.0))
    grown = dataclasses.replace(changed, rows=[*changed.rows, *later])
    assert write_mlflow(grown, uri, "vaes") == Logged(replaced=1), "a night adds a checkpoint"
    ((_, found),) = runs_by_name(client, "vaes").items()
    assert history(client, found, "elbo") == [(1, -90.0), (3, -90.0), (4, -80.0)]


def test_training_runs_that_share_steps_are_runs_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So are checkpoints of equal content in two folders, and one without a step."""
    rows = [score_row(f"{run}/step-{i}", i, fingerprint="ab" * 16) for run in "ab" for i in (1, 3)]
    rows.append(score_row("final", None))
    uri = str(tmp_path / "mlruns")
    client = mlflow_client(monkeypatch, uri)
    for expected in (Logged(created=3), Logged(kept=3)):
        assert write_mlflow(example_run(tmp_path / "out", *rows), uri, "vaes") == expected
    found = runs_by_name(client, "vaes")
    assert set(found) == {"a", "b", "final"}
    assert [step for step, _ in history(client, found["b"], "elbo")] == [1, 3]


def test_a_figure_belongs_to_the_longest_name_that_fits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`samples-x-step-1.png` ends like a figure of `step-1`, too."""
    uri = str(tmp_path / "mlruns")
    client = mlflow_client(monkeypatch, uri)
    run = example_run(tmp_path / "out", score_row("step-1", 1), score_row("x/step-1", 1))
    for name in ("samples-step-1.png", "samples-x-step-1.png"):
        run.store.folder("figures").write(name, b"")
    write_mlflow(run, uri, "vaes")
    held = {
        name: [file.path for file in client.list_artifacts(found.info.run_id, "figures")]
        for name, found in runs_by_name(client, "vaes").items()
    }
    assert held == {
        "step-1": ["figures/samples-step-1.png"],
        "x/step-1": ["figures/samples-x-step-1.png"],
    }


# MLflow's own tables use a loading strategy that newer releases of SQLAlchemy call deprecated.
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_mlflow_in_sqlite(run: ExampleRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("sqlalchemy", reason="MLflow's sqlite store needs sqlalchemy")
    monkeypatch.chdir(tmp_path)  # where artifacts of a local database lie
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    client = mlflow_client(monkeypatch, uri)
    assert write_mlflow(run, uri, "vaes") == Logged(created=1)
    assert write_mlflow(run, uri, "vaes") == Logged(kept=1)
    assert runs_by_name(client, "vaes")["runs"].data.metrics["fid/inception-2015"] == 20.0


def test_without_mlflow_the_error_names_the_extra(
    run: ExampleRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(InputError, match=r"pip install '\.\[mlflow\]'"):
        write_mlflow(run, "sqlite:///x.db", "vaes")


def test_a_store_that_mlflow_refuses_is_named(run: ExampleRun) -> None:
    mlflow_installed()
    with pytest.raises(InputError, match="--mlflow nowhere://x cannot be used"):
        write_mlflow(run, "nowhere://x", "vaes")


@pytest.fixture
def wandb() -> Iterator[Any]:
    """The library; its process, which writes the files, ends with the test."""
    library = pytest.importorskip("wandb", reason="needs the package wandb: pip install '.[wandb]'")
    yield library
    library.teardown()


def wandb_records(folder: Path) -> list[Any]:
    """Of an offline run: a log as LevelDB writes it, in blocks of 32 KiB, one record a message."""
    from wandb.proto.wandb_internal_pb2 import Record

    (file,) = folder.glob("*.wandb")
    data, at, parts, records = file.read_bytes(), 7, b"", []
    assert data[:4] == b":W&B"
    while at < len(data):
        if 32768 - at % 32768 < 7:  # no room for a header
            at += 32768 - at % 32768
            continue
        size, kind = struct.unpack("<HB", data[at + 4 : at + 7])
        parts += data[at + 7 : at + 7 + size]
        at += 7 + size
        if kind in (1, 4):  # whole, or the last part
            records.append(Record.FromString(parts))
            parts = b""
    return records


def wandb_items(items: Any) -> dict[str, Any]:
    """Values by key, those of objects by key again."""
    found: dict[str, Any] = {}
    for item in items:
        *outer, key = item.nested_key or [item.key]
        inner = found
        for name in outer:
            inner = inner.setdefault(name, {})
        inner[key] = json.loads(item.value_json)
    return found


def wandb_values(records: list[Any], name: str) -> dict[int, Any]:
    """A series by step."""
    held = [record.history for record in records if record.HasField("history")]
    points = {history.step.num: wandb_items(history.item) for history in held}
    return {step: items[name] for step, items in points.items() if name in items}


def test_a_training_run_is_one_offline_run_of_wandb(
    run: ExampleRun, wandb: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert write_wandb(run, str(tmp_path / "logs"), "vaes") == Logged(created=1)
    assert "".join(capfd.readouterr()) == "", "the library says nothing"
    (folder,) = (tmp_path / "logs/wandb").glob("offline-run-*")
    records = wandb_records(folder)
    (about,) = (record.run for record in records if record.HasField("run"))
    assert (about.project, about.display_name) == ("vaes", "runs")
    config = {item.key: json.loads(item.value_json) for item in about.config.update}
    assert config["n_generated"] == "10000"
    assert config["protocol/digits-1a2b"] == "inception-2015/tf1"
    assert wandb_values(records, "fid/inception-2015") == {1: 30.0, 3: 20.0}
    assert wandb_values(records, "fid/digits-1a2b") == {1: 3.5}, "an infinity is no number"
    assert wandb_values(records, "elbo") == {1: -110.0, 3: -110.0}
    assert wandb_values(records, "elbo_low") == pytest.approx(dict.fromkeys((1, 3), -111.176))
    shown = wandb_values(records, "samples")
    assert list(shown) == [1, 3]
    assert (np.asarray(Image.open(folder / "files" / shown[1]["path"]))[0, 0] == 101).all()
    (table,) = wandb_values(records, "rows").values()
    rows = json.loads((folder / "files" / table["path"]).read_text())
    fids = [row[rows["columns"].index("fid")] for row in rows["data"]]
    assert fids == [30.0, 3.5, None, None, 20.0, "inf"]
    said = wandb_items([item for record in records for item in record.summary.update])
    assert said["vae_batch.checkpoint.3"] == "runs/step-3"
    assert said["reasons"] == "runs/step-2: the decoder gave NaN"
    (ended,) = (record.exit.exit_code for record in records if record.HasField("exit"))
    assert ended == 0


def test_wandb_takes_the_same_run_once_and_a_changed_one_anew(
    run: ExampleRun, wandb: Any, tmp_path: Path
) -> None:
    few = dataclasses.replace(run, rows=run.rows[:1])
    assert write_wandb(few, str(tmp_path), "vaes") == Logged(created=1)
    assert write_wandb(few, str(tmp_path), "vaes") == Logged(kept=1)
    (before,) = (tmp_path / "wandb").glob("offline-run-*")
    (before / "vae_batch.digest").unlink()  # an interrupted export
    assert write_wandb(few, str(tmp_path), "vaes") == Logged(replaced=1)
    changed = dataclasses.replace(few, rows=with_values(few.rows, "elbo", -90.0))
    assert write_wandb(changed, str(tmp_path), "vaes") == Logged(replaced=1)
    (after,) = (tmp_path / "wandb").glob("offline-run-*")
    assert before.name.rpartition("-")[2] == after.name.rpartition("-")[2], "one run of a server"
    assert wandb_values(wandb_records(after), "elbo") == {1: -90.0}


def test_what_hinders_wandb_is_one_sentence(
    run: ExampleRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(InputError, match=r"--wandb needs .* pip install '\.\[wandb\]'"):
        write_wandb(run, str(tmp_path), "vaes")


def test_a_folder_that_wandb_cannot_write_is_named(
    run: ExampleRun, wandb: Any, tmp_path: Path
) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(InputError, match=r"--wandb .*taken cannot be written"):
        write_wandb(run, str(tmp_path / "taken"), "vaes")
    with pytest.raises(InputError, match=r"--wandb s3://x: expected a local folder"):
        write_wandb(run, "s3://x", "vaes")


@pytest.fixture
def two_runs(tmp_path: Path) -> ExampleRun:
    return example_run(
        tmp_path / "out",
        score_row("runs/a_1/step-1", 1, fid=194.4, elbo=-27.47),
        score_row("runs/a_1/step-2", 2, fid=10.7, elbo=-23.9),
        score_row("runs/b|&/step-1", 1, fid=80.25, elbo=-25.0),
        failed_row("runs/b|&/step-2", 2, "100 % of the samples are NaN"),
    )


def test_a_markdown_table_has_a_cell_for_each_heading_and_the_best_in_bold(
    two_runs: ExampleRun,
) -> None:
    table, *notes = markdown_table(two_runs).strip().split("\n\n")
    heads, rule, *rows = [
        [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in table.split("\n")
    ]
    assert heads[:3] == ["Checkpoint", "Step", "n"]
    assert {len(row) for row in (rule, *rows)} == {len(heads)}
    assert [row[0] for row in rows] == [
        *("*a\\_1*", "step-1", "step-2", "*b\\|&*", "step-1", "step-2")
    ]
    fid = next(i for i, head in enumerate(heads) if head.startswith("FID"))
    assert [row[fid] for row in rows] == ["", "194.4", "**10.7**", "", "80.2", "failed"]
    assert notes[0].startswith("Bold: best point estimate")
    assert notes[1] == "runs/b\\|&/step-2 failed: 100 % of the samples are NaN"


def test_a_latex_table_is_balanced_and_escaped(two_runs: ExampleRun) -> None:
    lines = latex_table(two_runs).splitlines()
    (begin,) = (line for line in lines if line.startswith("\\begin"))
    columns = len(begin.partition("}{")[2].rstrip("}"))
    rows = [line for line in lines if line.endswith("\\\\") and "multicolumn" not in line]
    assert len(rows) == 1 + 4
    assert {len(re.split(r"(?<!\\)&", row)) for row in rows} == {columns}
    body = re.sub(r"\\[{}%&]", "", "\n".join(line for line in lines if not line.startswith("%")))
    assert body.count("{") == body.count("}")
    assert "%" not in body
    assert "\\textit{a\\_1}" in body
    assert "$-$27.47" in body
    assert "\\textbf{10.7}" in body
    assert body.isascii()
    assert lines[-1] == "% runs/b|&/step-2 failed: 100 % of the samples are NaN"
