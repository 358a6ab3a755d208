"""The driver's side of the workers: it feeds actors, and decides what is tried again.

The driver keeps up to two calls in flight per actor and so knows which shard is where. Ray restarts
an actor whose process or node is lost, and never repeats a call by itself: the shards that were in
flight wait until it is known whether their machine or only their process was lost, are counted in
the retry ledger, and are queued again.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import ray
from ray.exceptions import ActorUnavailableError, RayError, RayTaskError

from vae_batch.plan import ClusterLostError, InputError, Shard
from vae_batch.run.execute.failures import Failure, failure_of
from vae_batch.run.execute.on_ray.cluster import Waiting, require_alive
from vae_batch.run.execute.on_ray.machines import alive_nodes
from vae_batch.run.execute.on_ray.shard_actor import IN_FLIGHT, Place
from vae_batch.run.execute.on_ray.visibility import DriverFiles
from vae_batch.run.execute.task_queue import RetryLedger, Task, TaskQueue
from vae_batch.run.execute.worker import ShardOutcome, failed_outcome
from vae_batch.run.progress.events import FaultMet

_log = logging.getLogger(__name__)

#: Seconds between looks at workers that do not answer.
_TICK_S = 0.5

#: Seconds after which Ray has noticed that a node is gone, if its process was lost with it: where
#: the actor has been restarted on another node, and where it has not been restarted at all.
_NODE_LOSS_S = 5.0
_NODE_LOSS_WITHOUT_RESTART_S = 40.0

#: Seconds beyond two time limits of a shard (it is computed, then written) after which a worker
#: that has ended none is frozen: its own watchdog would have ended it before.
_FROZEN_S = 60.0

#: Times in succession that an actor may fail to start.
_STARTS = 3


@dataclass(eq=False)
class _Worker:
    """An actor and what the driver has given it.

    Attributes:
        actor: Its handle.
        control: A pending call of ``start`` while it starts, of ``stuck`` afterwards.
        place: Where it runs; None while it starts, or starts again.
        last: Its last place.
        in_flight: Calls whose outcome is not known.
        is_alone: Whether the shard in flight is a suspect, which has the worker for itself.
        waiting: A suspect that waits until nothing else is in flight.
        ended: Process that is about to end itself; it gets no more calls.
        heard: When its last shard ended, or it was given one while it had none.
        starts: Failed starts in succession.
        start_at: When to call ``start``, where no call is pending.
    """

    actor: Any
    control: Any = None
    place: Place | None = None
    last: Place | None = None
    in_flight: dict[Any, Task] = field(default_factory=dict)
    is_alone: bool = False
    waiting: Task | None = None
    ended: str = ""
    heard: float = 0.0
    starts: int = 0
    start_at: float = 0.0

    @property
    def has_work(self) -> bool:
        return bool(self.in_flight) or self.waiting is not None


@dataclass(frozen=True)
class _Loss:
    """Shards that were in flight when a worker stopped answering."""

    worker: _Worker
    place: Place
    tasks: tuple[Task, ...]
    alone: bool
    at: float


class WorkerPool:
    """Workers of one list of shards; see the module."""

    def __init__(
        self,
        tasks: Sequence[Task],
        size: int,
        start_actor: Callable[[], Any],
        configuration: tuple[Any, DriverFiles, int],
        shard_timeout: float,
        idle: list[Any] | None = None,
    ) -> None:
        """Ask for all actors at once: those that have no node yet are what an autoscaler counts.

        Args:
            tasks: Shards, sorted by checkpoint.
            size: Number of workers.
            start_actor: Creates a `ShardActor`.
            configuration: Arguments of its ``start``.
            shard_timeout: Time limit of a shard in seconds, which workers keep themselves.
            idle: Takes the actors when all shards are done; without it they are ended.
        """
        self._idle = idle
        self._queue, self._ledger = TaskQueue(tasks), RetryLedger()
        self._start_actor, self._configuration = start_actor, configuration
        self._workers = [_Worker(start_actor()) for _ in range(size)]
        self._shard_timeout = shard_timeout
        self._waiting = Waiting("no worker has started")
        self._losses: list[_Loss] = []
        self._tried: set[Shard] = set()
        self._skipped: set[str | None] = set()
        self._lost_nodes: set[str] = set()

    def run(self) -> Iterator[ShardOutcome | FaultMet]:
        """Compute all shards; see ``Executor.run_shards``.

        Raises:
            InputError: A node does not see the run's files, or workers cannot start.
            ClusterLostError: The cluster does not answer.
        """
        is_done = False
        try:
            while self._queue or self._losses or any(w.has_work for w in self._workers):
                require_alive()
                yield from self._feed()
                self._dismiss_pending()
                yield from self._receive()
                yield from self._settle_losses()
                yield from self._end_frozen()
                self._say_waiting()
            is_done = True
        except ClusterLostError:
            self._workers.clear()  # there is nothing to end them with
            raise
        finally:
            for worker in self._workers:
                if is_done and self._idle is not None and worker.place is not None:
                    self._idle.append(worker.actor)
                else:
                    ray.kill(worker.actor)

    def at_work(self) -> int:
        """Number of workers that hold a shard; may be called from another thread."""
        return sum(bool(worker.in_flight) for worker in list(self._workers))

    def _feed(self) -> Iterator[ShardOutcome]:
        """Give shards to workers that have room; each gets one before any gets a second."""
        for room in range(IN_FLIGHT):
            for worker in self._workers:
                if worker.place is not None and len(worker.in_flight) == room:
                    yield from self._give(worker)

    def _give(self, worker: _Worker) -> Iterator[ShardOutcome]:
        if worker.is_alone or (worker.waiting is not None and worker.in_flight):
            return
        while True:
            task, worker.waiting = worker.waiting or self._queue.next(worker), None
            if task is None:
                return
            failure = self._ledger.given_up(task)
            if failure is None:
                break
            yield self._skip(task, failed_outcome(*task, "checkpoint_failed", failure))
        is_suspect = self._ledger.is_suspect(task)
        if is_suspect and worker.in_flight:
            worker.waiting = task
            return
        unit, shard = task
        if not worker.in_flight:
            worker.heard = time.monotonic()
        call = worker.actor.run.remote(unit, shard, shard in self._tried)
        worker.in_flight[call], worker.is_alone = task, is_suspect

    def _dismiss_pending(self) -> None:
        """End actors that wait for a node, when no shard is left for them."""
        if self._queue or self._losses:
            return
        pending = [w for w in self._workers if w.last is None]
        if len(pending) < len(self._workers):
            for worker in pending:
                ray.kill(worker.actor)
                self._workers.remove(worker)

    def _receive(self) -> Iterator[ShardOutcome | FaultMet]:
        """Wait for a moment and take what has ended: outcomes first, then lost workers."""
        self._start_workers()
        calls = {call: worker for worker in self._workers for call in worker.in_flight}
        calls |= {w.control: w for w in self._workers if w.control is not None}
        if not calls:
            time.sleep(_TICK_S)
            return
        ready, _ = ray.wait(list(calls), num_returns=1, timeout=_TICK_S)
        if ready:
            ready, _ = ray.wait(list(calls), num_returns=len(calls), timeout=0)
        lost: dict[_Worker, None] = {}
        for call in ready:
            worker = calls[call]
            if call in worker.in_flight:
                outcome = _outcome_of(call, worker.in_flight[call])
                if outcome is None:
                    lost[worker] = None
                else:
                    yield self._end(worker, call, outcome)
        for call in ready:
            if call is calls[call].control:
                yield from self._take_control(calls[call], lost)
        for worker in lost:
            self._lose(worker)

    def _start_workers(self) -> None:
        for worker in self._workers:
            if worker.control is None and time.monotonic() >= worker.start_at:
                worker.control = worker.actor.start.remote(*self._configuration)

    def _end(self, worker: _Worker, call: Any, outcome: ShardOutcome) -> ShardOutcome:  # noqa: ANN401
        task = worker.in_flight.pop(call)
        worker.heard, worker.is_alone = time.monotonic(), False
        self._ledger.ended(task)
        return self._skip(task, outcome)

    def _skip(self, task: Task, outcome: ShardOutcome) -> ShardOutcome:
        """Drop what a failed shard makes useless."""
        unit, _ = task
        if outcome.status in ("unit_failed", "checkpoint_failed"):
            whole = outcome.status == "checkpoint_failed"
            self._skipped.add(unit.checkpoint if whole else unit.path)
            self._queue.drop(unit, whole_checkpoint=whole)
        return outcome

    def _take_control(self, worker: _Worker, lost: dict[_Worker, None]) -> Iterator[FaultMet]:
        call, worker.control = worker.control, None
        try:
            answer = ray.get(call)
        except RayError as error:
            if worker.place is not None:
                lost[worker] = None
            else:
                self._start_again(worker, error)
            return
        if isinstance(answer, Place):
            self._arrive(worker, answer)
        else:
            yield self._note_stuck(worker, *answer)

    def _arrive(self, worker: _Worker, place: Place) -> None:
        if place.refusal:
            raise InputError(place.refusal)
        worker.start_at = time.monotonic() + _TICK_S
        if place.process == worker.ended:
            return
        worker.place = worker.last = place
        worker.starts = 0
        worker.control = worker.actor.stuck.remote()

    def _start_again(self, worker: _Worker, error: RayError) -> None:
        """An actor did not say where it is: it is being restarted, or could not start at all."""
        worker.start_at = time.monotonic() + _TICK_S
        require_alive(now=True)
        if isinstance(error, ActorUnavailableError):
            return
        _log.warning("a worker could not start: %s", error)
        worker.starts += 1
        if worker.starts >= _STARTS:
            raise InputError(f"workers cannot start on the cluster: {error}") from error
        ray.kill(worker.actor)
        worker.actor = self._start_actor()

    def _note_stuck(self, worker: _Worker, shard: Shard, seconds: float) -> FaultMet:
        """A worker ends itself because of one shard; the others in flight are not to blame."""
        tasks = list(worker.in_flight.values())
        worker.ended = worker.place.process if worker.place else ""
        for task in tasks:
            if task[1] == shard:
                self._ledger.stuck(task, seconds)
        self._leave(worker)
        return self._retry("shards stuck", tasks)

    def _end_frozen(self) -> Iterator[FaultMet]:
        """End workers that do not even say that a shard is stuck, such as a stopped process."""
        for worker in self._workers:
            silent = time.monotonic() - worker.heard
            if worker.in_flight and silent > 2 * self._shard_timeout + _FROZEN_S:
                node = worker.place.node if worker.place else "unknown"
                _log.warning("a worker on node %s is silent for %.0f s: it is ended", node, silent)
                ray.kill(worker.actor, no_restart=False)
                _, shard = next(iter(worker.in_flight.values()))
                yield self._note_stuck(worker, shard, self._shard_timeout)

    def _say_waiting(self) -> None:
        """Say that no worker is there, or is coming back."""
        if any(worker.place for worker in self._workers):
            self._waiting.begin()
        else:
            self._waiting.say_if_due()

    def _lose(self, worker: _Worker) -> None:
        """A worker does not answer: its shards wait until it is known what was lost."""
        if worker.place is not None and worker.in_flight:
            tasks = tuple(worker.in_flight.values())
            loss = _Loss(worker, worker.place, tasks, worker.is_alone, time.monotonic())
            self._losses.append(loss)
            _log.info("a worker on node %s does not answer", worker.place.node)
        self._leave(worker)

    def _leave(self, worker: _Worker) -> None:
        """Forget what an actor has in flight and loaded; it starts anew."""
        if worker.waiting is not None:
            self._queue.put_back(worker.waiting)
        worker.in_flight, worker.waiting, worker.is_alone = {}, None, False
        worker.place = worker.control = None
        self._queue.unload(worker)

    def _settle_losses(self) -> Iterator[FaultMet]:
        """Queue lost shards again as soon as it is known what they were lost with."""
        if not self._losses:
            return
        alive = {node.id for node in alive_nodes()}
        for loss in list(self._losses):
            if loss.place.node not in alive:
                for task in loss.tasks:
                    self._ledger.lost_with_machine(task)
                new = loss.place.node not in self._lost_nodes
                self._lost_nodes.add(loss.place.node)
                fault = self._retry("machines lost" if new else "", loss.tasks)
            elif loss.worker.place and loss.worker.place.process == loss.place.process:
                fault = self._retry("", loss.tasks)  # it was out of reach for a moment
            elif self._has_crashed(loss):
                for task in loss.tasks:
                    self._ledger.crashed(task, alone=loss.alone)
                fault = self._retry("workers lost", loss.tasks)
            else:
                continue
            self._losses.remove(loss)
            if fault.kind:
                yield fault

    def _has_crashed(self, loss: _Loss) -> bool:
        """Whether the process was lost and the node, which is alive, was not."""
        waited, found = time.monotonic() - loss.at, loss.worker.place
        if found is None:
            return waited > _NODE_LOSS_WITHOUT_RESTART_S
        return found.node == loss.place.node or waited > _NODE_LOSS_S

    def _retry(self, kind: str, tasks: Sequence[Task]) -> FaultMet:
        for unit, shard in tasks:
            self._tried.add(shard)
            if self._skipped.isdisjoint({unit.path, unit.checkpoint}):
                self._queue.put_back((unit, shard))
        return FaultMet(kind, tuple(unit.path for unit, _ in tasks))


def _outcome_of(call: Any, task: Task) -> ShardOutcome | None:  # noqa: ANN401
    """How a call ended; None where its worker is lost."""
    unit, shard = task
    try:
        outcome: ShardOutcome = ray.get(call)
    except RayTaskError as error:  # the worker lives; its code raised where nothing may raise
        _log.error("%s %s failed", unit.path, shard.name, exc_info=error)
        reason = failure_of(getattr(error, "cause", None) or error).reason
        return failed_outcome(unit, shard, "unit_failed", Failure(reason, str(error)))
    except RayError:
        return None
    return outcome
