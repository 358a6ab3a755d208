"""The nightly job: score what is new and report what got better or worse.

    python jobs/nightly.py nightly.toml

The summary is printed on stdout (--json for programs), everything else on stderr. Exit codes: 0
nothing wrong, 2 bad input, 3 some checkpoints failed, 4 a regression beyond the spec's tolerance
(failures are then in the summary). Nightly runs are idempotent: a second run of the same date, also
at the same time, ends with the exit code of the first.
"""

from __future__ import annotations

import datetime
from typing import Annotated

import typer

from vae_batch.commands.debug_flag import with_debug_flag
from vae_batch.commands.exit_codes import exit_codes, run_process
from vae_batch.commands.output import print_json, print_text, say
from vae_batch.nightly.night import run_night
from vae_batch.plan import make_spec, read_toml
from vae_batch.terminal.progress import TerminalProgress


def main(
    spec: Annotated[str, typer.Argument(help="TOML spec, as of `vae-batch score`.")],
    date: Annotated[
        datetime.datetime | None,
        typer.Option(formats=["%Y-%m-%d"], help="Date of the nightly run (default: today, UTC)."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> None:
    """Score new checkpoints, compare them in pairs, and add them to the history."""
    day = (date or datetime.datetime.now(datetime.UTC)).date()
    with exit_codes(), TerminalProgress() as progress:
        night = run_night(make_spec(read_toml(spec), source=spec), day, progress)
    if night.already_done:
        say(f"night of {day}: already done")
    if as_json:
        print_json(night.summary)
    else:
        print_text(night.page.rstrip())
    raise typer.Exit(night.exit_code)


if __name__ == "__main__":
    run_process(lambda: typer.run(with_debug_flag(main)))
