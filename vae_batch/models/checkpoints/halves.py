"""Which files are halves of one VAE, by their names."""

from __future__ import annotations

import itertools
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from vae_batch.models.checkpoints.listing import FoundFile
from vae_batch.models.checkpoints.suffixes import without_suffix

Role = Literal["model", "encoder", "decoder"]

# An autoencoder is a whole, and is passed over; enc and dec count as words of their own only.
_ROLE = re.compile(
    r"auto[-_. ]?encoder|(?P<long>encoder|decoder)|(?<![a-z])(?P<short>enc|dec)(?![a-z])",
    re.IGNORECASE,
)
_SEPARATORS = "-_. ="
_EDGE = re.compile(r"[/_.=-]")


@dataclass(frozen=True)
class Candidate:
    """A checkpoint to be: its files by role, and the names it may have.

    Attributes:
      label: Short: a pair's name without the roles.
      full_label: Names every file; used where the short one is another checkpoint's too.
      files: Role to file, sorted by role.
    """

    label: str
    full_label: str
    files: tuple[tuple[Role, FoundFile], ...]

    @property
    def step(self) -> int | None:
        """The step that a pattern captured, or None."""
        return next((f.match.step for _, f in self.files if f.match.step is not None), None)


@dataclass(frozen=True)
class HalfName:
    """What the name of a half tells.

    Attributes:
      role: ``encoder`` or ``decoder``.
      label: The path without role and suffix; the folder where nothing is left of the name.
      partner_key: Equal for the two halves of a pair that are named alike.
      certain: Whether the name alone proves the role; ``dec`` may also be a month.
    """

    role: Role
    label: str
    partner_key: tuple[str, ...]
    certain: bool


def read_half(file: FoundFile) -> HalfName | None:
    """The half that a file's name tells, or None for a name of a whole model."""
    folder, _, name = file.label.rpartition("/")
    stem = name if file.folder else _stem(name)
    word = _role_word(stem)
    if word is None:
        return None
    before, after = stem[: word.start()], stem[word.end() :]
    left, right = before.rstrip(_SEPARATORS), after.lstrip(_SEPARATORS)
    separator = before[len(left) :] or after[: len(after) - len(right)]
    rest = f"{left}{separator}{right}" if left and right else left + right
    label = "/".join(piece for piece in (folder, rest) if piece) or "."
    style = f"{word.lastgroup}{word[0].isupper()}{word[0].istitle()}"
    key = (folder, before, after + ("/" if file.folder else name[len(stem) :]), style)
    return HalfName(_role_of(word[0]), label, key, word.lastgroup == "long" or not left)


def _stem(name: str) -> str:
    """A file's name without suffix; ``.pt`` and the like are one where a role is left."""
    stem = without_suffix(name)
    foreign = re.sub(r"\.[A-Za-z]+$", "", name)
    return foreign if stem == name and _role_word(foreign) else stem


def _role_word(stem: str) -> re.Match[str] | None:
    """The last word that tells a role, where no other word tells the other role."""
    words = [word for word in _ROLE.finditer(stem) if word.lastgroup]
    words = [word for word in words if word.lastgroup == "long"] or words
    return words[-1] if len({_role_of(word[0]) for word in words}) == 1 else None


def _role_of(word: str) -> Role:
    return "encoder" if word.lower().startswith("enc") else "decoder"


def group_by_name(files: Sequence[FoundFile]) -> list[Candidate]:
    """Candidates of some files: pairs, lone halves, and every other file on its own.

    Halves pair within one folder (SavedModel folders as siblings), first those that differ in
    the role alone, then a single encoder and a single decoder whose names are otherwise equal,
    such as ``encoder.keras`` and ``decoder.h5``.
    """
    pairs: dict[tuple[str, ...], list[tuple[HalfName, FoundFile]]] = defaultdict(list)
    candidates: list[Candidate] = []
    for file in files:
        half = read_half(file)
        if half is None:
            candidates.append(whole(file))
        else:
            pairs[half.partner_key].append((half, file))
    lone: dict[str, list[tuple[HalfName, FoundFile]]] = defaultdict(list)
    for members in pairs.values():
        if _are_a_pair(members):
            candidates.append(_joined(members))
        else:
            lone[members[0][0].label] += members
    for members in lone.values():
        if _are_a_pair(members):
            candidates.append(_joined(members))
        else:
            candidates += [
                _joined([(half, file)]) if half.certain else whole(file) for half, file in members
            ]
    return candidates


def _are_a_pair(members: Sequence[tuple[HalfName, FoundFile]]) -> bool:
    return sorted(half.role for half, _ in members) == ["decoder", "encoder"]


def whole(file: FoundFile) -> Candidate:
    """A file that holds a whole model, as far as its name tells."""
    return Candidate(file.label, file.label, (("model", file),))


def halves(files: Iterable[tuple[Role, FoundFile]]) -> Candidate:
    """One or two halves; the short label is from their names where these agree.

    Of halves in two folders the encoder's folder is in it.
    """
    by_role = tuple(sorted(files, key=lambda half: half[0], reverse=True))
    full = full_label([file.label for _, file in by_role])
    names = [read_half(file) for _, file in by_role]
    labels = [name.label for name in names if name is not None]
    agree = len(labels) == len(names) and len({label.rpartition("/")[2] for label in labels}) == 1
    return Candidate(labels[0] if agree else full, full, tuple(sorted(by_role, key=_first)))


def _first(half: tuple[Role, FoundFile]) -> str:
    return half[0]


def _joined(members: Sequence[tuple[HalfName, FoundFile]]) -> Candidate:
    return halves((half.role, file) for half, file in members)


def full_label(labels: Sequence[str]) -> str:
    """One name for one file or two, as a shell takes them: ``a/{encoder,decoder}.h5``."""
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
    """How many items from the start of two sequences are equal."""
    pairs = zip(one, other, strict=False)
    return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))


def with_full_label(candidate: Candidate) -> Candidate:
    """The candidate under its full name."""
    return replace(candidate, label=candidate.full_label)
