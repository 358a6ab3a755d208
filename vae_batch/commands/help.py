"""The command ``vae-batch help``: pages of documentation that come with the package."""

from __future__ import annotations

from enum import StrEnum
from importlib import resources
from typing import Annotated

import typer

from vae_batch.commands.exit_codes import exit_codes
from vae_batch.commands.output import print_text


class Topic(StrEnum):
    """Pages of ``vae_batch/docs``."""

    storage = "storage"
    inputs = "inputs"
    protocols = "protocols"
    changelog = "changelog"


def help_command(
    topic: Annotated[Topic, typer.Argument(help="What to read about.")],
) -> None:
    """Print a page.

    `storage` describes a run's files and columns, `inputs` what may be scored, `protocols` the
    numbers of other tools.
    """
    with exit_codes():
        page = resources.files("vae_batch") / "docs" / f"{topic}.md"
        print_text(page.read_text(encoding="utf-8").rstrip())
