"""What is left to do: shards that miss a receipt, units that miss a reduction, rows unscored.

Each row keeps the units that it waits for, so that a finished shard needs no look at other units
or rows; what becomes ready is queued when its last part arrives.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable

from vae_batch.plan import Shard, Unit
from vae_batch.plan.shards import Kind
from vae_batch.run.execute.failures import Failure
from vae_batch.run.output.stores import RunStores
from vae_batch.run.planning.run_plan import PlannedRow
from vae_batch.storage import REDUCTION, is_activations, unit_progress_of

Key = tuple[str, str]


class WorkQueue:
    """The state of one run, made from receipts; knows nothing of how work is done."""

    def __init__(
        self, stores: RunStores, rows: Iterable[PlannedRow], unreduced: Collection[Kind] = ()
    ) -> None:
        """Read the receipts of all units of ``rows``; kinds of ``unreduced`` need no reduction."""
        self._unreduced = unreduced
        self._rows = {row.key: row for row in rows}
        self._units: dict[str, Unit] = {}
        self._users: dict[str, list[Key]] = defaultdict(list)
        self._rows_of: dict[str, list[Key]] = defaultdict(list)
        self._units_of: dict[str | None, list[str]] = defaultdict(list)
        self._missing: dict[str, set[Shard]] = {}
        self._reduced: set[str] = set()
        self._reducing: set[str] = set()
        self._failures: dict[str, Failure] = {}
        self._scoring: set[Key] = set()
        #: Paths of units that a row still waits for.
        self._waits: dict[Key, set[str]] = {key: set() for key in self._rows}
        #: Ready to be given, in the order in which they became so.
        self._reducible: dict[str, Unit] = {}
        self._scorable: dict[Key, PlannedRow] = {}
        self._index_units()
        self._total = sum(unit.shard_count for unit in self._units.values())
        self._read_receipts(stores)

    def _index_units(self) -> None:
        for key, row in self._rows.items():
            self._rows_of[row.job.identifier].append(key)
            for unit in row.units.values():
                if unit.path not in self._units:
                    self._units[unit.path] = unit
                    self._units_of[unit.checkpoint].append(unit.path)
                self._users[unit.path].append(key)
                self._waits[key].add(unit.path)

    def _read_receipts(self, stores: RunStores) -> None:
        units = list(self._units.values())
        held = [(stores.holding(unit), unit) for unit in units]
        for unit, progress in zip(units, unit_progress_of(held), strict=True):
            self._missing[unit.path] = set(unit.shards()) - set(progress.shards)
            if progress.is_reduced:
                self._reduced.add(unit.path)
            if not self._missing[unit.path]:
                self._shards_are_there(unit)

    def unit(self, path: str) -> Unit:
        """A unit by its path."""
        return self._units[path]

    def count(self) -> tuple[int, int]:
        """(shards in all, shards finished)."""
        return self._total, self._total - sum(len(missing) for missing in self._missing.values())

    def missing_counts(self) -> dict[str, int]:
        """Number of missing shards by the path of their unit."""
        return {path: len(missing) for path, missing in self._missing.items()}

    def missing(self) -> list[tuple[Unit, Shard]]:
        """Shards to compute: the reference first, then checkpoint by checkpoint."""
        units = sorted(self._units.values(), key=lambda unit: unit.checkpoint is not None)
        return [(unit, shard) for unit in units for shard in sorted(self._missing[unit.path])]

    def open_rows(self) -> list[PlannedRow]:
        """Rows neither scored nor failed."""
        return list(self._rows.values())

    def finish(self, unit: Unit, shard: Shard) -> bool:
        """A shard has its receipt; whether its unit is complete now."""
        missing = self._missing[unit.path]
        missing.discard(shard)
        if not missing:
            self._shards_are_there(unit)
        return not missing

    def forget(self, unit: Unit, name: str) -> None:
        """A shard or reduction has turned out to be damaged."""
        self._reducing.discard(unit.path)
        self._reduced.discard(unit.path)
        if name != REDUCTION:
            self._missing[unit.path] |= {s for s in unit.shards() if s.name == name}
            self._reducible.pop(unit.path, None)
        for key in self._users[unit.path]:
            self._waits[key].add(unit.path)
            self._scorable.pop(key, None)
        if not self._missing[unit.path]:
            self._shards_are_there(unit)

    def reduced(self, unit: Unit) -> None:
        """A unit has its reduction."""
        self._reduced.add(unit.path)
        if not self._missing[unit.path]:
            self._is_complete(unit)

    def close(self, row: PlannedRow) -> None:
        """A row is in the table."""
        self._rows.pop(row.key, None)
        self._scorable.pop(row.key, None)

    def reopen(self, row: PlannedRow) -> None:
        """A row's score could not be computed yet."""
        self._scoring.discard(row.key)
        self._queue_if_ready(row.key)

    def fail(self, unit: Unit, failure: Failure) -> None:
        """A unit cannot be computed: its rows fail as soon as their other units are settled.

        A row that fails waits for the units of its own checkpoint, and for no others.
        """
        if unit.path not in self._units or unit.path in self._failures:
            return
        self._failures[unit.path] = failure
        self._missing[unit.path] = set()
        self._reducible.pop(unit.path, None)
        for key in self._users[unit.path]:
            waits = self._waits[key] - {unit.path}
            self._waits[key] = {path for path in waits if self._units[path].checkpoint is not None}
            self._queue_if_ready(key)

    def failure_of(self, row: PlannedRow) -> Failure | None:
        """Why a row fails: the failure of its first unit that has one."""
        failures = (self._failures.get(unit.path) for unit in row.units.values())
        return next((failure for failure in failures if failure is not None), None)

    def unfinished(self, checkpoint: str) -> list[Unit]:
        """Units of a checkpoint that miss shards."""
        return [self._units[path] for path in self._units_of[checkpoint] if self._missing[path]]

    def has_ready(self) -> bool:
        """Whether there is anything to reduce or to score."""
        return bool(self._reducible or self._scorable)

    def take_reducible(self) -> list[Unit]:
        """Units of activations that have just become complete; each is given once."""
        ready = list(self._reducible.values())
        self._reducing |= self._reducible.keys()
        self._reducible.clear()
        return ready

    def take_scorable(self) -> list[PlannedRow]:
        """Rows whose parts have just become complete; each is given once."""
        ready = list(self._scorable.values())
        self._scoring |= self._scorable.keys()
        self._scorable.clear()
        return ready

    def _shards_are_there(self, unit: Unit) -> None:
        """No shard of a unit is missing: it is to be reduced, or complete."""
        if unit.path in self._failures:
            return
        needs_none = not is_activations(unit) or unit.kind in self._unreduced
        if needs_none or unit.path in self._reduced:
            self._is_complete(unit)
        elif unit.path not in self._reducing:
            self._reducible[unit.path] = unit

    def _is_complete(self, unit: Unit) -> None:
        for key in self._users[unit.path]:
            self._waits[key].discard(unit.path)
            self._queue_if_ready(key)

    def _queue_if_ready(self, key: Key) -> None:
        if key in self._rows and key not in self._scoring and not self._waits[key]:
            self._scorable[key] = self._rows[key]
