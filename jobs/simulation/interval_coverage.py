"""How often published intervals hold the truth, on features whose true distances are known.

    python jobs/simulation/interval_coverage.py --dimensions 32,64 --repeats 200
    python jobs/simulation/interval_coverage.py --kinds mnist --mnist mnist.npz
    python jobs/simulation/interval_coverage.py --kinds trained --features trained.npz
    python jobs/simulation/interval_coverage.py --inception-score

Samples are drawn with replacement from finite pools, so that the moments and kernels of the pools
give the truth exactly. A cell is a kind of features, a dimension, and numbers of generated and
reference images; in each a perfect model draws from the reference's own pool, and two checkpoints
A and B that share their latents draw from pools of their own.
"""

from __future__ import annotations

import itertools
import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
import typer
from scipy.special import softmax  # type: ignore[import-untyped, unused-ignore]
from threadpoolctl import threadpool_limits

from vae_batch.metrics.comparison.paired_difference import Interval, PairedScore, paired_difference
from vae_batch.metrics.samples.frechet import frechet_distance
from vae_batch.metrics.samples.frechet_uncertainty import CorrectedFrechetDistance
from vae_batch.metrics.samples.inception import corrected_inception_score
from vae_batch.metrics.samples.kernel import KernelReference, kernel_influence
from vae_batch.metrics.samples.moments import Moments

Array = npt.NDArray[np.float64]

POOL = 5_000
"""Images of a synthetic pool."""

HIGHEST = 0.99
"""Coverage above which an interval is wider than it need be."""


@dataclass(frozen=True)
class Pools:
    """(N, d) features of the reference and of two checkpoints, row by row of the same latents."""

    reference: Array
    a: Array
    b: Array


@dataclass
class Share:
    """How many of some intervals were published, and how many of those held the truth.

    Attributes:
        repeats: Intervals that were asked for.
        misses: Of each published one: the distance of its middle from the truth, as a share of half
            its width. It held the truth where that is at most 1.
    """

    repeats: int = 0
    misses: list[float] = field(default_factory=list)

    def count(self, interval: tuple[float, float] | Interval | None, truth: float) -> None:
        """Count one more."""
        self.repeats += 1
        if interval is None:
            return
        low, high = (interval.low, interval.high) if isinstance(interval, Interval) else interval
        miss, half = abs((low + high) / 2 - truth), (high - low) / 2
        self.misses.append(miss / half if half > 0 else math.inf if miss > 0 else 0.0)

    @property
    def published(self) -> int:
        """Intervals that were published."""
        return len(self.misses)

    @property
    def held(self) -> int:
        """Published intervals that held the truth."""
        return sum(miss <= 1.0 for miss in self.misses)

    @property
    def excess(self) -> float:
        """Width of the intervals as a multiple of what would hold the truth in 95 %."""
        needed = float(np.quantile(self.misses, 0.95))
        return 1.0 / needed if needed > 0 else math.inf

    def __str__(self) -> str:
        """Coverage, the share of published intervals, and the excess where it is too wide."""
        if not self.published:
            return "none"
        held = self.held / self.published
        of = "" if self.published == self.repeats else f" of {self.published / self.repeats:.0%}"
        return f"{held:.3f}{of}" + (f" x{self.excess:.1f}" if held > HIGHEST else "")


def gaussian(rng: np.random.Generator, d: int) -> Callable[[Array], Array]:
    """Linear features with a decaying spectrum."""
    turn = np.linalg.qr(rng.normal(size=(d, d)))[0] * np.exp(-1.5 * np.arange(d) / d)
    return lambda z: z @ turn


def rectified(rng: np.random.Generator, d: int) -> Callable[[Array], Array]:
    """A random layer with ReLU."""
    weights, bias = rng.normal(size=(d, d)) / np.sqrt(d), 0.3 * rng.normal(size=d)
    return lambda z: np.maximum(z @ weights + bias, 0.0)


def sparse(rng: np.random.Generator, d: int) -> Callable[[Array], Array]:
    """Squares of a ReLU that is 0 for 84 % of its inputs."""
    weights = rng.normal(size=(d, d)) / np.sqrt(d)
    return lambda z: np.maximum(z @ weights - 1.0, 0.0) ** 2


