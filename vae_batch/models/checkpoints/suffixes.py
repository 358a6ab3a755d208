"""Endings of checkpoint files' names: what a folder scan takes, and what is no part of a name."""

from __future__ import annotations

from vae_batch.models.formats.registry import suffixes


def known_suffixes() -> tuple[str, ...]:
    """Suffixes of all installed formats, in lower case, longest first."""
    every = {suffix.lower() for suffix in suffixes() if suffix}
    return tuple(sorted(every, key=lambda suffix: (-len(suffix), suffix)))


def has_known_suffix(path: str) -> bool:
    """Whether a folder scan takes a file of this name."""
    return path.lower().endswith(known_suffixes())


def without_suffix(path: str) -> str:
    """A path without its known suffix; ``.weights.h5`` is one."""
    for suffix in known_suffixes():
        if path.lower().endswith(suffix):
            return path[: -len(suffix)]
    return path
