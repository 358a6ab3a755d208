"""Text for people: names come from file systems, and end in terminals, logs and spreadsheets."""

from __future__ import annotations

import unicodedata

#: Control characters, halves of surrogate pairs (bytes that are no UTF-8), and ends of lines.
_NEVER_IN_A_NAME = frozenset({"Cc", "Cs", "Zl", "Zp"})

#: What a spreadsheet takes for the begin of a formula.
_FORMULA = ("=", "+", "-", "@")


def printable(text: object) -> str:
    """``text`` with control, escape and direction-changing characters spelled out.

    Such characters move the cursor, forge lines of a log, or reorder what is read.
    """
    return "".join(c if c.isprintable() else f"\\u{{{ord(c):x}}}" for c in str(text))


def printable_lines(text: str) -> str:
    """A text without control characters except line ends."""
    return "\n".join(printable(line) for line in text.split("\n"))


def as_name(text: str) -> str:
    r"""A name from a file system as text that any table can hold; ordinary names are unchanged.

    A byte that is not UTF-8 becomes ``\xff``, a control character ``\u{1b}``.
    """
    return "".join(_spelt(c) if unicodedata.category(c) in _NEVER_IN_A_NAME else c for c in text)


def for_spreadsheet(text: str) -> str:
    """A cell's text, printable, and with an apostrophe before what would be a formula."""
    shown = printable_lines(text)
    return f"'{shown}" if shown.startswith(_FORMULA) else shown


def _spelt(character: str) -> str:
    code = ord(character)
    return f"\\x{code - 0xDC00:02x}" if 0xDC80 <= code <= 0xDCFF else f"\\u{{{code:x}}}"
