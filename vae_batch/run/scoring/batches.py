"""A warning for rows of which shards were computed in smaller batches than asked for."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from vae_batch.run.scoring.stored import RowParts
from vae_batch.storage import read_receipt

#: Receipts read at a time: object stores answer slowly.
_READERS = 8


def batch_warnings(parts: RowParts) -> list[str]:
    """One sentence where memory ran out, by the receipts of all shards of the row."""
    asked = parts.spec.batch_size
    if asked is None or asked == 1:
        return []
    sizes = list(_batch_sizes(parts))
    smaller = sorted({size for size in sizes if 0 < size < asked}, reverse=True)
    if not smaller:
        return []
    count = sum(0 < size < asked for size in sizes)
    return [
        f"{count} of {len(sizes)} shards were computed in batches of "
        f"{' or '.join(map(str, smaller))} instead of {asked} after out-of-memory; on this device "
        "that may move the last digits"
    ]


def _batch_sizes(parts: RowParts) -> Iterator[int]:
    """Of each shard of the row that ran batches."""
    shards = [(kind, unit, s.name) for kind, unit in parts.units.items() for s in unit.shards()]
    with ThreadPoolExecutor(_READERS) as pool:
        receipts = pool.map(lambda s: read_receipt(parts.store_of(s[0]), s[1], s[2]), shards)
        yield from (receipt.batch_size for receipt in receipts if receipt and receipt.batch_size)
