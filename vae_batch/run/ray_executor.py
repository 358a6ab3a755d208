"""The Ray executor: one Ray Data pipeline over the missing shards. The only file that knows Ray.

Ray Data serves as the scheduler (rows of a plan in, small outcomes out): it pools the actors,
replaces lost ones, retries what they held and asks the cluster for more. Workers write their
own files, so a retried shard writes the same bytes again.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from vae_batch.plan import EvaluationSpec, InputError, Shard, Unit
from vae_batch.run.executor import Handle, Task
from vae_batch.run.recipe import Recipe
from vae_batch.run.shard_worker import MAX_ATTEMPTS, ShardOutcome, ShardWorker
from vae_batch.run.worker_environment import thread_environment

#: One shard computes while the one before is written.
_THREADS_A_WORKER = 2

_QUEUED_A_WORKER = 3


@dataclass(frozen=True)
class _Pool:
    """Size of the actor pool and what each actor holds."""

    smallest: int
    largest: int
    cpus: int
    gpus: int


class RayExecutor:
    """Joins the cluster it was submitted to or named, else starts a local one."""

    def __init__(self, spec: EvaluationSpec) -> None:
        """Keep the spec; Ray starts on entry."""
        self._spec = spec
        self._started = False
        self._pool = _Pool(1, 1, 1, 0)

    @property
    def description(self) -> str:
        """Workers and devices in words."""
        pool = self._pool
        size = f"{pool.smallest}" if pool.smallest == pool.largest else f"up to {pool.largest}"
        each = f"{pool.gpus} GPU(s)" if pool.gpus else f"{pool.cpus} CPU(s)"
        return f"Ray, {size} worker(s) with {each}"

    @property
    def has_gpus(self) -> bool:
        """Whether the cluster has any, which workers then get."""
        return self._pool.gpus > 0

    def __enter__(self) -> Self:
        """Connect or start.

        Raises:
          InputError: The address cannot be reached.
        """
        if not ray.is_initialized():
            _connect(self._spec.address)
            self._started = True
        self._pool = _size_pool(self._spec.workers)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Disconnect, and stop a cluster that was started here."""
        if self._started:
            ray.shutdown()

    def run_shards(self, tasks: Sequence[Task], recipe: Recipe) -> Iterator[ShardOutcome]:
        """See ``Executor.run_shards``."""
        if not tasks:
            return
        _configure_ray_data()
        pool = self._pool
        rows = [{"task": _task_text(task)} for task in tasks]
        # One row is one block is one task: a retry redoes one shard, and order is kept.
        queue = ray.data.from_items(rows, override_num_blocks=len(rows))
        outcomes = queue.map_batches(
            _ShardActor,
            batch_size=1,
            fn_constructor_kwargs={"recipe": recipe, "ledger": _Ledger.remote()},
            compute=ray.data.ActorPoolStrategy(
                min_size=pool.smallest,
                max_size=pool.largest,
                max_tasks_in_flight_per_actor=_QUEUED_A_WORKER,
                max_concurrent_calls_per_actor=_THREADS_A_WORKER,
                enable_true_multi_threading=True,
            ),
            num_cpus=0 if pool.gpus else pool.cpus,
            num_gpus=pool.gpus or None,
            runtime_env={"env_vars": _worker_environment(pool)},
        )
        for row in outcomes.iter_rows():
            yield _read_outcome(row["outcome"])

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Handle:  # noqa: ANN401
        """See ``Executor.submit``; holds no CPU, so workers never starve it."""
        return _RayHandle(_light_task.remote(function, *arguments))

    def on_every_device(
        self,
        function: Callable[..., Any],
        *arguments: Any,  # noqa: ANN401
    ) -> list[tuple[str, Any]]:
        """See ``Executor.on_every_device``: every GPU, or every node where there are none."""
        environment = {"env_vars": _worker_environment(self._pool)}
        # Actors, as each keeps its GPU until all have answered: two tasks might share one.
        held = [
            (place, _DeviceActor.options(runtime_env=environment, **claim).remote())
            for place, claim in _device_claims(self._pool)
        ]
        calls = [(place, actor.call.remote(function, *arguments)) for place, actor in held]
        return [_answer(place, reference) for place, reference in calls]


class _ShardActor:
    """A worker inside Ray Data's pool; its constructor stays light, since its failure is fatal."""

    def __init__(self, recipe: Recipe, ledger: Any) -> None:  # noqa: ANN401
        self._worker = ShardWorker(recipe, _LedgerClient(ledger))

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[str]]:
        outcomes = [self._worker.run(*_read_task(text)) for text in batch["task"]]
        return {"outcome": [json.dumps(dataclasses.asdict(outcome)) for outcome in outcomes]}


@ray.remote(num_cpus=0)
class _Ledger:
    """Lives beside the workers; Ray alone would retry a shard that kills them for ever."""

    def __init__(self) -> None:
        self._attempts: dict[tuple[str, str], int] = {}
        self._given_up: set[str] = set()

    def begin(self, unit: str, shard: str, checkpoint: str | None) -> int:
        key = (unit, shard)
        self._attempts[key] = self._attempts.get(key, 0) + 1
        if checkpoint is not None and self._attempts[key] > MAX_ATTEMPTS:
            self._given_up.add(checkpoint)
        return MAX_ATTEMPTS + 1 if checkpoint in self._given_up else self._attempts[key]

    def end(self, unit: str, shard: str) -> None:
        self._attempts.pop((unit, shard), None)


