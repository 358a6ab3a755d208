"""The nightly job: score what is new and say what got better or worse.

    python jobs/nightly.py nightly.toml

Summary on stdout (--json for programs), all else on stderr. Exit codes: 0 nothing wrong, 2 bad
input, 3 some checkpoints failed, 4 a regression beyond the spec's tolerance (failures beside it
are in the summary). Doing a night again, or twice at once, is doing it once.
"""

from __future__ import annotations

import datetime
import json
from typing import Annotated

import typer

from vae_batch.commands.exit_codes import exit_codes, run_process
from vae_batch.commands.output import stderr_console
from vae_batch.nightly.night import run_night
from vae_batch.plan import make_spec, read_toml
from vae_batch.terminal.progress import TerminalProgress


def main(
    spec: Annotated[str, typer.Argument(help="TOML spec, as of `vae-batch score`.")],
    date: Annotated[
        datetime.datetime | None,
        typer.Option(formats=["%Y-%m-%d"], help="The night's date (default: today, UTC)."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> None:
    """Score checkpoints that are new, compare them in pairs, and remember every night."""
    day = (date or datetime.datetime.now(datetime.UTC)).date()
    console = stderr_console()
    with exit_codes(), TerminalProgress(console) as progress:
        night = run_night(make_spec(read_toml(spec), source=spec), day, progress)
    if night.already_done:
        console.print(f"night of {day}: already done", highlight=False)
    print(json.dumps(night.summary, indent=1) if as_json else night.page.rstrip())
    raise typer.Exit(night.exit_code)


if __name__ == "__main__":
    run_process(lambda: typer.run(main))
