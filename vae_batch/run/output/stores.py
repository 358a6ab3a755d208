"""Where a run keeps what: its own output folder, and the reference's, which runs may share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from vae_batch.plan import EvaluationSpec, InputError, Unit
from vae_batch.storage import Store
from vae_batch.storage.store import Anchor, MovedError


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

    def anchored(self, *anchors: Anchor) -> RunStores:
        """The same stores; writing into the output folder requires these files, too."""
        out = replace(self.out, anchors=tuple(dict.fromkeys([*self.out.anchors, *anchors])))
        is_inside = self.reference == self.out.folder("reference")
        return RunStores(out, out.folder("reference") if is_inside else self.reference)

    def holding(self, unit: Unit) -> Store:
        """The store with a unit's files."""
        return self.out if unit.checkpoint is not None else self.reference


def storage_fault(store: Store, error: OSError) -> str:
    """The message for a file that could not be written or read."""
    # An error of a task on a cluster carries its worker's traceback; its cause does not.
    said = getattr(error, "cause", None) or error
    if isinstance(said, MovedError):
        return str(said)
    return (
        f"cannot use {store.shown}: {said}; finished files stay, so fix the store (space, "
        "permissions) and run the same command again"
    )


@contextmanager
def storage_faults(store: Store) -> Iterator[None]:
    """Turn an OSError inside the block into a message for the user.

    Raises:
        InputError: A file could not be written or read.
    """
    try:
        yield
    except OSError as error:
        raise InputError(storage_fault(store, error)) from None
