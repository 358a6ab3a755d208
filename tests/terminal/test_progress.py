"""What a run shows while it works: lines that move on a terminal, plain lines elsewhere."""

from __future__ import annotations

import contextlib
import io
import os
import pty
from typing import Any

import pytest
from rich.console import Console
from support.runs.planned_rows import Clock, new_tally, planned_row

from vae_batch.run.progress.activity import Activity
from vae_batch.run.progress.counters import Standing, Tally
from vae_batch.terminal.progress import TerminalProgress, drawn, moves
from vae_batch.terminal.words import duration, one_line, rate


def printed(standing: Standing, width: int = 80) -> list[str]:
    console = Console(file=io.StringIO(), width=width)
    console.print(drawn(standing))
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


def many(count: int) -> tuple[list[Any], Tally]:
    rows = [planned_row(f"step-{i:04d}") for i in range(count)]
    return rows, new_tally(rows)


def plain(clock: Clock) -> tuple[TerminalProgress, io.StringIO]:
    written = io.StringIO()
    return TerminalProgress(Console(file=written, width=80), clock), written


def test_the_reference_comes_first() -> None:
    _, tally = many(2)
    lines = printed(tally.standing())
    assert lines[0] == "reference  0/2 shards"
    assert lines[1] == "0 of 2 checkpoints scored, 2 waiting"


def test_checkpoints_under_way_counts_and_faults() -> None:
    rows, tally = many(4)
    tally.finished(rows[0].units["losses"], 10, 1.0)
    tally.finished(rows[1].units["losses"], 10, 1.0)
    tally.scored(rows[0])
    tally.failed(rows[3])
    tally.note(Activity(8, 7, {"workers lost": 1}, {rows[1].units["generated"].path: 1}))
    text = "\n".join(printed(tally.standing()))
    assert "runs/step-0001  1/4 shards, 1 retried" in text
    assert "1 of 4 checkpoints scored, 1 failed, 1 under way, 1 waiting" in text
    assert "7 of 8 workers at work, survived: 1 worker lost" in text


def test_all_shards_done_and_no_score_yet() -> None:
    rows, tally = many(1)
    for unit in rows[0].units.values():
        for _ in unit.shards():
            tally.finished(unit, 10, 1.0)
    assert "runs/step-0000  4/4 shards, to be scored" in printed(tally.standing())


def test_a_thousand_checkpoints_take_few_lines_and_long_names_keep_both_ends() -> None:
    rows, tally = many(1000)
    for row in rows[:500]:
        row.checkpoint.label = f"s3://bucket/{'long/' * 30}{row.checkpoint.label}"
    tally = new_tally(rows)
    for row in rows[:500]:
        tally.finished(row.units["losses"], 10, 1.0)
    tally.note(Activity(8, 8))
    lines = printed(tally.standing())
    assert len(lines) <= 10
    assert all(len(line) <= 80 for line in lines)
    assert "and 495 more under way" in lines  # the reference and five of them are named
    assert "0 of 1000 checkpoints scored, 500 under way, 500 waiting" in lines
    assert "step-0000" in lines[1]
    assert "s3://" in lines[1]


def test_without_a_terminal_a_line_each_15_seconds() -> None:
    clock = Clock()
    display, written = plain(clock)
    rows, _ = many(2)
    tally = new_tally(rows, clock)
    with display:
        display.start(tally)
        for clock.now in (1.0, 14.0, 15.0, 16.0, 29.0, 31.0):
            display.show()
        display.say("runs/step-0000: FID 3")
        display.end()
        clock.now = 90.0
        display.show()
    assert written.getvalue().splitlines() == [
        "10 shards",
        "15 s: 0/10 shards, 0 of 2 checkpoints scored, 2 waiting",
        "31 s: 0/10 shards, 0 of 2 checkpoints scored, 2 waiting",
        "runs/step-0000: FID 3",
    ]


def test_one_line_has_everything() -> None:
    clock = Clock()
    rows, _ = many(3)
    tally = new_tally(rows, clock)
    clock.now = 4.0
    tally.finished(rows[0].units["losses"], 10, 4.0)
    tally.finished(rows[0].units["generated"], 10, 4.0)
    tally.finished(tally_reference(rows), 10, 4.0)
    tally.note(Activity(4, 3, {"machines lost": 2}))
    # 30 images in 4 s; three shards at once, and 11 of 4 s each are left
    assert one_line(tally.standing()) == (
        "3/14 shards, 0 of 3 checkpoints scored, 1 under way, 2 waiting, 7.5 images/s, "
        "about 15 s left, 3 of 4 workers at work, survived: 2 machines lost"
    )


def tally_reference(rows: list[Any]) -> Any:
    return rows[0].units["reference"]


def test_plain_lines_hold_no_control_characters_and_no_credentials() -> None:
    display, written = plain(Clock())
    with display:
        display.say("s3://key:secret@bucket/\x1b[2Ja\rb: failed: two\nlines [red]x[/red]")
    text = written.getvalue()
    assert "secret" not in text
    assert text == "s3://bucket/\\u{1b}[2Ja\\u{d}b: failed: two\nlines [red]x[/red]\n"


def test_lines_that_move_go_when_the_run_ends() -> None:
    above, below = pty.openpty()
    with os.fdopen(below, "w") as terminal:
        console = Console(file=terminal, width=80, force_terminal=True, _environ={"TERM": "xterm"})
        with TerminalProgress(console, Clock()) as display:
            _, tally = many(2)
            display.start(tally)
            display.show()
            display.say("a line that stays")
            display.end()
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
        display.start(many(2)[1])
        display.show()
    assert "\x1b" not in written.getvalue()


def test_durations_and_rates() -> None:
    seconds = (0.4, 45, 59.6, 200, 600, 3599, 7500, 86_400 * 3 + 4 * 3600)
    assert [duration(value) for value in seconds] == [
        *("0 s", "45 s", "1 min 00 s", "3 min 20 s", "10 min", "59 min", "2 h 05 min", "3 d 4 h")
    ]
    assert [rate(value) for value in (0.012345, 4.0912, 99.7, 1234.5)] == [
        *("0.0123", "4.09", "100", "1234")
    ]
