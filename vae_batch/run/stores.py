"""Where a run keeps what: its own output folder, and the reference's, which runs may share."""

from __future__ import annotations

from dataclasses import dataclass

from vae_batch.plan import EvaluationSpec, Unit
from vae_batch.storage import Store


@dataclass(frozen=True)
class RunStores:
    """The output store and the store of reference images and activations."""

    out: Store
    reference: Store

    @classmethod
    def of(cls, spec: EvaluationSpec) -> RunStores:
        """Stores of a spec: the reference lies in the output folder unless a cache is named.

        Raises:
          InputError: A location cannot be opened.
        """
        out = Store.open(spec.out)
        cache = spec.reference_cache
        return cls(out, Store.open(cache) if cache else out.folder("reference"))

    def holding(self, unit: Unit) -> Store:
        """The store that holds a unit's files."""
        return self.out if unit.checkpoint is not None else self.reference
