"""Digests of the stored reference images, by which other sets are found to have the same images."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vae_batch.run.reference.facts import ReferenceFacts
from vae_batch.storage import (
    DIGESTS,
    Store,
    decode_arrays,
    encode_arrays,
    read_receipt,
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
