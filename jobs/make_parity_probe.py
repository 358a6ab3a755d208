"""Make the float64 features that ``vae-batch doctor`` compares every device with.

    python jobs/make_parity_probe.py

Rewrites ``vae_batch/models/extractors/inception/parity_probe.npz``; needed only when the random
weights or the protocol of ``inception-random`` change. Runs on the CPU, under a minute.
"""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

# Before TensorFlow is imported: the reference is computed on the CPU.
os.environ["CUDA_VISIBLE_DEVICES"] = ""

import typer

from vae_batch import __version__
from vae_batch.models.extractors.inception.parity_probe import STORED, write_stored_probe


def main(
    out: Annotated[Path, typer.Option(help="File to write.")] = STORED,
) -> None:
    """Compute the features, write them with their provenance, and say what was written."""
    versions = {name: version(name) for name in ("tensorflow", "keras", "numpy")}
    versions |= {
        "vae_batch": __version__,
        "python": platform.python_version(),
        "machine": platform.machine(),
    }
    probe = write_stored_probe(out, "python jobs/make_parity_probe.py", versions)
    print(f"{out}: {probe.features.shape} {probe.features.dtype}, largest {probe.features.max()}")


if __name__ == "__main__":
    typer.run(main)
