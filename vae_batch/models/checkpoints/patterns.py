"""Patterns of paths: ``*``, ``**``, ``?`` and ``[...]`` as in a shell, and ``{step}``, a number."""

from __future__ import annotations

import fnmatch
import re
from dataclasses import dataclass

from vae_batch.plan.errors import InputError

STEP = "{step}"
_BRACES = re.compile(r"\{[^{}]*\}")
_TOKENS = re.compile(r"((?:(?<=/)|^)\*\*/|\*+|\?|\[!?\]?[^\]/]*\]|\{step\})")


@dataclass(frozen=True)
class Match:
    """What the wildcards of a pattern stand for in one path.

    Attributes:
        captures: The text of each wildcard, in order.
        step: The number of ``{step}``, or None if the pattern has none.
    """

    captures: tuple[str, ...] = ()
    step: int | None = None


NO_MATCH = Match()


@dataclass(frozen=True)
class Pattern:
    """A compiled pattern of paths; made by ``compile_pattern``.

    Attributes:
        text: As the user wrote it.
        wildcards: Its wildcards in order, without ``{step}``.
        expression: The same as a regular expression.
    """

    text: str
    wildcards: tuple[str, ...]
    expression: re.Pattern[str]

    @property
    def has_step(self) -> bool:
        """Whether it holds ``{step}``."""
        return STEP in self.text

    @property
    def is_literal(self) -> bool:
        """Whether it has no wildcards."""
        return not self.wildcards and not self.has_step

    @property
    def described(self) -> str:
        """Its wildcards in words, for messages."""
        words = [*self.wildcards, *([STEP] if self.has_step else [])]
        return f"the wildcards {' '.join(words)}" if words else "no wildcard"

    @property
    def glob(self) -> str:
        """The pattern for ``glob.glob``, which may match more: any text for ``{step}``."""
        return self.text.replace(STEP, "*")

    @property
    def fixed_folder(self) -> str:
        """The folder above the first wildcard, without an ending slash."""
        return _TOKENS.split(self.text, maxsplit=1)[0].rpartition("/")[0]

    @property
    def names_a_suffix(self) -> bool:
        """Whether it ends in plain text, as ``*.ckpt`` does and ``runs/*`` does not."""
        return _TOKENS.split(self.text)[-1] != ""

    def match(self, path: str) -> Match | None:
        """What the wildcards stand for in a path, or None where it does not match."""
        found = self.expression.fullmatch(path)
        if found is None:
            return None
        step = int(found["step"]) if self.has_step else None
        captures = tuple(found[f"w{index}"] for index in range(len(self.wildcards)))
        return Match(captures, step)


def compile_pattern(text: str) -> Pattern:
    """Compile a pattern.

    Raises:
        InputError: Braces hold another name than ``step``.
    """
    for braces in _BRACES.findall(text):
        if braces != STEP:
            raise InputError(
                f"the pattern {text} holds {braces}, but {STEP} is the only name that braces may "
                f"hold; write {STEP} for the training step and * for any other part"
            )
    pieces = _TOKENS.split(text)
    tokens = [piece for piece in pieces[1::2] if piece != STEP]
    return Pattern(text, tuple(tokens), re.compile(_expression(pieces), re.DOTALL))


def _expression(pieces: list[str]) -> str:
    """``**`` crosses folders, the other wildcards do not; a second {step} repeats the first."""
    parts: list[str] = []
    count, seen = 0, False
    for index, piece in enumerate(pieces):
        if index % 2 == 0:
            parts.append(re.escape(piece))
        elif piece == STEP:
            parts.append("(?P=step)" if seen else "(?P<step>[0-9]{1,18})(?![0-9])")
            seen = True
        else:
            starts = pieces[index - 1].endswith("/") or (index == 1 and not pieces[0])
            ends = index == len(pieces) - 2 and not pieces[-1]
            parts.append(f"(?P<w{count}>{_one(piece, alone=starts and ends)})")
            count += 1
    return "".join(parts)


def _one(wildcard: str, *, alone: bool) -> str:
    """One wildcard; ``**`` crosses folders only where it is alone between slashes."""
    if wildcard == "**/":
        return "(?:.*/)?"
    if wildcard == "**" and alone:
        return ".*"
    if wildcard.startswith("*"):
        return "[^/]*?"  # lazy: {step} after it takes all digits
    if wildcard == "?":
        return "[^/]"
    return fnmatch.translate(wildcard)[len("(?s:") : -len(")\\Z")]
