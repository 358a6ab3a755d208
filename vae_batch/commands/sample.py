"""The command ``vae-batch sample``: the images that a run scores, as files."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from vae_batch.commands.exit_codes import exit_codes
from vae_batch.commands.output import say
from vae_batch.commands.spec_flags import spec_of, with_spec_flags
from vae_batch.plan import EvaluationSpec, role_of

_MORE = ("encoder", "decoder", "trust", "memory_cap", "seed", "batch_size", "shard_size")
_FLAGS = tuple(
    name
    for name in EvaluationSpec.model_fields
    if role_of(name) == "reading" or name.startswith("reference") or name in _MORE
)
_NOT_USED = ("reference_cache", "reference_is")


@with_spec_flags(tuple(name for name in _FLAGS if name not in _NOT_USED))
def sample(
    out: Annotated[
        str, typer.Option(help="Folder for PNG files, or a .npz file (arr_0, uint8 NHWC).")
    ],
    targets: Annotated[
        list[str] | None,
        typer.Argument(help="One checkpoint as for `score`, or a TOML spec that names one."),
    ] = None,
    n: Annotated[
        int | None,
        typer.Option("--n", "--samples", min=2, help="Images to generate (default 10000)."),
    ] = None,
    *,
    settings: dict[str, Any],
) -> None:
    """Write generated images as files, for other tools: those that `score` scores, bit for bit.

    Give the reference, the seed and the declarations of the run; of a run on GPUs, which chooses
    its batch size, --batch-size too (it is in run.json).
    """
    from vae_batch.sampled_images import write_sampled_images

    with exit_codes():
        settings |= {"splits": 1} | ({} if n is None else {"samples": n})  # no splits are scored
        spec = spec_of(targets or [], settings)
        say(write_sampled_images(spec, out, say))
