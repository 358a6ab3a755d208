"""The reference images in the store: read and hashed once, so that every worker can read them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from vae_batch.models.references.fit import SquareFit
from vae_batch.models.references.reference import (
    SPLITS,
    ProbeImages,
    ReferenceImages,
    open_reference,
    require_source,
)
from vae_batch.models.references.subset import Positions, subset_in_words
from vae_batch.plan import EvaluationSpec, InputError, Unit
from vae_batch.run.reference.cached_activations import digests_of, store_digests
from vae_batch.run.reference.facts import ReferenceFacts
from vae_batch.run.reference.precomputed import describe_precomputed
from vae_batch.storage import (
    DIGESTS,
    DamagedFileError,
    Receipt,
    Store,
    decode_columns,
    encode_columns,
    finished_shards,
    forget,
    gather_receipts,
    read_receipt,
    read_verified,
    write_with_receipt,
)
from vae_batch.storage.receipts import receipt_path

#: Classes are counted one by one; more than this are no classes but numbers of something.
_MOST_CLASSES = 100_000

#: Images with which an extractor of the user's is probed.
_PROBE_IMAGES = 1000


def describe_references(spec: EvaluationSpec) -> tuple[ReferenceFacts, ReferenceFacts | None]:
    """Read and hash the reference, and the training images where they are given.

    The reference may hold features or statistics in place of images.

    Nothing is written.

    Raises:
        InputError: A set is unknown, unreadable, outside its range or too small.
    """
    training = _open_training(spec)
    return (
        describe_precomputed(spec) or _describe(_open_reference(spec), spec),
        None if training is None else _describe(training, spec),
    )


def require_references(spec: EvaluationSpec) -> None:
    """Refuse sets of images that cannot be had, as far as names and local paths tell.

    Raises:
        InputError: A set is neither a known name nor an existing path.
    """
    require_source(spec.reference)
    if spec.training is not None and "memorisation" in spec.metrics:
        require_source(spec.reference if spec.training in SPLITS else spec.training)


def open_probe(spec: EvaluationSpec) -> ProbeImages:
    """The first images of a spec's reference, and their labels.

    Raises:
        InputError: The set cannot be read.
    """
    return ProbeImages.of(_open_reference(spec), _PROBE_IMAGES)


def store_images(
    spec: EvaluationSpec,
    store: Store,
    reference: ReferenceFacts,
    training: ReferenceFacts | None,
) -> None:
    """Write the files of both sets of images that the store does not hold yet.

    Raises:
        InputError: A set cannot be read any more.
    """
    if reference.kind == "images":
        _store_images(store, reference, lambda: _open_reference(spec))
    if training is not None:
        _store_images(store, training, lambda: _open_training(spec))


def mend_images(
    spec: EvaluationSpec,
    store: Store,
    reference: ReferenceFacts,
    training: ReferenceFacts | None,
    damaged: tuple[Unit, str],
) -> bool:
    """Store one file of reference or training images again.

    Args:
        spec: Names the sets.
        store: Of references.
        reference: Of the spec.
        training: Of the spec.
        damaged: Unit of images, and name of the file's shard.

    Returns:
        Whether it was damaged; it may have been stored again since somebody found it so.

    Raises:
        InputError: The set cannot be read any more.
    """
    try:
        read_verified(store, *damaged)
    except DamagedFileError:
        forget(store, *damaged)
        store_images(spec, store, reference, training)
        return True
    return False


def _open_reference(spec: EvaluationSpec) -> ReferenceImages:
    images = open_set(spec, spec.reference, spec.reference_split, spec.reference_samples)
    return _enough(images, spec.reference)


def _open_training(spec: EvaluationSpec) -> ReferenceImages | None:
    if spec.training is None or "memorisation" not in spec.metrics:
        return None
    split_of_reference = spec.training in SPLITS
    source = spec.reference if split_of_reference else spec.training
    split = spec.training if split_of_reference else "train"
    return _enough(open_set(spec, source, split, spec.training_samples), source)


def open_set(
    spec: EvaluationSpec, source: str, split: str, limit: int | None = None
) -> ReferenceImages:
    """A set of images, read as a spec says that its reference is read.

    Raises:
        InputError: As ``open_reference``.
    """
    return open_reference(
        source,
        split,
        spec.reference_range,
        limit,
        spec.reference_subset,
        spec.reference_colours,
        fit_of(spec),
    )


def fit_of(spec: EvaluationSpec) -> SquareFit | None:
    """How a spec's reference and training images are brought to one size, if they are."""
    if spec.reference_fit is None or spec.reference_size is None:
        return None
    return SquareFit(spec.reference_fit, spec.reference_size, spec.reference_filter)


def _enough(images: ReferenceImages, source: str) -> ReferenceImages:
    if len(images) < 2:
        raise InputError(
            f"reference {source} holds {len(images)} image(s), expected at least 2; a "
            "covariance needs them"
        )
    return images


