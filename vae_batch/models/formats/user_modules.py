"""The user's own modules, which a spec names: imported, or hashed without importing them."""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from vae_batch.plan.errors import CheckpointError, InputError


@contextlib.contextmanager
def working_directory_on_path() -> Iterator[str]:
    """Imports find the modules of the working directory, as in ``python -m``; yields the folder."""
    folder = os.getcwd()
    sys.path.insert(0, folder)
    try:
        yield folder
    finally:
        with contextlib.suppress(ValueError):  # the imported code removed it itself
            sys.path.remove(folder)


def import_user_module(module: str, key: str) -> ModuleType:
    """A module found in the working directory or on Python's path.

    Args:
        module: ``package.module``.
        key: Of the spec, for messages.

    Raises:
        CheckpointError: It is not found, or importing it raises.
    """
    with working_directory_on_path() as folder:
        try:
            return importlib.import_module(module)
        except ModuleNotFoundError as error:
            raise CheckpointError(
                f"{key} names the module {module!r}, but {error.name!r} is not found in {folder} "
                "or on Python's path of this worker; run from the folder that holds it, install "
                "its package, or send it along (ray job submit --working-dir)"
            ) from error
        except (Exception, SystemExit) as error:  # the user's code
            raise CheckpointError(
                f"{key}: importing {module!r} raised {type(error).__name__}: {str(error)[:300]}"
            ) from error


def user_function(reference: str, key: str) -> Callable[..., Any]:
    """The function that ``package.module:function`` names.

    Raises:
        CheckpointError: There is no such module or function.
    """
    module_name, _, name = reference.partition(":")
    module = import_user_module(module_name, key)
    found: Callable[..., Any] | None = getattr(module, name, None)
    if callable(found):
        return found
    functions = [n for n, value in vars(module).items() if callable(value) and n[0] != "_"]
    raise CheckpointError(
        f"{key} names {reference!r}, but the module {module_name!r} has no function {name!r}; it "
        f"has {', '.join(functions[:8]) or 'none'}"
    )


def source_sha256(module: str) -> str:
    """SHA-256 of a module's source file in the working directory or on ``sys.path``.

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
