"""Progress on stderr: lines that move on a terminal, plain lines elsewhere."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import os
import pty
from typing import Any

import pytest
from rich.console import Console
from support.runs.planned_rows import (
    Clock,
    new_counters,
    planned_row,
    row_scored,
    shard_done,
    work_of,
)

from vae_batch.plan.quantities import duration, file_size, plural
from vae_batch.run.progress.counters import Counters
from vae_batch.run.progress.events import (
    FaultMet,
    Message,
    PhaseEnded,
    RowFailed,
    Tick,
    WorkEnded,
    WorkersStarted,
)
from vae_batch.run.progress.snapshot import Snapshot
from vae_batch.terminal.progress import TerminalProgress, drawn, moves
from vae_batch.terminal.words import one_line, rate, times


def printed(snapshot: Snapshot, width: int = 80) -> list[str]:
    console = Console(file=io.StringIO(), width=width)
    console.print(drawn(snapshot))
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


def many(count: int) -> tuple[list[Any], Counters]:
    rows = [planned_row(f"step-{i:04d}") for i in range(count)]
    return rows, new_counters(rows)


def plain(clock: Clock) -> tuple[TerminalProgress, io.StringIO]:
    written = io.StringIO()
    return TerminalProgress(Console(file=written, width=80), clock), written


def test_the_reference_comes_first() -> None:
    _, counters = many(2)
    lines = printed(counters.snapshot())
    assert lines[0] == "reference  0/2 shards"
    assert lines[1] == "0 of 2 checkpoints scored, 2 waiting"


def test_running_checkpoints_counts_and_faults() -> None:
    rows, counters = many(4)
    counters(WorkersStarted("Ray", 8, 0))
    counters(shard_done(rows[0].units["losses"]))
    counters(shard_done(rows[1].units["losses"]))
    counters(row_scored(rows[0]))
    counters(RowFailed(rows[3], "it is broken"))
    counters(FaultMet("workers lost", (rows[1].units["generated"].path,)))
    counters(Tick(7))
    text = "\n".join(printed(counters.snapshot()))
    assert "runs/step-0001  1/4 shards, 1 retried" in text
    assert "1 of 4 checkpoints scored, 1 failed, 1 running, 1 waiting" in text
    assert "7 of 8 workers busy, survived: 1 worker lost" in text


def test_all_shards_done_and_no_score_yet() -> None:
    rows, counters = many(1)
    for unit in rows[0].units.values():
        for _ in unit.shards():
            counters(shard_done(unit))
    assert "runs/step-0000  4/4 shards, waiting for its score" in printed(counters.snapshot())


def test_a_thousand_checkpoints_take_few_lines_and_long_names_keep_both_ends() -> None:
    rows, _ = many(1000)
    for row in rows[:500]:
        row.checkpoint.label = f"s3://bucket/{'long/' * 30}{row.checkpoint.label}"
    counters = new_counters(rows)
    for row in rows[:500]:
        counters(shard_done(row.units["losses"]))
    counters(WorkersStarted("Ray", 8, 0))
    counters(Tick(8))
    lines = printed(counters.snapshot())
    assert len(lines) <= 10
    assert all(len(line) <= 80 for line in lines)
    assert "and 495 more running" in lines  # the reference and five of them are named
    assert "0 of 1,000 checkpoints scored, 500 running, 500 waiting" in lines
    assert "step-0000" in lines[1]
    assert "s3://" in lines[1]


def test_without_a_terminal_a_line_each_15_seconds() -> None:
    clock = Clock()
    display, written = plain(clock)
    rows, _ = many(2)
    with display:
        display(work_of(rows))
        for clock.now in (1.0, 14.0, 15.0, 16.0, 29.0, 31.0):
            display(Tick(None))
        display(row_scored(rows[0], "runs/step-0000: FID 3"))
        display(WorkEnded())
        clock.now = 90.0
        display(Tick(None))
    assert written.getvalue().splitlines() == [
        "10 shards",
        "15 s: 0/10 shards, 0 of 2 checkpoints scored, 2 waiting",
        "31 s: 0/10 shards, 0 of 2 checkpoints scored, 2 waiting",
        "runs/step-0000: FID 3",
    ]


def test_one_line_has_everything() -> None:
    clock = Clock()
    rows, _ = many(3)
    counters = new_counters(rows, clock)
    counters(WorkersStarted("Ray", 4, 0))
    clock.now = 4.0
    for kind in ("losses", "generated", "reference"):
        counters(shard_done(rows[0].units[kind], 4.0))
    for _ in range(2):
        counters(FaultMet("machines lost"))
    counters(Tick(3))
    # 30 images in 4 s; three shards at once, and 11 of 4 s each are left
    assert one_line(counters.snapshot()) == (
        "3/14 shards, 0 of 3 checkpoints scored, 1 running, 2 waiting, 7.5 images/s, "
        "about 15 s left, 3 of 4 workers busy, survived: 2 machines lost"
    )


def test_times_by_kind_of_work_and_by_phase() -> None:
    rows, counters = many(1)
    assert list(times(counters.snapshot())) == []
    counters(shard_done(rows[0].units["losses"], 2.0))
    counters(shard_done(rows[0].units["generated"], 70.0))
    counters(row_scored(rows[0]))
    for name, seconds in (("plan", 1.0), ("work", 75.0)):
        counters(PhaseEnded(name, seconds))
    assert list(times(counters.snapshot())) == [
        "computed: 20 images, 200 B; generated activations 1 min 10 s, losses 2 s, scores 0 s",
        "phases: plan 1 s, work 1 min 15 s",
    ]


def test_plain_lines_hold_no_control_characters_and_no_credentials() -> None:
    display, written = plain(Clock())
    with display:
        display(Message("s3://key:secret@bucket/\x1b[2Ja\rb: failed: two\nlines [red]x[/red]"))
    text = written.getvalue()
    assert "secret" not in text
    assert text == "s3://bucket/\\u{1b}[2Ja\\u{d}b: failed: two\nlines [red]x[/red]\n"


def test_lines_that_move_go_when_the_run_ends() -> None:
    above, below = pty.openpty()
    with os.fdopen(below, "w") as terminal:
        console = Console(file=terminal, width=80, force_terminal=True, _environ={"TERM": "xterm"})
        with TerminalProgress(console, Clock()) as display:
            display(work_of(many(2)[0]))
            display(Tick(None))
            display(Message("a line that stays"))
            display(WorkEnded())
    text = everything_in(above)
    assert "0 of 2 checkpoints scored, 2 waiting" in text
    assert "a line that stays" in text
    # what was drawn last is erased, line by line, and the cursor is shown again
    assert text.rindex("\x1b[2K") > text.rindex("2 waiting")
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l")


def everything_in(above: int) -> str:
    """What was written to a terminal that has been closed."""
    parts = []
    with contextlib.suppress(OSError):  # that is how Linux tells the end
        while part := os.read(above, 65_536):
            parts.append(part)
    os.close(above)
    return b"".join(parts).decode()


@pytest.mark.parametrize("environment", [{"FORCE_COLOR": "1"}, {"TTY_COMPATIBLE": "1"}, {}])
def test_a_file_never_gets_lines_that_move(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    written = io.StringIO()
    console = Console(file=written)
    assert not moves(console)
    with TerminalProgress(console, Clock()) as display:
        display(work_of(many(2)[0]))
        display(Tick(None))
    assert "\x1b" not in written.getvalue()


def test_a_run_that_has_nothing_to_do_shows_nothing() -> None:
    display, written = plain(Clock())
    with display:
        display(dataclasses.replace(work_of(many(2)[0]), open_rows=()))
        display(Tick(None))
    assert written.getvalue() == ""


def test_counts_and_sizes() -> None:
    assert [plural(count, "checkpoint") for count in (0, 1, 1200)] == [
        *("0 checkpoints", "1 checkpoint", "1,200 checkpoints")
    ]
    assert plural(2, "worker lost", "workers lost") == "2 workers lost"
    assert [file_size(size) for size in (0, 999, 1_400, 83e6, 999.7e3)] == [
        *("0 B", "999 B", "1.4 kB", "83 MB", "1.0 MB")
    ]


def test_durations_and_rates() -> None:
    seconds = (0.4, 45, 59.6, 200, 600, 3599, 7500, 86_400 * 3 + 4 * 3600)
    assert [duration(value) for value in seconds] == [
        *("0 s", "45 s", "1 min 00 s", "3 min 20 s", "10 min", "59 min", "2 h 05 min", "3 d 4 h")
    ]
    assert [rate(value) for value in (0.012345, 4.0912, 99.7, 1234.5)] == [
        *("0.0123", "4.09", "100", "1234")
    ]
