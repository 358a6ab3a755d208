"""How checkpoints and numbers are written: safe text, file-safe names, aligned decimals."""

from __future__ import annotations

import hashlib
import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence

from vae_batch.plan.printable import printable as printable

_SLUG_LENGTH = 80
_SIGNIFICANT_DIGITS = 4
_SCIENTIFIC_FROM = 1e7


def elide(text: str, width: int) -> str:
    """``text`` cut in its middle to ``width`` characters; both ends identify a checkpoint."""
    if len(text) <= width:
        return text
    tail = (width - 1) * 2 // 3
    return f"{text[: width - 1 - tail]}…{text[-tail:] if tail else ''}"


def slugs(labels: Iterable[str]) -> dict[str, str]:
    """A file-safe name for each distinct label, distinct also where case is ignored.

    ``runs/a/step-0003`` becomes ``runs-a-step-0003``. Labels that would share a name all get the
    first 8 hex digits of their SHA-256, so that a name never depends on the order of rows.
    """
    distinct = dict.fromkeys(labels)
    plain = {label: _slug(label) for label in distinct}
    uses = Counter(name.lower() for name in plain.values())
    return {
        label: name if uses[name.lower()] == 1 else f"{name}-{_digest(label)}"
        for label, name in plain.items()
    }


def _slug(label: str) -> str:
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", label).strip("-.")
    if len(name) > _SLUG_LENGTH:
        name = f"{name[:_SLUG_LENGTH]}-{_digest(label)}"
    return name or f"checkpoint-{_digest(label)}"


def _digest(label: str) -> str:
    return hashlib.sha256(label.encode("utf-8", "surrogatepass")).hexdigest()[:8]


def without_shared_folder(labels: Sequence[str]) -> list[str]:
    """The labels less the folders that all of them share."""
    folders = [label.split("/")[:-1] for label in labels]
    shared = 0
    for parts in zip(*folders, strict=False):
        if len(set(parts)) > 1:
            break
        shared += 1
    return ["/".join(label.split("/")[shared:]) for label in labels]


def decimals_of(values: Iterable[float]) -> int:
    """Decimals for a column: four significant digits of its largest value; none for whole numbers.

    Between 1 and 6 where a value has a fraction.
    """
    sizes = [abs(value) for value in values if math.isfinite(value)]
    if all(size.is_integer() for size in sizes):
        return 0
    largest = max(sizes)
    return min(6, max(1, _SIGNIFICANT_DIGITS - 1 - math.floor(math.log10(largest))))


def interval_decimals(found: Iterable[tuple[float, float, float]]) -> int:
    """Decimals for a column of values with intervals (value, low, high).

    The narrowest interval's half-width has two significant digits, with at most one decimal
    more than ``decimals_of``; those of the values where no interval has a width.
    """
    entries = [entry for entry in found if all(map(math.isfinite, entry))]
    halves = [(high - low) / 2 for _, low, high in entries if high > low]
    usual = decimals_of(part for entry in entries for part in entry)
    if not halves:
        return usual
    return min(6, usual + 1, max(0, 1 - math.floor(math.log10(min(halves)))))


def number(value: float, decimals: int) -> str:
    """``value`` in fixed decimals, with a true minus sign; scientific from 10 million on."""
    if math.isfinite(value) and abs(value) >= _SCIENTIFIC_FROM:
        text = f"{value:.4e}"
    else:
        text = f"{value:.{decimals}f}"
    return text.replace("-", "\N{MINUS SIGN}")


def count(value: int | None) -> str:
    """A count with thousands separated, or a dash where it is not known."""
    return "-" if value is None else f"{value:,}"


def significant(value: float, digits: int = 4, sign: str = "") -> str:
    """``value`` in significant digits, with a true minus sign; ``sign`` "+" shows a plus."""
    return f"{value:{sign}.{digits}g}".replace("-", "\N{MINUS SIGN}")


def with_interval(
    value: float, low: float, high: float, sign: str = "", places: int | None = None
) -> tuple[str, str]:
    """A value and "[low, high]", in the same decimals; ``sign`` as in ``significant``."""
    places = interval_decimals([(value, low, high)]) if places is None else places
    plus = sign if value > 0 else ""
    return plus + number(value, places), f"[{number(low, places)}, {number(high, places)}]"


def p_value(p: float | None) -> str:
    """A p-value in three decimals, "< 0.001" below that, or "" where there is none."""
    if p is None:
        return ""
    return f"{p:.3f}" if p >= 0.001 else "< 0.001"
