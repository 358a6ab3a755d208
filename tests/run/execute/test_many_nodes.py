"""Several nodes without a common folder: they come and go, and every number stays.

The nodes are processes of this machine, with a working directory and a home each. What they share
is an S3 server on loopback.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import support.clusters.seen_environment as seen_environment
from support.clusters.ray_nodes import ROOT, Nodes, ray_nodes, run_and_see
from support.runs.driver_processes import JOBS, PATIENCE, numbers, write_spec
from support.runs.serial_runs import score

pytestmark = [pytest.mark.slow, pytest.mark.long]

faulty_s3 = pytest.importorskip("support.stores.faulty_s3")


@pytest.fixture(scope="module")
def bucket(toy_folder: Path) -> Iterator[str]:
    """``s3://runs/NAME?...`` with the toy checkpoints and the classifier in it."""
    pytest.importorskip("moto", reason="moto is missing: pip install '.[s3]'")
    with faulty_s3.local_s3() as server:
        filesystem = faulty_s3.make_bucket(server, "runs")
        for path in (path for path in toy_folder.rglob("*.keras")):
            with filesystem.open_output_stream(f"runs/toys/{path.relative_to(toy_folder)}") as file:
                file.write(path.read_bytes())
        yield faulty_s3.s3_uri(server.removeprefix("http://"), "runs/NAME")


@pytest.fixture(scope="module")
def seen_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("seen")


@pytest.fixture(scope="module")
def nodes(bucket: str, seen_folder: Path) -> Iterator[Nodes]:
    """A head that only drives, and two workers; the credentials are in the environment."""
    with ray_nodes({seen_environment.FOLDER: str(seen_folder)}) as found:
        found.add("head", num_cpus=0)
        found.add("first", num_cpus=1)
        found.add("second", num_cpus=1)
        yield found


@pytest.fixture
def settings(toy_settings: dict[str, Any], bucket: str) -> dict[str, Any]:
    shared = {
        "checkpoints": [bucket.replace("NAME", "toys/runs")],
        "extractors": [bucket.replace("NAME", "toys/classifier.keras")],
    }
    found = toy_settings | shared | {"metrics": "losses,fid"}
    del found["workers"]
    return found


def on(nodes: Nodes) -> dict[str, str]:
    """Environment of a driver on the head."""
    return os.environ | {"RAY_ADDRESS": nodes.address, "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"}


