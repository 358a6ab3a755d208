"""What runs shards and background tasks: the contract, and the serial executor."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Any, Protocol, Self

from vae_batch.run.execute.gpus import device_name
from vae_batch.run.execute.task_queue import Task as Task
from vae_batch.run.execute.worker import ShardOutcome, ShardWorker
from vae_batch.run.planning.run_plan import RunPlan
from vae_batch.run.planning.worker_config import WorkerConfig
from vae_batch.run.progress.events import FaultMet


class Handle(Protocol):
    """A background task under way."""

    def is_ready(self) -> bool:
        """Whether its result can be had without waiting."""
        ...

    def result(self) -> Any:  # noqa: ANN401
        """The task's return value; waits for it, and raises what it raised."""
        ...


class Executor(Protocol):
    """Runs shards on workers, and background tasks beside them."""

    @property
    def description(self) -> str:
        """Workers and devices in words."""
        ...

    @property
    def has_gpus(self) -> bool:
        """Whether workers compute on GPUs."""
        ...

    @property
    def can_start_again(self) -> bool:
        """Whether it started a cluster, and a second executor can after a `ClusterLostError`."""
        ...

    @property
    def workers(self) -> int:
        """Number of workers when all are there."""
        ...

    def at_work(self) -> int:
        """Number of workers that hold a shard now; may be called from another thread."""
        ...

    def require_visible(self, plan: RunPlan) -> None:
        """Refuse a run whose files some machine of the workers does not see.

        Raises:
            InputError: Names the machine, the path and what to do; nothing was computed.
        """
        ...

    def run_shards(
        self, tasks: Sequence[Task], config: WorkerConfig
    ) -> Iterator[ShardOutcome | FaultMet]:
        """Compute shards, checkpoint by checkpoint; several workers have several under way.

        Yields one outcome per shard, as they end, and the faults that were survived. After a shard
        failed, the other shards of its unit, or of its checkpoint, are skipped.
        """
        ...

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Handle:  # noqa: ANN401
        """Start a background task (reduction, score, training), which needs no worker."""
        ...

    def on_every_device(
        self,
        function: Callable[..., Any],
        *arguments: Any,  # noqa: ANN401
    ) -> list[tuple[str, Any]]:
        """Call a function once on every device that workers may get; waits until each is free.

        Returns:
            For each device its place in words, and the value returned there; where the call
            failed, an ``Exception`` instance.
        """
        ...

    def __enter__(self) -> Self:
        """Start what is needed; within an outer block of the same executor workers stay warm."""
        ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Release it, if this is the outermost block."""
        ...


class SerialExecutor:
    """Everything in this process, one task after another, without Ray.

    There is no watchdog: a shard that hangs or crashes ends the run, which the same command
    resumes.
    """

    description = "this process"
    workers = 1
    can_start_again = False

    _worker: ShardWorker | None = None
    _entered = 0

    @property
    def has_gpus(self) -> bool:
        """Whether TensorFlow finds one here."""
        return device_name() != "cpu"

    def at_work(self) -> int:
        """See ``Executor.at_work``."""
        return 1

    def require_visible(self, plan: RunPlan) -> None:
        """See ``Executor.require_visible``; this process sees what it sees."""

    def run_shards(self, tasks: Sequence[Task], config: WorkerConfig) -> Iterator[ShardOutcome]:
        """See ``Executor.run_shards``."""
        if tasks:
            device_name()  # imports TensorFlow without its log lines, which would break a display
        worker = self._worker = ShardWorker(config, before=self._worker)
        skipped: set[str | None] = set()
        for unit, shard in tasks:
            if skipped.isdisjoint({unit.path, unit.checkpoint}):
                outcome = worker.run(unit, shard)
                if outcome.status == "unit_failed":
                    skipped.add(unit.path)
                elif outcome.status == "checkpoint_failed":
                    skipped.add(unit.checkpoint)
                yield outcome

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Handle:  # noqa: ANN401
        """See ``Executor.submit``; runs at once."""
        try:
            return _Done(function(*arguments))
        except Exception as error:  # raised where the result is taken, as on a cluster
            return _Done(error=error)

    def on_every_device(
        self,
        function: Callable[..., Any],
        *arguments: Any,  # noqa: ANN401
    ) -> list[tuple[str, Any]]:
        """See ``Executor.on_every_device``: this process alone."""
        try:
            return [(self.description, function(*arguments))]
        except Exception as error:  # the caller says which device it was
            return [(self.description, error)]

    def __enter__(self) -> Self:
        """Nothing to start."""
        self._entered += 1
        return self

    def __exit__(self, *_: object) -> None:
        """Release the networks."""
        self._entered -= 1
        if not self._entered:
            self._worker = None


class _Done:
    """The handle of a task that has ended."""

    def __init__(self, value: Any = None, error: Exception | None = None) -> None:  # noqa: ANN401
        self._value, self._error = value, error

    def is_ready(self) -> bool:
        return True

    def result(self) -> Any:  # noqa: ANN401
        if self._error is not None:
            raise self._error
        return self._value
