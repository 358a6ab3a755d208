"""The files of a computed shard in the store: its columns, and pictures beside them."""

from __future__ import annotations

from vae_batch.plan import Shard, Unit
from vae_batch.run.stages.inputs import Arrays
from vae_batch.run.stages.pictures import split_pictures
from vae_batch.storage import (
    Source,
    Store,
    encode_arrays,
    encode_columns,
    holds_arrays,
    pictures_name,
    write_with_receipt,
)


def write_shard(
    store: Store,
    unit: Unit,
    shard: Shard,
    computed: Arrays | bytes,
    *,
    seconds: float = 0.0,
    device: str = "",
    batch_size: int = 0,
    source: Source = "computed",
) -> int:
    """Write pictures, then the file and its receipt: a finished shard has its pictures.

    Args:
        store: Holds the unit.
        unit: The shard's.
        shard: Its range.
        computed: What a stage gave: columns, arrays, or the content of the file itself.
        seconds: Time it took to compute.
        device: Kind of device it was computed on.
        batch_size: Of its batches; 0 where it ran none.
        source: Whether a stage computed it, or another file had it.

    Returns:
        Bytes of file and pictures.

    Raises:
        OSError: The store cannot be written to.
    """
    content, pictures = split_pictures(computed)
    beside = encode_arrays(pictures) if pictures else b""
    if beside:
        write_with_receipt(store, unit, pictures_name(shard), beside, rows=len(shard))
    encoded = content if isinstance(content, bytes) else _encoded(unit, content)
    write_with_receipt(
        store,
        unit,
        shard.name,
        encoded,
        rows=len(shard),
        seconds=seconds,
        device=device,
        batch_size=batch_size,
        source=source,
    )
    return len(beside) + len(encoded)


def _encoded(unit: Unit, arrays: Arrays) -> bytes:
    """Arrays that share no axis are no columns."""
    return encode_arrays(arrays) if holds_arrays(unit) else encode_columns(arrays)