def start(spec: Path, nodes: Nodes, *flags: str) -> subprocess.Popen[str]:
    """The main job as a driver on the head, in a folder of its own."""
    return subprocess.Popen(
        [sys.executable, str(JOBS / "score.py"), str(spec), *flags],
        env=on(nodes),
        cwd=spec.parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def receipts(uri: str) -> dict[str, Any]:
    """Receipts of shards in a store, by their time of writing."""
    from pyarrow import fs

    filesystem, path = fs.FileSystem.from_uri(uri)
    found = filesystem.get_file_info(fs.FileSelector(path, recursive=True, allow_not_found=True))
    return {f.path: f.mtime for f in found if "part-0" in f.path and "receipt" in f.path}


def wait_for(driver: subprocess.Popen[str], out: str, count: int) -> dict[str, Any]:
    deadline = time.monotonic() + PATIENCE
    while len(found := receipts(out)) < count:
        if driver.poll() is not None:
            raise AssertionError(f"the run ended before {count} shards: {driver.communicate()}")
        assert time.monotonic() < deadline, "the run does not get on"
        time.sleep(0.2)
    return found


def test_nodes_come_and_go_and_no_number_moves(
    settings: dict[str, Any], bucket: str, nodes: Nodes, tmp_path: Path
) -> None:
    settings |= {"shard_size": 16}
    quiet, out = (bucket.replace("NAME", name) for name in ("quiet", "lossy"))
    score(settings | {"out": quiet, "workers": 0})
    spec = write_spec(tmp_path / "spec.toml", settings | {"out": out})
    driver = start(spec, nodes, "--json")
    wait_for(driver, out, 10)
    nodes.lose("second")
    finished = wait_for(driver, out, 24)
    nodes.add("third", num_cpus=1)
    printed, said = driver.communicate(timeout=PATIENCE)
    assert driver.returncode == 0, said
    rows = json.loads(printed)  # Ray's own lines on the lost node would be no JSON
    assert [row["status"] for row in rows] == ["scored"] * 3
    assert numbers(out) == numbers(quiet)
    after = receipts(out)
    assert {path: after[path] for path in finished} == finished, "a finished shard was redone"


def test_each_kind_of_task_sees_what_it_may(
    settings: dict[str, Any], bucket: str, nodes: Nodes, seen_folder: Path, tmp_path: Path
) -> None:
    nodes.add("gpus", num_cpus=3, num_gpus=2)
    for note in seen_folder.iterdir():
        note.unlink()
    spec = tmp_path / "spec.json"
    spec.write_text(json.dumps(settings | {"out": bucket.replace("NAME", "gpus")}))
    found = run_and_see(spec, on(nodes))
    assert found["description"] == "Ray, 2 worker(s) with 1 GPU(s)"
    assert found["rows"] == ["scored"] * 3

    # A TensorFlow for each GPU, and no other; a core for each, of the 3 that the node has.
    workers = [json.loads(note.read_text()) for note in seen_folder.iterdir()]
    by_process = {worker.pop("process"): worker for worker in workers}
    threads = {"OMP_NUM_THREADS": "1", "TF_NUM_INTRAOP_THREADS": "1"}
    growth = {"TF_FORCE_GPU_ALLOW_GROWTH": "true"}
    assert sorted(by_process.values(), key=str) == [
        {"CUDA_VISIBLE_DEVICES": gpu, **threads, **growth} for gpu in ("0", "1")
    ]
    devices = [device for _, device in found["devices"]]
    assert sorted(device["CUDA_VISIBLE_DEVICES"] for device in devices) == ["0", "1"]

    # Light tasks see no GPU, and are no more at once than there are cores beside the workers:
    # one each on two nodes, and 3 - 2.
    light = found["light"]
    assert {task["CUDA_VISIBLE_DEVICES"] for task in light} == {""}
    assert {task["OMP_NUM_THREADS"] for task in light} == {"1"}
    at_once = [sum(a["began"] <= b["began"] < a["ended"] for a in light) for b in light]
    assert max(at_once) <= 3


#: A driver whose Keras is said to be another one than that of the nodes.
OTHER_KERAS = """
import sys
from vae_batch.run.execute.on_ray import visibility
own = visibility._versions()
visibility._versions = lambda: own | {"keras": "1.0"}
from vae_batch.cli import app
app(["score", sys.argv[1]])
"""


def test_nodes_with_other_versions_are_refused_before_anything_is_computed(
    settings: dict[str, Any], bucket: str, nodes: Nodes, tmp_path: Path
) -> None:
    out = bucket.replace("NAME", "other-keras")
    spec = write_spec(tmp_path / "spec.toml", settings | {"out": out})
    driver = subprocess.run(
        [sys.executable, "-c", OTHER_KERAS, str(spec)],
        env=on(nodes), cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE, check=False,
    )  # fmt: skip
    assert driver.returncode == 2, driver.stderr
    refused = r"error: node \S+ \(\S+\): keras \S+ there and 1\.0 on the driver's node; install"
    assert re.search(refused, driver.stderr)
    assert receipts(out).keys() == {path for path in receipts(out) if "/images-" in path}


def test_inputs_in_the_drivers_folder_are_refused_before_anything_is_computed(
    settings: dict[str, Any], bucket: str, nodes: Nodes, toy_folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "runs").symlink_to(toy_folder / "runs")
    out = bucket.replace("NAME", "refused")
    spec = write_spec(tmp_path / "spec.toml", settings | {"checkpoints": ["runs"], "out": out})
    driver = start(spec, nodes)
    _, said = driver.communicate(timeout=PATIENCE)
    assert driver.returncode == 2, said
    assert re.search(r"error: node \S+ \(\S+\): checkpoint runs/step-0001/\S+ \(in \S+\)", said)
    assert "ray job submit --working-dir" in said
    assert receipts(out).keys() == {path for path in receipts(out) if "/images-" in path}
