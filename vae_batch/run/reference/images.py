"""The reference images in the store: read and hashed once, so that every worker can read them."""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt

from vae_batch.models.references.reference import SPLITS, ReferenceImages, open_reference
from vae_batch.plan import EvaluationSpec, InputError
from vae_batch.run.reference.facts import ReferenceFacts
from vae_batch.run.reference.image_digests import Digests, digests_of, store_digests
from vae_batch.storage import (
    DamagedFileError,
    Store,
    decode_columns,
    encode_columns,
    finished_shards,
    forget,
    gather_receipts,
    read_verified,
    write_with_receipt,
)

#: Classes are counted one by one; more than this are no classes but numbers of something.
_MOST_CLASSES = 100_000


def store_reference(spec: EvaluationSpec, store: Store) -> ReferenceFacts:
    """Open the reference set, hash it, and write what the store does not hold yet.

    Raises:
      InputError: The set is unknown, unreadable, outside its range or too small.
    """
    return _store_images(_open_reference(spec), spec.shard_size, store)


def store_training(spec: EvaluationSpec, store: Store) -> ReferenceFacts | None:
    """The images that the VAEs were trained on, stored like a reference; None where not given.

    Raises:
      InputError: As `store_reference`.
    """
    images = _open_training(spec)
    return None if images is None else _store_images(images, spec.shard_size, store)


def describe_references(spec: EvaluationSpec) -> tuple[ReferenceFacts, ReferenceFacts | None]:
    """What `store_reference` and `store_training` give; nothing is written.

    Raises:
      InputError: As they.
    """
    training = _open_training(spec)
    return (
        _describe(_open_reference(spec), spec.shard_size)[0],
        None if training is None else _describe(training, spec.shard_size)[0],
    )


def mend_images(spec: EvaluationSpec, store: Store, facts: ReferenceFacts, name: str) -> bool:
    """Store one file of reference or training images again.

    Args:
      spec: Names the sets.
      store: Of references.
      facts: Of the set.
      name: Of the file's shard.

    Returns:
      Whether it was damaged; it may have been mended since somebody found it so.

    Raises:
      InputError: The set cannot be read any more.
    """
    try:
        read_verified(store, facts.unit, name)
    except DamagedFileError:
        forget(store, facts.unit, name)
        store_reference(spec, store)
        store_training(spec, store)
        return True
    return False


def _open_reference(spec: EvaluationSpec) -> ReferenceImages:
    images = open_reference(
        spec.reference, spec.reference_split, spec.reference_range, spec.reference_samples
    )
    return _enough(images, spec.reference)


def _open_training(spec: EvaluationSpec) -> ReferenceImages | None:
    if spec.training is None or "memorisation" not in spec.metrics:
        return None
    split_of_reference = spec.training in SPLITS
    source = spec.reference if split_of_reference else spec.training
    split = spec.training if split_of_reference else "train"
    images = open_reference(source, split, spec.reference_range, spec.training_samples)
    return _enough(images, source)


def _enough(images: ReferenceImages, source: str) -> ReferenceImages:
    if len(images) < 2:
        raise InputError(
            f"reference {source} holds {len(images)} image(s), expected at least 2; a "
            "covariance needs them"
        )
    return images


def _store_images(images: ReferenceImages, shard_size: int, store: Store) -> ReferenceFacts:
    facts, digests = _describe(images, shard_size)
    unit = facts.unit
    done = set(finished_shards(store, unit))
    for shard in unit.shards():
        if shard not in done:
            columns = {"image": images.read(shard.start, shard.stop)}
            if images.labels is not None:
                columns["label"] = images.labels[shard.start : shard.stop]
            write_with_receipt(store, unit, shard.name, encode_columns(columns), rows=len(shard))
    store_digests(digests, store, facts)
    if len(done) < len(unit.shards()):
        gather_receipts(store, unit)
    return facts


def read_reference(
    store: Store, facts: ReferenceFacts, start: int, stop: int
) -> npt.NDArray[np.uint8]:
    """Images [start, stop) as (n, H, W, C) uint8.

    Raises:
      DamagedFileError: A stored file is missing or differs from its receipt.
    """
    return _read_column(store, facts, "image", start, stop).astype(np.uint8, copy=False)


def read_labels(
    store: Store, facts: ReferenceFacts, start: int, stop: int
) -> npt.NDArray[np.int64] | None:
    """Labels of images [start, stop) as (n,) int64; None where the set has none.

    Raises:
      DamagedFileError: A stored file is missing or differs from its receipt.
    """
    if not facts.label_counts:
        return None
    return _read_column(store, facts, "label", start, stop).astype(np.int64, copy=False)


def _read_column(
    store: Store, facts: ReferenceFacts, name: str, start: int, stop: int
) -> npt.NDArray[np.generic]:
    unit = facts.unit
    parts = [
        decode_columns(read_verified(store, unit, shard.name), [name])[name][
            max(start - shard.start, 0) : stop - shard.start
        ]
        for shard in unit.shards()
        if shard.start < stop and start < shard.stop
    ]
    return np.concatenate(parts)


def _describe(images: ReferenceImages, shard_size: int) -> tuple[ReferenceFacts, Digests]:
    """What a run knows of a set, and a digest of each image; all of it is read once."""
    digest = hashlib.sha256(repr((len(images), *images.shape)).encode())
    of_images = []
    for start in range(0, len(images), shard_size):
        pixels = images.read(start, min(start + shard_size, len(images)))
        digest.update(pixels.tobytes())
        of_images.append(digests_of(pixels))
    notes = []
    if images.range_inferred:
        low, high = images.source_range
        notes.append(
            f"reference {images.name}: value range {low:g}..{high:g} inferred and checked; "
            "declare it with --reference-range"
        )
    facts = ReferenceFacts(
        images.name,
        images.split,
        digest.hexdigest(),
        len(images),
        images.shape,
        *_label_facts(images),
        shard_size,
        tuple(notes),
    )
    return facts, np.concatenate(of_images)


def _label_facts(images: ReferenceImages) -> tuple[tuple[int, ...], str | None]:
    """Images of each class, and the labels' digest."""
    labels = images.labels
    if labels is None or images.classes is None:
        return (), None
    if labels.min() < 0 or images.classes > _MOST_CLASSES:
        raise InputError(
            f"reference {images.name}: labels run from {labels.min()} to {images.classes - 1}, "
            f"expected classes from 0 to at most {_MOST_CLASSES}; give the images without labels, "
            "or number the classes from 0"
        )
    counts = np.bincount(labels, minlength=images.classes)
    return tuple(int(count) for count in counts), hashlib.sha256(labels.tobytes()).hexdigest()
