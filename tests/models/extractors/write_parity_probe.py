"""Writes the float64 features that ``vae-batch doctor`` compares every device with.

    python tests/models/extractors/write_parity_probe.py

Rewrites ``vae_batch/models/extractors/inception/parity_probe.npz``; needed only when the random
weights or the protocol of ``inception-random`` change. Runs on the CPU, under a minute.
"""

from __future__ import annotations

import os
import platform
import sys
from importlib.metadata import version
from pathlib import Path

# Before TensorFlow is imported: the reference is computed on the CPU.
os.environ["CUDA_VISIBLE_DEVICES"] = ""

from vae_batch import __version__
from vae_batch.models.extractors.inception.parity_probe import (
    STORED,
    write_stored_probe,
)


def main(out: Path) -> None:
    versions = {name: version(name) for name in ("tensorflow", "keras", "numpy")}
    versions |= {
        "vae_batch": __version__,
        "python": platform.python_version(),
        "machine": platform.machine(),
    }
    command = "python tests/models/extractors/write_parity_probe.py"
    probe = write_stored_probe(out, command, versions)
    print(f"{out}: {probe.features.shape} {probe.features.dtype}, largest {probe.features.max()}")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else STORED)
