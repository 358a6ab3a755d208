"""What the name of a checkpoint's file says: its format, its training step, which half it is."""

from __future__ import annotations

import itertools
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from vae_batch.models.formats.registry import suffixes

Role = Literal["model", "encoder", "decoder", "samples"]

# The first kind found in a name decides: a step is finer than an epoch.
_NAMED_STEPS = tuple(
    re.compile(expression, re.IGNORECASE)
    for expression in (
        r"(?<![a-z])(?:(?:global[-_]?)?steps?|iter(?:ation)?s?)[-_=. ]{0,2}([0-9]+)",
        r"(?<![a-z])(?:epochs?|ep)[-_=. ]{0,2}([0-9]+)",
        r"(?<![a-z])(?:ckpt|checkpoint|cp)[-_=. ]{0,2}([0-9]+)",
        r"(?:step|epoch|iter|ckpt|checkpoint)[-_=]?([0-9]+)",
    )
)
# Numbers that belong to a word are no steps: versions, types and suffixes of files, image sizes,
# and what is varied between runs of a sweep.
_NO_STEP = re.compile(
    r"(?<![a-z])(?:v|ver|version)[-_.]?[0-9]+(?:\.[0-9]+)*(?![0-9])"
    r"|(?<![a-z])(?:u?int|b?float|bf|fp|f|rgba?|bgr|gr[ae]y|h|hdf|tf|keras|py|cuda|gpu|x)[0-9]+"
    r"|(?<![a-z])(?:z|dims?|latents?|beta|lr|seed|bs|batch[-_]?size|fold|trial|run|width|depth"
    r"|hidden|units?)[-_=]?[0-9]+(?:\.[0-9]+)*(?:e[-+]?[0-9]+)?"
    r"|(?<![0-9.])[0-9]+e-[0-9]+|[0-9]+x[0-9]+",
    re.IGNORECASE,
)
# 0.23 is a loss; in 05.0.23, of Keras' pattern {epoch:02d}.{val_loss:.2f}, 05 is an epoch.
_DOTTED = re.compile(r"[0-9]+(?:\.[0-9]+)+(?:e[-+]?[0-9]+)?", re.IGNORECASE)
_ALONE = re.compile(r"(?<![0-9a-z])[0-9]+(?![0-9a-z])", re.IGNORECASE)
_NUMBER = re.compile(r"[0-9]+(?:\.[0-9]+)*(?:e[-+]?[0-9]+)?")
_MOST_DIGITS = 18  # fits the score table's 64-bit column

# An autoencoder is a whole model; "enc" and "dec" count only as words of their own.
_ROLE = re.compile(
    r"auto[-_. ]?encoder|(?P<long>encoder|decoder)|(?<![a-z])(?P<short>enc|dec)(?![a-z])",
    re.IGNORECASE,
)
_SEPARATORS = "-_. ="
_EDGE = re.compile(r"[/_.=-]")


def known_suffixes() -> tuple[str, ...]:
    """Suffixes of all installed formats, in lower case, longest first."""
    every = {suffix.lower() for suffix in suffixes() if suffix}
    return tuple(sorted(every, key=lambda suffix: (-len(suffix), suffix)))


def has_known_suffix(path: str) -> bool:
    """Whether a scan of a folder includes a file of this name."""
    return path.lower().endswith(known_suffixes())


def without_suffix(path: str) -> str:
    """A path without its known suffix, such as ``.keras`` or ``.weights.h5``."""
    for suffix in known_suffixes():
        if path.lower().endswith(suffix):
            return path[: -len(suffix)]
    return path


def read_step(label: str) -> int | None:
    """Training step in a path: ``step-0030``, ``epoch=3``, else the name's last whole number.

    In the folders above, only a named step or a bare number counts. A number that stands alone
    (``vae2-10``) is preferred to one within a word. Decimals, versions, types, sizes and numbers
    of a sweep (``z16``, ``seed=3``) are no steps.
    """
    *folders, name = without_suffix(label).split("/")
    step = _named_step(name) or _last_number(name)
    for folder in reversed(folders):
        if step is None:
            step = _named_step(folder) or (folder if re.fullmatch(r"[0-9]+", folder) else None)
    return int(step) if step is not None and len(step) <= _MOST_DIGITS else None


def read_named_step(label: str) -> int | None:
    """Training step that a word of a path's last name calls one, such as ``step-30000.npz``."""
    step = _named_step(label.rpartition("/")[2])
    return int(step) if step is not None and len(step) <= _MOST_DIGITS else None


def _named_step(name: str) -> str | None:
    for expression in _NAMED_STEPS:
        if numbers := expression.findall(name):
            return str(numbers[-1])
    return None


