"""Content hash of a user's module, found without importing it: changed code, changed numbers."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

from vae_batch.plan.errors import InputError


def source_sha256(module: str) -> str:
    """SHA-256 of a module's source file, looked up in the working directory and ``sys.path``.

    Only the module itself is hashed, not what it imports.

    Raises:
      InputError: No source file of that name is found.
    """
    parts = Path(*module.split("."))
    folders = [Path.cwd(), *(Path(entry) for entry in sys.path if entry)]
    for folder in folders:
        for candidate in (folder / parts / "__init__.py", (folder / parts).with_suffix(".py")):
            if candidate.is_file():
                return hashlib.sha256(candidate.read_bytes()).hexdigest()
    raise InputError(
        f"module {module!r} is not found in the working directory or on Python's path; run from "
        f"the folder that holds {parts.as_posix()}.py, or install its package"
    )
