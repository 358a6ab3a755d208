"""Replay races over the stored scores of a finished run, in many random orders of its samples.

    python jobs/simulation/race.py results/ --metric elbo --metric fid_corrected --repeats 200

Shows what a race would have cost, and whether it would have found the winner of the full
evaluation. Each repeat shuffles the sample indices, which all checkpoints share, and races over
growing prefixes of that order. The winner of the full evaluation, and the checkpoints that are not
distinguishable from it, do not depend on the order.
"""

from __future__ import annotations

import functools
import json
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import typer
from threadpoolctl import threadpool_limits

from vae_batch.metrics import METRICS, FrechetReference, PairedScore, level_with_best
from vae_batch.metrics.comparison.elimination import Race, race_counts
from vae_batch.metrics.samples.frechet_uncertainty import bias_dominated
from vae_batch.metrics.samples.kernel import KernelReference
from vae_batch.run.output.run_record import ScoredRow, open_record, scored_rows
from vae_batch.run.race.scores import Raced, raced_frechet, raced_kernel
from vae_batch.run.scoring.losses import losses_per_image
from vae_batch.run.scoring.samples import reference_features

Indices = npt.NDArray[np.intp]


@dataclass(frozen=True)
class Field:
    """The checkpoints of one race: how many indices each has, and its score over some of them."""

    count: int
    scores: dict[str, Callable[[Indices], PairedScore]]


@dataclass(frozen=True)
class RaceCost:
    """What one race found and spent.

    Attributes:
        leader: best survivor at the end.
        found_winner: whether that is the full evaluation's best.
        found_level: whether it is that, or cannot be told from it by the full evaluation.
        kept_winner: whether the full evaluation's best was still in the race at the end.
        survivors: checkpoints left at the end.
        images: scored, over all checkpoints.
        share: of the images of the full evaluation.
    """

    leader: str
    found_winner: bool
    found_level: bool
    kept_winner: bool
    survivors: int
    images: int
    share: float


def field_of(metric: str, rows: Sequence[ScoredRow]) -> Field:
    """Scores of the rows of one extractor by some of their samples."""
    if metric == "elbo":
        return _losses(rows)
    reference = rows[0].parts.units["reference"]
    real = reference_features(rows[0].parts.stores.reference, reference)
    of_indices = _frechet(real) if metric == "fid_corrected" else _kernel(real)
    features = {
        row.row.checkpoint: row.parts.columns("generated", ["features"])["features"] for row in rows
    }
    count = min(len(found) for found in features.values())
    return Field(
        count, {name: functools.partial(of_indices, found) for name, found in features.items()}
    )


def _losses(rows: Sequence[ScoredRow]) -> Field:
    values = {
        row.row.checkpoint: losses_per_image(row.parts, row.parts.description())["elbo"]
        for row in rows
    }

    def measured(found: npt.NDArray[Any], chosen: Indices) -> PairedScore:
        return PairedScore.from_values(found[chosen])

    count = min(len(found) for found in values.values())
    return Field(
        count, {name: functools.partial(measured, found) for name, found in values.items()}
    )


def _frechet(real: npt.NDArray[Any]) -> Callable[[npt.NDArray[Any], Indices], PairedScore]:
    prepared = FrechetReference.from_activations(real)

    def measured(features: npt.NDArray[Any], chosen: Indices) -> PairedScore:
        return _score_of(raced_frechet(features[chosen], prepared))

    return measured


def _kernel(real: npt.NDArray[Any]) -> Callable[[npt.NDArray[Any], Indices], PairedScore]:
    prepared = KernelReference.from_activations(real)

    def measured(features: npt.NDArray[Any], chosen: Indices) -> PairedScore:
        return _score_of(raced_kernel(features[chosen], prepared))

    return measured


def _score_of(found: Raced) -> PairedScore:
    if found.score is None:
        raise ValueError("activations give a score")
    return found.score


