"""Measure seconds from checkpoints to their scores: ours against the book and other tools.

    python jobs/benchmarks/end_to_end.py --runs runs/ --reference mnist --json end-to-end.json
    python jobs/benchmarks/end_to_end.py --peers-python other/bin/python --only ours-2015 \
        --only pytorch-fid --only torch-fidelity

Every contender is started as its user would start it, on CPUs. A time is all that this user waits
for: imports, networks, and for ours also Ray's start, figures and page. All see the same images
(latents, noise and rounding are ours; other tools get PNG files) and weights. The book's network
is ``inception-keras`` and the other tools' is ``inception-2015``, so ours runs with either, and
each contender is compared with ours on its own network. pytorch-fid resizes differently from
``inception-2015``, so its FID is compared with ours under its resize, for the first checkpoint,
and this is not timed. Other tools compute no losses, and need the export of images, which has a
row of its own. ``ours-keras-known`` reuses the reference's activations of an earlier run, as every
later nightly run does. Rounds interleave contenders; medians are printed. Images/s count the
images that have to be processed, the samples of each checkpoint and the reference once.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from end_to_end_runs import (
    COMPARED,
    Reached,
    Run,
    Scores,
    Task,
    book,
    made_weights,
    make_inputs,
    our_fid_as_pytorch_fid,
    ours,
    png_export,
    pytorch_fid,
    torch_fidelity,
)
from measuring import finish, machine, write_json
from rich.console import Console
from rich.table import Table

from vae_batch.models.references.reference import open_reference

_TRAINING_IMAGES = 5000


@dataclass(frozen=True)
class Contender:
    """A way to score checkpoints.

    Attributes:
        shown: Its name in the table.
        yardstick: Our contender with the same weights.
        run: Starts it.
        needs_peers: Whether it needs the environment of the other tools.
    """

    shown: str
    yardstick: str
    run: Run
    needs_peers: bool = False


def _ours_keras(task: Task, counts: Sequence[int]) -> list[Reached]:
    return ours(task, counts, "inception-keras", task.keras_weights)


def _ours_keras_again(task: Task, counts: Sequence[int]) -> list[Reached]:
    return ours(task, counts, "inception-keras", task.keras_weights, known=True)


def _ours_2015(task: Task, counts: Sequence[int]) -> list[Reached]:
    return ours(task, counts, "inception-2015", task.state_dict)


CONTENDERS = {
    "ours-keras": Contender("vae_batch, inception-keras", "ours-keras", _ours_keras),
    "ours-keras-known": Contender("the same, reference known", "ours-keras", _ours_keras_again),
    "book": Contender("the book's procedure", "ours-keras", book),
    "ours-2015": Contender("vae_batch, inception-2015", "ours-2015", _ours_2015, True),
    "png-export": Contender("export of PNG files, Keras", "ours-2015", png_export, True),
    "pytorch-fid": Contender("pytorch-fid, FID alone", "ours-2015", pytorch_fid, True),
    "torch-fidelity": Contender("torch-fidelity, FID and IS", "ours-2015", torch_fidelity, True),
}
"""In the order in which a round runs them: PNG files are written before they are read."""

#: ``ours-keras-known`` runs only when named: only the first run on a reference is without it.
_DEFAULT = [name for name in CONTENDERS if name != "ours-keras-known"]

Measured = dict[tuple[str, int], list[Reached]]


def chosen_contenders(only: Sequence[str] | None, has_peers: bool) -> list[str]:
    """Return names in the order of a round, with the contenders that these need.

    Raises:
        typer.BadParameter: A name is unknown, or needs an environment that was not named.
    """
    wanted = set(only or (name for name in _DEFAULT if has_peers or not _of_peers(name)))
    if unknown := wanted - set(CONTENDERS):
        raise typer.BadParameter(f"{', '.join(unknown)}: expected {', '.join(CONTENDERS)}")
    if not has_peers and (lacking := {name for name in wanted if _of_peers(name)}):
        raise typer.BadParameter(f"{', '.join(lacking)} needs --peers-python")
    wanted |= {CONTENDERS[name].yardstick for name in wanted}
    if wanted & {"pytorch-fid", "torch-fidelity"}:
        wanted.add("png-export")
    return [name for name in CONTENDERS if name in wanted]


def _of_peers(name: str) -> bool:
    return CONTENDERS[name].needs_peers


def read_counts(counts: str, rounds: str) -> dict[int, int]:
    """Read the rounds of each number of checkpoints; one number of rounds holds for all.

    Raises:
        typer.BadParameter: The numbers of rounds and of checkpoints do not match.
    """
    numbers, repeats = ([int(part) for part in text.split(",")] for text in (counts, rounds))
    if len(repeats) == 1:
        repeats *= len(numbers)
    if len(repeats) != len(numbers) or min(numbers + repeats) < 1:
        raise typer.BadParameter(
            f"expected numbers from 1 up, and rounds for each of {counts} or one for all, got "
            f"{rounds}"
        )
    return dict(zip(numbers, repeats, strict=True))


def measure(
    task: Task, names: Sequence[str], rounds: dict[int, int], tell: Callable[[str], None]
) -> Measured:
    """Run every contender once per round, with the numbers of checkpoints of that round."""
    measured: Measured = {(name, count): [] for name in names for count in rounds}
    for round_number in range(max(rounds.values())):
        counts = [count for count, repeats in rounds.items() if round_number < repeats]
        for name in names:
            for reached in CONTENDERS[name].run(task, counts):
                measured[name, reached.checkpoints].append(reached)
                said = f"{reached.checkpoints} checkpoints in {reached.seconds:.1f} s"
                tell(f"round {round_number + 1}, {name}: {said}")
    return measured


def rows_of(
    measured: Measured, task: Task, pytorch_fid_check: float | None
) -> list[dict[str, Any]]:
    """Build the table's rows: medians, and deviations from the yardstick's last scores."""
    rows = []
    for (name, count), runs in measured.items():
        yardstick = measured[CONTENDERS[name].yardstick, count]
        pairs = zip(runs, yardstick, strict=True)
        seconds = statistics.median(reached.seconds for reached in runs)
        drawing = [r.drawing_seconds for r in runs if r.drawing_seconds is not None]
        expected = yardstick[-1].scores
        if name == "pytorch-fid" and pytorch_fid_check is not None:
            expected = ({"fid": pytorch_fid_check},)
        rows.append(
            {
                "contender": name,
                "checkpoints": count,
                "seconds": seconds,
                "seconds_of_rounds": [reached.seconds for reached in runs],
                "drawing_seconds": statistics.median(drawing) if drawing else None,
                "images_per_second": (count * task.samples + task.references) / seconds,
                "ours_is_times_as_fast": statistics.median(a.seconds / b.seconds for a, b in pairs),
                **{score: [found.get(score) for found in runs[-1].scores] for score in COMPARED},
                "relative_deviation": deviations(runs[-1].scores, expected),
            }
        )
    return rows


def deviations(found: Sequence[Scores], expected: Sequence[Scores]) -> dict[str, float]:
    """Return the largest relative deviation of each score that both have."""
    largest: dict[str, float] = {}
    for ours_, theirs in zip(expected, found, strict=False):
        for name in ours_.keys() & theirs.keys():
            deviation = abs(theirs[name] - ours_[name]) / abs(ours_[name])
            largest[name] = max(largest.get(name, 0.0), deviation)
    return {name: largest[name] for name in COMPARED if name in largest}


def main(
    runs: Annotated[
        Path | None,
        typer.Option(help="Folder with encoder.keras and decoder.keras (default: trains some)."),
    ] = None,
    reference: Annotated[str, typer.Option(help="Real images, as for vae-batch score.")] = "mnist",
    samples: Annotated[int, typer.Option(help="Generated images per checkpoint.")] = 320,
    references: Annotated[int, typer.Option(help="Real images.")] = 320,
    counts: Annotated[str, typer.Option(help="Numbers of checkpoints.")] = "1,3,10",
    rounds: Annotated[str, typer.Option(help="Rounds, for all numbers or for each.")] = "1",
    splits: Annotated[int, typer.Option(help="Inception Score splits.")] = 10,
    seed: Annotated[int, typer.Option(help="Seed of all draws.")] = 0,
    only: Annotated[list[str] | None, typer.Option(help=", ".join(CONTENDERS))] = None,
    peers_python: Annotated[
        str | None, typer.Option(help="Interpreter that has pytorch-fid and torch-fidelity.")
    ] = None,
    keras_weights: Annotated[
        Path | None, typer.Option(help="Weights for Keras' InceptionV3 (default: seeded random).")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(help="Workers of ours (default: its own choice).")
    ] = None,
    json_path: Annotated[
        Path | None, typer.Option("--json", help="Also write the table to this file.")
    ] = None,
) -> None:
    """Measure all contenders in turn, and print one table."""
    names = chosen_contenders(only, peers_python is not None)
    repeats = read_counts(counts, rounds)
    notes = Console(stderr=True)
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        task = Task(
            checkpoints=checkpoints_in(runs or trained(folder / "runs", reference, max(repeats))),
            reference=reference,
            samples=samples,
            references=references,
            splits=splits,
            seed=seed,
            folder=folder,
            keras_weights=(keras_weights or made_weights(folder)).absolute(),
            workers=workers,
            peers_python=peers_python,
        )
        if len(task.checkpoints) < max(repeats):
            raise typer.BadParameter(f"{runs} holds {len(task.checkpoints)} checkpoints")
        images = open_reference(reference, limit=references)
        np.save(task.reference_images, images.read(0, references))
        make_inputs(task, any(map(_of_peers, names)))
        measured = measure(task, names, repeats, lambda said: notes.print(said, highlight=False))
        check = our_fid_as_pytorch_fid(task) if "pytorch-fid" in names else None
        rows = rows_of(measured, task, check)
    Console(width=120).print(_table(rows, task))
    sizes = {"samples": samples, "references": references, "splits": splits, "seed": seed}
    content = {"machine": machine(), **sizes, "pytorch_fid_check": check, "rows": rows}
    write_json(content, json_path)


def checkpoints_in(runs: Path) -> tuple[Path, ...]:
    """Find folders that hold an encoder and a decoder, in order of their paths."""
    encoders = sorted(runs.absolute().rglob("encoder.keras"))
    return tuple(path.parent for path in encoders if path.with_name("decoder.keras").exists())


def trained(out: Path, reference: str, count: int) -> Path:
    """Train a small VAE on some of the reference's training images; one checkpoint per epoch."""
    job = str(Path(__file__).parents[1] / "train_vae.py")
    words = [sys.executable, job, "--reference", reference, "--out", str(out)]
    available = len(open_reference(reference, "train"))
    words += ["--limit", str(min(_TRAINING_IMAGES, available))]
    for epoch in range(1, count + 1):
        words += ["--epochs", str(epoch)]
    finish(words)
    return out


def _table(rows: Sequence[dict[str, Any]], task: Task) -> Table:
    sizes = f"{task.samples} samples per checkpoint, {task.references} references"
    table = Table(title=f"{sizes}, {os.cpu_count()} cores")
    for heading in ("checkpoints", "contender", "seconds", "images/s", "ours is", "FID", "off by"):
        table.add_column(heading, justify="left" if heading == "contender" else "right")
    for row in sorted(rows, key=lambda row: row["checkpoints"]):
        fid, off = row["fid"][0], row["relative_deviation"].get("fid")
        is_ours = row["contender"].startswith("ours")
        table.add_row(
            str(row["checkpoints"]),
            CONTENDERS[row["contender"]].shown,
            f"{row['seconds']:.1f}",
            f"{row['images_per_second']:.2f}",
            f"{row['ours_is_times_as_fast']:.2f}x",
            "-" if fid is None else f"{fid:.7g}",
            "-" if off is None or is_ours else f"{off:.1e}",
        )
    table.caption = "FID of the first checkpoint; off by: largest relative deviation from ours"
    return table


if __name__ == "__main__":
    typer.run(main)
