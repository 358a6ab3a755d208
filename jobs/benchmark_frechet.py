"""Time the Fréchet distance against its usual forms, interleaved, where the truth is known.

    python jobs/benchmark_frechet.py --dimension 2048 --rounds 3 --json frechet.json

Every round runs every contender once, so that a busy machine slows all of them; the figures
are medians over rounds, and ratios carry over where seconds do not.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import scipy.linalg  # type: ignore[import-untyped, unused-ignore]

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
    """`count` samples a side whose principal axes overlap by half, with known variances."""
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
    """Run every contender of a case once a round; the first contender is the yardstick."""
    seconds: dict[str, list[float]] = {name: [] for name in case.contenders}
    values: dict[str, float] = {}
    for _ in range(rounds):
        for name, contender in case.contenders.items():
            start = time.perf_counter()
            values[name] = contender()
            seconds[name].append(time.perf_counter() - start)
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


def main() -> None:
    """Print the table and write it as JSON where asked to."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--dimension", type=int, default=2048, help="activation dimensions d")
    parser.add_argument("--samples", type=int, default=1000, help="n of the low-rank case, < d")
    parser.add_argument("--rounds", type=int, default=3, help="interleaved rounds a contender")
    parser.add_argument("--seed", type=int, default=0, help="seed of the problems")
    parser.add_argument("--json", type=Path, help="also write the table to this file")
    options = parser.parse_args()
    if not 2 <= options.samples < options.dimension or options.rounds < 1:
        parser.error("expected 2 <= samples < dimension and at least 1 round")
    rng = np.random.default_rng(options.seed)
    timings: list[Timing] = []
    print(f"{'case':24s} {'contender':32s} {'median s':>9s} {'best s':>8s} {'ratio':>7s} error")
    for case in (
        full_rank_case(options.dimension, rng),
        low_rank_case(options.dimension, options.samples, rng),
        mixed_case(options.dimension, options.samples, rng),
    ):
        for row in measure(case, options.rounds):
            timings.append(row)
            print(
                f"{row.case:24s} {row.contender:32s} {row.seconds:9.3f} {row.fastest:8.3f} "
                f"{row.ratio:6.1f}x {row.relative_error:.1e}",
                flush=True,
            )
    if options.json:
        options.json.write_text(json.dumps([asdict(row) for row in timings], indent=1) + "\n")


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
    main()
