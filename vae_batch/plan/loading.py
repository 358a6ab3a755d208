"""A spec from a TOML file or from plain values, with errors a person can act on."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from vae_batch.plan.errors import InputError
from vae_batch.plan.spec import EvaluationSpec


def read_toml(path: str) -> dict[str, Any]:
    """Keys and values of a TOML spec.

    Raises:
        InputError: The file is missing or is not TOML.
    """
    try:
        with Path(path).open("rb") as file:
            return tomllib.load(file)
    except FileNotFoundError:
        raise InputError(f"spec file {path} does not exist; check the path") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"spec file {path} is not valid TOML: {error}") from None


def make_spec(values: Mapping[str, Any], source: str = "the command line") -> EvaluationSpec:
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
        sentences = "; ".join(_sentence(problem) for problem in error.errors())
        raise InputError(f"{source}: {sentences}") from None


def _sentence(problem: Any) -> str:  # noqa: ANN401
    key = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        return f"unknown key {key!r}{_nearest(key)}"
    if problem["type"] == "missing":
        field = EvaluationSpec.model_fields.get(key)
        return f"{key} is required" + (f" ({field.description})" if field else "")
    message = problem["msg"].removeprefix("Value error, ")
    if not key:
        return str(message)
    found = repr(problem["input"])
    return f"{key} = {found if len(found) < 80 else found[:77] + '...'}: {message}"


def _nearest(key: str) -> str:
    known = sorted(EvaluationSpec.model_fields)
    near = difflib.get_close_matches(key.replace("-", "_"), known, n=1, cutoff=0.5)
    return f"; did you mean {near[0]!r}?" if near else f"; known keys: {', '.join(known)}"
