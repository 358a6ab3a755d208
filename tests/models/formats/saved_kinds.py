"""The seeded VAE in every format, saved once a session for the tests that only read it."""

from __future__ import annotations

import atexit
import functools
import shutil
import tempfile
from pathlib import Path

from models.formats.same_vae import KINDS, SavedVae, save


@functools.cache
def saved_kinds() -> dict[str, SavedVae]:
    """Kind to its files."""
    folder = Path(tempfile.mkdtemp(prefix="same-vae-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return {kind: save(kind, folder) for kind in KINDS}
