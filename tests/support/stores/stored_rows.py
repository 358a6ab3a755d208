"""The files that a row of the table is made of, read without the library's scoring."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vae_batch.metrics import METRICS
from vae_batch.storage import decode_arrays, decode_columns

Arrays = dict[str, NDArray[Any]]


def folders_of(out: Path, checkpoint: str) -> dict[str, Path]:
    """Folders of a row's files, by kind."""
    rows = json.loads((out / "run.json").read_text())["rows"]
    (units,) = (row["units"] for row in rows if row["checkpoint"] == checkpoint)
    roots = {kind: out if unit["checkpoint"] else out / "reference" for kind, unit in units.items()}
    return {kind: roots[kind] / unit["path"] for kind, unit in units.items()}


def shards(folder: Path) -> list[Arrays]:
    """Arrays of each shard, in order."""
    files = sorted(folder.glob("part-0*.parquet")) or sorted(folder.glob("part-0*.npz"))
    decode = decode_columns if files[0].suffix == ".parquet" else decode_arrays
    return [decode(file.read_bytes()) for file in files]


def stored(folder: Path) -> Arrays:
    """All shards joined; of pictures' statistics those with a value an image are meant."""
    parts = shards(folder)
    return {
        name: np.concatenate([part[name] for part in parts if name in part])
        for name in parts[0]
        if parts[0][name].ndim
    }


def assert_value_or_reason(row: Mapping[str, Any]) -> None:
    """Each metric has a finite value or a sentence, never both, never neither."""
    for column, metric in METRICS.items():
        value, reason = row[column], row[f"{column}_reason"]
        assert (value is None) != (reason is None), column
        assert value is None or np.isfinite(value), column
        if metric.standard_error:
            assert (row[f"{column}_se"] is None) == (value is None), column
