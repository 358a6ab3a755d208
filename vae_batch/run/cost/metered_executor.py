"""An executor that notes what goes through it: shards by kind and device, light tasks, and when."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from vae_batch.plan import Unit
from vae_batch.run.cost.cost_file import LightCost, RunCost, ShardCost
from vae_batch.run.cost.default_rates import Terms
from vae_batch.run.cost.estimate import Devices, Key, Rate, Work, estimate, joined, work_of
from vae_batch.run.execute.background_tasks import timed
from vae_batch.run.execute.executor import Executor, Handle
from vae_batch.run.execute.task_queue import Task
from vae_batch.run.execute.worker import ShardOutcome
from vae_batch.run.planning.run_plan import RunPlan
from vae_batch.run.planning.worker_config import WorkerConfig
from vae_batch.run.progress.activity import Activity
from vae_batch.run.progress.events import FaultMet
from vae_batch.run.scoring.row import now


class MeteredExecutor:
    """Passes everything on to an executor; keeps sums, so that its memory does not grow."""

    def __init__(
        self, executor: Executor, terms: Terms, find_rates: Callable[[], Mapping[Key, Rate]]
    ) -> None:
        """Note what ``executor``, which is entered, is given from now on.

        Args:
          executor: Does the work.
          terms: Of the run, for what its shards are expected to cost.
          find_rates: Gives what is known before; asked when there is something to compute.
        """
        self._executor, self._terms, self._find_rates = executor, terms, find_rates
        self._rates: Mapping[Key, Rate] = {}
        self._began = time.monotonic()
        self._handed: list[Work] = []
        self._shards: dict[tuple[str, str | None, str], ShardCost] = {}
        self._light: dict[str, LightCost] = {}
        self._first: tuple[float, float] | None = None
        self._last: float | None = None

    @property
    def description(self) -> str:
        """See ``Executor.description``."""
        return self._executor.description

    @property
    def has_gpus(self) -> bool:
        """See ``Executor.has_gpus``."""
        return self._executor.has_gpus

    @property
    def faults(self) -> Mapping[str, int]:
        """See ``Executor.faults``."""
        return self._executor.faults

    def activity(self) -> Activity:
        """See ``Executor.activity``."""
        return self._executor.activity()

    def require_visible(self, plan: RunPlan) -> None:
        """See ``Executor.require_visible``."""
        self._executor.require_visible(plan)

    def run_shards(
        self, tasks: Sequence[Task], config: WorkerConfig
    ) -> Iterator[ShardOutcome | FaultMet]:
        """See ``Executor.run_shards``."""
        if tasks and not self._handed:
            self._rates = self._find_rates()
        self._handed = joined([*self._handed, *work_of(tasks, self._terms)])
        units = {unit.path: unit for unit, _ in tasks}
        for outcome in self._executor.run_shards(tasks, config):
            if isinstance(outcome, ShardOutcome) and outcome.status == "done":
                self._note(units[outcome.unit], outcome)
            yield outcome

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Handle:  # noqa: ANN401
        """See ``Executor.submit``."""
        handle = self._executor.submit(function, *arguments)
        if function is not timed:
            return handle
        name = arguments[0].__name__
        return _TimedHandle(handle, lambda seconds: self._note_light(name, seconds))

    def on_every_device(
        self,
        function: Callable[..., Any],
        *arguments: Any,  # noqa: ANN401
    ) -> list[tuple[str, Any]]:
        """See ``Executor.on_every_device``."""
        return self._executor.on_every_device(function, *arguments)

    def __enter__(self) -> Self:
        """The executor has been entered."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Who entered the executor leaves it."""

    @property
    def has_worked(self) -> bool:
        """Whether anything was computed."""
        return bool(self._shards or self._light)

    def cost(self, phases: Mapping[str, float], devices: Devices, cores: int) -> RunCost:
        """What all of it has cost.

        Args:
          phases: Seconds of the run's phases.
          devices: That it ran on.
          cores: That its workers shared; 0 where that is not known.
        """
        planned = estimate(self._handed, self._rates, (0, 0.0, 0.0), self._terms, devices)
        first_end, first_seconds = self._first or (None, None)
        return RunCost(
            at=now(),
            devices=devices.words,
            workers=0 if devices.is_serial else devices.workers,
            cores=cores,
            phases={name: round(seconds, 3) for name, seconds in phases.items()},
            first_end=first_end,
            first_seconds=first_seconds,
            last_end=self._last,
            shards=tuple(self._shards.values()),
            light=tuple(self._light.values()),
            planned_seconds=planned.worker_seconds,
            planned_size=planned.size,
        )

    def _note(self, unit: Unit, outcome: ShardOutcome) -> None:
        self._last = time.monotonic() - self._began
        if self._first is None:
            self._first = self._last, outcome.seconds
        key = unit.kind, unit.extractor, outcome.device
        old = self._shards.get(key) or ShardCost(*key, 0, 0, 0, 0.0)
        self._shards[key] = ShardCost(
            *key,
            old.shards + 1,
            old.images + len(outcome.shard),
            old.size + outcome.size,
            old.seconds + outcome.seconds,
        )

    def _note_light(self, task: str, seconds: float) -> None:
        old = self._light.get(task) or LightCost(task, 0, 0.0)
        self._light[task] = LightCost(task, old.count + 1, old.seconds + seconds)


class _TimedHandle:
    """The handle of a light task whose seconds are noted when its result is taken."""

    def __init__(self, handle: Handle, note: Callable[[float], None]) -> None:
        self._handle, self._note = handle, note

    def is_ready(self) -> bool:
        return self._handle.is_ready()

    def result(self) -> Any:  # noqa: ANN401
        seconds, value = self._handle.result()
        self._note(seconds)
        return seconds, value
