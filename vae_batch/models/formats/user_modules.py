"""The user's own modules, which a spec names: imported, or hashed without importing them."""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import inspect
import itertools
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from vae_batch.plan.errors import CheckpointError, InputError
from vae_batch.plan.quantities import duration, plural

_LONG_IMPORT = 30.0  # seconds; TensorFlow alone takes ten
_MOST_WATCHED = 2_000
#: Watched folders, and notes, of the checkpoints that are being loaded.
_watching: list[tuple[list[str], list[str]]] = []

_GIVEN = "given_in_python_"
#: Objects that the caller of ``score()`` gave, by the module that stands for them.
_given: dict[str, dict[str, Any]] = {}


def given_module(objects: Mapping[str, Any]) -> str:
    """The name of a module of this process that holds some objects; it follows from their source.

    Args:
        objects: Name to class or function.
    """
    digest = hashlib.sha256()
    for name in sorted(objects):
        digest.update(f"{name}={_source_of(objects[name])};".encode())
    module = f"{_GIVEN}{digest.hexdigest()[:12]}"
    restore_given({module: dict(objects)})
    return module


def given_objects(modules: Iterable[str]) -> dict[str, dict[str, Any]]:
    """The objects of those modules that ``given_module`` made, for another process."""
    return {module: _given[module] for module in modules if module in _given}


def restore_given(given: Mapping[str, Mapping[str, Any]]) -> None:
    """Make modules of objects that another process was given."""
    for name, objects in given.items():
        module = ModuleType(name)
        vars(module).update(objects)
        sys.modules[name] = module
        _given[name] = dict(objects)


def is_given(module: str) -> bool:
    """Whether the caller gave a module's objects in Python, and so trusts them."""
    return module in _given


def _source_of(value: Any) -> str:  # noqa: ANN401
    """Source of a class or function; of one typed where no source is kept, its compiled code."""
    try:
        return inspect.getsource(value)
    except (OSError, TypeError):
        members = vars(value).values() if inspect.isclass(value) else [value]
        codes = [getattr(member, "__code__", None) for member in members]
        return "".join(_code_text(code) for code in codes if code is not None)


def _code_text(code: CodeType) -> str:
    inner = [_code_text(c) if isinstance(c, CodeType) else repr(c) for c in code.co_consts]
    return f"{code.co_code.hex()}{code.co_names}{inner}"


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
    with working_directory_on_path() as folder, _noted(module):
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


@contextlib.contextmanager
def watching_imports(paths: Iterable[str]) -> Iterator[list[str]]:
    """Within the context, imports of the user's modules are noted that take long or write files.

    Args:
        paths: Local files or folders of a checkpoint; files beside them and below are watched.

    Yields:
        A list of sentences, filled while modules are imported.
    """
    folders = {path if Path(path).is_dir() else str(Path(path).parent) for path in paths}
    notes: list[str] = []
    _watching.append((sorted(folders), notes))
    try:
        yield notes
    finally:
        _watching.pop()


@contextlib.contextmanager
def _noted(module: str) -> Iterator[None]:
    """Note what the first import of a module does beside defining names."""
    if module in sys.modules or not _watching:
        yield
        return
    folders, notes = _watching[-1]
    before, began = _states(folders), time.monotonic()
    yield
    seconds, after = time.monotonic() - began, _states(folders)
    changed = sorted(path for path in before.keys() | after if before.get(path) != after.get(path))
    done = []
    if changed:
        done.append(f"changed {plural(len(changed), 'file')}, such as {changed[0]}")
    if seconds > _LONG_IMPORT:
        done.append(f"took {duration(seconds)}")
    if done:
        notes.append(
            f"importing {module!r} {' and '.join(done)}: importing a module runs all of it, so "
            "keep classes in a module of their own, or training below if __name__ == '__main__'"
        )


def _states(folders: Iterable[str]) -> dict[str, tuple[int, int]]:
    """Size and time of change of the first files below some folders."""
    found: dict[str, tuple[int, int]] = {}
    for folder in folders:
        paths = (
            os.path.join(inside, name)
            for inside, _, names in os.walk(folder)
            for name in names
            if not inside.endswith("__pycache__")
        )
        found |= states_of(itertools.islice(paths, _MOST_WATCHED))
    return found


def states_of(paths: Iterable[str]) -> dict[str, tuple[int, int]]:
    """Size and time of change of those files or folders that are there."""
    found = {}
    for path in paths:
        with contextlib.suppress(OSError):
            status = os.stat(path)
            found[path] = status.st_size, status.st_mtime_ns
    return found


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
    if is_given(module):
        return hashlib.sha256(module.encode()).hexdigest()  # its name follows from the source
    if module.startswith(_GIVEN):
        raise InputError(
            "this run was given classes or functions in Python, which no file holds; call score() "
            "with them again"
        )
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
