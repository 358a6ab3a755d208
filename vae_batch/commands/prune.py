"""The command ``vae-batch prune``: delete activations of scored rows."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from vae_batch.commands.exit_codes import exit_codes
from vae_batch.commands.output import say
from vae_batch.plan.quantities import file_size, plural


class Kept(StrEnum):
    """Values of ``--keep``: those of ``vae_batch.run.output.prune.Keep``, imported late."""

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
    """Delete activations of scored rows; reports, comparisons and resumed runs still work."""
    from vae_batch.run.output.lease import output_lease
    from vae_batch.run.output.prune import prune as prune_run
    from vae_batch.run.output.run_record import open_record
    from vae_batch.storage import Store

    with exit_codes():
        open_record(out)  # refuses a folder without a run before anything is written to it
        with output_lease(Store.open(out), run="prune"):
            done = prune_run(out, keep.value)
    files, units = plural(done.files, "file"), plural(done.units, "unit")
    say(f"deleted {files} of {units}, {file_size(done.size)}")
