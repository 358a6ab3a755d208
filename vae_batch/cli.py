"""The command-line interface ``vae-batch``: results on stdout, all else on stderr, an exit code."""

from __future__ import annotations

import typer

from vae_batch import __version__
from vae_batch.commands.compare import compare
from vae_batch.commands.debug_flag import with_debug_flag
from vae_batch.commands.doctor import doctor
from vae_batch.commands.exit_codes import run_process
from vae_batch.commands.inspect import inspect
from vae_batch.commands.metrics import metrics
from vae_batch.commands.prune import prune
from vae_batch.commands.report import export, report
from vae_batch.commands.rescore import rescore
from vae_batch.commands.score import demo, score
from vae_batch.commands.status import status
from vae_batch.commands.verify import verify
from vae_batch.commands.weights import weights


def version() -> None:
    """Print the version."""
    print(__version__)


app = typer.Typer(
    help="Score every checkpoint of a variational autoencoder, and say which one is better.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(weights, name="weights")
for command in (
    score, demo, compare, rescore, status, report, export, verify, prune, inspect, metrics, doctor,
    version,
):  # fmt: skip
    app.command()(with_debug_flag(command))


def main() -> None:
    """Run the command of ``sys.argv`` and end the process."""
    run_process(app)


if __name__ == "__main__":
    main()
