"""Numbers that torch-fidelity published for CIFAR-10, computed again with ``inception-2015``.

With the published weights and CIFAR-10 this checks the whole chain: weights, resize, network,
moments, Fréchet distance and Inception Score. Values and protocol are those of
torch-fidelity's README and of its tests (github.com/toshas/torch-fidelity, ``tests/tf1``): random
subsets are ``RandomState(2020).choice(n, k, replace=False)``, saved as files and read back
sorted by name, which is by index; probabilities are shuffled by ``RandomState(2020)`` before
they are split in ten.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from vae_batch.doctor.findings import Finding
from vae_batch.metrics.samples.frechet import frechet_distance
from vae_batch.metrics.samples.inception import InceptionScore, inception_score
from vae_batch.plan import InputError

if TYPE_CHECKING:
    from vae_batch.models.extractors.weights.listing import VerifiedWeights
    from vae_batch.models.references.reference import ReferenceImages

_SEED = 2020
_SPLITS = 10

Images = NDArray[np.uint8]
Activations = tuple[NDArray[np.float32], NDArray[np.float32]]


class ImageSet(Protocol):
    """Images in a fixed order, such as ``ReferenceImages``."""

    def __len__(self) -> int:
        """Number of images."""
        ...

    def read(self, start: int, stop: int) -> Images:
        """Images [start, stop), (stop - start, H, W, 3) uint8."""
        ...


@dataclass(frozen=True)
class PublishedNumber:
    """A published value and the tolerance for reproducing it."""

    value: float
    tolerance: float


#: The README prints the score of all images without a tolerance; that one is ours. The other
#: tolerances are torch-fidelity's own.
PUBLISHED: Mapping[str, PublishedNumber] = MappingProxyType(
    {
        "IS of 100 train images": PublishedNumber(4.5108978, 1e-4),
        "FID of 5000 train and 5000 test images": PublishedNumber(10.3233274, 1e-4),
        "IS of all train images": PublishedNumber(11.23678, 1e-3),
        "IS of all train images, spread": PublishedNumber(0.09514061, 1e-3),
    }
)


def subset_indices(count: int, size: int) -> NDArray[np.int64]:
    """Ascending indices of torch-fidelity's random subset of ``size`` out of ``count``.

    Raises:
        InputError: There are fewer images than that.
    """
    if size > count:
        raise InputError(f"CIFAR-10: expected at least {size} images in a split, found {count}")
    return np.sort(np.random.RandomState(_SEED).choice(count, size, replace=False))


def shuffled_score(probabilities: NDArray[np.float32]) -> InceptionScore:
    """Inception Score in ten splits, the rows shuffled as by torch-fidelity."""
    order = np.random.RandomState(_SEED).permutation(len(probabilities))
    return inception_score(probabilities[order], _SPLITS)


def reference_numbers(
    train: ImageSet,
    test: ImageSet,
    extract: Callable[[Images], Activations],
    batch_size: int,
    small: int = 100,
    large: int = 5000,
) -> Iterator[tuple[str, float]]:
    """Compute the numbers of ``PUBLISHED`` in its order, each as soon as it is known.

    Args:
        train: CIFAR-10's train split, in its published order.
        test: Its test split.
        extract: Gives pooled features and probabilities of at most ``batch_size`` images.
        batch_size: Images per call.
        small: Size of the subset for the Inception Score.
        large: Size of the subsets for FID.

    Yields:
        Names as in ``PUBLISHED``, and values.

    Raises:
        InputError: A split is too small.
    """
    names = iter(PUBLISHED)
    few, many = (subset_indices(len(train), size) for size in (small, large))
    others = subset_indices(len(test), large)
    outputs = _Outputs(extract, batch_size)
    yield next(names), shuffled_score(outputs.probabilities(train, few)).mean
    generated, reference = outputs.features(train, many), outputs.features(test, others)
    yield next(names), frechet_distance(generated, reference)
    score = shuffled_score(outputs.probabilities(train, np.arange(len(train))))
    yield next(names), score.mean
    yield next(names), score.std


@dataclass(frozen=True)
class _Outputs:
    """One of the extractor's two outputs for chosen images, in their order."""

    extract: Callable[[Images], Activations]
    batch_size: int

    def features(self, images: ImageSet, indices: NDArray[np.int64]) -> NDArray[np.float32]:
        return np.concatenate([output[0] for output in self._batches(images, indices)])

    def probabilities(self, images: ImageSet, indices: NDArray[np.int64]) -> NDArray[np.float32]:
        return np.concatenate([output[1] for output in self._batches(images, indices)])

    def _batches(self, images: ImageSet, indices: NDArray[np.int64]) -> Iterator[Activations]:
        for start in range(0, len(indices), self.batch_size):
            chosen = indices[start : start + self.batch_size]
            yield self.extract(np.concatenate([images.read(i, i + 1) for i in chosen.tolist()]))