def simulate(
    field: Field, better: str, counts: Sequence[int], alpha: float, repeats: int, seed: int
) -> list[RaceCost]:
    """Race in ``repeats`` random orders of the indices; the last count must be all of them."""
    everything = np.arange(field.count)
    # A score of all indices is the same in every order.
    full = {name: score(everything) for name, score in field.scores.items()}
    truth = level_with_best(full, better, alpha)
    costs = []
    for repeat in range(repeats):
        order = np.random.default_rng([seed, repeat]).permutation(field.count)
        race = Race(field.scores, better, len(counts), alpha)
        scores: dict[str, PairedScore] = full
        for n in counts:
            if n < field.count:
                scores = {name: field.scores[name](order[:n]) for name in race.survivors}
            else:
                scores = full
            race.look(scores)
        leader = race.result(scores).best
        images = sum(left.count for left in race.eliminated.values())
        images += counts[-1] * len(race.survivors)
        costs.append(
            RaceCost(
                leader,
                leader == truth.best,
                leader in truth.members,
                truth.best in race.survivors,
                len(race.survivors),
                images,
                images / (field.count * len(field.scores)),
            )
        )
    return costs


def first_count(metric: str, rows: Sequence[ScoredRow], wanted: int) -> int:
    """Samples of the first look: below 4.88 a feature dimension a Fréchet distance says nothing."""
    dimension = int(rows[0].row.conditions.feature_dim or 0)
    while metric == "fid_corrected" and bias_dominated(dimension, wanted):
        wanted *= 2
    return wanted


def summary(metric: str, counts: Sequence[int], costs: Sequence[RaceCost]) -> dict[str, Any]:
    """One line of the table."""
    shares = sorted(cost.share for cost in costs)
    return {
        "metric": metric,
        "looks": list(counts),
        "repeats": len(costs),
        "found_winner": statistics.mean(cost.found_winner for cost in costs),
        "found_level": statistics.mean(cost.found_level for cost in costs),
        "kept_winner": statistics.mean(cost.kept_winner for cost in costs),
        "survivors_median": statistics.median(cost.survivors for cost in costs),
        "share_low": shares[0],
        "share_5": shares[int(0.05 * (len(shares) - 1))],
        "share_median": statistics.median(shares),
        "share_95": shares[int(0.95 * (len(shares) - 1))],
        "share_high": shares[-1],
    }


class RacedMetric(StrEnum):
    """Metrics that can be raced by."""

    elbo = "elbo"
    fid_corrected = "fid_corrected"
    kid = "kid"


def main(
    out: Annotated[str, typer.Argument(help="Output folder of a finished run.")],
    metric: Annotated[
        list[RacedMetric] | None, typer.Option(help="Repeatable (default: all).")
    ] = None,
    extractor: Annotated[
        str | None, typer.Option(help="Its name in the score table (default: the first).")
    ] = None,
    first: Annotated[int, typer.Option(help="Samples at the first look.")] = 512,
    growth: Annotated[float, typer.Option(help="Factor from look to look.")] = 2.0,
    alpha: Annotated[float, typer.Option(help="Level of the tests.")] = 0.05,
    repeats: Annotated[int, typer.Option(help="Races per metric.")] = 200,
    seed: Annotated[int, typer.Option(help="Seed of the orders.")] = 0,
    json_path: Annotated[
        Path | None, typer.Option("--json", help="Also write every race to this file.")
    ] = None,
) -> None:
    """Race in many random orders, and print one line per metric."""
    rows = scored_rows(out, open_record(out))
    wanted = extractor or rows[0].row.conditions.extractor
    chosen = [row for row in rows if row.row.conditions.extractor == wanted]
    lines, races = [], {}
    for name in map(str, metric or RacedMetric):
        began = time.monotonic()
        with threadpool_limits(1):
            field = field_of(name, chosen)
            counts = race_counts(first_count(name, chosen, first), growth, field.count)
            better = METRICS[name].direction
            costs = simulate(field, better, counts, alpha, repeats, seed)
        lines.append(summary(name, counts, costs))
        races[name] = [asdict(cost) for cost in costs]
        print(_text(lines[-1], len(chosen), time.monotonic() - began), flush=True)
    if json_path:
        json_path.write_text(json.dumps({"summary": lines, "races": races}, indent=1))


def _text(line: dict[str, Any], checkpoints: int, seconds: float) -> str:
    spent = f"{line['share_median']:.1%} (5 % to 95 %: {line['share_5']:.1%} to"
    return (
        f"{line['metric']}: {checkpoints} checkpoints, looks at {line['looks']}, "
        f"{line['repeats']} races: winner {line['found_winner']:.1%}, winner or a "
        f"checkpoint not distinguishable from it {line['found_level']:.1%}, winner kept "
        f"{line['kept_winner']:.1%}; images spent {spent} {line['share_95']:.1%}); "
        f"{line['survivors_median']:g} survivors; {seconds:.0f} s"
    )


if __name__ == "__main__":
    typer.run(main)
