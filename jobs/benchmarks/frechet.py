"""Time the Fréchet distance against its usual forms on problems whose distance is known.

    python jobs/benchmarks/frechet.py --dimension 2048 --rounds 3 --json frechet.json

Rounds interleave the contenders; medians over the rounds are printed. Ratios carry over to other
machines, seconds do not.
"""

from __future__ import annotations

import functools
import statistics
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import scipy.linalg
import typer
from measuring import interleaved, write_json

from vae_batch.metrics import FrechetReference, Moments, frechet_distance
from vae_batch.metrics.validation import FloatArray


@dataclass(frozen=True)
class Case:
    """One problem with a known distance and the ways to compute it."""

    name: str
    truth: float
    contenders: dict[str, Callable[[], float]]


@dataclass(frozen=True)
class Timing:
    """One row of the table; `ratio` is this contender's median over the first one's."""

    case: str
    contender: str
    seconds: float
    fastest: float
    ratio: float
    relative_error: float


def full_rank_case(dimension: int, rng: np.random.Generator) -> Case:
    """Commuting covariances Q diag(a) Q^T, Q diag(b) Q^T: sum of (sqrt a - sqrt b)^2."""
    basis = _orthonormal(dimension, dimension, rng)
    a, b = rng.uniform(0.1, 2.0, dimension), rng.uniform(0.1, 2.0, dimension)
    shift = rng.normal(size=dimension)
    count = 5 * dimension
    generated = _moments(count, shift, basis, a)
    reference = _moments(count, np.zeros(dimension), basis, b)
    prepared = FrechetReference.from_moments(reference)
    return Case(
        f"full rank, d = {dimension}",
        float(shift @ shift + ((np.sqrt(a) - np.sqrt(b)) ** 2).sum()),
        {
            "ours, prepared reference": lambda: frechet_distance(generated, prepared),
            "ours, reference factored too": lambda: frechet_distance(generated, reference),
            **_classical(generated, reference),
        },
    )


