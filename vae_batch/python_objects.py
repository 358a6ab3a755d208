"""Models, classes, functions and paths given in Python, as the plain values of a spec."""

from __future__ import annotations

import inspect
import os
import re
import tempfile
import types
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from vae_batch.models.formats.user_modules import given_module
from vae_batch.plan import InputError
from vae_batch.storage import Store

_MODELS = "models"  # folder, in the output folder, of models that were given in memory
_DATED = "metadata.json"  # the one member of a Keras file that says when it was saved


def plain_settings(settings: Mapping[str, Any], out: str) -> dict[str, Any]:
    """Settings of ``score()`` as a spec takes them.

    Paths become text. Classes and functions of ``custom_objects`` and ``builder`` become modules of
    this process, which workers are sent by value, and which are identified by their source. Models
    of ``checkpoints`` are saved below the output folder, where every worker sees them.

    Args:
        settings: As given.
        out: The output folder or URI.

    Raises:
        InputError: A model cannot be saved, or an object is of another kind.
    """
    plain = {key: _with_text(value) for key, value in settings.items()}
    if "checkpoints" in plain:
        given = plain["checkpoints"]
        several = list(given) if isinstance(given, list | tuple) else [given]
        plain["checkpoints"] = [
            _saved(value, out, number) if _is_model(value) else value
            for number, value in enumerate(several)
        ]
    for values in [plain, *_tables(plain.get("per_checkpoint"))]:
        if "custom_objects" in values:
            values["custom_objects"] = _modules_of(values["custom_objects"])
        if callable(values.get("builder")):
            values["builder"] = f"{given_module({'build': values['builder']})}:build"
    return plain


def _tables(value: object) -> list[dict[str, Any]]:
    return [t for t in value.values() if isinstance(t, dict)] if isinstance(value, dict) else []


def _with_text(value: Any) -> Any:  # noqa: ANN401
    """The value with all paths in it as text."""
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, list | tuple):
        return [_with_text(inner) for inner in value]
    if isinstance(value, dict):
        return {_with_text(key): _with_text(inner) for key, inner in value.items()}
    return value


def _modules_of(value: Any) -> list[str]:  # noqa: ANN401
    """Names of modules, of objects given one by one, in a list, or as Keras takes them by name."""
    if isinstance(value, Mapping):
        return [given_module(dict(value))]
    several = value if isinstance(value, list) else [value]
    names, objects = [], dict[str, Any]()
    for item in several:
        if isinstance(item, str):
            names.append(item)
        elif isinstance(item, types.ModuleType):
            names.append(item.__name__)
        elif inspect.isclass(item) or callable(item):
            objects[item.__name__] = item
        else:
            raise InputError(
                f"custom_objects holds a {type(item).__name__}; expected classes, functions, "
                "modules or their names"
            )
    return [*names, *([given_module(objects)] if objects else [])]


def _is_model(value: object) -> bool:
    roots = {parent.__module__.split(".", 1)[0] for parent in type(value).__mro__}
    return bool(roots & {"keras", "tf_keras"}) and hasattr(value, "save")


def _saved(model: Any, out: str, number: int) -> str:  # noqa: ANN401
    """The path of a model in memory, saved as one file, or as two where it has both halves."""
    name = re.sub(r"[^\w-]+", "-", str(model.name)) + (f"-{number}" if number else "")
    halves: dict[str, Any] = {r: getattr(model, r, None) for r in ("encoder", "decoder")}
    store = Store.open(out).folder(_MODELS)
    if all(map(_is_model, halves.values())):
        for role, half in halves.items():
            _write(store, f"{name}/{role}.keras", half.save)
        return store.folder(name).root
    _write(store, f"{name}.keras", model.save)
    return store.folder(f"{name}.keras").root


def _write(store: Store, path: str, save: Callable[[str], object]) -> None:
    """Save a model, unless the same one is there: its file says when it was saved."""
    with tempfile.TemporaryDirectory(prefix="vae-batch-") as folder:
        new, old = Path(folder, "new.keras"), Path(folder, "old.keras")
        try:
            save(str(new))
        except Exception as error:  # of the user's class
            raise InputError(
                f"the model for {path} cannot be saved ({type(error).__name__}: "
                f"{str(error)[:300]}); call it once, or give its encoder and decoder as files"
            ) from error
        if store.exists(path):
            old.write_bytes(store.read(path))
            if _content(old) == _content(new):
                return
        store.write(path, new.read_bytes())


def _content(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist() if name != _DATED}