def _store_images(
    store: Store, facts: ReferenceFacts, open_images: Callable[[], ReferenceImages | None]
) -> None:
    """Write missing files and the digests of a set; it is opened only where some are missing."""
    unit = facts.unit
    done = set(finished_shards(store, unit))
    has_digests = read_receipt(store, unit, DIGESTS) is not None
    missing = [shard for shard in unit.shards() if shard not in done]
    images = open_images() if missing or not has_digests else None
    if images is None:
        return
    digests = []
    for shard in missing if has_digests else unit.shards():
        pixels = images.read(shard.start, shard.stop)
        digests.append(digests_of(pixels))
        if shard not in done:
            columns = {"image": pixels}
            if images.labels is not None:
                columns["label"] = images.labels[shard.start : shard.stop]
            write_with_receipt(store, unit, shard.name, encode_columns(columns), rows=len(shard))
    if not has_digests:
        store_digests(np.concatenate(digests), store, facts)
    if missing:
        gather_receipts(store, unit)


def read_reference(
    store: Store, facts: ReferenceFacts, positions: Positions
) -> npt.NDArray[np.uint8]:
    """Images at (n,) positions as (n, H, W, C) uint8; only their files are read, each once.

    Raises:
      DamagedFileError: A stored file is missing or differs from its receipt.
    """
    return _read_columns(store, facts.unit, ["image"], positions)["image"].astype(
        np.uint8, copy=False
    )


def read_labelled(
    store: Store, facts: ReferenceFacts, positions: Positions
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64] | None]:
    """As ``read_reference``, with the images' labels, (n,) int64; None where the set has none.

    Raises:
      DamagedFileError: A stored file is missing or differs from its receipt.
    """
    if not facts.label_counts:
        return read_reference(store, facts, positions), None
    found = _read_columns(store, facts.unit, ["image", "label"], positions)
    return (
        found["image"].astype(np.uint8, copy=False),
        found["label"].astype(np.int64, copy=False),
    )


def _read_columns(
    store: Store, unit: Unit, names: list[str], positions: Positions
) -> dict[str, npt.NDArray[np.generic]]:
    """Columns of a stored set at (n,) positions in any order, n >= 1."""
    found: dict[str, npt.NDArray[np.generic]] = {}
    for shard in unit.shards():
        inside = (positions >= shard.start) & (positions < shard.stop)
        if not inside.any():
            continue
        columns = decode_columns(read_verified(store, unit, shard.name), names)
        for name, column in columns.items():
            if name not in found:
                found[name] = np.empty((len(positions), *column.shape[1:]), column.dtype)
            found[name][inside] = column[positions[inside] - shard.start]
    return found


def _describe(images: ReferenceImages, spec: EvaluationSpec) -> ReferenceFacts:
    """What a run knows of a set; all of it is read once."""
    shard_size, fit = spec.shard_size, fit_of(spec)
    digest = hashlib.sha256(repr((len(images), *images.shape)).encode())
    largest = 0
    for start in range(0, len(images), shard_size):
        pixels = images.read(start, min(start + shard_size, len(images)))
        digest.update(pixels.tobytes())
        largest = max(largest, int(pixels.max()))
    if largest == 1:
        raise InputError(
            f"reference {images.name}: no pixel is above 1 of 255, so the images are black, or "
            "binarised: declare --reference-range 0..1"
        )
    return ReferenceFacts(
        images.name,
        images.split,
        digest.hexdigest(),
        len(images),
        images.shape,
        *_label_facts(images),
        shard_size,
        images.notes,
        subset_in_words(spec.reference_subset, len(images), images.whole_count),
        images.unlike_the_rest() if spec.reference_subset == "first" else None,
        fit=fit.words if fit else None,
    )


def _label_facts(images: ReferenceImages) -> tuple[tuple[int, ...], str | None]:
    """Images of each class, and the labels' digest."""
    labels = images.labels
    if labels is None or images.classes is None:
        return (), None
    if images.classes > _MOST_CLASSES:
        raise InputError(
            f"reference {images.name}: labels run up to {images.classes - 1}, expected classes "
            f"from 0 to at most {_MOST_CLASSES}; give the images without labels"
        )
    counts = np.bincount(labels, minlength=images.classes)
    return tuple(int(count) for count in counts), hashlib.sha256(labels.tobytes()).hexdigest()


def read_images(
    store: Store, folder: str, count: int, shard_size: int, indices: Positions
) -> npt.NDArray[np.uint8]:
    """Images of some indices, (k, H, W, C); a file that holds several of them is read once.

    Args:
        store: Of references.
        folder: Of the set's content, as `image_folder` names it.
        count: Images of the set.
        shard_size: Images per file.
        indices: (k,) of images, in any order.

    Raises:
        OSError: The store does not hold the images, or a file differs from its receipt.
    """
    unit = _stored_unit(store, folder, count, shard_size)
    found = _read_columns(store, unit, ["image"], indices)
    return found["image"].astype(np.uint8, copy=False)


def _stored_unit(store: Store, folder: str, count: int, shard_size: int) -> Unit:
    """The unit of the images; its fingerprint, which knows their labels, stands in a receipt."""
    for name in store.folders(folder):
        if name.startswith(f"uint8-{shard_size}-"):
            unit = Unit(f"{folder}/{name}", "images", "", count, shard_size)
            receipt = Receipt.from_json(store.read(receipt_path(unit, unit.shards()[0].name)))
            return replace(unit, fingerprint=receipt.fingerprint)
    raise FileNotFoundError(f"{store.shown_path(folder)} holds no images in files of {shard_size}")
