"""The command ``vae-batch status``: how far a run is, from another shell or machine."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Group
from rich.live import Live

from vae_batch.commands.exit_codes import exit_codes
from vae_batch.commands.output import are_read, print_json, print_parts, say, stdout_console
from vae_batch.plan import InputError

if TYPE_CHECKING:
    from vae_batch.run.progress.status import RunState


def status(
    out: Annotated[str, typer.Argument(help="Output folder or URI of a run.")],
    everything: Annotated[
        bool, typer.Option("--all", help="List every row, however many.")
    ] = False,
    watch: Annotated[
        float | None,
        typer.Option(min=0.1, help="Print it again every so many seconds, until the run ends."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON; with --watch one line each time.")
    ] = False,
) -> None:
    """Show what a run has done and what is missing, whether it is alive or not."""
    from vae_batch.terminal.progress import moves
    from vae_batch.terminal.status_view import status_json, status_view

    with exit_codes():
        console = stdout_console()
        states = _states(out, watch)
        if as_json:
            for state in states:
                print_json(status_json(state), indent=None if watch else 1)
        elif watch and moves(console):
            with Live(console=console, auto_refresh=False) as live:
                for state in states:
                    parts = status_view(state, everything=everything)
                    live.update(Group(*parts), refresh=True)
        else:
            for state in states:
                print_parts(status_view(state, everything=everything))


def _states(out: str, watch: float | None) -> Iterator[RunState]:
    """The state now, and then every so many seconds while a run is alive.

    Raises:
        InputError: The object store does not answer, and is not watched.
    """
    from vae_batch.run.progress.status import run_state
    from vae_batch.storage.retry import OutageError, asking_once

    while True:
        try:
            with asking_once():
                state = run_state(out)
        except OutageError as error:
            if watch is None:
                raise InputError(
                    f"{error}; it was asked once: check the URI and its endpoint, or let --watch "
                    "30 ask again until it answers"
                ) from None
            say(f"{error}; asking again in {watch:g} s")
            time.sleep(watch)
            continue
        yield state
        if watch is None or not state.is_alive or not are_read():
            return
        time.sleep(watch)
