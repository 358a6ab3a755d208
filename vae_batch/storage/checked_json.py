"""JSON records that detect damage: one field is a digest of the others."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

CHECK = "check"


def encode_checked(fields: Mapping[str, Any]) -> bytes:
    """JSON of fields and their check."""
    return json.dumps({**fields, CHECK: _digest(fields)}, indent=1).encode()


def decode_checked(content: bytes) -> dict[str, Any]:
    """The fields of a record; records of older versions have no check and are accepted.

    Raises:
        ValueError: It is no JSON object, or its check does not match its fields.
    """
    fields = json.loads(content)
    if not isinstance(fields, dict):
        raise ValueError(f"expected a JSON object, found {type(fields).__name__}")
    check = fields.pop(CHECK, None)
    if check is not None and check != _digest(fields):
        raise ValueError("its check does not match its fields")
    return fields


def is_as_written(content: bytes) -> bool:
    """Whether a record is byte for byte what :func:`encode_checked` makes of its fields.

    This finds damage that decoding tolerates: a check whose name is damaged, ``1E5`` for ``1e5``.
    """
    try:
        fields = decode_checked(content)
    except ValueError:
        return False
    return content == encode_checked(fields)


def _digest(fields: Mapping[str, Any]) -> str:
    text = json.dumps(fields, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:32]
