"""A worker: it holds the networks and computes one shard after another, in any process."""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Literal

from vae_batch.models.autoencoder.vae import Autoencoder
from vae_batch.models.extractors.extractor import Extractor
from vae_batch.models.extractors.registry import load_extractor
from vae_batch.models.formats.user_modules import restore_given
from vae_batch.models.sample_sets import FeatureSet
from vae_batch.plan import CheckpointError, InputError, Shard, Unit
from vae_batch.run.execute.failures import Failure, failure_of
from vae_batch.run.execute.gpus import deterministic, device_name, lacks_determinism
from vae_batch.run.execute.oom_backoff import BatchSizes, is_out_of_memory
from vae_batch.run.execute.signals import uninterrupted
from vae_batch.run.execute.timeout import Watchdog
from vae_batch.run.output.stores import storage_fault
from vae_batch.run.planning.worker_config import WorkerConfig
from vae_batch.run.reference.cached_activations import KnownActivations
from vae_batch.run.stages.activations import (
    activations_of_features,
    activations_of_generated,
    activations_of_reconstructed,
    activations_of_reference,
)
from vae_batch.run.stages.importance import importance_of_checkpoint
from vae_batch.run.stages.inputs import Arrays, Loaded, load_job
from vae_batch.run.stages.losses import losses_of_checkpoint
from vae_batch.run.stages.pictures import gallery_of_checkpoint, split_pictures
from vae_batch.run.stages.pixel_statistics import pictures_of_checkpoint, pictures_of_reference
from vae_batch.storage import (
    DamagedFileError,
    ReasonCode,
    Source,
    Store,
    encode_arrays,
    encode_columns,
    file_path,
    holds_arrays,
    is_activations,
    pictures_name,
    read_receipt,
    write_with_receipt,
)
from vae_batch.storage.retry import StoreError

_log = logging.getLogger(__name__)

Status = Literal["done", "unit_failed", "checkpoint_failed", "bad_input", "damaged"]

_KEPT_CHECKPOINTS = 2


@dataclass(frozen=True)
class ShardOutcome:
    """How a shard ended.

    Attributes:
        unit: Path of its unit.
        shard: The range of samples.
        status: ``done``; ``unit_failed`` (the other shards of its unit are skipped);
            ``checkpoint_failed`` (the checkpoint cannot be loaded, or ends its workers: all its
            shards are skipped); ``bad_input`` (the run cannot go on); ``damaged`` (stored
            reference images are damaged and must be stored again first).
        reason: A sentence for people, unless it is done.
        seconds: Time to compute it.
        device: Kind of device that computed it.
        size: Bytes written.
        damaged_unit: Path of the unit of images that has a damaged file.
        damaged_part: Name of that file's shard.
        traceback: Formatted traceback of the exception; empty where none was raised.
        code: Why it failed, for programs.
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
    code: ReasonCode = "unexpected"

    @property
    def failure(self) -> Failure:
        """Why it failed."""
        return Failure(self.reason, self.traceback, self.code)


def failed_outcome(unit: Unit, shard: Shard, status: Status, failure: Failure) -> ShardOutcome:
    """The outcome of a shard that failed."""
    return ShardOutcome(
        *(unit.path, shard, status, failure.reason),
        traceback=failure.traceback,
        code=failure.code,
    )


@dataclass(frozen=True)
class _Computed:
    """A shard's content before it is written, the time it took, and where."""

    content: Arrays | bytes
    seconds: float
    device: str
    batch_size: int
    source: Source = "computed"
    is_deterministic: bool = True


