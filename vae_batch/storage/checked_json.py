"""JSON that the package keeps: records that detect damage, and the one reader of all of them.

One field of a record is a digest of the others. Whatever bytes a file holds, reading it gives a
value of the expected type or raises a ValueError that says what was expected and found: also where
it is nested without end, or holds numbers that nothing can hold.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import is_dataclass
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, TypeAdapter, ValidationError

from vae_batch.plan.location import leads_out

CHECK = "check"

#: Containers within containers; records of the package have fewer than ten.
_DEEPEST = 100

#: Digits of a whole number: those of a 64-bit one.
_MOST_DIGITS = 20

_Kind = TypeVar("_Kind")

_adapters: dict[Any, TypeAdapter[Any]] = {}


def _below(path: str) -> str:
    if leads_out(path):
        raise ValueError("expected a path below the output folder")
    return path


#: A path below the output folder, with forward slashes.
PathBelow = Annotated[str, AfterValidator(_below)]


def parse_json(content: bytes | str) -> Any:  # noqa: ANN401 - any JSON
    """The value of a JSON text.

    Raises:
        ValueError: It is not JSON in UTF-8, is nested deeper than 100, or holds a whole number of
            more than 20 digits.
    """
    try:
        value = json.loads(content, parse_int=_whole_number)
    except RecursionError:
        raise ValueError(f"it is nested deeper than {_DEEPEST}") from None
    level = [value]
    for _ in range(_DEEPEST):
        level = [inner for each in level for inner in _inside(each)]
        if not level:
            return value
    raise ValueError(f"it is nested deeper than {_DEEPEST}")


def parse_as(kind: type[_Kind], content: bytes | str) -> _Kind:
    """A JSON text as a value of a type, such as a dataclass of dataclasses.

    Types are strict: no text stands for a number. Fields that the type does not have are ignored.

    Raises:
        ValueError: It is no JSON, or the value is not of that type.
    """
    try:
        value: _Kind = _adapter(kind).validate_json(content, strict=True)
    except ValidationError as error:
        raise ValueError(_in_words(error)) from None
    return value


def as_kind(kind: type[_Kind], value: object) -> _Kind:
    """A value that :func:`parse_json` gave as one of a type, like :func:`parse_as`.

    Raises:
        ValueError: The value is not of that type.
    """
    return parse_as(kind, json.dumps(value))


def encode_checked(fields: Mapping[str, Any]) -> bytes:
    """JSON of fields and their check."""
    return json.dumps({**fields, CHECK: _digest(fields)}, indent=1).encode()


def decode_checked(content: bytes) -> dict[str, Any]:
    """The fields of a record; records of older versions have no check and are accepted.

    Raises:
        ValueError: As :func:`parse_json`, it is no object, or its check does not match its fields.
    """
    fields = parse_json(content)
    if not isinstance(fields, dict):
        raise ValueError(f"expected a JSON object, found {type(fields).__name__}")
    check = fields.pop(CHECK, None)
    if check is not None and check != _digest(fields):
        raise ValueError("its check does not match its fields")
    return fields


def decode_as(
    kind: type[_Kind],
    content: bytes,
    renewed: Callable[[dict[str, Any]], Mapping[str, Any]] | None = None,
) -> _Kind:
    """A record as a value of a type.

    Args:
        kind: The type.
        content: What :func:`encode_checked` made of the value's fields.
        renewed: Makes of the fields of a record of an older version those of the present one.

    Raises:
        ValueError: As :func:`decode_checked`, or the fields are not those of the type.
    """
    fields = decode_checked(content)
    if renewed is None and is_dataclass(kind):  # of whose fields the check is none
        return parse_as(kind, content)
    try:
        return as_kind(kind, renewed(fields) if renewed else fields)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{type(error).__name__}: {error}") from None


def is_as_written(content: bytes) -> bool:
    """Whether a record is byte for byte what :func:`encode_checked` makes of its fields.

    This finds damage that decoding tolerates: a check whose name is damaged, ``1E5`` for ``1e5``.
    """
    try:
        fields = decode_checked(content)
    except ValueError:
        return False
    return content == encode_checked(fields)


def _whole_number(text: str) -> int:
    if len(text) > _MOST_DIGITS:
        raise ValueError(f"it holds a whole number of {len(text):,} digits")
    return int(text)


def _inside(value: object) -> list[object]:
    """Containers in a container."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [each for each in inner if isinstance(each, dict | list)]


def _adapter(kind: Any) -> TypeAdapter[Any]:  # noqa: ANN401 - any type
    if kind not in _adapters:
        _adapters[kind] = TypeAdapter(kind)
    return _adapters[kind]


def _in_words(error: ValidationError) -> str:
    """The first thing that is wrong: where it stands, what was expected and found."""
    problem = error.errors(include_url=False)[0]
    place = ".".join(map(str, problem["loc"]))[:100]
    said = f"{place}: " if place else ""
    if problem["type"] in ("value_error", "json_invalid"):  # which say all
        return said + problem["msg"].removeprefix("Value error, ")
    found = repr(problem["input"])
    return f"{said}{problem['msg']}, found {found if len(found) < 60 else f'{found[:57]}...'}"


def _digest(fields: Mapping[str, Any]) -> str:
    text = json.dumps(fields, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:32]
