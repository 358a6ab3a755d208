"""The command ``vae-batch watch``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vae_batch.commands.exit_codes import NO_BETTER, SCORED, SOME_FAILED, exit_codes
from vae_batch.commands.output import say
from vae_batch.commands.spec_flags import Targets, spec_of, with_spec_flags

if TYPE_CHECKING:
    from vae_batch.evaluation import Evaluation


@with_spec_flags()
def watch(
    targets: Targets = None,
    until: Annotated[
        Path | None,
        typer.Option(help="End when this file appears, after scoring what is there."),
    ] = None,
    idle: Annotated[
        float | None, typer.Option(min=1.0, help="End after so many seconds without a checkpoint.")
    ] = None,
    patience: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="End with exit code 6 when so many checkpoints in a row are not significantly "
            "better than the best before them.",
        ),
    ] = None,
    *,
    settings: dict[str, Any],
) -> None:
    """Score checkpoints while a training goes on, each when its files are complete.

    The table and the page are written again after each; Ctrl-C ends it. With --workers 0 all is
    computed in this process; otherwise a cluster is started once and stays.
    """
    from vae_batch.terminal.progress import TerminalProgress
    from vae_batch.watch import Ends
    from vae_batch.watch import watch as watch_checkpoints

    def scored(evaluation: Evaluation) -> None:
        for sentence in evaluation.selection.sentences if evaluation.selection else ():
            say(sentence)

    with exit_codes():
        spec = spec_of(targets or [], settings)
        with TerminalProgress() as progress:
            found = watch_checkpoints(spec, progress, Ends(until, idle, patience), scored)
        say(found.ended_by)
    if found.no_better:
        raise typer.Exit(NO_BETTER)
    failed = found.evaluation is not None and found.evaluation.summary.failed
    raise typer.Exit(SOME_FAILED if failed else SCORED)