def clustered(rng: np.random.Generator, d: int) -> Callable[[Array], Array]:
    """Ten clusters, and spreads that are lognormal from image to image."""
    centres, mix = 3 * rng.normal(size=(10, d)), rng.normal(size=(d, d)) / np.sqrt(d)

    def features(z: Array) -> Array:
        chosen = np.argmax(z[:, :10], axis=1)
        spread = np.exp(0.5 * z[:, 10:11])
        return centres[chosen] + spread * (z @ mix)

    return features


KINDS: dict[str, Callable[[np.random.Generator, int], Callable[[Array], Array]]] = {
    "gaussian": gaussian,
    "rectified": rectified,
    "sparse": sparse,
    "clustered": clustered,
}


def synthetic_pools(kind: str, d: int) -> Pools:
    """Pools of a kind of features of (N, d) normal latents; models see them through noise."""
    rng = np.random.default_rng([1, d])
    features = KINDS[kind](rng, d)
    real, latents = rng.normal(size=(2, POOL, d))
    near = latents + latents @ (0.25 * rng.normal(size=(d, d)) / np.sqrt(d)) + 0.05
    far = near + latents @ (0.08 * rng.normal(size=(d, d)) / np.sqrt(d)) + 0.01
    return Pools(features(real), features(near), features(far))


def mnist_pools(path: Path, d: int) -> Pools:
    """Features of a small classifier of digits; models blur its images and add noise."""
    import keras

    with np.load(path) as held:
        images = held["x_train"][:20_000, ..., None].astype(np.float32) / 255
        labels = held["y_train"][:20_000]
    keras.utils.set_random_seed(0)
    layers = keras.layers
    inputs = keras.Input((28, 28, 1))
    x = layers.Conv2D(16, 3, 2, activation="relu")(inputs)
    x = layers.Flatten()(layers.Conv2D(32, 3, 2, activation="relu")(x))
    features = layers.Dense(d, activation="relu")(x)
    classes = layers.Dense(10, activation="softmax")(features)
    classifier = keras.Model(inputs, classes)
    classifier.compile("adam", "sparse_categorical_crossentropy")
    classifier.fit(images, labels, batch_size=128, epochs=3, verbose=0)
    extractor = keras.Model(inputs, features)
    noise = np.random.default_rng(0).normal(size=images.shape).astype(np.float32)
    made = (images, blurred(images) + 0.05 * noise, 0.9 * blurred(images) + 0.08 * noise)
    found = [extractor.predict(x.clip(0, 1), batch_size=512, verbose=0) for x in made]
    return Pools(*(np.asarray(x, np.float64) for x in found))


