"""The Ray executor: workers are plain actors, which the driver feeds."""

from __future__ import annotations

import functools
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Any, Self

import ray
from ray.exceptions import RayTaskError

from vae_batch.plan import ClusterLostError, EvaluationSpec, InputError
from vae_batch.run.execute.executor import Handle
from vae_batch.run.execute.on_ray.cluster import (
    Waiting,
    connect,
    forget_servers,
    is_joined,
    require_alive,
    result_of,
    watch_servers,
)
from vae_batch.run.execute.on_ray.machines import (
    Pool,
    device_claims,
    expected_machines,
    light_environment,
    light_slots,
    present_machines,
    size_pool,
    worker_environment,
)
from vae_batch.run.execute.on_ray.shard_actor import OPTIONS, REMOTE_SHARD_ACTOR
from vae_batch.run.execute.on_ray.visibility import (
    DriverFiles,
    refusal_here,
    remove_marks,
    require_visible,
)
from vae_batch.run.execute.on_ray.worker_pool import WorkerPool
from vae_batch.run.execute.signals import take_signals
from vae_batch.run.execute.task_queue import Task
from vae_batch.run.execute.worker import ShardOutcome
from vae_batch.run.planning.run_plan import RunPlan
from vae_batch.run.planning.worker_config import WorkerConfig
from vae_batch.run.progress.events import FaultMet
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


class RayExecutor:
    """Joins the cluster it was submitted to or named, else starts a local one."""

    def __init__(self, spec: EvaluationSpec) -> None:
        """Keep the spec; Ray starts on entry."""
        self._spec = spec
        self._started = False
        self._entered = 0
        self._workers: WorkerPool | None = None
        self._pools = 0
        self._idle: list[Any] = []
        self._idle_options: dict[str, Any] = {}
        self._pool = Pool(1, 1, 1, 0)
        self._grows = False
        self._light = LightTasks(self._pool)

    @property
    def description(self) -> str:
        """Workers and devices in words."""
        pool = self._pool
        size = f"up to {pool.size}" if self._grows else f"{pool.size}"
        each = f"{pool.gpus} GPU(s)" if pool.gpus else f"{pool.threads} CPU(s)"
        return f"Ray, {size} worker(s) with {each}"

    @property
    def has_gpus(self) -> bool:
        """Whether the cluster has any, which workers then get."""
        return self._pool.gpus > 0

    @property
    def can_start_again(self) -> bool:
        """Whether a cluster that was lost was started here, and another one can be."""
        return self._started and not is_joined()

    @property
    def workers(self) -> int:
        """See ``Executor.workers``."""
        return self._pool.size

    def at_work(self) -> int:
        """See ``Executor.at_work``."""
        workers = self._workers
        return workers.at_work() if workers else 0

    def __enter__(self) -> Self:
        """Connect or start.

        Raises:
            InputError: The address cannot be reached, or the cluster has nothing to compute on.
        """
        self._entered += 1
        if not ray.is_initialized():
            connect(self._spec.address)
            take_signals()  # which Ray has just taken
            self._started = True
        watch_servers()
        present, expected = present_machines(), present_machines()
        if is_joined():
            expected = expected_machines()
        self._pool = size_pool(self._spec.workers, expected)
        self._grows = len(present) < len(expected)
        self._light = LightTasks(self._pool)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Disconnect, and stop a cluster that was started here, if this is the outermost block.

        Raises:
            ClusterLostError: Another error ends the block, and the cluster was lost.
        """
        self._entered -= 1
        try:
            if isinstance(error, ClusterLostError):
                self._idle.clear()  # there is nothing to end them with
            elif isinstance(error, Exception):
                require_alive(now=True)
        except ClusterLostError:
            self._idle.clear()
            raise
        finally:
            forget_servers()
            remove_marks(self._light.files)
            if not self._entered:
                self._end_idle()
                if self._started:
                    ray.shutdown()

    def require_visible(self, plan: RunPlan) -> None:
        """See ``Executor.require_visible``; a cluster of this machine alone sees all there is."""
        if is_joined():
            remove_marks(self._light.files)
            self._light.files = require_visible(plan)

    def run_shards(
        self, tasks: Sequence[Task], config: WorkerConfig
    ) -> Iterator[ShardOutcome | FaultMet]:
        """See ``Executor.run_shards``."""
        if not tasks:
            return
        pool = self._pool
        options = OPTIONS | {
            "num_cpus": pool.cpus,
            "num_gpus": pool.gpus,
            "runtime_env": {"env_vars": worker_environment(pool)},
        }
        require_alive(now=True)
        if options != self._idle_options:
            self._end_idle()
        self._idle_options = options
        self._pools += 1
        configuration = ray.put(config), self._light.files, self._pools
        size = min(pool.size, len(tasks))
        idle = self._idle if self._entered > 1 else None
        start_actor = REMOTE_SHARD_ACTOR.options(**options).remote
        self._workers = WorkerPool(
            tasks,
            size,
            lambda: self._idle.pop() if self._idle else start_actor(),
            configuration,
            config.spec.shard_timeout,
            idle,
        )
        try:
            yield from self._workers.run()
        finally:
            self._workers = None

    def _end_idle(self) -> None:
        while self._idle:
            ray.kill(self._idle.pop())

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Handle:  # noqa: ANN401
        """See ``Executor.submit``; waits for room beside the workers."""
        return self._light.submit(function, *arguments)

    def on_every_device(
        self,
        function: Callable[..., Any],
        *arguments: Any,  # noqa: ANN401
    ) -> list[tuple[str, Any]]:
        """See ``Executor.on_every_device``: every GPU, or every node where there are none."""
        self._end_idle()  # which hold the devices
        environment = {"env_vars": worker_environment(self._pool)}
        # Actors, as each keeps its GPU until all have answered: two tasks might share one.
        held = [
            (place, _REMOTE_DEVICE.options(runtime_env=environment, **claim).remote())
            for place, claim in device_claims(self._pool)
        ]
        calls = [(place, actor.call.remote(function, *arguments)) for place, actor in held]
        return [_answer(place, reference) for place, reference in calls]


class _DeviceActor:
    """Holds one device while something is called on it."""

    def call(self, function: Callable[..., Any], *arguments: Any) -> tuple[str, Any]:  # noqa: ANN401
        gpus = ", ".join(str(gpu) for gpu in ray.get_gpu_ids())
        return (f"GPU {gpus}" if gpus else "CPU"), function(*arguments)


_REMOTE_DEVICE: Any = ray.remote(_DeviceActor)


def _answer(node: str, reference: Any) -> tuple[str, Any]:  # noqa: ANN401
    """Place and value of one call; its exception where it or its process failed."""
    try:
        device, value = result_of(reference, Waiting(f"no device of {node} has answered"))
    except ClusterLostError:
        raise
    except Exception as error:
        return node, getattr(error, "cause", None) or error
    return f"{device} of {node}", value
