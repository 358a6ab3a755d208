"""Scores as other tools compute them: from activations, the numbers that they would print.

Each protocol fixes what the tool's own code fixes: resize and normalisation before the network of
2015, precision of means, splits, shuffle, subsets, neighbours, ties. Facts are of
the sources of the versions named here; random draws that a tool does not seed are seeded.

Trap: none of these numbers has an error or a correction, and two protocols' are never compared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vae_batch.metrics.samples.frechet import FrechetReference, trace_of_root
from vae_batch.metrics.samples.inception import InceptionScore, inception_score
from vae_batch.metrics.samples.kernel import SubsetKernelDistance
from vae_batch.metrics.samples.moments import Moments
from vae_batch.metrics.samples.precision_recall import (
    DENSITY_COVERAGE,
    PRECISION_RECALL,
    ManifoldScores,
    manifold_scores,
)
from vae_batch.metrics.validation import row_blocks

Rows = npt.NDArray[np.float32]
Floats = npt.NDArray[np.floating]

SEED = 2020
"""Of torch-fidelity's draws and dgm-eval's shuffle; here also of draws that a tool leaves open."""

SPLITS, SUBSETS, SUBSET_SIZE = 10, 100, 1000
_CHUNK = 5000
_TTUR_BATCH = 50
_MOST_NEIGHBOURS = 10_000
_STRIP = 1024


class TooFewError(ValueError):
    """The tool refuses so few images."""


@dataclass(frozen=True, eq=False)
class GaussianPair:
    """Gaussians of generated and reference features, and the trace of their product's root."""

    generated: Moments
    reference: FrechetReference
    root: float

    @classmethod
    def of(cls, generated: Moments, reference: FrechetReference) -> GaussianPair:
        """Takes up to a minute where there are fewer images than dimensions."""
        return cls(generated, reference, trace_of_root(generated, reference))


@dataclass(frozen=True)
class NamedProtocol:
    """How one tool computes its scores, of generated against reference activations.

    Attributes:
        tool: Its name.
        version: The release, or the commit's date, whose behaviour this is.
        resize: How images become 299 x 299; see ``models.extractors.inception.resize``.
        normalisation: How pixels become the network's input.
        columns: Columns of the score table that it prints.
        precision: Type in which the tool keeps features, and so means and kernels.
        inception_score: Of (n, c) probabilities; None where it has none.
        kernel: Kernel distance of (n, d) generated and (m, d) reference features, or None.
        neighbours: Precision and recall, density and coverage, of the same, or None.
        whole_batches: Features of a last batch of fewer images than this are left out; 0 for none.
    """

    tool: str
    version: str
    resize: str
    normalisation: str
    columns: tuple[str, ...]
    precision: type[np.float32 | np.float64]
    inception_score: Callable[[Rows], InceptionScore] | None = None
    kernel: Callable[[Rows, Rows], SubsetKernelDistance] | None = None
    neighbours: Callable[[Rows, Rows], ManifoldScores] | None = None
    whole_batches: int = 0

    @property
    def title(self) -> str:
        """As rows name it, such as ``pytorch-fid 0.3.0``."""
        return f"{self.tool} {self.version}"

    def kept(self, count: int) -> int:
        """Rows, of so many, whose features the tool uses."""
        return count - count % min(self.whole_batches or 1, count)

    def frechet_distance(self, generated: Rows, real: Rows | None, pair: GaussianPair) -> float:
        """The Fréchet distance that the tool prints.

        Args:
            generated: (n, d).
            real: (m, d), or None where only its moments are known.
            pair: Of the same.
        """
        reference = pair.reference.source
        theirs = reference.mean if real is None else self._mean(real)
        shift = self._mean(generated) - theirs
        spread = pair.generated.total_variance + reference.total_variance - 2.0 * pair.root
        return float(shift @ shift) + spread

    def _mean(self, rows: Rows) -> Floats:
        mean: Floats = np.asarray(rows, self.precision).mean(axis=0)
        return mean


