"""The command ``vae-batch``: words in, a table on stdout, all else on stderr, an exit code out."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from vae_batch import __version__
from vae_batch.commands.compare import compare
from vae_batch.commands.doctor import doctor
from vae_batch.commands.dry_run import print_dry_run
from vae_batch.commands.exit_codes import SCORED, SOME_FAILED, exit_codes, stderr_console
from vae_batch.commands.export import export
from vae_batch.commands.inspect import inspect
from vae_batch.commands.metrics import metrics
from vae_batch.commands.process import run_process
from vae_batch.commands.prune import prune
from vae_batch.commands.rescore import rescore
from vae_batch.commands.spec_flags import spec_of, with_spec_flags
from vae_batch.commands.status import status
from vae_batch.commands.verify import verify
from vae_batch.commands.weights import weights
from vae_batch.plan import EvaluationSpec

if TYPE_CHECKING:
    from vae_batch.run.compare.selection import Selection

app = typer.Typer(
    help="Score every checkpoint of a variational autoencoder, and say which one is better.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(weights, name="weights")
app.command()(doctor)
app.command()(inspect)
app.command()(verify)
app.command()(prune)
app.command()(export)
app.command()(metrics)
app.command()(compare)
app.command()(rescore)
app.command()(status)

_AsJson = Annotated[bool, typer.Option("--json", help="Print rows as JSON on stdout.")]
_DryRun = Annotated[
    bool,
    typer.Option(
        "--dry-run",
        help="Print shards, images, bytes and about how long it takes; nothing is computed.",
    ),
]
_Out = Annotated[str, typer.Argument(help="Output folder or URI of a run.")]


@app.command("score")
@with_spec_flags()
def score(
    targets: Annotated[
        list[str] | None,
        typer.Argument(help="Checkpoints (paths, folders, quoted globs, URIs), or one TOML spec."),
    ] = None,
    as_json: _AsJson = False,
    is_dry: _DryRun = False,
    *,
    settings: dict[str, Any],
) -> None:
    """Score checkpoints: losses, FID and Inception Score, one row a checkpoint and extractor."""
    with exit_codes():
        spec = spec_of(targets or [], settings)
        if is_dry:
            with _progress() as progress:
                print_dry_run(spec, progress, as_json=as_json)
            return
        code = score_and_print(spec, as_json=as_json)
    raise typer.Exit(code)


@app.command()
def demo(
    out: Annotated[str, typer.Option(help="Folder of the demo's models and results.")] = "demo",
    extractor: Annotated[
        list[str] | None,
        typer.Option(help="Score with these extractors instead of the demo's own classifier."),
    ] = None,
    samples: Annotated[int | None, typer.Option(help="Generated images a checkpoint.")] = None,
    workers: Annotated[int | None, typer.Option(help="0 runs without Ray.")] = None,
    as_json: _AsJson = False,
) -> None:
    """Train small VAEs on bundled digits and score them; needs no network and no GPU."""
    from vae_batch.demo import demo_spec, train_demo
    from vae_batch.evaluation import make_executor

    with exit_codes():
        spec = demo_spec(out, extractor or [], workers, samples)
        with make_executor(spec) as executor:
            with _progress() as progress:
                train_demo(executor, out, progress)
            code = score_and_print(spec, as_json=as_json)
    raise typer.Exit(code)


@app.command()
def report(out: _Out) -> None:
    """Write the figures and the page of a run anew; needs no cluster and no model."""
    from vae_batch.report.bundle import write_report
    from vae_batch.storage import Store

    with exit_codes():
        store = Store.open(out)
        written = write_report(store)
        stderr_console().print(
            f"{len(written)} files in {store.shown}", markup=False, soft_wrap=True
        )


@app.command()
def version() -> None:
    """Print the version."""
    print(__version__)


def score_and_print(spec: EvaluationSpec, *, as_json: bool = False) -> int:
    """Run the job and print its rows.

    Returns:
      The exit code: 0 all scored, 3 some checkpoints failed.

    Raises:
      InputError: Something given cannot be used.
    """
    from vae_batch.evaluation import evaluate
    from vae_batch.report.table import terminal_table
    from vae_batch.storage import Store, read_comparisons, read_scores
    from vae_batch.terminal.cost_view import cost_sentences

    with _progress() as progress:
        evaluation = evaluate(spec, progress)
        summary, selection = evaluation.summary, evaluation.selection
        progress.say(
            f"{summary.shards_computed} shards computed, {summary.shards_before} done before, "
            f"{summary.seconds:.0f} s"
        )
        if summary.faults:
            progress.say(f"survived: {summary.faults_survived}")
        for sentence in cost_sentences(summary.cost) if summary.cost else ():
            progress.say(sentence)
    out = Store.open(spec.out)
    if as_json:
        print(json.dumps(list(summary.rows), indent=1))
    else:
        scores = read_scores(out)
        keys = {(row["checkpoint"], row["extractor"]) for row in summary.rows}
        kept = [key in keys for key in zip(scores["checkpoint"], scores["extractor"], strict=True)]
        chosen_by = selection.metric if selection else None
        Console().print(terminal_table(scores[kept], read_comparisons(out), chosen_by))
    if selection is not None:
        _print_selection(selection)
    if evaluation.race is not None:
        _say_plainly(evaluation.race.sentence)
    stderr_console().print(f"page: {out.shown}/report.html", markup=False, soft_wrap=True)
    return SOME_FAILED if summary.failed else SCORED


def _print_selection(selection: Selection) -> None:
    """The best checkpoint, on stderr: stdout holds the table alone."""
    for sentence in (selection.sentence, selection.confirmation):
        if sentence:
            _say_plainly(sentence)


def _say_plainly(sentence: str) -> None:
    stderr_console().print(sentence, markup=False, highlight=False, soft_wrap=True)


@contextmanager
def _progress() -> Iterator[Any]:
    from vae_batch.terminal.progress import TerminalProgress

    with TerminalProgress(stderr_console()) as progress:
        yield progress


def main() -> None:
    """Entry point of ``vae-batch``."""
    run_process(app)


if __name__ == "__main__":
    main()
