"""The command ``vae-batch verify``: is every stored file still what it was?"""

from __future__ import annotations

import json
from typing import Annotated

import typer

from vae_batch.commands.exit_codes import SCORED, SOME_FAILED, exit_codes, stderr_console


def verify(
    out: Annotated[str, typer.Argument(help="Output folder or URI of a run.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print findings as JSON.")] = False,
    mend: Annotated[
        bool,
        typer.Option("--mend", help="Take bad files out of use: the next `score` redoes those."),
    ] = False,
) -> None:
    """Read every stored file again and name each that is damaged; exit code 3 if there is one."""
    from vae_batch.run.output.repair import mend as take_out
    from vae_batch.run.output.verify import verify_output

    with exit_codes():
        found = verify_output(out)
        if mend and found.bad:
            take_out(out, found)
    if as_json:
        counts = {n: getattr(found, n) for n in ("checked", "unfinished", "pruned")}
        bad = [{"path": file.path, "fault": file.fault} for file in found.bad]
        print(json.dumps({**counts, "bad": bad, "mended": mend and bool(bad)}, indent=1))
    else:
        for file in found.bad:
            print(f"{file.path}: {file.fault}")
    said = f"{found.checked} files read, {len(found.bad)} bad, {found.unfinished} not finished"
    said += f", {found.pruned} pruned" * bool(found.pruned)
    if found.bad:
        said += (
            "; taken out of use, `vae-batch score` with the same settings redoes them"
            if mend
            else "; --mend takes them out of use, so that the next `score` redoes them"
        )
    stderr_console().print(said, markup=False, highlight=False, soft_wrap=True)
    raise typer.Exit(SOME_FAILED if found.bad else SCORED)