def _shuffled_tenths(*, equal: bool) -> Callable[[Rows], InceptionScore]:
    """Mean and std over 10 splits of the rows in a seeded random order.

    Args:
        equal: Splits of n // 10 rows, which leave out the last ones, instead of bounds i n // 10.
    """

    def score(probabilities: Rows) -> InceptionScore:
        count = len(probabilities)
        if count < SPLITS:
            raise TooFewError(f"{count} images cannot fill {SPLITS} splits")
        order = np.random.RandomState(SEED).permutation(count)
        return inception_score(
            probabilities[order[: count - count % SPLITS if equal else count]], SPLITS
        )

    return score


def _chunks_in_order(probabilities: Rows) -> InceptionScore:
    """Mean over chunks of 5000 rows in their order, in single precision; no std is printed.

    A probability that underflows to 0 makes it NaN, as in the tool.
    """
    scores = []
    with np.errstate(divide="ignore", invalid="ignore"):
        for start in range(0, len(probabilities), _CHUNK):
            part = probabilities[start : start + _CHUNK]
            divergence = part * (np.log(part) - np.log(part.mean(axis=0)))
            scores.append(np.exp(divergence.sum(axis=1).mean()))
    return InceptionScore(float(np.mean(scores)), float("nan"))


def _subsets(
    precision: type[np.float32 | np.float64], *, strict: bool, generated_first: bool
) -> Callable[[Rows, Rows], SubsetKernelDistance]:
    """Mean and std over 100 random subsets of the unbiased distance under the cubic kernel.

    Args:
        precision: Type of the kernel.
        strict: Whether sets of fewer than 1000 rows are refused, or give smaller subsets.
        generated_first: Whose rows are drawn first from the one stream of random numbers.
    """

    def distance(generated: Rows, reference: Rows) -> SubsetKernelDistance:
        size = min(SUBSET_SIZE, len(generated), len(reference))
        if strict and size < SUBSET_SIZE:
            raise TooFewError(f"needs {SUBSET_SIZE} generated and reference images, found {size}")
        sets = (generated, reference) if generated_first else (reference, generated)
        rng = np.random.RandomState(SEED)
        values = []
        for _ in range(SUBSETS):
            x, y = (rows[rng.choice(len(rows), size, replace=False)] for rows in sets)
            values.append(_unbiased(x.astype(precision), y.astype(precision)))
        return SubsetKernelDistance(float(np.mean(values)), float(np.std(values)))

    return distance


def _unbiased(x: Floats, y: Floats) -> float:
    """Squared maximum mean discrepancy of two sets of as many rows."""
    size = len(x)
    within = 0.0
    for rows in (x, y):
        kernel = _cubic(rows, rows)
        within += kernel.sum(dtype=np.float64) - np.trace(kernel, dtype=np.float64)
    between = _cubic(x, y).sum(dtype=np.float64)
    return float(within / (size * (size - 1)) - 2.0 * between / size**2)


def _cubic(x: Floats, y: Floats) -> Floats:
    inner: Floats = x @ y.T / x.shape[1] + 1
    return inner * inner * inner


def _inclusive_balls(generated: Rows, reference: Rows) -> ManifoldScores:
    """Third neighbour, rim included."""
    return manifold_scores(reference, generated, (PRECISION_RECALL,))[0]


def _exclusive_balls(generated: Rows, reference: Rows) -> ManifoldScores:
    """Fifth neighbour, rim excluded, of at most 10,000 random rows of each set."""
    count = min(_MOST_NEIGHBOURS, len(reference), len(generated))
    rng = np.random.RandomState(SEED)
    real, fake = (rows[rng.choice(len(rows), count, False)] for rows in (reference, generated))
    return manifold_scores(real, fake, (DENSITY_COVERAGE,))[0]


