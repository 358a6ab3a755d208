"""`vae-batch status --watch`: printed again until the run ends."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from typer.testing import CliRunner, Result

from vae_batch.cli import app
from vae_batch.commands import status
from vae_batch.plan import InputError
from vae_batch.run.output.lease import Holder
from vae_batch.run.progress import status as run_status
from vae_batch.run.progress.status import RowStatus, RunState
from vae_batch.storage.retry import retrying

HOLDER = Holder("t", "host", 1, "ann", "nightly", "2027-01-15T03:00:00+00:00", 100.0, 15.0)


def call(*words: str) -> Result:
    return CliRunner().invoke(app, ["status", *words])


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds slept; the run is seen at work twice, and then has ended."""

    def states() -> Iterator[RunState]:
        for done in (1, 2):
            rows = (RowStatus("a", "e", "running", done, 3, ""),)
            yield RunState("out", 105.0, HOLDER, True, None, rows)
        yield RunState("out", 105.0, None, False, None, (RowStatus("a", "e", "scored", 3, 3, ""),))

    seconds: list[float] = []
    found = states()
    monkeypatch.setattr(run_status, "run_state", lambda out: next(found))
    monkeypatch.setattr(status.time, "sleep", seconds.append)
    return seconds


def test_it_is_said_again_until_the_run_ends(slept: list[float]) -> None:
    result = call("out", "--watch", "5")
    assert result.exit_code == 0
    assert slept == [5.0, 5.0]
    assert [word in result.stdout for word in ("1/3", "2/3", "3/3")] == [True] * 3
    assert "\x1b" not in result.stdout


def test_with_json_a_line_each_time(slept: list[float]) -> None:
    lines = call("out", "--watch", "5", "--json").stdout.splitlines()
    assert [json.loads(line)["rows"][0]["done"] for line in lines] == [1, 2, 3]


def test_once_without_watch(slept: list[float]) -> None:
    result = call("out")
    assert slept == []
    assert "1/3" in result.stdout
    assert "2/3" not in result.stdout


def test_a_folder_without_a_run(tmp_path: object) -> None:
    result = call(str(tmp_path))
    assert result.exit_code == 2
    assert "holds no run" in result.stderr


def test_a_store_that_is_down_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """With ``--watch`` until it answers; retries would hold a question up for a minute."""
    asked: list[str] = []

    def refuse() -> None:
        raise OSError("AWS Error NETWORK_CONNECTION: Could not connect to server")

    def state(out: str) -> None:
        asked.append(out)
        if len(asked) == 4:
            raise InputError("it answers")
        retrying(refuse, f"reading lease.json in {out}")

    monkeypatch.setattr(run_status, "run_state", state)
    alone = call("s3://bucket/run")
    assert alone.exit_code == 2
    said = " ".join(alone.stderr.split())
    assert "does not answer, reading lease.json in s3://bucket/run: AWS Error NETWORK" in said
    assert "it was asked once: check the URI and its endpoint, or let --watch 30 ask" in said
    assert len(asked) == 1
    watched = call("s3://bucket/run", "--watch", "0.1")
    assert watched.stderr.count("asking again in 0.1 s") == 2
    assert "it answers" in watched.stderr