class ShardWorker:
    """Computes shards; networks are loaded at first use and kept.

    Two threads may call it: one computes while the other writes, so that the device never waits
    for the disk.
    """

    def __init__(
        self,
        config: WorkerConfig,
        watchdog: Watchdog | None = None,
        before: ShardWorker | None = None,
    ) -> None:
        """Keep the config; nothing is loaded yet, so a broken model fails a shard, not a worker.

        Args:
            config: Of the run.
            watchdog: Ends this process when a shard is stuck; only where somebody replaces it.
            before: The idle worker of this process for other shards, whose extractors are kept.
        """
        restore_given(config.given)
        self._config, self._watchdog = config, watchdog
        self._device, self._writing = threading.Lock(), threading.Lock()
        self._batches = BatchSizes(config.spec.settled_batch_size)
        self._extractors = before.extractors_of(config) if before else {}
        self._known = KnownActivations(config.spec, config.stores.reference)
        self._vaes: OrderedDict[str, Loaded] = OrderedDict()
        self._unloadable: dict[str, Failure] = {}
        #: Checkpoints with operations that have no deterministic kernel on this device.
        self._varying: set[str] = set()

    def extractors_of(self, config: WorkerConfig) -> dict[str, tuple[int, Extractor]]:
        """Loaded extractors that another config has, too, with their batch sizes."""
        wanted, held = config.extractors, self._config.extractors
        return {n: kept for n, kept in self._extractors.items() if wanted.get(n) == held[n]}

    def run(self, unit: Unit, shard: Shard, *, may_be_done: bool = False) -> ShardOutcome:
        """Compute a shard and write its file and receipt; bad data gives an outcome, no exception.

        Args:
            unit: The shard's unit.
            shard: The range of samples.
            may_be_done: Whether a worker that was lost may have finished it; its receipt is
                looked for first.
        """
        with self._device:
            if may_be_done and self._is_finished(unit, shard):
                return ShardOutcome(unit.path, shard, "done")
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

    def _compute_or_fail(self, unit: Unit, shard: Shard) -> _Computed | ShardOutcome:
        """The shard's content, or its outcome where there is none."""
        known_failure = self._unloadable.get(unit.checkpoint or "")
        if known_failure is not None:
            return self._failed(unit, shard, known_failure)
        began = time.perf_counter()
        try:
            with self._watched(shard, native=True):
                if (known := self._known_content(unit, shard)) is not None:
                    return known
                # Here TensorFlow may be imported for the first time, which two threads must not do
                # at once: Python's import locks deadlock.
                content, batch_size = self._batches.compute(
                    unit, lambda size: self._compute_repeatably(unit, shard, size)
                )
                seconds = time.perf_counter() - began
                repeatable = unit.checkpoint not in self._varying
                return _Computed(
                    content, seconds, device_name(), batch_size, is_deterministic=repeatable
                )
        except (InputError, StoreError) as error:  # the checkpoint is not at fault
            return ShardOutcome(unit.path, shard, "bad_input", str(error))
        except DamagedFileError as error:  # stages read no other files than reference images
            return ShardOutcome(
                *(unit.path, shard, "damaged", str(error)),
                damaged_unit=error.unit.path,
                damaged_part=error.name,
            )
        except Exception as error:  # isolation: an error in one shard fails one row
            if not isinstance(error, CheckpointError):
                _log.exception("%s %s failed", unit.path, shard.name)
            return self._failed(unit, shard, failure_of(error))

    def _failed(self, unit: Unit, shard: Shard, failure: Failure) -> ShardOutcome:
        fails_whole = unit.kind == "description" or unit.checkpoint in self._unloadable
        status: Status = "checkpoint_failed" if fails_whole else "unit_failed"
        return failed_outcome(unit, shard, status, failure)

    def _known_content(self, unit: Unit, shard: Shard) -> _Computed | None:
        """Cached activations of the same images in another set; None where there are none."""
        if unit.kind != "reference":
            return None
        identity = self._config.extractors[str(unit.extractor)]
        known = self._known.of(self._config.images_of(unit), identity, shard)
        if known is None:
            return None
        return _Computed(known.columns, 0.0, known.device, known.batch_size, "cache")

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
                    is_deterministic=computed.is_deterministic,
                )
        except OSError as error:
            return ShardOutcome(unit.path, shard, "bad_input", storage_fault(store, error))
        except Exception as error:  # isolation: an error in one shard fails one row
            _log.exception("%s %s failed", unit.path, shard.name)
            return self._failed(unit, shard, failure_of(error))
        return ShardOutcome(unit.path, shard, "done", "", seconds, device, size)

    def _watched(self, shard: Shard, *, native: bool = False) -> AbstractContextManager[None]:
        if self._watchdog is None:
            return nullcontext()
        watchdog = self._watchdog
        return watchdog.watching_native(shard) if native else watchdog.watching(shard)

    def _compute_repeatably(self, unit: Unit, shard: Shard, batch_size: int) -> Arrays | bytes:
        """The shard's content by deterministic operations, where the checkpoint's have kernels."""
        if unit.checkpoint not in self._varying:
            try:
                with deterministic():
                    return self._compute(unit, shard, batch_size)
            except Exception as error:
                if unit.checkpoint is None or not lacks_determinism(error):
                    raise
                _log.warning("%s: not deterministic on this device: %s", unit.path, error)
                self._varying.add(unit.checkpoint)
                self._vaes.pop(unit.checkpoint, None)  # its graphs were made for the other kernels
        return self._compute(unit, shard, batch_size)

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
        if unit.kind == "description":
            return vae.description.to_json()
        if isinstance(vae, FeatureSet):
            return activations_of_features(vae, config.extractors[str(unit.extractor)], shard)
        match unit.kind:
            case "pictures":
                return pictures_of_checkpoint(config, vae, shard)
            case "gallery":
                return gallery_of_checkpoint(config, vae)
            case "generated":
                return activations_of_generated(
                    config, vae, self._extractor(unit, batch_size), shard
                )
        assert isinstance(vae, Autoencoder)  # a set of images has no other units
        match unit.kind:
            case "losses":
                return losses_of_checkpoint(config, vae, reading, shard)
            case "importance":
                return importance_of_checkpoint(config, vae, reading, shard)
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

    def _vae(self, unit: Unit, config: WorkerConfig) -> Loaded:
        name = str(unit.checkpoint)
        if name not in self._vaes:
            while len(self._vaes) >= _KEPT_CHECKPOINTS:
                self._vaes.popitem(last=False)
            self._vaes[name] = self._load(name, config)
        self._vaes.move_to_end(name)
        return replace(self._vaes[name], batch_size=config.spec.settled_batch_size)

    def _load(self, name: str, config: WorkerConfig) -> Loaded:
        """Load a checkpoint; one that cannot be loaded is not tried a second time."""
        try:
            return load_job(config, config.jobs[name])
        except InputError:
            raise
        except Exception as error:
            # Else smaller batches, or other kernels, are tried.
            if not (is_out_of_memory(error) or lacks_determinism(error)):
                self._unloadable[name] = failure_of(error)
            raise


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
    is_deterministic: bool = True,
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
        is_deterministic: Whether the same computation gives the same bits.

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
        is_deterministic=is_deterministic,
    )
    return len(beside) + len(encoded)


def _encoded(unit: Unit, arrays: Arrays) -> bytes:
    """Arrays that share no axis are no columns; activations say which images they are of."""
    if holds_arrays(unit):
        return encode_arrays(arrays)
    return encode_columns(arrays, {"images": unit.kind} if is_activations(unit) else None)
