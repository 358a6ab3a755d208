"""What commands print: results to stdout, everything else to stderr.

Libraries print, too: Ray's driver to ``sys.stdout``, native code and child processes to file
descriptor 1. So :func:`own_streams` gives results a descriptor of their own and lets descriptor 1
lead to stderr, and within a command ``sys.stdout`` is stderr (:func:`results_apart`).
"""

from __future__ import annotations

import errno
import io
import json
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from typing import TYPE_CHECKING, TextIO

from rich.console import Console, RenderableType
from rich.text import Text

from vae_batch.plan.credentials import without_secrets
from vae_batch.plan.printable import printable_lines

if TYPE_CHECKING:
    from typing_extensions import Buffer

#: Where results go within a command; None outside of one, where it is ``sys.stdout``.
_results: TextIO | None = None


def own_streams() -> None:
    """Let nothing but results reach stdout, and no character or reader end the process.

    Characters that the encoding lacks are written as escapes. What a reader that has gone (``|
    head``, a terminal that was closed) would have read is dropped, as is everything where a stream
    was closed at the start; progress that stderr does not take (a full disk) is dropped as well.
    """
    _fill_closed_descriptors()
    stdout, stderr = sys.stdout, sys.stderr
    if stdout is None:
        sys.stdout = _opened(os.open(os.devnull, os.O_WRONLY), None)
    else:
        with suppress(OSError):
            stdout.flush()
        sys.stdout = _opened(os.dup(1), stdout)
        os.dup2(2, 1)
    sys.stderr = _opened(2, stderr, drops_all=True)


def _fill_closed_descriptors() -> None:
    """Else the next file that is opened would be 0, 1 or 2, and libraries would write into it."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)


def _opened(descriptor: int, like: TextIO | None, *, drops_all: bool = False) -> TextIO:
    """A text stream on a descriptor with the encoding of another one."""
    raw = _Pipe(descriptor, drops_all=drops_all)
    return io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=like.encoding if like is not None else "utf-8",
        errors="backslashreplace",
        line_buffering=drops_all or raw.isatty(),
    )


class _Pipe(io.FileIO):
    """Drops what its reader, who has gone, would have read.

    Attributes:
        is_read: Whether somebody may still read it.
    """

    def __init__(self, descriptor: int, *, drops_all: bool) -> None:
        super().__init__(descriptor, "w", closefd=False)
        self.is_read = True
        self._dropped = {errno.EPIPE, errno.EIO} if self.isatty() else {errno.EPIPE}
        self._drops_all = drops_all

    def write(self, content: Buffer, /) -> int:
        try:
            return super().write(content)
        except OSError as error:
            if not self._drops_all and error.errno not in self._dropped:
                raise
            self.is_read = False
        return memoryview(content).nbytes


@contextmanager
def results_apart() -> Iterator[None]:
    """Within a command: what libraries print goes to stderr, results to stdout."""
    global _results
    before, _results = _results, results()
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        _results = before


def results() -> TextIO:
    """The stream of results."""
    return _results or sys.stdout


def are_read() -> bool:
    """Whether somebody may still read the results; not so after ``| head`` has ended."""
    raw = getattr(getattr(results(), "buffer", None), "raw", None)
    return not isinstance(raw, _Pipe) or raw.is_read


def stdout_console() -> Console:
    """A console on the stream of results, as wide as its terminal."""
    stream, width = results(), None
    with suppress(OSError, ValueError):  # no terminal
        width = os.get_terminal_size(stream.fileno()).columns
    return Console(file=stream, width=width or None)


def stderr_console() -> Console:
    """A console on stderr."""
    return Console(file=sys.stderr)


def say(sentence: str) -> None:
    """Print a sentence to stderr, without credentials and control characters."""
    shown = printable_lines(without_secrets(sentence))
    stderr_console().print(shown, markup=False, highlight=False, soft_wrap=True)


def print_text(text: str) -> None:
    """Print a text and a line end to stdout."""
    print(text, file=results(), flush=True)


def print_json(value: object, *, indent: int | None = 1) -> None:
    """Print a JSON value to stdout; of one line with ``indent=None``."""
    print_text(json.dumps(value, indent=indent))


def print_parts(parts: Iterable[RenderableType]) -> None:
    """Print tables and sentences to stdout; a sentence is not broken into lines."""
    console = stdout_console()
    for part in parts:
        if isinstance(part, Text):
            part.plain = printable_lines(part.plain)
        console.print(part, soft_wrap=isinstance(part, Text))
