"""The command-line interface ``vae-batch``: results on stdout, all else on stderr, an exit code."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, NoReturn

import typer

from vae_batch import __version__
from vae_batch.commands.compare import compare
from vae_batch.commands.doctor import doctor
from vae_batch.commands.exit_codes import run_process, with_debug_flag
from vae_batch.commands.help import help_command
from vae_batch.commands.inspect import inspect
from vae_batch.commands.metrics import metrics
from vae_batch.commands.nightly import nightly, submit
from vae_batch.commands.prune import prune
from vae_batch.commands.report import export, report
from vae_batch.commands.rescore import rescore
from vae_batch.commands.sample import sample
from vae_batch.commands.schema import schema
from vae_batch.commands.score import demo, score
from vae_batch.commands.status import status
from vae_batch.commands.verify import verify
from vae_batch.commands.watch import watch
from vae_batch.commands.weights import weights

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
_PANELS: dict[str, tuple[Callable[..., None], ...]] = {
    "Start here": (demo, score, watch, status, report),
    "Before a run": (inspect, metrics, schema, doctor),
    "After a run": (compare, rescore, export, sample, verify, prune),
    "Every night": (nightly, submit),
}
for _panel, _commands in _PANELS.items():
    for _command in _commands:
        app.command(rich_help_panel=_panel)(with_debug_flag(_command))
app.command("help", rich_help_panel="Before a run")(with_debug_flag(help_command))
app.add_typer(weights, name="weights", rich_help_panel="Before a run")


def _print_version(wanted: bool) -> None:
    if wanted:
        print(__version__)
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    """Score every checkpoint of a variational autoencoder, and say which one is better."""


def main(*words: str) -> NoReturn:
    """Run a command, by default that of ``sys.argv``, and end the process."""
    run_process(lambda: app(words or None))


if __name__ == "__main__":
    main()
