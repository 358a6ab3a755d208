"""The check of ``vae-batch doctor --reference-numbers``: published numbers computed again."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vae_batch.doctor.findings import Finding
from vae_batch.doctor.reference_numbers import PUBLISHED, Activations, Images, reference_numbers
from vae_batch.plan import InputError

if TYPE_CHECKING:
    from vae_batch.models.extractors.weights.listing import VerifiedWeights
    from vae_batch.models.references.reference import ReferenceImages

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
