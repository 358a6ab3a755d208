"""Training steps, read from the names of files and folders."""

from __future__ import annotations

import re

from vae_batch.models.checkpoints.suffixes import without_suffix

# The first kind that a name holds tells its step: a step is finer than an epoch.
_NAMED = tuple(
    re.compile(rf"(?<![a-z])(?:{words})[-_=. ]{{0,2}}([0-9]+)", re.IGNORECASE)
    for words in (r"(?:global[-_]?)?steps?|iter(?:ation)?s?", r"epochs?|ep", r"ckpt|checkpoint|cp")
)
_GLUED = re.compile(r"(?:step|epoch|iter|ckpt|checkpoint)[-_=]?([0-9]+)", re.IGNORECASE)
# Losses (0.23, 1e-3) and image sizes (28x28) are no steps.
_NO_STEP = re.compile(
    r"(?<![0-9.])[0-9]+\.[0-9]+(?:e[-+]?[0-9]+)?|[0-9]+e-[0-9]+|[0-9]+x[0-9]+", re.IGNORECASE
)
_ALONE = re.compile(r"(?<![0-9a-z])[0-9]+(?![0-9a-z])", re.IGNORECASE)
_LONGEST = 18  # digits that fit the table's 64-bit column


def read_step(label: str) -> int | None:
    """Training step in a path: ``step-0030``, ``epoch=3``, else the name's last whole number.

    Of the folders above, only a named step or a bare number counts; a suffix such as ``.h5``
    never does. A number that stands alone (``vae2-10``) goes before one within a word.
    """
    *folders, name = without_suffix(label).split("/")
    step = _named(name) or _last_number(name)
    for folder in reversed(folders):
        if step is None:
            step = _named(folder) or (folder if re.fullmatch(r"[0-9]+", folder) else None)
    return int(step) if step is not None and len(step) <= _LONGEST else None


def _named(name: str) -> str | None:
    for expression in (*_NAMED, _GLUED):
        if numbers := expression.findall(name):
            return str(numbers[-1])
    return None


def _last_number(name: str) -> str | None:
    rest = _NO_STEP.sub("#", name)
    numbers = _ALONE.findall(rest) or re.findall(r"[0-9]+", rest)
    return numbers[-1] if numbers else None
