"""A discrete-event simulation of the engine: shards on workers, light tasks beside them, losses.

What is modelled is what the engine does. One driver hands out tickets, each to the worker with the
fewest in hand, at most three. A worker computes one at a time: of the checkpoint that it has
loaded while there is one, as the engine's own ``Assignments`` say. It loads a checkpoint when it
first meets it, and keeps two. A unit of activations that is complete is
reduced, a row whose units are complete is scored, by light tasks in a few slots. A lost worker
comes back cold, and begins again what it had in hand: Ray gives its tickets to no other.

Where workers share a machine's cores and ask for more than there are, all are slowed alike
(processor sharing). Writing a shard is not modelled: it overlaps the next one's computing.
"""

from __future__ import annotations

import heapq
import math
import random
from collections import OrderedDict, deque

from cluster_model import REFERENCE, Cluster, SimulatedRun, SimulatedTask, Workload
from shared_cores import Parts, SharedCores

from vae_batch.run.execute.scheduling import Assignments

#: As in the engine: tickets in a worker's hand, and checkpoints that it keeps.
IN_HAND, KEPT_CHECKPOINTS = 3, 2

#: Share of booting that is work for a core, and not waiting for Ray: on two cores it took 13.8 s
#: with one worker, 15.6 with two and 22.4 with four.
BOOT_SHARE = 0.5


def simulate(workload: Workload, cluster: Cluster, seed: int = 0) -> SimulatedRun:
    """Run a workload on a cluster.

    Args:
      workload: With at least one shard.
      cluster: To run it on.
      seed: Of the losses.
    """
    if cluster.workers < 1 or cluster.threads < 1 or cluster.light_slots < 1:
        raise ValueError(
            f"expected at least one worker, thread and light slot, found {cluster.workers}, "
            f"{cluster.threads} and {cluster.light_slots}"
        )
    return _Simulation(workload, cluster, seed).run()


class _Worker:
    """One worker: what it has loaded, and the tickets in its hand."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.is_there = self.is_booting = False
        self.life = self.in_hand = 0
        self.queue: deque[int] = deque()
        self.running: int | None = None
        self.began = 0.0
        self.forget()

    def forget(self) -> None:
        """Nothing is loaded any more."""
        self.is_warm = False
        self.kept: OrderedDict[int, set[str]] = OrderedDict()

    def load_seconds(self, task: SimulatedTask, workload: Workload) -> float:
        """Seconds of loading that a shard brings with it; it is loaded from now on."""
        self.is_warm, cold = True, 0.0
        if task.checkpoint not in self.kept:
            if task.checkpoint != REFERENCE:
                cold += workload.loads.get(task.checkpoint, 0.0)
                self._make_room()
            self.kept[task.checkpoint] = set()
        self.kept.move_to_end(task.checkpoint)
        if task.kind not in self.kept[task.checkpoint]:
            self.kept[task.checkpoint].add(task.kind)
            cold += task.first
        return cold

    def _make_room(self) -> None:
        held = [checkpoint for checkpoint in self.kept if checkpoint != REFERENCE]
        for checkpoint in held[: max(0, len(held) - KEPT_CHECKPOINTS + 1)]:
            del self.kept[checkpoint]


class _LightTasks:
    """Reductions and scores: what is ready, waits for a slot, and is under way."""

    def __init__(self, workload: Workload) -> None:
        self._workload = workload
        self._missing: dict[int, int] = {}
        for task in workload.tasks:
            self._missing[task.unit] = self._missing.get(task.unit, 0) + 1
        self._waits = [set(units) for units, _ in workload.rows]
        self._rows_of: dict[int, list[int]] = {}
        for row, units in enumerate(self._waits):
            for unit in units:
                self._rows_of.setdefault(unit, []).append(row)
        #: Seconds of each, and the unit that it reduces; None of a score.
        self.waiting: deque[tuple[float, int | None]] = deque()
        self.running: dict[int, tuple[float, int | None]] = {}

    def shard_ended(self, unit: int) -> None:
        """One of a unit's shards is there."""
        self._missing[unit] -= 1
        if self._missing[unit]:
            return
        if unit in self._workload.reductions:
            self.waiting.append((self._workload.reductions[unit], unit))
        else:
            self._unit_ended(unit)

    def ended(self, key: int) -> None:
        """A light task has ended."""
        _, unit = self.running.pop(key)
        if unit is not None:
            self._unit_ended(unit)

    def _unit_ended(self, unit: int) -> None:
        for row in self._rows_of.get(unit, ()):
            self._waits[row].discard(unit)
            if not self._waits[row]:
                self.waiting.append((self._workload.rows[row][1], None))