class _LedgerClient:
    """The ledger as a worker calls it."""

    def __init__(self, actor: Any) -> None:  # noqa: ANN401
        self._actor = actor

    def begin(self, unit: str, shard: str, checkpoint: str | None) -> int:
        return int(ray.get(self._actor.begin.remote(unit, shard, checkpoint)))

    def end(self, unit: str, shard: str) -> None:
        ray.get(self._actor.end.remote(unit, shard))


@ray.remote(num_cpus=0)
def _light_task(function: Callable[..., Any], *arguments: Any) -> Any:  # noqa: ANN401
    return function(*arguments)


class _RayHandle:
    """A task on the cluster."""

    def __init__(self, reference: ray.ObjectRef) -> None:
        self._reference = reference

    def is_ready(self) -> bool:
        return bool(ray.wait([self._reference], timeout=0)[0])

    def result(self) -> Any:  # noqa: ANN401
        return ray.get(self._reference)


def _task_text(task: Task) -> str:
    """A task as text, which Arrow blocks carry without pickling."""
    return json.dumps([dataclasses.asdict(part) for part in task])


def _read_task(text: str) -> Task:
    unit, shard = json.loads(text)
    return Unit(**unit), Shard(**shard)


def _read_outcome(text: str) -> ShardOutcome:
    fields = json.loads(text)
    return ShardOutcome(**{**fields, "shard": Shard(**fields["shard"])})


def _connect(address: str | None) -> None:
    """An address wins, then the cluster this job was submitted to, then a local one.

    Never ``address=None``: it may attach to a stray cluster on the machine.
    """
    # Token authentication is Ray's default for local clusters; nothing a user must be told.
    logging.getLogger("ray._private.authentication").setLevel(logging.ERROR)
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # of this driver; faults come as rows
    quiet = {"log_to_driver": False, "logging_level": logging.WARNING}
    if address is None and not os.environ.get("RAY_ADDRESS"):
        environment = {"env_vars": thread_environment(threads=1)}
        ray.init(address="local", include_dashboard=False, runtime_env=environment, **quiet)
        return
    try:
        ray.init(address=address or "auto", **quiet)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise InputError(
            f"no Ray cluster answers at {address or os.environ['RAY_ADDRESS']}: {error}; check "
            "--address (or RAY_ADDRESS), or leave it out to start a local one"
        ) from error


def _size_pool(workers: int | None) -> _Pool:
    """GPU workers where the cluster has GPUs, else CPU workers that share each node's cores."""
    gpus = int(ray.cluster_resources().get("GPU", 0))
    if gpus:
        largest = workers or gpus
        return _Pool(min(1, largest), largest, 0, 1)
    cores = [int(n["Resources"].get("CPU", 0)) for n in ray.nodes() if n["Alive"]]
    nodes = [count for count in cores if count > 0]
    if not nodes:
        raise InputError("the Ray cluster has neither CPUs nor GPUs free for workers")
    count = workers or len(nodes)
    a_node = -(-count // len(nodes))
    return _Pool(count, count, max(1, min(nodes) // a_node), 0)


def _worker_environment(pool: _Pool) -> dict[str, str]:
    environment = thread_environment(threads=pool.cpus)
    if not pool.gpus:
        environment["CUDA_VISIBLE_DEVICES"] = ""
    return environment


def _configure_ray_data() -> None:
    """Quiet, and patient: waiting for machines is no fault, and poison is caught by the ledger."""
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.execution_no_progress_timeout_s = -1
    context.max_consecutive_actor_init_deaths = 3
    logging.getLogger("ray.data").setLevel(logging.ERROR)


@ray.remote
class _DeviceActor:
    """Holds one device while something is called on it."""

    def call(self, function: Callable[..., Any], *arguments: Any) -> tuple[str, Any]:  # noqa: ANN401
        gpus = ", ".join(str(gpu) for gpu in ray.get_gpu_ids())
        return (f"GPU {gpus}" if gpus else "CPU"), function(*arguments)


def _device_claims(pool: _Pool) -> Iterator[tuple[str, dict[str, Any]]]:
    """Node in words and actor options, for each device that a worker of the pool may get."""
    for node in (node for node in ray.nodes() if node["Alive"]):
        resources = node["Resources"]
        cores = int(resources.get("CPU", 0))
        count = int(resources.get("GPU", 0)) if pool.gpus else min(1, cores)
        pinned = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        claim = {
            "num_cpus": min(pool.cpus, cores),
            "num_gpus": pool.gpus,
            "scheduling_strategy": pinned,
        }
        for _ in range(count):
            yield f"node {node['NodeManagerHostname']} ({node['NodeManagerAddress']})", claim


def _answer(node: str, reference: ray.ObjectRef) -> tuple[str, Any]:
    """Place and value of one call; its exception where it or its process failed."""
    try:
        device, value = ray.get(reference)
    except Exception as error:
        return node, getattr(error, "cause", None) or error
    return f"{device} of {node}", value
