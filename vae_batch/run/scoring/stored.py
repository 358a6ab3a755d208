"""Stored columns and reductions of a unit, verified as they are read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from vae_batch.plan import Unit
from vae_batch.storage import (
    REDUCTION,
    Reduction,
    Store,
    decode_columns,
    decode_reduction,
    read_verified,
)

Columns = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class Damaged:
    """A file found damaged while reading; its shard or reduction must be redone."""

    unit: Unit
    name: str


def read_shard(store: Store, unit: Unit, name: str, columns: list[str]) -> Columns:
    """Columns of one shard.

    Raises:
      DamagedFileError: The file differs from its receipt.
    """
    return decode_columns(read_verified(store, unit, name), columns)


def read_all(store: Store, unit: Unit, columns: list[str]) -> Columns:
    """Columns of all shards, joined in shard order."""
    parts = [read_shard(store, unit, shard.name, columns) for shard in unit.shards()]
    return {name: np.concatenate([part[name] for part in parts]) for name in columns}


def read_reduction(store: Store, unit: Unit) -> Reduction:
    """The unit's moments and label distributions."""
    return decode_reduction(read_verified(store, unit, REDUCTION))
