"""Single images of a stored set, found again by the set's digest alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from vae_batch.plan import Unit
from vae_batch.storage import Receipt, Store, decode_columns, read_verified
from vae_batch.storage.receipts import receipt_path


def read_images(
    store: Store, folder: str, count: int, shard_size: int, indices: Sequence[int]
) -> npt.NDArray[np.uint8]:
    """Images of some indices, (k, H, W, C); a file that holds several of them is read once.

    Args:
        store: Of references.
        folder: Of the set's content, as `image_folder` names it.
        count: Images of the set.
        shard_size: Images per file.
        indices: Of images, in any order.

    Raises:
        OSError: The store does not hold the images, or a file differs from its receipt.
    """
    unit = _stored_unit(store, folder, count, shard_size)
    found = np.asarray(indices)
    images: dict[int, npt.NDArray[np.generic]] = {}
    for shard in unit.shards():
        inside = found[(found >= shard.start) & (found < shard.stop)]
        if inside.size:
            column = decode_columns(read_verified(store, unit, shard.name), ["image"])["image"]
            images |= {int(index): column[index - shard.start].copy() for index in inside}
    return np.stack([images[int(index)] for index in found]).astype(np.uint8, copy=False)


def _stored_unit(store: Store, folder: str, count: int, shard_size: int) -> Unit:
    """The unit of the images; its fingerprint, which knows their labels, stands in a receipt."""
    for name in store.folders(folder):
        if name.startswith(f"uint8-{shard_size}-"):
            unit = Unit(f"{folder}/{name}", "images", "", count, shard_size)
            receipt = Receipt.from_json(store.read(receipt_path(unit, unit.shards()[0].name)))
            return replace(unit, fingerprint=receipt.fingerprint)
    raise FileNotFoundError(f"{store.shown}/{folder} holds no images in files of {shard_size}")
