"""What `vae-batch status` prints of a run."""

from __future__ import annotations

import io
import json
from typing import Any

from rich.console import Console
from support.runs.planned_rows import new_counters, planned_row

from vae_batch.run.output.lease import Holder
from vae_batch.run.progress.events import FaultMet, PhaseBegan, Tick, WorkersStarted
from vae_batch.run.progress.progress_file import LastProgress, SaidState
from vae_batch.run.progress.status import RowState, RowStatus, RunState
from vae_batch.terminal.status_view import status_json, status_view

NOW = 1_800_000_000.0
HOLDER = Holder("t", "node-7", 4242, "ann", "nightly", "2027-01-15T03:00:00+00:00", NOW - 4, 15.0)


def row(
    name: str, status: RowState, done: int = 0, reason: str = "", extractor: str = "e"
) -> RowStatus:
    return RowStatus(f"runs/a/{name}", extractor, status, done, 9, reason)


def last(state: SaidState = "running", reason: str = "", phase: str = "work") -> LastProgress:
    counters = new_counters([planned_row("a"), planned_row("b")])
    counters(WorkersStarted("Ray", 8, 0))
    counters(PhaseBegan(phase))
    for _ in range(2):
        counters(FaultMet("workers lost"))
    counters(Tick(7))
    return LastProgress(NOW - 7, state, reason, counters.snapshot())


def state_of(*rows: RowStatus, **values: Any) -> RunState:
    given = {"out": "results", "now": NOW, "holder": None, "is_alive": False, "last": None}
    return RunState(**(given | values), rows=rows)


def printed(state: RunState, width: int = 80, *, everything: bool = False) -> list[str]:
    console = Console(file=io.StringIO(), width=width)
    for part in status_view(state, everything=everything):
        console.print(part, soft_wrap=True)
    text = console.file.getvalue()
    assert "\x1b" not in text
    return [line.rstrip() for line in text.splitlines()]


def test_a_running_run() -> None:
    rows = [row("step-1", "scored", 9), row("step-2", "running", 4), row("step-3", "waiting")]
    lines = printed(state_of(*rows, holder=HOLDER, is_alive=True, last=last()))
    assert lines[:5] == [
        "results: running since 2027-01-15 03:00 UTC, phase work, last sign of life 4 s ago",
        "run nightly of ann on node-7 (process 4242)",
        "1 of 3 rows scored, 1 running, 1 waiting",
        "0/10 shards",
        "7 of 8 workers busy, survived: 2 workers lost",
    ]
    assert " step-2       running      4/9" in lines
    assert "resume" not in "\n".join(lines)


def test_a_run_that_has_died() -> None:
    lines = printed(state_of(row("step-1", "running", 4), holder=HOLDER, last=last()))
    assert lines[0] == "results: died, last sign of life 4 s ago"
    assert "survived: 2 workers lost" in lines
    assert "run the same `vae-batch score` to resume" in lines


def test_runs_that_ended_one_way_or_another() -> None:
    done, open_ = row("step-1", "scored", 9), row("step-1", "waiting")
    assert printed(state_of(done))[0] == "results: not running"
    assert printed(state_of(done, last=last("finished")))[0] == "results: finished 7 s ago"
    stopped = printed(state_of(open_, last=last("interrupted", "stopped")))
    assert stopped[0] == "results: stopped 7 s ago"
    assert "run the same `vae-batch score` to resume" in stopped
    broken = printed(state_of(open_, last=last("interrupted", "the disk is full")))
    assert broken[0] == "results: interrupted 7 s ago: the disk is full"


def test_a_run_that_plans_and_one_that_draws() -> None:
    preparing = printed(state_of(holder=HOLDER, is_alive=True))
    assert preparing[0].startswith("results: running since 2027-01-15 03:00 UTC, phase plan")
    assert len(preparing) == 2
    drawing = printed(state_of(holder=HOLDER, is_alive=True, last=last(phase="report")))
    assert "phase report" in drawing[0]
    assert "workers busy" not in "\n".join(drawing)


def test_failures_are_listed_once_per_checkpoint() -> None:
    rows = [row("step-1", "failed", 0, "NaN in \x1b[2J[bold]", name) for name in ("e", "f")]
    text = "\n".join(printed(state_of(*rows)))
    assert text.count("runs/a/step-1: failed: NaN in \\u{1b}[2J[bold]") == 1
    assert "Extractor" in text
    named = printed(state_of(row("step-1", "failed", 0, "runs/a/step-1 is a text file")))
    assert "failed: runs/a/step-1 is a text file" in named


def test_of_a_thousand_rows_the_running_ones_are_listed() -> None:
    rows = [row(f"step-{i:04d}", "scored", 9) for i in range(500)]
    rows += [row(f"step-{i:04d}", "running", 4) for i in range(500, 530)]
    rows += [row(f"step-{i:04d}", "failed", 0, f"reason {i}") for i in range(530, 560)]
    rows += [row(f"step-{i:04d}", "waiting") for i in range(560, 1000)]
    lines = printed(state_of(*rows))
    assert len(lines) < 60
    assert "500 of 1,000 rows scored, 30 failed, 30 running, 440 waiting" in lines
    assert "and 10 more running; --all lists every row" in lines
    assert "and 10 more failed; --all lists them" in lines
    assert len(printed(state_of(*rows), everything=True)) > 1000


def test_json_has_all_of_it() -> None:
    state = state_of(row("step-1", "running", 4), holder=HOLDER, is_alive=True, last=last())
    found = json.loads(json.dumps(status_json(state)))
    assert (found["out"], found["state"], found["is_alive"]) == ("results", "running", True)
    assert found["heard_s"] == 4
    assert found["holder"]["host"] == "node-7"
    assert found["counts"] == {"running": 1}
    assert found["progress"]["faults"] == {"workers lost": 2}
    assert found["rows"][0]["checkpoint"] == "runs/a/step-1"
    assert json.loads(json.dumps(status_json(state_of())))["holder"] is None
