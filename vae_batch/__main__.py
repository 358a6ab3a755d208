"""``python -m vae_batch``: the command line, or a sentence where a dependency is missing."""

from __future__ import annotations

import sys
from typing import NoReturn

from vae_batch.installation import missing


def main(*words: str) -> NoReturn:
    """Run a command, by default that of ``sys.argv``, and end the process with its exit code."""
    try:
        from vae_batch.cli import main as run
    except ModuleNotFoundError as error:
        print(f"error: {missing(error)}", file=sys.stderr)
        sys.exit(2)
    run(*words)


if __name__ == "__main__":
    main()
