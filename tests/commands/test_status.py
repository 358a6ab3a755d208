"""`vae-batch status --watch`: printed again until the run ends."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from typer.testing import CliRunner, Result

from vae_batch.cli import app
from vae_batch.commands import status
from vae_batch.run.output.lease import Holder
from vae_batch.run.progress import status as run_status
from vae_batch.run.progress.status import RowStatus, RunState

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