def _last_number(name: str) -> str | None:
    rest = _DOTTED.sub(_first_of_odd, _NO_STEP.sub("#", name))
    numbers = _ALONE.findall(rest) or re.findall(r"[0-9]+", rest)
    return str(numbers[-1]) if numbers else None


def _first_of_odd(dotted: re.Match[str]) -> str:
    """The whole number before one or more decimals; nothing of decimals alone."""
    pieces = dotted[0].split(".")
    return f"{pieces[0]}#" if len(pieces) % 2 else "#"


def read_steps(labels: Sequence[str]) -> list[int | None]:
    """Training step of each path, by its own name and those of its siblings.

    A number that no word calls a step is one only if another path in the same folder has the same
    name but for its numbers: ``model-1`` and ``model-2`` are steps, ``nancy-5`` and ``tom-64`` are
    not.
    """
    steps = [read_step(label) for label in labels]
    unnamed: dict[str, list[str]] = defaultdict(list)
    patterns = []
    for label, step in zip(labels, steps, strict=True):
        folder, _, name = without_suffix(label).rpartition("/")
        from_name = step is not None and _named_step(name) is None and _last_number(name)
        pattern = _NUMBER.sub("#", name) if from_name else None
        patterns.append((folder, pattern))
        if pattern is not None:
            unnamed[folder].append(pattern)
    return [
        None
        if pattern is not None
        and len(unnamed[folder]) > 1
        and unnamed[folder].count(pattern) == 1
        and pattern != "#"
        else step
        for step, (folder, pattern) in zip(steps, patterns, strict=True)
    ]


@dataclass(frozen=True)
class HalfName:
    """What the name of an encoder's or decoder's file says.

    Attributes:
        role: ``encoder`` or ``decoder``.
        label: The path without role and suffix; the folder where nothing is left of the name.
        partner_key: Equal for two halves whose names differ in the role alone.
        certain: Whether the name alone proves the role; ``dec`` may also be a month.
    """

    role: Role
    label: str
    partner_key: tuple[str, ...]
    certain: bool


def read_half(path: str, *, is_folder: bool) -> HalfName | None:
    """The half that a name says, or None for the name of a whole model.

    Args:
        path: Of a file or a SavedModel's folder.
        is_folder: Whether it is a folder, whose name has no suffix.
    """
    folder, _, name = path.rpartition("/")
    stem = name if is_folder else _stem(name)
    word = _role_word(stem)
    if word is None:
        return None
    before, after = stem[: word.start()], stem[word.end() :]
    left, right = before.rstrip(_SEPARATORS), after.lstrip(_SEPARATORS)
    separator = before[len(left) :] or after[: len(after) - len(right)]
    rest = f"{left}{separator}{right}" if left and right else left + right
    label = "/".join(piece for piece in (folder, rest) if piece) or "."
    style = f"{word.lastgroup}{word[0].isupper()}{word[0].istitle()}"
    key = (folder, before, after + ("/" if is_folder else name[len(stem) :]), style)
    return HalfName(_role_of(word[0]), label, key, word.lastgroup == "long" or not left)


def _stem(name: str) -> str:
    """A file's name without suffix; an unknown one such as ``.pt`` counts if a role precedes it."""
    stem = without_suffix(name)
    foreign = re.sub(r"\.[A-Za-z]+$", "", name)
    return foreign if stem == name and _role_word(foreign) else stem


def _role_word(stem: str) -> re.Match[str] | None:
    """The last word that says a role, unless the words say both roles."""
    words = [word for word in _ROLE.finditer(stem) if word.lastgroup]
    words = [word for word in words if word.lastgroup == "long"] or words
    return words[-1] if len({_role_of(word[0]) for word in words}) == 1 else None


def _role_of(word: str) -> Role:
    return "encoder" if word.lower().startswith("enc") else "decoder"


def braced(labels: Sequence[str]) -> str:
    """One name for one path or two, in the braces of a shell: ``a/{encoder,decoder}.h5``."""
    if len(labels) == 1:
        return labels[0]
    one, other = labels
    edges = [edge.end() for edge in _EDGE.finditer(one[: shared_length(one, other)])]
    start = one[: edges[-1]] if edges else ""
    one, other = one[len(start) :], other[len(start) :]
    shared = shared_length(one[::-1], other[::-1])
    edge = _EDGE.search(one, len(one) - shared)
    end = one[edge.start() :] if edge else ""
    return f"{start}{{{one.removesuffix(end)},{other.removesuffix(end)}}}{end}"


def shared_length(one: Sequence[str], other: Sequence[str]) -> int:
    """How many items at the start of two sequences are equal."""
    pairs = zip(one, other, strict=False)
    return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))
