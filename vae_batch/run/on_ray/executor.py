"""The Ray executor: one Ray Data pipeline over the missing shards.

Ray Data serves as the scheduler (rows of a plan in, small outcomes out): it pools the actors,
replaces lost ones, retries what they held and asks the cluster for more. Workers write their
own files, so a retried shard writes the same bytes again.
"""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Any, Self

import ray

from vae_batch.plan import EvaluationSpec, Shard, Unit
from vae_batch.run.executor import Handle, Task
from vae_batch.run.on_ray.cluster import Pool, connect, device_claims, size_pool, worker_environment
from vae_batch.run.on_ray.ledger import Ledger, LedgerClient
from vae_batch.run.recipe import Recipe
from vae_batch.run.shard_worker import ShardOutcome, ShardWorker

#: One shard computes while the one before is written.
_THREADS_A_WORKER = 2

_QUEUED_A_WORKER = 3


class RayExecutor:
    """Joins the cluster it was submitted to or named, else starts a local one."""

    def __init__(self, spec: EvaluationSpec) -> None:
        """Keep the spec; Ray starts on entry."""
        self._spec = spec
        self._started = False
        self._pool = Pool(1, 1, 1, 0)

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
            connect(self._spec.address)
            self._started = True
        self._pool = size_pool(self._spec.workers)
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
            fn_constructor_kwargs={"recipe": recipe, "ledger": Ledger.remote()},
            compute=ray.data.ActorPoolStrategy(
                min_size=pool.smallest,
                max_size=pool.largest,
                max_tasks_in_flight_per_actor=_QUEUED_A_WORKER,
                max_concurrent_calls_per_actor=_THREADS_A_WORKER,
                enable_true_multi_threading=True,
            ),
            num_cpus=0 if pool.gpus else pool.cpus,
            num_gpus=pool.gpus or None,
            runtime_env={"env_vars": worker_environment(pool)},
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
        environment = {"env_vars": worker_environment(self._pool)}
        # Actors, as each keeps its GPU until all have answered: two tasks might share one.
        held = [
            (place, _DeviceActor.options(runtime_env=environment, **claim).remote())
            for place, claim in device_claims(self._pool)
        ]
        calls = [(place, actor.call.remote(function, *arguments)) for place, actor in held]
        return [_answer(place, reference) for place, reference in calls]


class _ShardActor:
    """A worker inside Ray Data's pool; its constructor stays light, since its failure is fatal."""

    def __init__(self, recipe: Recipe, ledger: Any) -> None:  # noqa: ANN401
        self._worker = ShardWorker(recipe, LedgerClient(ledger))

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[str]]:
        outcomes = [self._worker.run(*_read_task(text)) for text in batch["task"]]
        return {"outcome": [json.dumps(dataclasses.asdict(outcome)) for outcome in outcomes]}


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


def _answer(node: str, reference: ray.ObjectRef) -> tuple[str, Any]:
    """Place and value of one call; its exception where it or its process failed."""
    try:
        device, value = ray.get(reference)
    except Exception as error:
        return node, getattr(error, "cause", None) or error
    return f"{device} of {node}", value