def _half_precision_balls(generated: Rows, reference: Rows) -> ManifoldScores:
    """Third neighbour, rim included, by squared distances in half precision.

    At features of the network of 2015 such a distance is a multiple of 0.25 to 1, so that many
    rows lie on a rim; what a device rounds otherwise moves the second digit.
    """
    k = PRECISION_RECALL.k
    if min(len(generated), len(reference)) <= k:
        raise TooFewError(f"needs more than {k} generated and reference images")
    real_radii, fake_radii = _half_radii(reference, k), _half_radii(generated, k)
    precise = np.zeros(len(generated), dtype=bool)
    recalled = np.zeros(len(reference), dtype=bool)
    for part, squares in _half_squares(reference, generated):
        precise |= (squares <= real_radii[part, None]).any(axis=0)
        recalled[part] = (squares <= fake_radii).any(axis=1)
    nan = float("nan")
    return ManifoldScores(float(precise.mean()), float(recalled.mean()), nan, nan)


def _half_radii(rows: Rows, k: int) -> Rows:
    strips = (np.partition(squares, k, axis=1)[:, k] for _, squares in _half_squares(rows, rows))
    return np.concatenate(list(strips))


def _half_squares(rows: Rows, others: Rows) -> Iterator[tuple[slice, Rows]]:
    """(h, m) squared distances in half precision, in single where a strip overflows."""
    for part in row_blocks(len(rows), _STRIP):
        with np.errstate(over="ignore", invalid="ignore"):
            squares = _expanded(rows[part].astype(np.float16), others.astype(np.float16))
        if not np.isfinite(squares).all():
            squares = _expanded(rows[part], others)
        yield part, squares.astype(np.float32)


def _expanded(x: Floats, y: Floats) -> Floats:
    """|x|^2 - 2 x.y + |y|^2 >= 0, each result rounded to the type of the rows."""
    kind = x.dtype
    own, theirs = ((r * r).sum(axis=1, dtype=np.float32).astype(kind) for r in (x, y))
    inner = (x.astype(np.float32) @ y.astype(np.float32).T).astype(kind)
    squares: Floats = own[:, None] - 2 * inner + theirs
    np.maximum(squares, 0, out=squares)
    return squares


_PYTORCH = ("tf2-bilinear", "x/127.5-1")
_TENSORFLOW = ("tf1-bilinear", "(x-128)/128")
_CLEAN = ("pil-bicubic", "(x-128)/128")
_SCORE = ("inception_score", "inception_score_std")
_KERNEL = ("kid_subsets", "kid_subsets_std")
_NEIGHBOURS = ("precision", "recall")
_ALL = (
    NamedProtocol("pytorch-fid", "0.3.0", *_PYTORCH, ("fid",), np.float64),
    NamedProtocol(
        *("clean-fid", "0.1.35", *_CLEAN, ("fid", "kid_subsets"), np.float32),
        kernel=_subsets(np.float32, strict=False, generated_first=False),
    ),
    NamedProtocol(
        *("torch-fidelity", "0.4.0", *_TENSORFLOW),
        columns=("fid", *_SCORE, *_KERNEL, *_NEIGHBOURS),
        precision=np.float32,
        inception_score=_shuffled_tenths(equal=False),
        kernel=_subsets(np.float32, strict=True, generated_first=True),
        neighbours=_inclusive_balls,
    ),
    NamedProtocol(
        *("adm", "2022-07", *_TENSORFLOW, ("fid", "inception_score", *_NEIGHBOURS), np.float32),
        inception_score=_chunks_in_order,
        neighbours=_half_precision_balls,
    ),
    NamedProtocol("ttur", "2020-09", *_TENSORFLOW, ("fid",), np.float64, whole_batches=_TTUR_BATCH),
    NamedProtocol(
        *("dgm-eval", "2025-03", *_PYTORCH),
        columns=("fid", *_SCORE, *_KERNEL, *_NEIGHBOURS, "density", "coverage"),
        precision=np.float64,
        inception_score=_shuffled_tenths(equal=True),
        kernel=_subsets(np.float64, strict=False, generated_first=False),
        neighbours=_exclusive_balls,
    ),
)

PROTOCOLS: Mapping[str, NamedProtocol] = {protocol.tool: protocol for protocol in _ALL}
"""By the name of the tool, as ``--protocol`` takes it."""
