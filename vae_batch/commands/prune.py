"""The command ``vae-batch prune``: activations of scored rows are deleted, moments stay."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from vae_batch.commands.exit_codes import exit_codes, stderr_console


class Kept(StrEnum):
    """Values of ``--keep``; as ``vae_batch.run.output.prune.Keep``, imported late."""

    ALL = "all"
    REFERENCE = "reference"
    BEST = "best"
    NONE = "none"


def prune(
    out: Annotated[str, typer.Argument(help="Output folder or URI of a run.")],
    keep: Annotated[
        Kept,
        typer.Option(
            help="Activations to keep: the reference's; the reference's and those of the best "
            "checkpoints (selection.json); or none. Moments are always kept."
        ),
    ],
) -> None:
    """Delete activations of scored rows; they are reported, compared and resumed as before."""
    from vae_batch.run.output.lease import output_lease
    from vae_batch.run.output.prune import prune as prune_run
    from vae_batch.run.output.recorded_rows import open_record
    from vae_batch.storage import Store

    with exit_codes():
        open_record(out)  # a folder without a run is refused before anything is written there
        with output_lease(Store.open(out), run="prune"):
            done = prune_run(out, keep.value)
    said = f"{done.files} files of {done.units} units deleted, {done.size / 1e6:.1f} MB"
    stderr_console().print(said, markup=False, highlight=False, soft_wrap=True)
