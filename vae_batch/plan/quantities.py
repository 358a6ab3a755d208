"""Counts, durations and sizes: as stored records may hold them, and as people read them.

What people read is ASCII only, for logs and mail.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

#: A number of things, as far as 64 bits hold it.
Count = Annotated[int, Field(ge=0, lt=2**63)]

#: Seconds, since 1970 or of a duration: finite, and before the year 5138.
Seconds = Annotated[float, Field(ge=0, lt=1e11, allow_inf_nan=False)]

_MINUTE, _HOUR, _DAY = 60, 3600, 86_400


def plural(count: int, noun: str, nouns: str = "") -> str:
    """Such as ``1 checkpoint`` or ``1,200 checkpoints``.

    Args:
        count: How many.
        noun: Its singular.
        nouns: Its plural, where that is not the singular and an "s".
    """
    return f"{count:,} {noun if count == 1 else nouns or f'{noun}s'}"


def duration(seconds: float) -> str:
    """Such as ``45 s``, ``3 min 20 s``, ``25 min``, ``2 h 05 min`` or ``3 d 4 h``."""
    whole = max(0, round(seconds))
    if whole < _MINUTE:
        return f"{whole} s"
    if whole < 10 * _MINUTE:
        return f"{whole // _MINUTE} min {whole % _MINUTE:02d} s"
    if whole < _HOUR:
        return f"{whole // _MINUTE} min"
    if whole < _DAY:
        return f"{whole // _HOUR} h {whole % _HOUR // _MINUTE:02d} min"
    return f"{whole // _DAY} d {whole % _DAY // _HOUR} h"


def file_size(size: float) -> str:
    """Bytes, such as ``512 B``, ``1.4 kB``, ``83 MB`` or ``2.1 GB``."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= 0.9995 * factor:
            return f"{size / factor:.{1 if size < 9.95 * factor else 0}f} {unit}"
    return f"{size:.0f} B"
