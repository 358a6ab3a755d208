"""What is left to do: shards that miss a receipt, units that miss a reduction, rows unscored."""

from __future__ import annotations

from collections.abc import Iterable

from vae_batch.plan import Shard, Unit
from vae_batch.run.plan import PlannedRow
from vae_batch.run.stores import RunStores
from vae_batch.storage import REDUCTION, finished_shards, is_reduced


class Worklist:
    """The state of one run, made from receipts; knows nothing of how work is done."""

    def __init__(self, stores: RunStores, rows: Iterable[PlannedRow]) -> None:
        """Read the receipts of all units of ``rows``."""
        self._rows = {row.key: row for row in rows}
        self._units: dict[str, Unit] = {}
        for row in self._rows.values():
            for unit in row.units.values():
                self._units.setdefault(unit.path, unit)
        self._missing: dict[str, set[Shard]] = {}
        self._reduced: set[str] = set()
        self._reducing: set[str] = set()
        self._scoring: set[tuple[str, str]] = set()
        for path, unit in self._units.items():
            self._read_receipts(stores, path, unit)

    def _read_receipts(self, stores: RunStores, path: str, unit: Unit) -> None:
        store = stores.holding(unit)
        done = set(finished_shards(store, unit))
        self._missing[path] = set(unit.shards()) - done
        if _is_activations(unit) and not self._missing[path] and is_reduced(store, unit):
            self._reduced.add(path)

    def unit(self, path: str) -> Unit:
        """A unit by its path."""
        return self._units[path]

    def count(self) -> tuple[int, int]:
        """(shards in all, shards finished)."""
        total = sum(len(unit.shards()) for unit in self._units.values())
        return total, total - sum(len(missing) for missing in self._missing.values())

    def missing(self) -> list[tuple[Unit, Shard]]:
        """Shards to compute: the reference first, then checkpoint by checkpoint."""
        units = sorted(self._units.values(), key=lambda unit: unit.checkpoint is not None)
        return [(unit, shard) for unit in units for shard in sorted(self._missing[unit.path])]

    def open_rows(self) -> list[PlannedRow]:
        """Rows neither scored nor failed."""
        return list(self._rows.values())

    def finish(self, unit: Unit, shard: Shard) -> bool:
        """A shard has its receipt; whether its unit is complete now."""
        self._missing[unit.path].discard(shard)
        return not self._missing[unit.path]

    def forget(self, unit: Unit, name: str) -> None:
        """A shard or reduction has turned out to be damaged."""
        self._reducing.discard(unit.path)
        self._reduced.discard(unit.path)
        if name != REDUCTION:
            self._missing[unit.path] |= {s for s in unit.shards() if s.name == name}

    def reduced(self, unit: Unit) -> None:
        """A unit has its reduction."""
        self._reduced.add(unit.path)

    def close(self, row: PlannedRow) -> None:
        """A row is in the table."""
        self._rows.pop(row.key, None)

    def reopen(self, row: PlannedRow) -> None:
        """A row's score could not be computed yet."""
        self._scoring.discard(row.key)

    def fail(self, checkpoint: str) -> list[PlannedRow]:
        """Give up a checkpoint: its open rows, which are closed, and its shards."""
        rows = [row for row in self._rows.values() if row.subject.identifier == checkpoint]
        for row in rows:
            self.close(row)
        for path, unit in self._units.items():
            if unit.checkpoint == checkpoint:
                self._missing[path] = set()
                self._reducing.add(path)
        return rows

    def take_reducible(self) -> list[Unit]:
        """Units of activations that have just become complete; each is given once."""
        ready = [
            unit
            for path, unit in self._units.items()
            if _is_activations(unit)
            and not self._missing[path]
            and path not in self._reduced
            and path not in self._reducing
        ]
        self._reducing |= {unit.path for unit in ready}
        return ready

    def take_scorable(self) -> list[PlannedRow]:
        """Rows whose parts have just become complete; each is given once."""
        ready = [
            row
            for row in self._rows.values()
            if row.key not in self._scoring
            and all(self._is_complete(unit) for unit in row.units.values())
        ]
        self._scoring |= {row.key for row in ready}
        return ready

    def _is_complete(self, unit: Unit) -> bool:
        if _is_activations(unit):
            return unit.path in self._reduced
        return not self._missing[unit.path]


def _is_activations(unit: Unit) -> bool:
    return unit.kind in ("generated", "reconstructed", "reference")
