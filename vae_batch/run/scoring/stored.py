"""Stored files of a row: columns, reductions and influences, verified as they are read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from vae_batch.metrics.comparison.paired_difference import PairedScore
from vae_batch.metrics.samples.inception import LabelDistribution, split_bounds
from vae_batch.metrics.samples.moments import Moments
from vae_batch.models.autoencoder.description import Description
from vae_batch.plan import EvaluationSpec, Reading, Shard, Unit
from vae_batch.run.output.stores import RunStores
from vae_batch.storage import (
    INFLUENCES,
    REDUCTION,
    DamagedFileError,
    Reduction,
    Store,
    decode_arrays,
    decode_columns,
    decode_reduction,
    encode_arrays,
    encode_reduction,
    gather_receipts,
    read_receipt,
    read_verified,
    write_with_receipt,
)
from vae_batch.storage.score_rows import ReferenceKind

Columns = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class RowParts:
    """Stored files of one row, and what else its numbers depend on.

    Attributes:
        stores: Where the files are.
        units: Complete units by their kind.
        spec: Settings of the run.
        reading: What was declared about the checkpoint.
        no_class_probabilities: Why the extractor has none, or None where it has.
        reference_sha256: Of the reference images, whose worst reconstructions are shown.
        reference_kind: What the reference holds.
        reference_count: Images of the reference; None where that is not known of statistics.
        tool: Whose numbers the row holds; None for our own.
        notes: How the reference was read, where a reader of the row should know.
    """

    stores: RunStores
    units: Mapping[str, Unit]
    spec: EvaluationSpec
    reading: Reading
    no_class_probabilities: str | None
    reference_sha256: str = ""
    tool: str | None = None
    notes: tuple[str, ...] = ()
    reference_kind: ReferenceKind = "images"
    reference_count: int | None = None

    def store_of(self, kind: str) -> Store:
        """The store of a unit."""
        return self.stores.holding(self.units[kind])

    def columns(self, kind: str, names: list[str] | None = None) -> Columns:
        """Columns of all shards of a unit, joined; those of ``names`` that exist.

        There are none where no requested metric needs the unit.
        """
        if kind not in self.units:
            return {}
        return read_all(self.store_of(kind), self.units[kind], names)

    def arrays(self, kind: str) -> list[Columns]:
        """Arrays of each shard of a unit, in shard order."""
        store, unit = self.store_of(kind), self.units[kind]
        return [decode_arrays(read_verified(store, unit, s.name)) for s in unit.shards()]

    def reduction(self, kind: str) -> Reduction:
        """Moments and label distributions of a unit of activations."""
        return read_reduction(self.store_of(kind), self.units[kind])

    def device(self) -> str | None:
        """Kind of device that computed the row's files, by the receipt of the first file."""
        kinds = [kind for kind in ("generated", "losses", "gallery") if kind in self.units]
        if not kinds:
            return None
        kind, unit = kinds[0], self.units[kinds[0]]
        receipt = read_receipt(self.store_of(kind), unit, unit.shards()[0].name)
        return receipt.device if receipt else None

    def description(self) -> Description:
        """How the checkpoint was read."""
        unit = self.units["description"]
        return Description.from_json(read_verified(self.stores.out, unit, unit.shards()[0].name))


@dataclass(frozen=True)
class Damaged:
    """A file that was found damaged; its shard or reduction must be computed again."""

    unit: Unit
    name: str


def read_shard(store: Store, unit: Unit, name: str, columns: list[str] | None) -> Columns:
    """Columns of one shard; those of ``columns`` that it has.

    Raises:
        DamagedFileError: The file differs from its receipt.
    """
    return decode_columns(read_verified(store, unit, name), columns)


def read_all(store: Store, unit: Unit, names: list[str] | None = None) -> Columns:
    """Columns of all shards, joined in shard order.

    Args:
        store: Holds the unit.
        unit: Of columns.
        names: Of columns; those that the files do not have are left out. None for all.
    """
    parts = [read_shard(store, unit, shard.name, names) for shard in unit.shards()]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def read_reduction(store: Store, unit: Unit) -> Reduction:
    """The unit's moments and label distributions."""
    return decode_reduction(read_verified(store, unit, REDUCTION))


