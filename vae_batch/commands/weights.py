"""The commands ``vae-batch weights list``, ``verify`` and ``fetch``."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from vae_batch.commands.exit_codes import BAD_INPUT, exit_codes, say_error, with_debug_flag
from vae_batch.commands.output import print_json, print_parts

if TYPE_CHECKING:
    from vae_batch.models.extractors.weights.listing import ListedWeights, VerifiedWeights

weights = typer.Typer(
    help="List, check and download the published Inception weights.", no_args_is_help=True
)

#: Fetched when no name is given: the preferred file of each extractor that needs one.
EXTRACTORS_WITH_WEIGHTS = ("inception-2015", "inception-keras")

_AsJson = Annotated[bool, typer.Option("--json", help="Print rows as JSON on stdout.")]


def list_command(as_json: _AsJson = False) -> None:
    """List the published files, and where files of these names are found here (not verified)."""
    from vae_batch.models.extractors.weights.listing import list_weights

    with exit_codes():
        rows = list_weights()
        _print_rows(rows, _listed_table, as_json)


def verify(
    paths: Annotated[list[str], typer.Argument(help="Weights files.", metavar="PATH...")],
    as_json: _AsJson = False,
) -> None:
    """Identify weights files; exit code 2 unless all are published ones and readable."""
    from vae_batch.models.extractors.weights.listing import verify_weights

    with exit_codes():
        _print_verified([verify_weights(path) for path in paths], as_json)


def fetch(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            help="Published file names or extractors (default: one file for each extractor).",
            metavar="[NAME...]",
        ),
    ] = None,
    as_json: _AsJson = False,
) -> None:
    """Download published files to the cache folder, and verify them."""
    from vae_batch.models.extractors.weights.listing import fetch_weights

    with exit_codes():
        files = [fetch_weights(name) for name in names or EXTRACTORS_WITH_WEIGHTS]
        _print_verified(files, as_json)


def _print_verified(files: Sequence[VerifiedWeights], as_json: bool) -> None:
    """Print the rows, and a sentence for each refused file on stderr.

    Raises:
        typer.Exit: A file is not a published one, or cannot be read as weights.
    """
    _print_rows(files, _verified_table, as_json)
    refused = [file for file in files if file.problem or not (file.verified and file.readable)]
    for file in refused:
        say_error(file.problem or f"{file.path} is not a published weights file")
    if refused:
        raise typer.Exit(BAD_INPUT)


def _print_rows(rows: Sequence[Any], table: Callable[..., Table], as_json: bool) -> None:
    """Print rows of either kind, as JSON or as the table of their kind."""
    if as_json:
        print_json([dataclasses.asdict(row) for row in rows])
    else:
        print_parts([table(rows)])


def _listed_table(rows: Sequence[ListedWeights]) -> Table:
    table = _table("file", "extractor", "publisher", "MB", "found at")
    for row in rows:
        cells = (row.name, row.extractor, row.publisher, _megabytes(row.bytes), row.path or "-")
        table.add_row(*map(Text, cells))
    return table


def _verified_table(rows: Sequence[VerifiedWeights]) -> Table:
    """The hash is shortened; ``--json`` prints it whole."""
    table = _table("file", "format", "MB", "sha256", "published as")
    for row in rows:
        cells = (row.path, row.format, _megabytes(row.bytes), row.sha256[:12], row.published or "-")
        table.add_row(*map(Text, cells))
    return table


def _table(*headings: str) -> Table:
    """A table that folds long cells, so that no name is truncated."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for heading in headings:
        table.add_column(heading, overflow="fold")
    return table


def _megabytes(count: int | None) -> str:
    return "-" if count is None else f"{count / 1e6:.1f}"


weights.command("list")(with_debug_flag(list_command))
weights.command()(with_debug_flag(verify))
weights.command()(with_debug_flag(fetch))
