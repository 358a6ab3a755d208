"""A cluster that is lost on the way: noticed, said, and a local one is started again, once."""

from __future__ import annotations

import json
import os
import signal
import socket
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support.clusters.ray_head import descendants
from support.runs.driver_processes import (
    PATIENCE,
    numbers,
    start,
    wait_for_receipts,
    write_spec,
)
from support.runs.serial_runs import score
from support.stores import score_rows

from vae_batch import evaluation
from vae_batch.evaluation import evaluate
from vae_batch.plan import ClusterLostError, make_spec
from vae_batch.run.execute.executor import SerialExecutor, Task
from vae_batch.run.execute.on_ray import cluster
from vae_batch.run.execute.worker import ShardOutcome
from vae_batch.run.output.lease import LEASE_FILE
from vae_batch.run.planning.worker_config import WorkerConfig
from vae_batch.run.progress.events import Event, FaultMet, Message, ignore


@pytest.fixture
def listening(monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """A server of a local cluster, and the only one that is looked at."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        watched = cluster.Server("the GCS", "127.0.0.1", server.getsockname()[1], absence=0.3)
        monkeypatch.setattr(cluster, "_servers", (watched,))
        monkeypatch.setattr(cluster, "_joined", False)
        yield server


def test_a_server_that_is_gone_is_named(listening: socket.socket) -> None:
    cluster.require_alive(now=True)
    port = listening.getsockname()[1]
    listening.close()
    said = rf"^the local Ray cluster was lost: the GCS at 127.0.0.1:{port} does not answer \(.+\)$"
    with pytest.raises(ClusterLostError, match=said):
        cluster.require_alive(now=True)
    cluster.forget_servers()
    cluster.require_alive(now=True)


def test_a_server_may_be_away_for_a_while(
    listening: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = listening.getsockname()
    listening.close()
    back: list[socket.socket] = []

    def sleep(_: float) -> None:
        if not back:
            back.append(socket.create_server(address))

    monkeypatch.setattr(cluster.time, "sleep", sleep)
    cluster.require_alive(now=True)
    back[0].close()


def test_a_call_that_waits_for_room_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    now = [0.0]

    def wait(references: list[str], timeout: float) -> tuple[list[str], list[str]]:
        now[0] += 50.0
        return (references, []) if now[0] >= 300.0 else ([], references)

    monkeypatch.setattr(cluster, "_servers", ())
    monkeypatch.setattr(cluster, "time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(cluster.ray, "wait", wait)
    monkeypatch.setattr(cluster.ray, "get", lambda reference: f"value of {reference}")
    assert cluster.result_of("x", cluster.Waiting("no device has answered")) == "value of x"
    assert [record.getMessage().split(",")[0] for record in caplog.records] == [
        f"no device has answered for {seconds} s" for seconds in (100, 150, 250)
    ]


class Losing(SerialExecutor):
    """Loses its cluster after two shards, or where a background task is to be started."""

    def __init__(self, can_start_again: bool, submits: bool = True) -> None:
        self.can_start_again, self.submits = can_start_again, submits

    def run_shards(self, tasks: Sequence[Task], config: WorkerConfig) -> Iterator[ShardOutcome]:
        shards = super().run_shards(tasks, config)
        yield next(shards)
        yield next(shards)
        if not self.submits:
            yield from shards
        raise ClusterLostError("the cluster was lost: a test")

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Any:
        if self.submits:
            return super().submit(function, *arguments)
        return super().submit(_raise)


def _raise() -> None:
    raise ClusterLostError("the cluster was lost: a test")


@pytest.mark.parametrize("submits", [True, False])
@pytest.mark.usefixtures("no_report")
def test_a_local_cluster_is_started_again_and_the_run_goes_on(
    toy_settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, submits: bool
) -> None:
    settings = toy_settings | {"metrics": "losses", "workers": 0}
    score(settings | {"out": str(tmp_path / "quiet")})
    executors = [Losing(True, submits), SerialExecutor()]
    monkeypatch.setattr(evaluation, "make_executor", lambda _: executors.pop(0))
    events: list[Event] = []
    found = evaluate(make_spec(settings), events.append)
    assert not executors
    assert score_rows.numbers(found.summary.rows) == numbers(tmp_path / "quiet")
    assert found.summary.shards_before >= 2
    assert found.summary.faults_survived == "1 cluster lost"
    assert FaultMet("clusters lost") in events
    said = "the cluster was lost: a test; it is started again, once, and the run goes on"
    assert any(isinstance(e, Message) and e.text.startswith(said) for e in events)


@pytest.mark.parametrize("started_here", [True, False])
def test_a_second_loss_and_that_of_a_joined_cluster_end_the_run_and_free_its_folder(
    toy_settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch, started_here: bool
) -> None:
    settings = toy_settings | {"metrics": "losses", "workers": 0}
    executors = [Losing(started_here), Losing(started_here)]
    monkeypatch.setattr(evaluation, "make_executor", lambda _: executors.pop(0))
    with pytest.raises(ClusterLostError, match="a test"):
        evaluate(make_spec(settings), ignore)
    assert len(executors) == (0 if started_here else 1)
    assert not Path(settings["out"], LEASE_FILE).exists()


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("server", ["raylet", "gcs_server"])
def test_a_killed_server_costs_a_restart_and_moves_no_bit(
    toy_settings: dict[str, Any], tmp_path: Path, server: str
) -> None:
    few = {"checkpoints": [f"{toy_settings['checkpoints'][0]}/step-000[12]"]}
    settings = toy_settings | few | {"shard_size": 4, "metrics": "losses,fid"}
    score(settings | {"out": str(tmp_path / "quiet"), "workers": 0})
    out = tmp_path / "killed"
    spec = write_spec(tmp_path / "spec.toml", settings | {"out": str(out), "workers": 1})
    driver = start(spec, "--json")
    wait_for_receipts(driver, out, 60)  # half of them are written before Ray starts
    (process,) = (p for p in descendants(driver.pid) if program(p) == server)
    os.kill(process, signal.SIGKILL)
    printed, said = driver.communicate(timeout=PATIENCE)
    assert driver.returncode == 0, said
    assert "the local Ray cluster was lost: the " in said
    assert "survived: 1 cluster lost" in said
    assert {row["status"] for row in json.loads(printed)} == {"scored"}
    assert numbers(out) == numbers(tmp_path / "quiet")
    assert not Path(out, LEASE_FILE).exists()


def program(process: int) -> str:
    """Name of a process's executable file; empty where it has ended."""
    try:
        return Path(f"/proc/{process}/exe").readlink().name
    except OSError:
        return ""