def write_influences(store: Store, unit: Unit, scores: Mapping[str, PairedScore]) -> None:
    """Write scores and per-sample influences of a unit of generated samples.

    Those of other metrics stay.
    """
    try:
        arrays = decode_arrays(read_verified(store, unit, INFLUENCES))
    except DamagedFileError:
        arrays = {}
    arrays = {name: a for name, a in arrays.items() if name.rpartition(".")[0] not in scores}
    for metric, score in scores.items():
        arrays[f"{metric}.value"] = np.asarray(score.value)
        arrays[f"{metric}.influence"] = score.influence
        arrays[f"{metric}.last_correction"] = np.asarray(score.last_correction)
        if score.reference_influence is not None:
            arrays[f"{metric}.reference_influence"] = score.reference_influence
    write_with_receipt(store, unit, INFLUENCES, encode_arrays(arrays), rows=unit.samples)


def read_influences(store: Store, unit: Unit) -> dict[str, PairedScore]:
    """Scores by metric.

    Raises:
        DamagedFileError: The file is missing or differs from its receipt.
    """
    arrays = decode_arrays(read_verified(store, unit, INFLUENCES))
    metrics = {name.rpartition(".")[0] for name in arrays}
    return {metric: _paired_score(arrays, metric) for metric in sorted(metrics)}


def _paired_score(arrays: Mapping[str, npt.NDArray[Any]], metric: str) -> PairedScore:
    def influence(name: str) -> npt.NDArray[np.float64]:
        return arrays[f"{metric}.{name}"].astype(np.float64, copy=False)

    has_reference = f"{metric}.reference_influence" in arrays
    return PairedScore(
        float(arrays[f"{metric}.value"]),
        influence("influence"),
        reference_influence=influence("reference_influence") if has_reference else None,
        last_correction=float(arrays.get(f"{metric}.last_correction", 0.0)),
    )


def reduce_unit(store: Store, unit: Unit, splits: int) -> Damaged | None:
    """Reduce a unit's activations, shard by shard, to moments and label distributions.

    Args:
        store: Holds the unit.
        unit: Of activations, with all shards finished.
        splits: Inception Score splits, by global sample index.

    Returns:
        The damaged file, or None when the reduction has been written.
    """
    try:
        with threadpool_limits(1):
            moments, labels = _reduce(store, unit, splits)
    except DamagedFileError as damage:
        return Damaged(damage.unit, damage.name)
    content = encode_reduction(moments, labels)
    write_with_receipt(store, unit, REDUCTION, content, rows=unit.samples)
    gather_receipts(store, unit)
    return None


def _reduce(
    store: Store, unit: Unit, splits: int
) -> tuple[Moments | None, list[LabelDistribution]]:
    moments: Moments | None = None
    labels: list[LabelDistribution] = []
    for shard in unit.shards():
        columns = read_shard(store, unit, shard.name, ["features", "probabilities"])
        if not columns["features"].shape[1]:
            return None, []
        part = Moments.from_activations(columns["features"])
        moments = moments.merge(part) if moments else part
        labels = _merge_labels(labels, columns["probabilities"], shard, unit.samples, splits)
    if moments is None:
        raise ValueError(f"unit {unit.path} has no shards")
    return moments, labels


def _merge_labels(
    labels: list[LabelDistribution],
    probabilities: npt.NDArray[Any],
    shard: Shard,
    samples: int,
    splits: int,
) -> list[LabelDistribution]:
    """Add a shard's probabilities to the splits that its sample indices belong to."""
    classes = probabilities.shape[1]
    if not classes:
        return []
    merged = labels or [LabelDistribution.empty(classes) for _ in range(splits)]
    for split, (start, stop) in enumerate(split_bounds(samples, splits)):
        low, high = max(start, shard.start), min(stop, shard.stop)
        if low < high:
            rows = probabilities[low - shard.start : high - shard.start]
            merged[split] = merged[split].merge(LabelDistribution.from_probabilities(rows))
    return merged
