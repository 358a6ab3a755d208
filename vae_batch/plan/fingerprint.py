"""Fingerprints: versioned hashes of everything that moves a number, and of nothing else."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

#: Raise it when a change of the library moves any stored number; old files are then redone.
SCORING_VERSION = 3


def fingerprint(**parts: Any) -> str:  # noqa: ANN401
    """32 hexadecimal digits naming ``parts`` and the scoring version.

    Args:
        **parts: JSON-serialisable values; key order does not matter, types do.
    """
    return _digest({"scoring_version": SCORING_VERSION, **parts})


def is_fingerprint_of(found: object, parts: Mapping[str, Any]) -> bool:
    """Whether ``found`` names ``parts`` and the present scoring version or an earlier one."""
    versions = range(SCORING_VERSION, 0, -1)
    return any(found == _digest({"scoring_version": v, **parts}) for v in versions)


def differing_keys(found: Mapping[str, Any], expected: Mapping[str, Any]) -> list[str]:
    """Keys whose values differ, as ``key: found X, this run has Y`` sentences."""
    keys = sorted(set(found) | set(expected))
    return [
        f"{key}: found {found.get(key)!r}, this run has {expected.get(key)!r}"
        for key in keys
        if found.get(key) != expected.get(key)
    ]


def _digest(value: Mapping[str, Any]) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:32]