def blurred(images: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Each pixel half its own value and half that of its four neighbours."""
    around = np.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")
    rows = around[:, :-2, 1:-1] + around[:, 2:, 1:-1]
    return (rows + around[:, 1:-1, :-2] + around[:, 1:-1, 2:] + 4 * images) / 8


def stored_pools(path: Path, d: int) -> Pools:
    """The first d columns of the arrays ``reference``, ``a`` and ``b`` of an .npz file."""
    with np.load(path) as held:
        found = [held[name][:, :d].astype(np.float64) for name in ("reference", "a", "b")]
    return Pools(*found)


@dataclass(frozen=True)
class Truth:
    """True distances of a model from the reference."""

    frechet: float
    kernel: float

    @classmethod
    def of(cls, model: Array, reference: Array) -> Truth:
        """Of the pools: their own moments, and all pairs of their rows."""
        if model is reference:
            return cls(0.0, 0.0)
        moments = [
            Moments.from_covariance(10**9, rows.mean(axis=0), np.cov(rows.T, ddof=0))
            for rows in (model, reference)
        ]
        means = [mean_kernel(x, y) for x, y in ((model, model), (reference, reference))]
        return cls(frechet_distance(*moments), sum(means) - 2.0 * mean_kernel(model, reference))


def mean_kernel(x: Array, y: Array) -> float:
    """Mean of the cubic kernel over all pairs of rows, each with itself included."""
    total = 0.0
    for part in np.array_split(x, max(1, len(x) // 1000)):
        inner = part @ y.T / x.shape[1] + 1.0
        total += float((inner * inner * inner).sum())  # numpy's general power is slow
    return total / (len(x) * len(y))


@dataclass(frozen=True)
class Cell:
    """Coverage of one kind of features at one size."""

    kind: str
    dimension: int
    generated: int
    reference: int
    perfect_fid: Share
    perfect_kid: Share
    fid: Share
    kid: Share
    fid_difference: Share
    kid_difference: Share

    def row(self) -> str:
        """A line of the table."""
        found = (self.perfect_fid, self.fid, self.fid_difference)
        found += (self.perfect_kid, self.kid, self.kid_difference)
        size = f"| {self.kind} | {self.dimension} | {self.generated:,} | {self.reference:,} |"
        return f"{size} {' | '.join(map(str, found))} |"


HEADING = """\
|  |  |  |  | FID |  |  | KID |  |  |
|---|---|---|---|---|---|---|---|---|---|
| features | d | generated | reference | perfect | A | A - B | perfect | A | A - B |"""

INCEPTION_HEADING = """\
| classes | frequencies | score | images | A | A - B |
|---|---|---|---|---|---|"""


def simulate(kind: str, pools: Pools, generated: int, reference: int, repeats: int) -> Cell:
    """Draw and score ``repeats`` times."""
    d = pools.reference.shape[1]
    cell = Cell(kind, d, generated, reference, *(Share() for _ in range(6)))
    truths = [Truth.of(pool, pools.reference) for pool in (pools.a, pools.b)]
    for repeat in range(repeats):
        rng = np.random.default_rng([repeat, d, generated, reference])
        real, perfect = (
            pools.reference[rng.integers(len(pools.reference), size=n)]
            for n in (reference, generated)
        )
        latents = rng.integers(len(pools.a), size=generated)
        prepared = KernelReference.from_activations(real)
        frechet, kernel = [], []
        for samples in (perfect, pools.a[latents], pools.b[latents]):
            frechet.append(CorrectedFrechetDistance.from_activations(samples, real))
            kernel.append(kernel_influence(samples, prepared))
        cell.perfect_fid.count(frechet[0].interval(), 0.0)
        cell.perfect_kid.count(normal(*kernel[0].distance), 0.0)
        cell.fid.count(frechet[1].interval(), truths[0].frechet)
        cell.kid.count(normal(*kernel[1].distance), truths[0].kernel)
        sound = all(each.doubt is None for each in frechet[1:])
        cell.fid_difference.count(
            difference(frechet[1].score, frechet[2].score) if sound else None,
            truths[0].frechet - truths[1].frechet,
        )
        cell.kid_difference.count(
            difference(kernel[1].score, kernel[2].score), truths[0].kernel - truths[1].kernel
        )
    return cell


def normal(value: float, error: float) -> Interval:
    """The interval that is published of a kernel distance, which is not negative."""
    return Interval.around(value, error).reaching(0.0)


def difference(a: PairedScore, b: PairedScore) -> tuple[float, float]:
    """The interval that is published of a difference."""
    found = paired_difference(a, b)
    return found.low, found.high


@dataclass(frozen=True)
class ClassifierPools:
    """Class probabilities of two checkpoints, row by row of the same latents.

    Attributes:
        a: (N, classes) of checkpoint A.
        b: The same of B, which is a little less sure.
    """

    a: Array
    b: Array

    @classmethod
    def of(cls, classes: int, score: float, uneven: bool) -> ClassifierPools | None:
        """Pools whose A has an Inception Score; None where these classes cannot have it.

        Logits are normal noise, and more by a constant for a class that is drawn with equal
        frequencies or, uneven, with frequencies as 1, 1/2, 1/3, ...
        """
        rng = np.random.default_rng([classes, uneven])
        weights = 1.0 / np.arange(1, classes + 1) if uneven else np.ones(classes)
        chosen = rng.choice(classes, size=POOL, p=weights / weights.sum())
        noise, other = rng.normal(size=(2, POOL, classes))

        def pool(sureness: float) -> Array:
            logits = noise.copy()
            logits[np.arange(POOL), chosen] += sureness
            return logits

        low, high = 0.0, 30.0
        if not pool_score(softmax(pool(low), axis=1)) < score < pool_score(np.eye(classes)[chosen]):
            return None
        for _ in range(16):
            middle = (low + high) / 2
            below = pool_score(softmax(pool(middle), axis=1)) < score
            low, high = (middle, high) if below else (low, middle)
        logits = pool(high)
        return cls(softmax(logits, axis=1), softmax(0.95 * logits + 0.2 * other, axis=1))


def pool_score(probabilities: Array) -> float:
    """The Inception Score of all rows."""
    return math.exp(corrected_inception_score(probabilities).plug_in_log)


def inception_scores(
    repeats: int,
    classes: Sequence[int] = (10, 100, 1008),
    images: Sequence[int] = (300, 1000, 5000),
    scores: Sequence[float] = (2, 5, 9, 20, 50, 90, 150, 300),
) -> Iterator[tuple[str, Share, Share]]:
    """Rows of the table of Inception Scores: their first columns, and shares of A and A - B."""
    for number, uneven, score in itertools.product(classes, (False, True), scores):
        pools = ClassifierPools.of(number, score, uneven)
        if pools is None:
            continue
        truths = [pool_score(pool) for pool in (pools.a, pools.b)]
        for n in images:
            single, both = Share(), Share()
            for repeat in range(repeats):
                rng = np.random.default_rng([repeat, n, number, uneven, round(score)])
                drawn = rng.integers(POOL, size=n)
                a, b = (corrected_inception_score(pool[drawn]) for pool in (pools.a, pools.b))
                single.count(a.interval(), truths[0])
                sound = a.doubt is None and b.doubt is None
                both.count(difference(a.paired, b.paired) if sound else None, truths[0] - truths[1])
            name = "uneven" if uneven else "even"
            yield f"| {number:,} | {name} | {truths[0]:.4g} | {n:,} |", single, both


def main(
    kinds: Annotated[
        str, typer.Option(help="Of features, with commas; also mnist and trained.")
    ] = ",".join(KINDS),
    dimensions: Annotated[str, typer.Option(help="With commas.")] = "32,64,128",
    repeats: Annotated[int, typer.Option(help="Per cell.")] = 200,
    mnist: Annotated[Path | None, typer.Option(help="MNIST in Keras' layout, .npz.")] = None,
    features: Annotated[
        Path | None, typer.Option(help=".npz with arrays reference, a and b, (n, d) each.")
    ] = None,
    inception_score: Annotated[
        bool, typer.Option(help="Inception Scores instead of distances.")
    ] = False,
    json_path: Annotated[
        Path | None, typer.Option("--json", help="Also write all counts to this file.")
    ] = None,
) -> None:
    """Print a table of coverages: asked are 92 to 99 %, and 90 % or more of perfect models."""
    with threadpool_limits(1):
        if inception_score:
            print(INCEPTION_HEADING)
            for size, *shares in inception_scores(repeats):
                print(f"{size} {' | '.join(map(str, shares))} |", flush=True)
            return
        print(HEADING)
        cells, began = [], time.monotonic()
        for kind in kinds.split(","):
            for d in map(int, dimensions.split(",")):
                pools = pools_of(kind, d, mnist, features)
                for generated, reference in ((5, 5), (10, 10), (20, 5)):
                    cell = simulate(kind, pools, generated * d, reference * d, repeats)
                    cells.append(cell)
                    print(cell.row(), flush=True)
        print(f"{repeats} repeats, {time.monotonic() - began:.0f} s")
    if json_path:
        json_path.write_text(json.dumps([asdict(cell) for cell in cells], indent=1))


def pools_of(kind: str, d: int, mnist: Path | None, features: Path | None) -> Pools:
    """Pools of a kind.

    Raises:
        typer.BadParameter: An unknown kind, or one whose file was not given.
    """
    if kind in KINDS:
        return synthetic_pools(kind, d)
    for name, path, read in (("mnist", mnist, mnist_pools), ("trained", features, stored_pools)):
        if kind == name and path is not None:
            return read(path, d)
    raise typer.BadParameter(
        f"kind {kind!r}: expected some of {', '.join(KINDS)}, mnist with --mnist, or trained with "
        "--features"
    )


if __name__ == "__main__":
    typer.run(main)
