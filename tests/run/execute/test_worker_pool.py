"""The pool of workers against a cluster that is played: losses, suspects, time limits, starts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from ray.exceptions import ActorDiedError, ActorUnavailableError, RayTaskError

from vae_batch.plan import InputError, Shard, Unit
from vae_batch.plan.shards import Kind
from vae_batch.run.execute.on_ray import cluster as cluster_module
from vae_batch.run.execute.on_ray import worker_pool
from vae_batch.run.execute.on_ray.machines import Machine, Node
from vae_batch.run.execute.on_ray.shard_actor import Place
from vae_batch.run.execute.on_ray.worker_pool import WorkerPool
from vae_batch.run.execute.task_queue import Task
from vae_batch.run.execute.worker import ShardOutcome
from vae_batch.run.progress.events import FaultMet

#: What a shard does to its worker: ends well, crashes it, is stuck, loses its node, or raises.
Behaviour = Callable[["Actor", Task], str]


class Actor:
    """An actor of the played cluster: calls run in order, two at a time."""

    def __init__(self, cluster: Cluster, node: str) -> None:
        self.cluster, self.node, self.life = cluster, node, 0
        self.calls: list[tuple[Any, str, Any]] = []
        self.is_frozen = False
        self.most_at_once = 0
        for name in ("start", "run", "stuck"):
            setattr(self, name, SimpleNamespace(remote=self._method(name)))

    def _method(self, name: str) -> Callable[..., Any]:
        def remote(*arguments: Any) -> object:
            call = object()
            self.calls.append((call, name, arguments))
            runs = sum(name == "run" for _, name, _ in self.calls)
            self.most_at_once = max(self.most_at_once, runs)
            return call

        return remote

    @property
    def place(self) -> Place:
        return Place(self.node, f"{id(self)}-{self.life}", self.cluster.refusal)

    def die(self, error: Exception) -> None:
        """The process ends; every call fails."""
        for call, _, _ in self.calls:
            self.cluster.results[call] = error
        self.calls, self.life = [], self.life + 1

    def step(self) -> None:
        """Answer `start`, and let the first shard end."""
        if self.is_frozen:
            return
        for call, name, _ in list(self.calls):
            if name == "start":
                self.calls = [other for other in self.calls if other[0] is not call]
                self.cluster.results[call] = self.place
        found = next((c for c in self.calls if c[1] == "run"), None)
        if found is not None:
            self._end(*found)

    def _end(self, call: Any, name: str, arguments: Any) -> None:
        unit, shard, may_be_done = arguments
        self.cluster.tried.append((shard, may_be_done))
        match self.cluster.behave(self, (unit, shard)):
            case "done":
                self.cluster.results[call] = ShardOutcome(unit.path, shard, "done")
                self.calls = [other for other in self.calls if other[0] is not call]
            case "fail":
                failed = ShardOutcome(unit.path, shard, "unit_failed", "NaN")
                self.cluster.results[call] = failed
                self.calls = [other for other in self.calls if other[0] is not call]
            case "raise":
                error = RayTaskError("run", "remote traceback", ValueError("unforeseen"))
                self.cluster.results[call] = error
                self.calls = [other for other in self.calls if other[0] is not call]
            case "freeze":
                self.is_frozen = True
            case "crash":
                self.die(ActorUnavailableError("gone", None))
            case "lose node":
                self.cluster.nodes.remove(self.node)
                self.node = self.cluster.add_node()
                self.die(ActorDiedError())
            case "stuck":
                watch = next(c for c, name, _ in self.calls if name == "stuck")
                self.cluster.results[watch] = (shard, 30.0)
                self.calls = [other for other in self.calls if other[0] is not watch]
                self.cluster.dying.append(self)


class Cluster:
    """Stands for ``ray``; its clock goes on whenever somebody waits."""

    def __init__(self, behave: Behaviour) -> None:
        self.behave, self.refusal = behave, ""
        self.now = 0.0
        self.nodes: list[str] = []
        self.actors: list[Actor] = []
        self.dying: list[Actor] = []
        self.killed: list[Actor] = []
        self.results: dict[Any, Any] = {}
        self.tried: list[tuple[Shard, bool]] = []
        self.has_room_for = 10**6
        self.is_full_until = 0.0

    def add_node(self) -> str:
        self.nodes.append(f"node-{len(self.nodes)}-{self.now}")
        return self.nodes[-1]

    def start_actor(self) -> Actor:
        actor = Actor(self, self.add_node())
        self.actors.append(actor)
        return actor

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def wait(self, calls: list[Any], num_returns: int, timeout: float) -> tuple[list[Any], Any]:
        if timeout:
            self.now += timeout
            for actor in self.dying:
                actor.die(ActorUnavailableError("gone", None))
            self.dying = []
            if self.now >= self.is_full_until:
                for actor in self.actors[: self.has_room_for]:
                    actor.step()
        return [call for call in calls if call in self.results], None

    def get(self, call: Any) -> Any:
        result = self.results.pop(call)
        if isinstance(result, Exception):
            raise result
        return result

    def kill(self, actor: Actor, no_restart: bool = True) -> None:
        if no_restart:
            self.killed.append(actor)
        else:
            actor.is_frozen = False
            actor.die(ActorUnavailableError("killed", None))


@pytest.fixture
def play(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Runs shards on a cluster that behaves so; gives what happened, and the cluster."""

    def run(
        tasks: list[Task],
        workers: int,
        behave: Behaviour,
        idle: list[Any] | None = None,
        **more: Any,
    ) -> Any:
        cluster = Cluster(behave)
        vars(cluster).update(more)
        monkeypatch.setattr(worker_pool, "ray", cluster)
        monkeypatch.setattr(worker_pool, "time", SimpleNamespace(
            monotonic=lambda: cluster.now, sleep=cluster.sleep
        ))  # fmt: skip
        monkeypatch.setattr(cluster_module, "time", worker_pool.time)
        alive = lambda: [Node(node, node, Machine(1, 0), False) for node in cluster.nodes]  # noqa: E731
        monkeypatch.setattr(worker_pool, "alive_nodes", alive)
        pool = WorkerPool(
            tasks,
            workers,
            cluster.start_actor,
            (None, None, 0),  # type: ignore[arg-type]
            shard_timeout=30.0,
            idle=idle,
        )
        cluster.pool = pool  # type: ignore[attr-defined]
        return list(pool.run()), cluster

    return run


