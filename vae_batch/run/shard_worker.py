"""A worker: holds the networks and computes one shard after another, whoever calls it."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import Literal, Protocol

from vae_batch.models.autoencoder.vae import Autoencoder
from vae_batch.models.extractors import Extractor, load_extractor
from vae_batch.plan import CheckpointError, InputError, Shard, Unit
from vae_batch.run.recipe import Recipe
from vae_batch.run.stages.activations import (
    activations_of_generated,
    activations_of_reconstructed,
    activations_of_reference,
)
from vae_batch.run.stages.galleries import gallery_of_checkpoint
from vae_batch.run.stages.importance import importance_of_checkpoint
from vae_batch.run.stages.inputs import Arrays, load_subject
from vae_batch.run.stages.losses import losses_of_checkpoint
from vae_batch.run.stages.pictures import pictures_of_checkpoint, pictures_of_reference
from vae_batch.storage import encode_arrays, encode_columns, holds_arrays, write_with_receipt

Status = Literal["done", "checkpoint_failed", "bad_input", "error"]

#: Times a shard may take its worker down before it is given up.
MAX_ATTEMPTS = 3

_KEPT_CHECKPOINTS = 2


@dataclass(frozen=True)
class ShardOutcome:
    """What became of a shard.

    Attributes:
      unit: Path of its unit.
      shard: The range.
      status: ``done``; ``checkpoint_failed`` (its row fails); ``bad_input`` (the run cannot go
        on); ``error`` (anything else; counts against the checkpoint).
      reason: For a person, where it is not done.
      seconds: Time it took.
      device: Where it was computed.
    """

    unit: str
    shard: Shard
    status: Status
    reason: str = ""
    seconds: float = 0.0
    device: str = ""


class AttemptLedger(Protocol):
    """Counts how often the computation of each shard was begun and not ended."""

    def begin(self, unit: str, shard: str, checkpoint: str | None) -> int:
        """Note a beginning; the number of beginnings since the last end.

        Once a shard of a checkpoint has begun too often, so have all its others: they are not
        tried, as each would take workers down as well.
        """
        ...

    def end(self, unit: str, shard: str) -> None:
        """Note that the computation came to an end, good or bad."""
        ...


class ShardWorker:
    """Computes shards; networks are loaded at first use and kept.

    May be called by two threads: one computes while the other writes, so that the device never
    waits for the disk.
    """

    def __init__(self, recipe: Recipe, ledger: AttemptLedger | None = None) -> None:
        """Keep the recipe; nothing is loaded yet, so a broken model costs a shard, not a worker.

        Args:
          recipe: Of the run.
          ledger: Where computing a shard may take the process down; None where nobody could
            try again.
        """
        self._recipe = recipe
        self._ledger = ledger
        self._device = threading.Lock()
        self._extractors: dict[str, Extractor] = {}
        self._vaes: OrderedDict[str, Autoencoder] = OrderedDict()
        self._failed: dict[str, str] = {}

    def run(self, unit: Unit, shard: Shard) -> ShardOutcome:
        """Compute a shard and write its file and receipt; never raises for bad data."""
        with self._device:
            began = time.perf_counter()
            computed = self._attempt(unit, shard)
            seconds = time.perf_counter() - began
            if isinstance(computed, ShardOutcome):
                return computed
            # Here, too, TensorFlow may be imported for the first time, which two threads must not
            # do at once: Python's import locks deadlock.
            device = device_name()
        return self._write(unit, shard, computed, seconds, device)

    def _attempt(self, unit: Unit, shard: Shard) -> Arrays | bytes | ShardOutcome:
        """The shard's arrays; an outcome where there are none, or where it was tried enough."""
        if self._ledger is None:
            return self._compute_or_fail(unit, shard)
        if self._ledger.begin(unit.path, shard.name, unit.checkpoint) > MAX_ATTEMPTS:
            reason = (
                f"samples {shard.start} to {shard.stop} took their worker down {MAX_ATTEMPTS} "
                "times (out of memory, or a crash in the model's code); see the worker's log"
            )
            return ShardOutcome(unit.path, shard, "checkpoint_failed", reason)
        computed = self._compute_or_fail(unit, shard)
        self._ledger.end(unit.path, shard.name)
        return computed

    def _compute_or_fail(self, unit: Unit, shard: Shard) -> Arrays | bytes | ShardOutcome:
        try:
            return self._compute(unit, shard)
        except CheckpointError as error:
            self._failed[unit.checkpoint or ""] = str(error)
            return ShardOutcome(unit.path, shard, "checkpoint_failed", str(error))
        except InputError as error:
            return ShardOutcome(unit.path, shard, "bad_input", str(error))
        except Exception as error:  # isolation: a shard's fault costs one row
            reason = f"{type(error).__name__}: {error}"[:600]
            return ShardOutcome(unit.path, shard, "error", reason)

    def _write(
        self, unit: Unit, shard: Shard, computed: Arrays | bytes, seconds: float, device: str
    ) -> ShardOutcome:
        store = self._recipe.stores.holding(unit)
        content = _encoded(unit, computed)
        try:
            write_with_receipt(
                store, unit, shard.name, content, rows=len(shard), seconds=seconds, device=device
            )
        except OSError as error:
            reason = (
                f"cannot write to {store.shown}: {error}; what is finished there stays, so mend it "
                "(space, permissions) and run the same command again"
            )
            return ShardOutcome(unit.path, shard, "bad_input", reason)
        return ShardOutcome(unit.path, shard, "done", "", seconds, device)

    def _compute(self, unit: Unit, shard: Shard) -> Arrays | bytes:
        recipe = self._recipe
        match unit.kind:
            case "reference":
                facts = recipe.images_of(unit)
                return activations_of_reference(recipe, facts, self._extractor(unit), shard)
            case "reference_pictures":
                return pictures_of_reference(recipe, shard)
        vae = self._vae(unit)
        reading = recipe.subjects[str(unit.checkpoint)].reading
        match unit.kind:
            case "description":
                return vae.description.to_json()
            case "losses":
                return losses_of_checkpoint(recipe, vae, reading, shard)
            case "importance":
                return importance_of_checkpoint(recipe, vae, reading, shard)
            case "pictures":
                return pictures_of_checkpoint(recipe, vae, shard)
            case "gallery":
                return gallery_of_checkpoint(recipe, vae)
            case "generated":
                return activations_of_generated(recipe, vae, self._extractor(unit), shard)
            case "reconstructed":
                return activations_of_reconstructed(recipe, vae, self._extractor(unit), shard)
        raise ValueError(f"no stage computes units of kind {unit.kind!r}")

    def _extractor(self, unit: Unit) -> Extractor:
        name = str(unit.extractor)
        if name not in self._extractors:
            identity = self._recipe.extractors[name]
            self._extractors[name] = load_extractor(identity, self._recipe.spec.settled_batch_size)
        return self._extractors[name]

    def _vae(self, unit: Unit) -> Autoencoder:
        """The unit's VAE; a checkpoint that failed once is not loaded again."""
        name = str(unit.checkpoint)
        if name in self._failed:
            raise CheckpointError(self._failed[name])
        if name not in self._vaes:
            while len(self._vaes) >= _KEPT_CHECKPOINTS:
                self._vaes.popitem(last=False)
            self._vaes[name] = load_subject(self._recipe, self._recipe.subjects[name])
        self._vaes.move_to_end(name)
        return self._vaes[name]


def _encoded(unit: Unit, computed: Arrays | bytes) -> bytes:
    """The content of the shard's file; arrays that share no axis are no columns."""
    if isinstance(computed, bytes):
        return computed
    return encode_arrays(computed) if holds_arrays(unit) else encode_columns(computed)


def device_name() -> str:
    """Kind of device that TensorFlow computes on here: a GPU's name, or ``cpu``."""
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    if not gpus:
        return "cpu"
    return str(tf.config.experimental.get_device_details(gpus[0]).get("device_name", "gpu"))
