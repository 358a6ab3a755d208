"""The command ``vae-batch verify``: is every stored file still as it was written?"""

from __future__ import annotations

from typing import Annotated

import typer

from vae_batch.commands.exit_codes import SCORED, SOME_FAILED, exit_codes
from vae_batch.commands.output import print_json, print_text, say
from vae_batch.plan.printable import printable
from vae_batch.plan.quantities import plural


def verify(
    out: Annotated[str, typer.Argument(help="Output folder or URI of a run.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print findings as JSON.")] = False,
    mend: Annotated[
        bool,
        typer.Option(
            "--mend", help="Remove damaged files, so that the next `score` computes them again."
        ),
    ] = False,
) -> None:
    """Read every stored file again and list damaged ones; exit code 3 if there are any."""
    from vae_batch.run.output.repair import mend as remove
    from vae_batch.run.output.verify import verify_output

    with exit_codes():
        found = verify_output(out)
        if mend and found.bad:
            remove(out, found)
    if as_json:
        counts = {n: getattr(found, n) for n in ("checked", "unfinished", "pruned", "unknown")}
        bad = [{"path": file.path, "fault": file.fault} for file in found.bad]
        print_json({**counts, "bad": bad, "mended": mend and bool(bad)})
    else:
        for file in found.bad:
            print_text(printable(f"{file.path}: {file.fault}"))
    said = f"{plural(found.checked, 'file')} read, {len(found.bad):,} damaged"
    said += f", {found.unfinished:,} not finished"
    said += f", {found.pruned:,} pruned" if found.pruned else ""
    said += f", {plural(len(found.unknown), 'unknown file')} left alone" if found.unknown else ""
    if found.bad and mend:
        said += "; removed: run the same `vae-batch score`, or the next night, to write them again"
    elif found.bad:
        said += "; --mend removes them, so that the next `score` or night writes them again"
    say(said)
    raise typer.Exit(SOME_FAILED if found.bad else SCORED)