def tasks_of(*checkpoints: str, shards: int = 3, kind: Kind = "losses") -> list[Task]:
    units = [Unit(f"{kind}/{name}", kind, "f", shards, 1, name) for name in checkpoints]
    return [(unit, shard) for unit in units for shard in unit.shards()]


def done(found: list[Any]) -> list[Shard]:
    return sorted(o.shard for o in found if isinstance(o, ShardOutcome) and o.status == "done")


def the_failed(found: list[Any]) -> ShardOutcome:
    """The one outcome that is not done."""
    (failed,) = [o for o in found if isinstance(o, ShardOutcome) and o.status != "done"]
    return failed


def faults(found: list[Any]) -> Counter[str]:
    return Counter(event.kind for event in found if isinstance(event, FaultMet))


def test_every_shard_ends_once_and_two_are_in_flight(play: Any) -> None:
    tasks = tasks_of("a", "b", shards=5)
    found, cluster = play(tasks, 2, lambda actor, task: "done")
    assert done(found) == sorted(shard for _, shard in tasks)
    assert {actor.most_at_once for actor in cluster.actors} == {2}
    assert set(cluster.killed) == set(cluster.actors)


def test_workers_are_kept_when_all_is_done(play: Any) -> None:
    idle: list[Any] = []
    _, cluster = play(tasks_of("a", "b"), 2, lambda actor, task: "done", idle=idle)
    assert (idle, cluster.killed) == (cluster.actors, [])


def test_no_worker_is_kept_of_a_run_that_ended_early(play: Any) -> None:
    idle: list[Any] = []
    with pytest.raises(InputError, match="does not see"):
        play(tasks_of("a"), 2, lambda actor, task: "done", idle=idle, refusal="it does not see")
    assert idle == []


def test_a_lost_process_costs_a_retry_that_looks_for_the_receipt(play: Any) -> None:
    crashed: list[Shard] = []

    def behave(actor: Actor, task: Task) -> str:
        if not crashed:
            crashed.append(task[1])
            return "crash"
        return "done"

    tasks = tasks_of("a", "b")
    found, cluster = play(tasks, 1, behave)
    assert done(found) == sorted(shard for _, shard in tasks)
    assert faults(found) == {"workers lost": 1}
    again = [may_be_done for shard, may_be_done in cluster.tried if shard == crashed[0]]
    assert again == [False, True]
    retried = [path for event in found if isinstance(event, FaultMet) for path in event.units]
    assert retried == ["losses/a", "losses/a"]
    assert cluster.pool.at_work() == 0


