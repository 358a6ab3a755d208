"""Two machines that share no disk: a hidden assumption of one would fail here."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from support.clusters.machines_apart import Machine, Network, why_impossible
from support.clusters.ray_nodes import marked_environment, short_folder
from support.runs.driver_processes import JOBS, PATIENCE, numbers, write_spec
from support.runs.serial_runs import score

pytestmark = [pytest.mark.slow, pytest.mark.long]

faulty_s3 = pytest.importorskip("support.stores.faulty_s3")

PORT = 6390

#: The job where the worker's machine joins too late to be asked before the run.
LATE = """
import sys
from vae_batch.run.execute.on_ray import visibility
visibility._ask_every_node = lambda *_: None
from vae_batch.cli import app
app(["score", sys.argv[1]])
"""


@dataclass
class Site:
    """Machines, and what a driver on the head needs.

    Attributes:
      head: Its folders are those of this machine.
      bucket: ``s3://runs/NAME?...`` that all of them reach.
      folder: The driver's, which the worker's machine does not see.
      environment: Of the driver.
    """

    head: Machine
    bucket: str
    folder: Path
    environment: dict[str, str]

    def run(self, *command: str) -> tuple[int, str]:
        """Exit code of a driver, and all it says."""
        ended = self.head.run([sys.executable, *command], self.environment, self.folder, PATIENCE)
        return ended.returncode, ended.stderr + ended.stdout


@pytest.fixture(scope="module")
def site(toy_folder: Path) -> Iterator[Site]:
    pytest.importorskip("moto", reason="moto is missing: pip install '.[s3]'")
    if reason := why_impossible():
        pytest.skip(reason)
    with (
        short_folder() as folder,
        Network(os.getpid() % 250) as network,
        faulty_s3.local_s3(network.address) as server,
    ):
        filesystem = faulty_s3.make_bucket(server, "runs")
        for path in toy_folder.rglob("*.keras"):
            name = f"runs/toys/{path.relative_to(toy_folder)}"
            with filesystem.open_output_stream(name) as file:
                file.write(path.read_bytes())
        bucket = faulty_s3.s3_uri(server.removeprefix("http://"), "runs/NAME")
        with machines(network, folder, hidden=[folder, toy_folder]) as (head, environment):
            yield Site(head, bucket, folder, environment)


@contextmanager
def machines(
    network: Network, folder: Path, hidden: list[Path]
) -> Iterator[tuple[Machine, dict[str, str]]]:
    """A head that only drives, and a worker with folders of its own; and a driver's environment."""
    with marked_environment() as environment:
        environment |= {"HOME": str(folder)}
        start = [str(Path(sys.executable).parent / "ray"), "start", "--block"]
        common = [
            f"--temp-dir={folder}", "--num-gpus=0", "--min-worker-port=0", "--max-worker-port=0",
            f"--object-store-memory={80 << 20}", "--disable-usage-stats",
        ]  # fmt: skip
        lead = ["--head", "--num-cpus=0", f"--port={PORT}", "--include-dashboard=false"]
        address = f"{network.address_of(1)}:{PORT}"
        join = [f"--address={address}", "--num-cpus=2"]
        driver = {**environment, "RAY_ADDRESS": address}
        with network.machine(1, [*start, *lead, *common], environment) as head:
            wait_for_nodes(head, driver, folder, 1)
            with network.machine(2, [*start, *join, *common], environment, hidden):
                wait_for_nodes(head, driver, folder, 2)
                yield head, driver


def wait_for_nodes(head: Machine, environment: dict[str, str], folder: Path, count: int) -> None:
    code = f"""
import ray, time
ray.init('auto', log_to_driver=False, logging_level=40)
while sum(node['Alive'] for node in ray.nodes()) < {count}: time.sleep(0.5)
"""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        ended = head.run([sys.executable, "-c", code], environment, folder, PATIENCE)
        if ended.returncode == 0:
            return
    raise AssertionError(ended.stderr)


@pytest.fixture
def settings(toy_settings: dict[str, Any], site: Site) -> dict[str, Any]:
    del toy_settings["workers"]
    return toy_settings | {
        "checkpoints": [site.bucket.replace("NAME", "toys/runs")],
        "extractors": [site.bucket.replace("NAME", "toys/classifier.keras")],
        "metrics": "losses,fid",
    }


def test_a_run_through_an_object_store_needs_no_common_disk(
    settings: dict[str, Any], site: Site
) -> None:
    quiet, out, cache = (site.bucket.replace("NAME", name) for name in ("quiet", "out", "cache"))
    score(settings | {"out": quiet, "workers": 0})
    shared = settings | {"out": out, "reference_cache": cache}
    code, said = site.run(str(JOBS / "score.py"), str(write_spec(site.folder / "s.toml", shared)))
    assert code == 0, said
    assert numbers(out) == numbers(quiet)


def test_a_local_folder_is_refused_before_anything_is_computed(
    settings: dict[str, Any], site: Site
) -> None:
    out = site.folder / "results"
    spec = write_spec(site.folder / "local.toml", settings | {"out": str(out)})
    code, said = site.run(str(JOBS / "score.py"), str(spec))
    assert code == 2, said
    assert "error: node machine-2 (10.77." in said
    assert f"out {out} is not the driver's folder there" in said
    assert "s3://bucket/folder" in said
    assert not list(out.rglob("generated*"))
    assert not list(out.glob(".seen-*")), "a mark was left"


def test_a_local_checkpoint_that_a_late_machine_lacks_costs_its_row(
    settings: dict[str, Any], site: Site, toy_folder: Path
) -> None:
    out = site.bucket.replace("NAME", "local-checkpoints")
    shutil.copytree(toy_folder / "runs", site.folder / "runs")
    local = settings | {"out": out, "checkpoints": [str(site.folder / "runs")]}
    spec = write_spec(site.folder / "inputs.toml", local)
    code, said = site.run("-c", LATE, str(spec))
    assert code == 3, said
    assert {row["status"] for row in numbers(out)} == {"failed"}
    for row in numbers(out):
        assert "is missing on this worker (node machine-2)" in row["reason"]
