"""Background tasks on the cluster: no more at once than the nodes have room for."""

from __future__ import annotations

import functools
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import ray
from ray.exceptions import RayTaskError

from vae_batch.plan import InputError
from vae_batch.run.execute.on_ray.cluster import require_alive, result_of
from vae_batch.run.execute.on_ray.machines import (
    Pool,
    light_environment,
    light_slots,
    present_machines,
)
from vae_batch.run.execute.on_ray.visibility import DriverFiles, refusal_here
from vae_batch.run.progress.log import set_up_logging

#: Seconds between looks at the nodes of the cluster.
_LOOKS_EVERY = 5.0


class LightTasks:
    """Starts tasks in the order in which they were submitted, as room becomes free.

    Ray would accept them all at once, and would run tasks that claim nothing on the driver's node.
    For one thread only: a task is started when a handle is asked for its state.
    """

    def __init__(self, pool: Pool) -> None:
        """Start nothing yet."""
        claims = {"num_cpus": pool.light_cpus, "runtime_env": {"env_vars": light_environment()}}
        if pool.light_memory:
            claims["memory"] = pool.light_memory
        self._task = _run.options(**claims)
        self._pool = pool
        self._waiting: deque[LightTask] = deque()
        self._started: dict[Any, LightTask] = {}
        self._slots, self._looked = 1, -_LOOKS_EVERY
        self.files = DriverFiles()

    def submit(self, function: Callable[..., Any], *arguments: Any) -> LightTask:  # noqa: ANN401
        """Queue a task, and start what there is room for."""
        task = LightTask(self, function, arguments)
        self._waiting.append(task)
        self.start_waiting()
        return task

    def start_waiting(self) -> None:
        """Start as many tasks as have room."""
        if not self._waiting:
            return
        if self._started:
            ended, _ = ray.wait(list(self._started), num_returns=len(self._started), timeout=0)
            for reference in ended:
                del self._started[reference]
        while self._waiting and len(self._started) < self._room():
            require_alive()
            task = self._waiting.popleft()
            reference = self._task.remote(self.files, task.function, *task.arguments)
            task.begin(reference)
            self._started[reference] = task

    def wait_for_one(self) -> None:
        """Wait until some task that was started has ended."""
        while not ray.wait(list(self._started), num_returns=1, timeout=_LOOKS_EVERY)[0]:
            require_alive()

    def _room(self) -> int:
        if time.monotonic() - self._looked >= _LOOKS_EVERY:
            self._slots = light_slots(self._pool, present_machines())
            self._looked = time.monotonic()
        return self._slots


class LightTask:
    """The handle of a background task."""

    def __init__(
        self, tasks: LightTasks, function: Callable[..., Any], arguments: tuple[Any, ...]
    ) -> None:
        """Keep what is to be called."""
        self._tasks = tasks
        self.function, self.arguments = function, arguments
        self._reference: Any | None = None

    def begin(self, reference: Any) -> None:  # noqa: ANN401
        """Note that it was started."""
        self._reference = reference
        self.arguments = ()  # a plan may be large

    def is_ready(self) -> bool:
        """See ``Handle.is_ready``."""
        self._tasks.start_waiting()
        return self._reference is not None and bool(ray.wait([self._reference], timeout=0)[0])

    def result(self) -> Any:  # noqa: ANN401
        """See ``Handle.result``."""
        while self._reference is None:
            self._tasks.start_waiting()
            if self._reference is None:
                self._tasks.wait_for_one()
        try:
            return result_of(self._reference)
        except RayTaskError as error:
            # The text of Ray's error is the worker's traceback; the cause says what is wrong.
            raise (error.cause or error) from error


@functools.cache
def _set_up_logging() -> None:
    """Set up the log of this process, once."""
    set_up_logging()


@ray.remote
def _run(files: DriverFiles, function: Callable[..., Any], *arguments: Any) -> Any:  # noqa: ANN401
    _set_up_logging()
    if refusal := refusal_here(files):
        raise InputError(refusal)
    return function(*arguments)
