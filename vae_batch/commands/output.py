"""What commands print: results to stdout, everything else to stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable

from rich.console import Console, RenderableType
from rich.text import Text

from vae_batch.plan.credentials import without_credentials


def stderr_console() -> Console:
    """A console on stderr."""
    return Console(file=sys.stderr)


def say(sentence: str) -> None:
    """Print a sentence to stderr, without credentials of URIs."""
    shown = without_credentials(sentence)
    stderr_console().print(shown, markup=False, highlight=False, soft_wrap=True)


def print_json(value: object, *, indent: int | None = 1) -> None:
    """Print a JSON value to stdout; of one line with ``indent=None``."""
    print(json.dumps(value, indent=indent), flush=True)


def print_parts(parts: Iterable[RenderableType]) -> None:
    """Print tables and sentences to stdout; a sentence is not broken into lines."""
    console = Console()
    for part in parts:
        console.print(part, soft_wrap=isinstance(part, Text))
