"""A worker: holds the networks and computes one shard after another, whoever calls it."""

from __future__ import annotations

import logging
import threading
import time
import traceback
from collections import OrderedDict
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Literal

from vae_batch.models.autoencoder.vae import Autoencoder
from vae_batch.models.extractors.extractor import Extractor
from vae_batch.models.extractors.registry import load_extractor
from vae_batch.models.quiet_import import import_tensorflow
from vae_batch.plan import CheckpointError, InputError, Shard, Unit
from vae_batch.run.execute.oom_backoff import BatchSizes
from vae_batch.run.execute.retry_ledger import AttemptLedger, Attempts, Taken
from vae_batch.run.execute.shard_files import write_shard
from vae_batch.run.execute.signals import uninterrupted
from vae_batch.run.execute.timeout import Watchdog
from vae_batch.run.output.stores import storage_fault
from vae_batch.run.planning.worker_config import WorkerConfig
from vae_batch.run.reference.cached_activations import KnownActivations
from vae_batch.run.stages.activations import (
    activations_of_generated,
    activations_of_reconstructed,
    activations_of_reference,
)
from vae_batch.run.stages.galleries import gallery_of_checkpoint
from vae_batch.run.stages.importance import importance_of_checkpoint
from vae_batch.run.stages.inputs import Arrays, load_job
from vae_batch.run.stages.losses import losses_of_checkpoint
from vae_batch.run.stages.pixel_statistics import pictures_of_checkpoint, pictures_of_reference
from vae_batch.storage import DamagedFileError, Source, file_path, read_receipt
from vae_batch.storage.retry import StoreError

_log = logging.getLogger(__name__)

Status = Literal["done", "checkpoint_failed", "bad_input", "damaged", "error"]

_KEPT_CHECKPOINTS = 2


@dataclass(frozen=True)
class ShardOutcome:
    """What became of a shard.

    Attributes:
      unit: Path of its unit.
      shard: The range.
      status: ``done``; ``checkpoint_failed`` (its row fails); ``bad_input`` (the run cannot go
        on); ``damaged`` (stored reference images are, and must be stored again first); ``error``
        (anything else; counts against the checkpoint).
      reason: For a person, where it is not done.
      seconds: Time it took.
      device: Where it was computed.
      size: Bytes written.
      damaged_unit: Path of the unit of images of which a file is damaged.
      damaged_part: Name of that file's shard.
      traceback: Of the exception that it failed with; empty where there was none.
    """

    unit: str
    shard: Shard
    status: Status
    reason: str = ""
    seconds: float = 0.0
    device: str = ""
    size: int = 0
    damaged_unit: str = ""
    damaged_part: str = ""
    traceback: str = ""


@dataclass(frozen=True)
class _Computed:
    """A shard's content before it is written, the time it took, and where."""

    content: Arrays | bytes
    seconds: float
    device: str
    batch_size: int
    source: Source = "computed"


