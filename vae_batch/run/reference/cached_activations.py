"""Cached activations: images that another set of the reference store has too are not extracted.

Images are identified by their digests, so one reference may be a part of another. The activations
of an image depend on neither its neighbours nor its place in a batch, so rows of another set's
files equal what would be computed.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vae_batch.models.extractors.extractor import ExtractorIdentity
from vae_batch.plan import EvaluationSpec, Shard, Unit
from vae_batch.run.planning.units import reference_unit
from vae_batch.run.reference.facts import ReferenceFacts
from vae_batch.storage import (
    DIGESTS,
    DamagedFileError,
    Store,
    decode_arrays,
    decode_columns,
    encode_arrays,
    read_receipt,
    read_verified,
    write_with_receipt,
)

_log = logging.getLogger(__name__)

Digests = npt.NDArray[np.uint8]

_BYTES = 16


@dataclass(frozen=True)
class ImageSet:
    """A stored set and its images' digests.

    Attributes:
        facts: The set, without its name and label counts, which are not stored.
        digests: (n, 16) uint8.
    """

    facts: ReferenceFacts
    digests: Digests


def store_digests(digests: Digests, store: Store, facts: ReferenceFacts) -> None:
    """Write the digests of a set, unless they are stored already."""
    unit = facts.unit
    if read_receipt(store, unit, DIGESTS) is not None:
        return
    arrays = {
        "digests": digests,
        "sha256": np.array(facts.sha256),
        "labels_sha256": np.array(facts.labels_sha256 or ""),
        "shape": np.array(facts.shape),
        "shard_size": np.array(facts.shard_size),
    }
    write_with_receipt(store, unit, DIGESTS, encode_arrays(arrays), rows=facts.count)


def digests_of(images: npt.NDArray[np.uint8]) -> Digests:
    """(n, 16) uint8 digests of images (n, H, W, C)."""
    made = [hashlib.blake2b(image.tobytes(), digest_size=_BYTES).digest() for image in images]
    return np.frombuffer(b"".join(made), np.uint8).reshape(len(images), _BYTES)


def stored_sets(store: Store) -> Iterator[ImageSet]:
    """The sets of a reference store that have digests; unreadable ones are skipped."""
    for folder in store.folders():
        if not folder.startswith("images-"):
            continue
        for name in store.folders(folder):
            found = _read(store, f"{folder}/{name}") if name.startswith("uint8-") else None
            if found is not None:
                yield found


def _read(store: Store, path: str) -> ImageSet | None:
    try:
        arrays = decode_arrays(store.read(f"{path}/part-{DIGESTS}.npz"))
        height, width, channels = (int(size) for size in arrays["shape"])
        facts = ReferenceFacts(
            name="",
            split="",
            sha256=str(arrays["sha256"]),
            count=len(arrays["digests"]),
            shape=(height, width, channels),
            label_counts=(),
            labels_sha256=str(arrays["labels_sha256"]) or None,
            shard_size=int(arrays["shard_size"]),
        )
    except Exception:  # missing, damaged or of another version: the images are extracted again
        _log.debug("no digests can be read in %s", path, exc_info=True)
        return None
    digests = arrays["digests"].astype(np.uint8, copy=False)
    is_whole = facts.unit.path == path and digests.shape[1:] == (_BYTES,)
    return ImageSet(facts, digests) if is_whole else None


class DigestIndex:
    """Finds images of one set by their digests."""

    def __init__(self, digests: Digests) -> None:
        """Sort them."""
        self._digests = digests
        keys = _keys(digests)
        self._order = np.argsort(keys, kind="stable")
        self._sorted = keys[self._order]

    def positions(self, digests: Digests) -> npt.NDArray[np.intp] | None:
        """(n,) positions in the set of images with these digests; None unless it has all."""
        places = np.searchsorted(self._sorted, _keys(digests))
        if not len(self._sorted) or (places == len(self._sorted)).any():
            return None
        positions = self._order[places]
        return positions if np.array_equal(self._digests[positions], digests) else None


def _keys(digests: Digests) -> npt.NDArray[np.uint64]:
    """The first half of each digest as a number; whole digests are compared afterwards."""
    return np.ascontiguousarray(digests[:, : _BYTES // 2]).view(np.uint64)[:, 0]


Array = npt.NDArray[np.generic]


@dataclass(frozen=True)
class KnownShard:
    """A shard's cached columns, and how they were computed.

    Attributes:
        columns: As the activations stage returns them.
        device: Kind of device.
        batch_size: Images per batch.
    """

    columns: dict[str, Array]
    device: str
    batch_size: int


class KnownActivations:
    """Cached activations of a reference store, which is listed at the first call."""

    def __init__(self, spec: EvaluationSpec, store: Store) -> None:
        """Prepare; nothing is read yet.

        Args:
            spec: Settings of the run, with its batch size.
            store: The reference store.
        """
        self._spec, self._store = spec, store
        self._sets: list[ImageSet] | None = None
        self._indices: dict[str, DigestIndex] = {}

    def of(
        self, facts: ReferenceFacts, extractor: ExtractorIdentity, shard: Shard
    ) -> KnownShard | None:
        """A shard of a reference's activations; None unless one other set has all of its images.

        Args:
            facts: The reference.
            extractor: Whose activations are wanted.
            shard: A shard of the reference's unit of activations.
        """
        if self._sets is None:
            self._sets = list(stored_sets(self._store))
        own = next((s for s in self._sets if s.facts.unit.path == facts.unit.path), None)
        if own is None:
            return None
        wanted = own.digests[shard.start : shard.stop]
        for other in self._sets:
            unit = self._unit(other.facts, extractor)
            if unit.path == shard.unit or other.facts.shape != own.facts.shape:
                continue
            positions = self._index(other).positions(wanted)
            found = None if positions is None else self._read(unit, positions)
            if found is not None:
                index = np.arange(shard.start, shard.stop)
                return KnownShard({"index": index, **found.columns}, found.device, found.batch_size)
        return None

    def _unit(self, facts: ReferenceFacts, extractor: ExtractorIdentity) -> Unit:
        size = {"shard_size": facts.shard_size}
        return reference_unit(self._spec.model_copy(update=size), facts, extractor)

    def _index(self, images: ImageSet) -> DigestIndex:
        path = images.facts.unit.path
        if path not in self._indices:
            self._indices[path] = DigestIndex(images.digests)
        return self._indices[path]

    def _read(self, unit: Unit, positions: npt.NDArray[np.intp]) -> KnownShard | None:
        """Rows of a unit; None where one of them is missing.

        All must have been computed in the same way: on one kind of device, in batches of the run's
        size.
        """
        shards = unit.shards()
        made = set()
        columns: dict[str, Array] = {}
        numbers = positions // unit.shard_size
        for number in np.unique(numbers):
            shard = shards[number]
            receipt = read_receipt(self._store, unit, shard.name)
            if receipt is None:
                return None
            made.add((receipt.device, receipt.batch_size))
            if len(made) > 1 or receipt.batch_size != self._spec.settled_batch_size:
                return None
            try:
                content = decode_columns(read_verified(self._store, unit, shard.name))
            except DamagedFileError:
                return None
            rows = np.flatnonzero(numbers == number)
            for name in ("features", "probabilities"):
                values = content[name]
                if name not in columns:
                    columns[name] = np.empty((len(positions), *values.shape[1:]), values.dtype)
                columns[name][rows] = values[positions[rows] - shard.start]
        device, batch_size = made.pop()
        return KnownShard(columns, device, batch_size)