class _Simulation:
    """One run under way: a clock, a heap of what happens next, and the state of all."""

    def __init__(self, workload: Workload, cluster: Cluster, seed: int) -> None:
        self._workload, self._cluster = workload, cluster
        self._draw = random.Random(seed)
        self._now, self._count = 0.0, 0
        self._heap: list[tuple[float, int, str, tuple[int, ...]]] = []
        self._left = self._tickets = len(workload.tasks)
        self._assignments = Assignments(
            [None if t.checkpoint == REFERENCE else str(t.checkpoint) for t in workload.tasks],
            [task.kind == "description" for task in workload.tasks],
        )
        self._task_of: dict[int, int] = {}
        self._workers = [_Worker(n) for n in range(min(cluster.workers, self._left))]
        #: Workers by what they have in hand: (in hand, number, life); some are out of date.
        self._free: list[tuple[int, int, int]] = []
        self._driver_is_busy = False
        #: None where nobody waits for cores.
        self._cores = None if math.isinf(cluster.cores) else SharedCores(cluster.cores)
        self._light = _LightTasks(workload)
        self._busy = self._loading = self._recomputed = self._light_busy = 0.0
        self._shards_end, self._losses = 0.0, 0

    def run(self) -> SimulatedRun:
        for worker in self._workers:
            self._boot(worker, 0.0)
        while self._left or self._light.waiting or self._light.running:
            self._now, _, what, job = heapq.heappop(self._heap)
            getattr(self, f"_on_{what}")(*job)
        span = len(self._workers) * self._shards_end
        return SimulatedRun(
            seconds=self._now,
            shards_end=self._shards_end,
            busy=self._busy,
            loading=self._loading,
            light_busy=self._light_busy,
            recomputed=self._recomputed,
            losses=self._losses,
            idle_share=max(0.0, 1 - self._busy / span) if span else 0.0,
        )

    def _at(self, time: float, what: str, *job: int) -> None:
        self._count += 1
        heapq.heappush(self._heap, (time, self._count, what, job))

    def _begin(self, key: int, life: int, parts: Parts) -> None:
        """Something takes its time: a worker (by its number), or a light task (below 0)."""
        if self._cores is None:
            self._at(self._now + sum(seconds for seconds, _ in parts), "ended", key, life)
        else:
            self._cores.add(self._now, key, [part for part in parts if part[0] > 0] or [(0.0, 0.0)])
            self._watch()

    def _watch(self) -> None:
        if self._cores is not None and not self._cores.is_idle:
            self._at(max(self._now, self._cores.next_end()[0]), "part_ended", self._cores.version)

    def _on_part_ended(self, version: int) -> None:
        """The next part on the shared cores has ended, unless they have changed since."""
        if self._cores is None or version != self._cores.version:
            return
        _, key = self._cores.next_end()
        if self._cores.end_part(self._now, key):
            self._on_ended(key, self._workers[key].life if key >= 0 else 0)
        self._watch()

    def _on_ended(self, key: int, life: int) -> None:
        if key < 0:
            self._light_busy += self._now - self._light.running[key][0]
            self._light.ended(key)
            self._start_light()
        elif self._workers[key].life == life:
            worker = self._workers[key]
            (self._is_there if worker.is_booting else self._shard_ended)(worker)

    def _boot(self, worker: _Worker, delay: float) -> None:
        worker.life += 1
        self._at(self._now + delay, "machine", worker.number, worker.life)

    def _on_machine(self, number: int, life: int) -> None:
        """A worker has a machine, and its process is asked for, then starts."""
        self._workers[number].is_booting = True
        starting = BOOT_SHARE * self._cluster.boot
        self._begin(number, life, [(self._cluster.boot - starting, 0.0), (starting, 1.0)])

    def _is_there(self, worker: _Worker) -> None:
        """A worker can take shards."""
        worker.is_there, worker.is_booting = True, False
        if self._cluster.losses_an_hour > 0:
            delay = self._draw.expovariate(self._cluster.losses_an_hour / 3600)
            self._at(self._now + delay, "lost", worker.number, worker.life)
        self._offer(worker)
        self._compute_next(worker)
        self._hand_out()

    def _on_lost(self, number: int, life: int) -> None:
        """A worker is gone, and what it had loaded and under way with it."""
        worker = self._workers[number]
        if worker.life != life or not self._left:
            return
        self._losses += 1
        worker.is_there = False
        if worker.running is not None:
            spent = max(0.0, self._now - worker.began - self._cluster.between)
            self._busy += spent
            self._recomputed += spent
            worker.queue.appendleft(worker.running)
            worker.running = None
            if self._cores is not None:
                self._cores.remove(self._now, number)
                self._watch()
        worker.forget()
        self._boot(worker, self._cluster.replacement)

    def _offer(self, worker: _Worker) -> None:
        if worker.is_there and worker.in_hand < IN_HAND:
            heapq.heappush(self._free, (worker.in_hand, worker.number, worker.life))

    def _hand_out(self) -> None:
        """The driver gives the next ticket to the worker with the fewest in hand."""
        while self._tickets and not self._driver_is_busy and self._free:
            in_hand, number, life = heapq.heappop(self._free)
            worker = self._workers[number]
            if not worker.is_there or (worker.in_hand, worker.life) != (in_hand, life):
                continue
            worker.in_hand += 1
            self._offer(worker)
            self._driver_is_busy = True
            self._tickets -= 1
            self._at(self._now + self._cluster.dispatch, "given", number, self._tickets)

    def _on_given(self, number: int, ticket: int) -> None:
        self._driver_is_busy = False
        self._workers[number].queue.append(ticket)
        self._compute_next(self._workers[number])
        self._hand_out()

    def _compute_next(self, worker: _Worker) -> None:
        if worker.running is not None or not worker.queue or not worker.is_there:
            return
        worker.running, worker.began = worker.queue.popleft(), self._now
        task = self._task(worker)
        warm_up = 0.0 if worker.is_warm else self._workload.warm_up
        load = worker.load_seconds(task, self._workload)
        self._loading += warm_up + load
        cold = [(warm_up, 1.0), (load, self._cluster.loading_cores)]
        computing = self._cluster.computing(task.seconds)
        self._begin(worker.number, worker.life, [(self._cluster.between, 0.0), *cold, computing])

    def _task(self, worker: _Worker) -> SimulatedTask:
        """The shard of the ticket that a worker is at; a lost worker's ticket keeps its own."""
        ticket = worker.running or 0
        if ticket not in self._task_of:
            number = self._assignments.next(worker.number, worker.life)
            self._task_of[ticket] = number or 0
        return self._workload.tasks[self._task_of[ticket]]

    def _shard_ended(self, worker: _Worker) -> None:
        task = self._task(worker)
        worker.running = None
        worker.in_hand -= 1
        self._busy += self._now - worker.began - self._cluster.between
        self._left -= 1
        self._shards_end = self._now
        self._light.shard_ended(task.unit)
        self._start_light()
        self._offer(worker)
        self._compute_next(worker)
        self._hand_out()

    def _start_light(self) -> None:
        light = self._light
        while light.waiting and len(light.running) < self._cluster.light_slots:
            seconds, unit = light.waiting.popleft()
            self._count += 1
            key = -self._count
            light.running[key] = self._now, unit
            self._begin(key, 0, [(seconds, 1.0)])