class ShardWorker:
    """Computes shards; networks are loaded at first use and kept.

    May be called by two threads: one computes while the other writes, so that the device never
    waits for the disk. A shard that was in flight when a process died has the worker for itself.
    """

    def __init__(
        self,
        config: WorkerConfig,
        ledger: AttemptLedger | None = None,
        *,
        may_be_asked_again: bool = False,
    ) -> None:
        """Keep the config; nothing is loaded yet, so a broken model costs a shard, not a worker.

        Args:
          config: Of the run.
          ledger: Shared by all workers, where somebody replaces a worker that went down; this
            one then ends itself when a shard is stuck. None where nobody does: then there is no
            such protection, and the ledger is this worker's own.
          may_be_asked_again: Whether shards may be finished that nobody has heard of; it then
            looks at their receipts first.
        """
        self._config, self._may_be_asked_again = config, may_be_asked_again
        self._ledger: AttemptLedger = ledger or Attempts()
        self._watchdog = Watchdog(config.spec.shard_timeout, ledger.stuck) if ledger else None
        self._device, self._writing = threading.Lock(), threading.Lock()
        self._batches = BatchSizes(config.spec.settled_batch_size)
        self._extractors: dict[str, tuple[int, Extractor]] = {}
        self._known = KnownActivations(config.spec, config.stores.reference)
        self._vaes: OrderedDict[str, Autoencoder] = OrderedDict()

    def run(self, unit: Unit, shard: Shard) -> ShardOutcome:
        """Compute a shard and write its file and receipt; never raises for bad data."""
        return self.run_taken(lambda: (unit, shard, self._ledger.begin(shard, unit.checkpoint)))

    def run_taken(self, take: Callable[[], Taken]) -> ShardOutcome:
        """The same for a shard that is only named, and begun, when its turn to compute has come."""
        with self._device:
            unit, shard, permit = take()
            if self._may_be_asked_again and self._is_finished(unit, shard):
                self._ledger.end(shard)
                return ShardOutcome(unit.path, shard, "done")
            if permit.alone:
                with self._writing:  # the other thread has written, and cannot begin
                    return self._run_alone(unit, shard)
            if permit.refusal:
                return ShardOutcome(unit.path, shard, "checkpoint_failed", permit.refusal)
            computed = self._compute_or_fail(unit, shard)
            if isinstance(computed, ShardOutcome):
                return computed
            self._writing.acquire()
        try:
            return self._write(unit, shard, computed)
        finally:
            self._writing.release()

    def _is_finished(self, unit: Unit, shard: Shard) -> bool:
        store = self._config.stores.holding(unit)
        receipt = read_receipt(store, unit, shard.name)
        return receipt is not None and store.exists(file_path(unit, shard.name))

    def _run_alone(self, unit: Unit, shard: Shard) -> ShardOutcome:
        permit = self._ledger.begin(shard, unit.checkpoint, alone=True)
        if permit.refusal:
            return ShardOutcome(unit.path, shard, "checkpoint_failed", permit.refusal)
        computed = self._compute_or_fail(unit, shard)
        if isinstance(computed, ShardOutcome):
            return computed
        return self._write(unit, shard, computed)

    def _compute_or_fail(self, unit: Unit, shard: Shard) -> _Computed | ShardOutcome:
        """The shard's content, or what became of it where there is none."""
        began = time.perf_counter()
        status: Status
        trace = ""
        try:
            with self._watched(shard, native=True):
                if (known := self._known_content(unit, shard)) is not None:
                    return known
                content, batch_size = self._batches.compute(
                    unit, lambda size: self._compute(unit, shard, size)
                )
                seconds = time.perf_counter() - began
                # Here, too, TensorFlow may be imported for the first time, which two threads must
                # not do at once: Python's import locks deadlock.
                return _Computed(content, seconds, device_name(), batch_size)
        except InputError as error:
            status, reason = "bad_input", str(error)
        except CheckpointError as error:
            status, reason, trace = "checkpoint_failed", str(error), traceback.format_exc()
        except DamagedFileError as error:  # reference images are all that a stage reads
            self._ledger.end(shard)
            return ShardOutcome(
                *(unit.path, shard, "damaged", str(error)),
                damaged_unit=error.unit.path,
                damaged_part=error.name,
            )
        except StoreError as error:  # no fault of the checkpoint's
            status, reason = "bad_input", str(error)
        except Exception as error:  # isolation: a shard's fault costs one row
            status, reason = "error", f"{type(error).__name__}: {error}"[:600]
            trace = traceback.format_exc()
            _log.exception("%s %s failed", unit.path, shard.name)
        if unit.checkpoint is not None and status in ("checkpoint_failed", "error"):
            self._ledger.fail(unit.checkpoint, reason)
        self._ledger.end(shard)
        return ShardOutcome(unit.path, shard, status, reason, traceback=trace)

    def _known_content(self, unit: Unit, shard: Shard) -> _Computed | None:
        """Activations that another set of images has."""
        if unit.kind != "reference":
            return None
        identity = self._config.extractors[str(unit.extractor)]
        known = self._known.of(self._config.images_of(unit), identity, shard)
        return known and _Computed(known.columns, 0.0, known.device, known.batch_size, "cache")

    def _write(self, unit: Unit, shard: Shard, computed: _Computed) -> ShardOutcome:
        store = self._config.stores.holding(unit)
        seconds, device = computed.seconds, computed.device
        try:
            with self._watched(shard), uninterrupted():
                size = write_shard(
                    *(store, unit, shard, computed.content),
                    seconds=seconds,
                    device=device,
                    batch_size=computed.batch_size,
                    source=computed.source,
                )
        except OSError as error:
            return ShardOutcome(unit.path, shard, "bad_input", storage_fault(store, error))
        finally:
            self._ledger.end(shard)
        return ShardOutcome(unit.path, shard, "done", "", seconds, device, size)

    def _watched(self, shard: Shard, *, native: bool = False) -> AbstractContextManager[None]:
        if self._watchdog is None:
            return nullcontext()
        watchdog = self._watchdog
        return watchdog.watching_native(shard) if native else watchdog.watching(shard)

    def _compute(self, unit: Unit, shard: Shard, batch_size: int) -> Arrays | bytes:
        config = self._config.in_batches_of(batch_size)
        match unit.kind:
            case "reference":
                facts = config.images_of(unit)
                return activations_of_reference(
                    config, facts, self._extractor(unit, batch_size), shard
                )
            case "reference_pictures":
                return pictures_of_reference(config, shard)
        vae = self._vae(unit, config)
        reading = config.jobs[str(unit.checkpoint)].reading
        match unit.kind:
            case "description":
                return vae.description.to_json()
            case "losses":
                return losses_of_checkpoint(config, vae, reading, shard)
            case "importance":
                return importance_of_checkpoint(config, vae, reading, shard)
            case "pictures":
                return pictures_of_checkpoint(config, vae, shard)
            case "gallery":
                return gallery_of_checkpoint(config, vae)
            case "generated":
                return activations_of_generated(
                    config, vae, self._extractor(unit, batch_size), shard
                )
            case "reconstructed":
                return activations_of_reconstructed(
                    config, vae, self._extractor(unit, batch_size), shard
                )
        raise ValueError(f"no stage computes units of kind {unit.kind!r}")

    def _extractor(self, unit: Unit, batch_size: int) -> Extractor:
        name = str(unit.extractor)
        if name in self._extractors and self._extractors[name][0] != batch_size:
            del self._extractors[name]  # first, since memory may be short
        if name not in self._extractors:
            identity = self._config.extractors[name]
            self._extractors[name] = batch_size, load_extractor(identity, batch_size)
        return self._extractors[name][1]

    def _vae(self, unit: Unit, config: WorkerConfig) -> Autoencoder:
        name = str(unit.checkpoint)
        if name not in self._vaes:
            while len(self._vaes) >= _KEPT_CHECKPOINTS:
                self._vaes.popitem(last=False)
            self._vaes[name] = load_job(config, config.jobs[name])
        self._vaes.move_to_end(name)
        return replace(self._vaes[name], batch_size=config.spec.settled_batch_size)


def device_name() -> str:
    """Kind of device that TensorFlow computes on here: a GPU's name, or ``cpu``."""
    tf = import_tensorflow()
    gpus = tf.config.list_physical_devices("GPU")
    if not gpus:
        return "cpu"
    return str(tf.config.experimental.get_device_details(gpus[0]).get("device_name", "gpu"))
