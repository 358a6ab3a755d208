"""A spec from a TOML file or from plain values, with errors a person can act on."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import ValidationError

from vae_batch.plan.errors import InputError
from vae_batch.plan.location import require_regular
from vae_batch.plan.race_settings import RaceSettings
from vae_batch.plan.spec import EvaluationSpec

COMMAND_LINE = "the command line"

#: What a shell gives a command: a pipe that somebody writes to.
_STREAMS = ("/dev/fd/", "/dev/stdin", "/proc/self/fd/")

_LARGEST_SPEC = 16 << 20


def read_toml(path: str) -> dict[str, Any]:
    """Keys and values of a TOML spec.

    Raises:
        InputError: The file is missing or is not TOML.
    """
    try:
        if not path.startswith(_STREAMS):
            require_regular(path)
        with Path(path).open("rb") as file:
            content = file.read(_LARGEST_SPEC + 1)
        if len(content) > _LARGEST_SPEC:
            raise InputError(f"spec file {path} has more than {_LARGEST_SPEC:,} bytes; it is none")
        return tomllib.loads(content.decode())
    except FileNotFoundError:
        raise InputError(f"spec file {path} does not exist; check the path") from None
    except (OSError, RecursionError) as error:
        raise InputError(f"spec file {path} cannot be read: {error}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"spec file {path} is not valid TOML: {error}") from None


def make_spec(values: Mapping[str, Any], source: str = COMMAND_LINE) -> EvaluationSpec:
    """Validate plain values into a spec.

    Args:
        values: Keys as in the TOML file.
        source: Where the values came from, for error messages.

    Raises:
        InputError: Names each bad key, what was expected and what was found.
    """
    try:
        return EvaluationSpec.model_validate(dict(values))
    except ValidationError as error:
        by_key: dict[str, Any] = {}
        for problem in error.errors():  # a field of several types has an error for each of them
            by_key.setdefault(str(problem["loc"][0]) if problem["loc"] else "", problem)
        sentences = "; ".join(
            _sentence(key, problem, values.get(key), flags=source == COMMAND_LINE)
            for key, problem in by_key.items()
        )
        raise InputError(f"{source}: {sentences}") from None


def _sentence(key: str, problem: Any, given: object, *, flags: bool) -> str:  # noqa: ANN401
    """What is wrong with a key, and what it may be."""
    path = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        return f"unknown key {path!r}" + (_nearest_key(key) if path == key else "")
    field = EvaluationSpec.model_fields.get(key)
    if problem["type"] == "missing":
        return f"{path} is required" + (f" ({field.description})" if field else "")
    if not key or field is None:
        return str(problem["msg"]).removeprefix("Value error, ")
    place = ".".join(str(part) for part in problem["loc"][1:] if str(part) in _own_keys(given))
    is_flag = flags and not isinstance(given, Mapping)  # no flag takes a table
    name = f"--{key.replace('_', '-')}" if is_flag else key + (f".{place}" if place else "")
    value = problem["input"] if place else given
    found = repr(value)
    shown = found if len(found) < 80 else found[:77] + "..."
    if problem["type"] == "value_error":
        message = str(problem["msg"]).removeprefix("Value error, ")
        return f"{name} = {shown}: {message}"
    if problem["type"] == "misspelt_uri":  # the value may hold a secret
        return f"{name}: {problem['msg']}"
    if problem["type"] == "finite_number":
        return f"{name} = {shown}: expected a finite number"
    if problem["type"] in _BOUNDS:
        words, bound = _BOUNDS[problem["type"]]
        number = problem["ctx"][bound]
        whole = int(number) if number == int(number) else number
        return f"{name} = {shown}: expected {words} {whole:,}"
    words, choices = _expected(field.annotation)
    near = difflib.get_close_matches(str(value), choices, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return f"{name} = {shown}: expected {words}{hint} ({field.description})"


def _own_keys(given: object) -> set[str]:
    """Keys of a table, which a sentence may name; places in lists say nothing to a reader."""
    return set(map(str, given)) if isinstance(given, Mapping) else set()


#: Pydantic's errors about sizes: words, and where the bound is.
_BOUNDS = {
    "greater_than": ("more than", "gt"),
    "greater_than_equal": ("at least", "ge"),
    "less_than": ("less than", "lt"),
    "less_than_equal": ("at most", "le"),
    "too_short": ("so many entries at least:", "min_length"),
    "string_too_short": ("so many letters at least:", "min_length"),
}
_PLAIN = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "text",
    dict: "a table",
    RaceSettings: "the name of a metric, or a table",
}


def _expected(annotation: Any) -> tuple[str, list[str]]:  # noqa: ANN401
    """What a field's type takes, in words, and its words if it takes some only."""
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return f"one of {', '.join(map(repr, parts))}", [str(part) for part in parts]
    if origin is Annotated:
        return _expected(parts[0])
    if origin is tuple:
        return "a name or a list of names, such as paths", []
    if origin is dict:
        return _PLAIN[dict], []
    if parts:
        several = [_expected(part) for part in parts if part is not type(None)]
        choices = [choice for _, own in several for choice in own]
        return " or ".join(words for words, _ in several), choices
    return _PLAIN.get(annotation, getattr(annotation, "__name__", "another value")), []


def _nearest_key(key: str) -> str:
    known = sorted(EvaluationSpec.model_fields)
    near = difflib.get_close_matches(key.replace("-", "_"), known, n=1, cutoff=0.5)
    return f"; did you mean {near[0]!r}?" if near else f"; known keys: {', '.join(known)}"