def test_a_poison_shard_is_given_up_and_its_neighbours_are_not_blamed(play: Any) -> None:
    alone: list[int] = []

    def behave(actor: Actor, task: Task) -> str:
        if task[0].checkpoint != "bad":
            return "done"
        alone.append(sum(name == "run" for _, name, _ in actor.calls))
        return "crash"

    tasks = tasks_of("a", "bad", "b")
    found, _ = play(tasks, 1, behave)
    assert done(found) == sorted(shard for unit, shard in tasks if unit.checkpoint != "bad")
    failed = the_failed(found)
    assert failed.status == "checkpoint_failed"
    assert "took 3 workers down" in failed.reason or "took 4 workers down" in failed.reason
    assert set(alone[1:]) == {1}, "suspects are tried alone"
    assert 3 <= faults(found)["workers lost"] <= 4


def test_machines_that_go_are_not_blamed_on_their_shards(play: Any) -> None:
    lost: list[str] = []

    def behave(actor: Actor, task: Task) -> str:
        if len(lost) < 6:
            lost.append(actor.node)
            return "lose node"
        return "done"

    tasks = tasks_of("a")
    found, _ = play(tasks, 1, behave)
    assert done(found) == sorted(shard for _, shard in tasks)
    assert faults(found) == {"machines lost": 6}


def test_a_stuck_shard_is_given_up_and_its_neighbour_is_not_blamed(play: Any) -> None:
    poison = tasks_of("bad", shards=1)
    tasks = poison + tasks_of("good")
    stuck = lambda actor, task: "stuck" if task in poison else "done"  # noqa: E731
    found, _ = play(tasks, 1, stuck)
    assert done(found) == sorted(shard for unit, shard in tasks if unit.checkpoint == "good")
    failed = the_failed(found)
    assert "took longer than shard_timeout, 30 s, 3 times" in failed.reason
    assert faults(found) == {"shards stuck": 3}


def test_a_worker_that_gives_no_sign_is_ended_and_its_shards_are_tried_again(play: Any) -> None:
    frozen: list[Task] = []

    def behave(actor: Actor, task: Task) -> str:
        if not frozen:
            frozen.append(task)
            return "freeze"
        return "done"

    tasks = tasks_of("a")
    found, cluster = play(tasks, 1, behave)
    assert done(found) == sorted(shard for _, shard in tasks)
    assert faults(found) == {"shards stuck": 1}
    assert 2 * 30 + 60 < cluster.now < 200


def test_waiting_for_room_is_said_less_and_less_often(
    play: Any, caplog: pytest.LogCaptureFixture
) -> None:
    found, _ = play(tasks_of("a"), 1, lambda actor, task: "done", is_full_until=400.0)
    assert len(done(found)) == 3
    said = [r.getMessage() for r in caplog.records if "the run waits" in r.getMessage()]
    assert [text.split(" s,")[0] for text in said] == [
        f"no worker has started for {seconds}" for seconds in (60, 120, 240)
    ]


def test_the_other_shards_of_a_failed_unit_are_skipped(play: Any) -> None:
    tasks = tasks_of("a", shards=8) + tasks_of("a", kind="generated", shards=2)
    fails = lambda actor, task: "fail" if task[0].kind == "losses" else "done"  # noqa: E731
    found, cluster = play(tasks, 1, fails)
    assert done(found) == sorted(shard for unit, shard in tasks if unit.kind == "generated")
    tried = [shard for shard, _ in cluster.tried if shard.unit == "losses/a"]
    assert 1 <= len(tried) <= 2, "the second one was in flight already"


def test_an_error_of_the_actor_fails_the_unit_with_its_traceback(play: Any) -> None:
    found, _ = play(tasks_of("a", shards=1), 1, lambda actor, task: "raise")
    (outcome,) = found
    assert (outcome.status, outcome.reason) == ("unit_failed", "ValueError: unforeseen")
    assert "remote traceback" in outcome.traceback


def test_a_machine_that_does_not_see_the_files_ends_the_run(play: Any) -> None:
    with pytest.raises(InputError, match="is not the driver's folder"):
        play(tasks_of("a"), 1, lambda actor, task: "done", refusal="out is not the driver's folder")


def test_actors_without_a_node_are_dismissed_when_nothing_is_left_for_them(play: Any) -> None:
    tasks = tasks_of("a", shards=6)
    found, cluster = play(tasks, 3, lambda actor, task: "done", has_room_for=1)
    assert done(found) == sorted(shard for _, shard in tasks)
    assert cluster.killed[:2] == cluster.actors[1:]
