"""The command ``vae-batch help``: pages of documentation that come with the package."""

from __future__ import annotations

import sys
from enum import StrEnum
from importlib import resources
from typing import Annotated

import typer

from vae_batch.commands.exit_codes import exit_codes
from vae_batch.commands.output import print_parts, print_text


class Topic(StrEnum):
    """Pages of ``vae_batch/docs``, in the order in which they are listed."""

    checkpoints = "checkpoints"
    inputs = "inputs"
    extractors = "extractors"
    protocols = "protocols"
    metrics = "metrics"
    statistics = "statistics"
    figures = "figures"
    storage = "storage"
    cluster = "cluster"
    nightly = "nightly"
    security = "security"
    troubleshooting = "troubleshooting"
    book = "book"
    architecture = "architecture"
    changelog = "changelog"


def help_command(
    topic: Annotated[Topic, typer.Argument(help="What to read about.")],
) -> None:
    """Print a page of the documentation, rendered on a terminal and as Markdown elsewhere."""
    with exit_codes():
        page = resources.files("vae_batch") / "docs" / f"{topic}.md"
        text = page.read_text(encoding="utf-8").rstrip()
        if sys.__stdout__ is not None and sys.__stdout__.isatty():
            from rich.markdown import Markdown

            print_parts([Markdown(text)])
        else:
            print_text(text)