_CIFAR10_COUNTS = {"train": 50000, "test": 10000}

_BATCH_SIZE = 32


def published_number_findings(
    files: Sequence[VerifiedWeights], cifar10: str | None
) -> Iterator[Finding]:
    """Compare torch-fidelity's numbers for CIFAR-10, or say what is missing to do so.

    Runs in this process: minutes on a GPU, an hour or more on a few cores.

    Raises:
        InputError: ``cifar10`` is not CIFAR-10.
    """
    weights = [f for f in files if f.verified and f.extractor == "inception-2015" and f.readable]
    if not weights:
        missing = "not computed: the published weights of inception-2015 are missing (--weights)"
        yield Finding("published numbers", missing, "warning")
    source = cifar10 or _cached_cifar10()
    if source is None:
        missing = (
            "not computed: CIFAR-10 is missing; give --cifar10 with a .npz of x_train and x_test, "
            "or run keras.datasets.cifar10.load_data() once"
        )
        yield Finding("published numbers", missing, "warning")
    if weights and source:
        yield from _computed_numbers(weights[0].path, _open_cifar10(source))


def _computed_numbers(weights: str, splits: dict[str, ReferenceImages]) -> Iterator[Finding]:
    extract = _load(weights)
    numbers = reference_numbers(splits["train"], splits["test"], extract, _BATCH_SIZE)
    for name, value in numbers:
        yield number_finding(name, value)


def _load(weights: str) -> Callable[[Images], Activations]:
    """Extraction with ``inception-2015`` in float32, as for the published numbers."""
    import tensorflow as tf

    from vae_batch.models.extractors.inception.extractor import (
        InceptionExtractor,
        identify_inception,
    )

    tf.config.experimental.enable_tensor_float_32_execution(False)
    return InceptionExtractor(identify_inception("inception-2015", [weights]), _BATCH_SIZE).extract


def number_finding(name: str, value: float) -> Finding:
    """Compare one computed number with the published one."""
    published = PUBLISHED[name]
    close = abs(value - published.value) <= published.tolerance
    found = f"{value:.7f}, published {published.value} ± {published.tolerance:g}"
    return Finding(f"CIFAR-10 {name}", found, "ok" if close else "failed")


def _open_cifar10(source: str) -> dict[str, ReferenceImages]:
    from vae_batch.models.references.reference import open_reference

    splits = {split: open_reference(source, split) for split in _CIFAR10_COUNTS}
    for split, count in _CIFAR10_COUNTS.items():
        found = (len(splits[split]), *splits[split].shape)
        if found != (count, 32, 32, 3):
            raise InputError(
                f"--cifar10 {source}: expected {split} images of shape {(count, 32, 32, 3)}, found "
                f"{found}; give a .npz with CIFAR-10's x_train and x_test"
            )
    return splits


def _cached_cifar10() -> str | None:
    """The named set, if Keras has its archive and would not download it."""
    home = Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras").expanduser()
    archive = home / "datasets" / "cifar-10-batches-py-target_archive"
    return "cifar10" if archive.is_file() else None
