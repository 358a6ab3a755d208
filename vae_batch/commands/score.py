"""The commands ``vae-batch score`` and ``vae-batch demo``."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from vae_batch.commands.exit_codes import SCORED, SOME_FAILED, exit_codes
from vae_batch.commands.output import print_json, print_parts, say
from vae_batch.commands.spec_flags import Targets, spec_of, with_spec_flags
from vae_batch.plan import EvaluationSpec
from vae_batch.plan.quantities import plural

_AsJson = Annotated[bool, typer.Option("--json", help="Print the rows as JSON on stdout.")]


@with_spec_flags()
def score(
    targets: Targets = None,
    as_json: _AsJson = False,
    is_dry: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Print shards, images, bytes and about how long a run takes; compute nothing.",
        ),
    ] = False,
    *,
    settings: dict[str, Any],
) -> None:
    """Score checkpoints: losses, FID, Inception Score; one row per checkpoint and extractor."""
    with exit_codes():
        spec = spec_of(targets or [], settings)
        if is_dry:
            _print_dry_run(spec, as_json=as_json)
            return
        code = score_and_print(spec, as_json=as_json)
    raise typer.Exit(code)


def demo(
    out: Annotated[str, typer.Option(help="Folder of the demo's models and results.")] = "demo",
    extractor: Annotated[
        list[str] | None,
        typer.Option(help="Score with these extractors instead of the demo's own classifier."),
    ] = None,
    samples: Annotated[int | None, typer.Option(help="Images generated per checkpoint.")] = None,
    workers: Annotated[int | None, typer.Option(help="0 runs without Ray.")] = None,
    as_json: _AsJson = False,
) -> None:
    """Train small VAEs on bundled digits and score them; needs no network and no GPU."""
    from vae_batch.demo import demo_spec, train_demo
    from vae_batch.evaluation import make_executor
    from vae_batch.terminal.progress import TerminalProgress

    with exit_codes():
        spec = demo_spec(out, extractor or [], workers, samples)
        with make_executor(spec) as executor:
            with TerminalProgress() as progress:
                train_demo(executor, out, progress)
            code = score_and_print(spec, as_json=as_json)
    raise typer.Exit(code)


def score_and_print(spec: EvaluationSpec, *, as_json: bool = False) -> int:
    """Score the checkpoints of a spec and print their rows.

    Returns:
        The exit code: 0 all scored, 3 some checkpoints failed.

    Raises:
        InputError: Something given cannot be used.
    """
    from vae_batch.evaluation import evaluate
    from vae_batch.report.table import terminal_table
    from vae_batch.run.output.layout import PAGE
    from vae_batch.storage import Store, read_comparisons, read_score_rows
    from vae_batch.terminal.progress import TerminalProgress
    from vae_batch.terminal.words import times

    with TerminalProgress() as progress:
        evaluation = evaluate(spec, progress)
        summary, selection = evaluation.summary, evaluation.selection
    computed = plural(summary.shards_computed, "shard")
    say(f"{computed} computed, {summary.shards_before:,} done before, {summary.seconds:.0f} s")
    if summary.faults:
        say(f"survived: {summary.faults_survived}")
    for sentence in times(progress.snapshot):
        say(sentence)
    out = Store.open(spec.out)
    if as_json:
        print_json([row.to_record() for row in summary.rows])
    else:
        keys = {row.key for row in summary.rows}
        kept = [row for row in read_score_rows(out) if row.key in keys]
        chosen_by = selection.decided_by.metric if selection else None
        print_parts([terminal_table(kept, read_comparisons(out), chosen_by)])
    for sentence in selection.sentences if selection else ():
        say(sentence)
    if evaluation.race:
        say(evaluation.race.sentence)
    say(f"page: {out.shown_path(PAGE)}")
    return SOME_FAILED if summary.failed else SCORED


def _print_dry_run(spec: EvaluationSpec, *, as_json: bool) -> None:
    """Plan a run and print what it would cost, on stdout; nothing is computed or written.

    Raises:
        InputError: Something given cannot be used.
    """
    from vae_batch.dry_run import dry_run, dry_run_json, dry_run_view
    from vae_batch.terminal.progress import TerminalProgress

    with TerminalProgress() as progress:
        found = dry_run(spec, progress)
    if as_json:
        print_json(dry_run_json(found))
    else:
        print_parts(dry_run_view(found))
