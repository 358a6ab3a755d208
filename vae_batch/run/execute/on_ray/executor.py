"""The Ray executor: one Ray Data pipeline over the missing shards.

Ray Data serves as the scheduler (rows of a plan in, small outcomes out): it pools the actors,
replaces lost ones, retries what they held and asks the cluster for more. Workers write their
own files, so a retried shard writes the same bytes again.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import ray

from vae_batch.plan import EvaluationSpec, Shard
from vae_batch.run.execute.executor import Handle, Task
from vae_batch.run.execute.on_ray.cluster import connect, is_joined
from vae_batch.run.execute.on_ray.ledger import LedgerClient, start_ledger
from vae_batch.run.execute.on_ray.light_tasks import LightTasks
from vae_batch.run.execute.on_ray.machines import expected_machines, present_machines
from vae_batch.run.execute.on_ray.pool import Pool, device_claims, size_pool, worker_environment
from vae_batch.run.execute.on_ray.visibility import (
    DriverFiles,
    refusal_here,
    remove_marks,
    require_visible,
)
from vae_batch.run.execute.signals import take_signals
from vae_batch.run.execute.worker import ShardOutcome, ShardWorker
from vae_batch.run.planning.run_plan import RunPlan
from vae_batch.run.planning.worker_config import WorkerConfig
from vae_batch.run.progress.activity import Activity

#: One shard computes while the one before is written.
_THREADS_A_WORKER = 2

_QUEUED_A_WORKER = 3

#: Seconds that the ledger has to say what the workers are at.
_ANSWER_S = 5.0


class RayExecutor:
    """Joins the cluster it was submitted to or named, else starts a local one."""

    def __init__(self, spec: EvaluationSpec) -> None:
        """Keep the spec; Ray starts on entry."""
        self._spec = spec
        self._started = False
        self._faults: Counter[str] = Counter()
        self._ledger: Any = None  # of the shards under way
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
    def faults(self) -> Mapping[str, int]:
        """See ``Executor.faults``; of runs of shards that have ended."""
        return self._faults

    def activity(self) -> Activity:
        """See ``Executor.activity``; of the ledger, which lives beside the driver."""
        ledger, workers = self._ledger, self._pool.size
        if ledger is None:
            return Activity(workers, 0, self._faults)
        now: Activity = ray.get(ledger.activity.remote(), timeout=_ANSWER_S)
        return dataclasses.replace(now, workers=workers, faults=self._faults + Counter(now.faults))

    def __enter__(self) -> Self:
        """Connect or start.

        Raises:
          InputError: The address cannot be reached, or the cluster has nothing to compute on.
        """
        if not ray.is_initialized():
            connect(self._spec.address)
            take_signals()  # which Ray has just taken
            self._started = True
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
        """Disconnect, and stop a cluster that was started here."""
        remove_marks(self._light.files)
        if self._started:
            ray.shutdown()

    def require_visible(self, plan: RunPlan) -> None:
        """See ``Executor.require_visible``; a cluster of this machine alone sees all there is."""
        if is_joined():
            remove_marks(self._light.files)
            self._light.files = require_visible(plan)

    def run_shards(self, tasks: Sequence[Task], config: WorkerConfig) -> Iterator[ShardOutcome]:
        """See ``Executor.run_shards``."""
        if not tasks:
            return
        pool = self._pool
        self._ledger = ledger = start_ledger(tasks)
        _configure_ray_data()
        # All at once, as waiting actors are what the autoscaler counts; Ray Data ends those that
        # find no work. A pool that may grow would wait for nodes that nobody has asked for.
        size = min(pool.size, len(tasks))
        # Tickets: the ledger says for which shard when a worker is free, and which one it has
        # loaded. One row is one block is one task, so a retry redoes one shard.
        rows = [{"ticket": number} for number in range(len(tasks))]
        queue = ray.data.from_items(rows, override_num_blocks=len(rows))
        outcomes = queue.map_batches(
            _ShardActor,
            batch_size=1,
            fn_constructor_kwargs={
                "config": config,
                "ledger": ledger,
                "files": self._light.files,
            },
            compute=ray.data.ActorPoolStrategy(
                size=size,
                max_tasks_in_flight_per_actor=_QUEUED_A_WORKER,
                max_concurrent_calls_per_actor=_THREADS_A_WORKER,
                enable_true_multi_threading=True,
            ),
            num_cpus=pool.cpus,
            num_gpus=pool.gpus or None,
            runtime_env={"env_vars": worker_environment(pool)},
        )
        for row in outcomes.iter_rows():
            yield _read_outcome(row["outcome"])
        self._faults.update(ray.get(ledger.faults.remote()))
        self._ledger = None

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Handle:  # noqa: ANN401
        """See ``Executor.submit``; waits for room beside the workers."""
        return self._light.submit(function, *arguments)

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

    def __init__(self, config: WorkerConfig, ledger: Any, files: DriverFiles) -> None:  # noqa: ANN401
        self._ledger, self._files = LedgerClient(ledger), files
        # Where its node was lost, Ray asks again for what nobody has heard of, finished or not.
        again = ray.get_runtime_context().was_current_actor_reconstructed
        self._worker = ShardWorker(config, self._ledger, may_be_asked_again=again)

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[str]]:
        outcomes = [self._run(int(ticket)) for ticket in batch["ticket"]]
        return {"outcome": [json.dumps(dataclasses.asdict(outcome)) for outcome in outcomes]}

    def _run(self, ticket: int) -> ShardOutcome:
        if refusal := refusal_here(self._files, extracts=True):
            unit, shard, _ = self._ledger.take(ticket)
            self._ledger.end(shard)
            return ShardOutcome(unit.path, shard, "bad_input", refusal)
        return self._worker.run_taken(functools.partial(self._ledger.take, ticket))


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