def low_rank_case(dimension: int, count: int, rng: np.random.Generator) -> Case:
    """`count` samples on each side, whose principal axes overlap by half, with known variances."""
    rank = count - 1
    overlap = max(rank // 2, 2 * rank - dimension)
    basis = _orthonormal(dimension, 2 * rank - overlap, rng)
    a, b = rng.uniform(0.1, 2.0, rank), rng.uniform(0.1, 2.0, rank)
    shift = rng.normal(size=dimension)
    generated = shift + _samples(basis[:, :rank], a, rng)
    reference = _samples(basis[:, rank - overlap :], b, rng)
    shared = np.sqrt(a[rank - overlap :] * b[:overlap]).sum()
    prepared = FrechetReference.from_activations(reference)
    moments = Moments.from_activations(generated), Moments.from_activations(reference)
    return Case(
        f"both n = {count}",
        float(shift @ shift + a.sum() + b.sum() - 2.0 * shared),
        {
            "ours, activations on both sides": lambda: frechet_distance(generated, reference),
            "ours, prepared reference": lambda: frechet_distance(generated, prepared),
            "ours, moments on both sides": lambda: frechet_distance(*moments),
            **_classical(*moments),
        },
    )


def mixed_case(dimension: int, count: int, rng: np.random.Generator) -> Case:
    """`count` generated samples against a full-rank reference of the same principal axes."""
    rank = count - 1
    basis = _orthonormal(dimension, dimension, rng)
    a, b = rng.uniform(0.1, 2.0, rank), rng.uniform(0.1, 2.0, dimension)
    shift = rng.normal(size=dimension)
    generated = shift + _samples(basis[:, :rank], a, rng)
    reference = _moments(5 * dimension, np.zeros(dimension), basis, b)
    prepared = FrechetReference.from_moments(reference)
    return Case(
        f"n = {count}, full reference",
        float(shift @ shift + a.sum() + b.sum() - 2.0 * np.sqrt(a * b[:rank]).sum()),
        {
            "ours, prepared reference": lambda: frechet_distance(generated, prepared),
            "ours, reference factored too": lambda: frechet_distance(generated, reference),
            **_classical(Moments.from_activations(generated), reference),
        },
    )


def measure(case: Case, rounds: int) -> list[Timing]:
    """Time every contender of a case once per round; the first contender is the yardstick."""
    values: dict[str, float] = {}

    def keep(name: str) -> None:
        values[name] = case.contenders[name]()

    seconds = interleaved({name: functools.partial(keep, name) for name in case.contenders}, rounds)
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    yardstick = next(iter(medians.values()))
    return [
        Timing(
            case.name,
            name,
            median,
            min(seconds[name]),
            median / yardstick,
            abs(values[name] - case.truth) / case.truth,
        )
        for name, median in medians.items()
    ]


def main(
    dimension: Annotated[int, typer.Option(help="Activation dimensions d.")] = 2048,
    samples: Annotated[int, typer.Option(help="n of the low-rank case, below d.")] = 1000,
    rounds: Annotated[int, typer.Option(min=1, help="Interleaved rounds.")] = 3,
    seed: Annotated[int, typer.Option(help="Seed of the problems.")] = 0,
    json_path: Annotated[
        Path | None, typer.Option("--json", help="Also write the table to this file.")
    ] = None,
) -> None:
    """Measure all contenders of all cases, and print one table."""
    if not 2 <= samples < dimension:
        raise typer.BadParameter(f"expected 2 <= samples < {dimension}, found {samples}")
    rng = np.random.default_rng(seed)
    timings: list[Timing] = []
    print(f"{'case':24s} {'contender':32s} {'median s':>9s} {'best s':>8s} {'ratio':>7s} error")
    for case in (
        full_rank_case(dimension, rng),
        low_rank_case(dimension, samples, rng),
        mixed_case(dimension, samples, rng),
    ):
        for row in measure(case, rounds):
            timings.append(row)
            print(
                f"{row.case:24s} {row.contender:32s} {row.seconds:9.3f} {row.fastest:8.3f} "
                f"{row.ratio:6.1f}x {row.relative_error:.1e}",
                flush=True,
            )
    write_json([asdict(row) for row in timings], json_path)


def _classical(generated: Moments, reference: Moments) -> dict[str, Callable[[], float]]:
    """The two usual forms, from ready covariances and with the imaginary part dropped."""
    shift = generated.mean - reference.mean
    S, R = generated.covariance, reference.covariance
    known = float(shift @ shift + np.trace(S) + np.trace(R))

    def matrix_root() -> float:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return known - 2.0 * float(np.trace(scipy.linalg.sqrtm(S @ R)).real)

    def eigenvalues_of_product() -> float:
        eigenvalues = scipy.linalg.eigvals(S @ R).astype(np.complex128)
        return known - 2.0 * float(np.sqrt(eigenvalues).real.sum())

    return {"scipy.linalg.sqrtm": matrix_root, "eigenvalues of S_g S_r": eigenvalues_of_product}


def _orthonormal(rows: int, columns: int, rng: np.random.Generator) -> FloatArray:
    basis: FloatArray = np.linalg.qr(rng.normal(size=(rows, columns)))[0]
    return basis


def _moments(count: int, mean: FloatArray, basis: FloatArray, variances: FloatArray) -> Moments:
    factor = basis * np.sqrt(variances)
    return Moments.from_covariance(count, mean, factor @ factor.T)


def _samples(basis: FloatArray, variances: FloatArray, rng: np.random.Generator) -> FloatArray:
    """(axes + 1, d) rows of mean zero and covariance basis diag(variances) basis^T."""
    rank = basis.shape[1]
    centred = rng.normal(size=(rank + 1, rank))
    centred -= centred.mean(axis=0)
    scores = np.linalg.qr(centred)[0]  # orthonormal and orthogonal to the vector of ones
    rows: FloatArray = (scores * np.sqrt(variances * rank)) @ basis.T
    return rows


if __name__ == "__main__":
    typer.run(main)
