"""Shards that were lost with their worker: which are tried again, how, and which are given up.

A shard that ends its worker is tried again, since machines and memory fail, but not without limit.
Two shards are in flight in a worker: one computes while another is written. When the process dies,
either may be the cause. So they, and the other shards of their checkpoints, are suspects: each is
tried alone on a worker until one shard of the checkpoint ends well, and only what dies repeatedly
while alone is given up. A neighbour is never blamed, and a checkpoint that kills every worker that
loads it costs each of them one death at most, and :data:`MAX_ATTEMPTS` - 1 more.
"""

from __future__ import annotations

from dataclasses import dataclass

from vae_batch.run.execute.failures import Failure
from vae_batch.run.execute.task_queue import Task
from vae_batch.storage import ReasonCode

#: Times a shard may end its worker, or time out, before it is given up.
MAX_ATTEMPTS = 3

#: Machines that a shard may be lost with. Spot machines come and go and no shard is to blame, but
#: a shard that takes whole machines down must end, too.
MAX_MACHINES = 9


@dataclass
class _Losses:
    """How often a shard was lost; or shards of a checkpoint, since one of them ended well.

    Attributes:
        crashes: With a worker that died.
        stuck: With a worker that ended itself because of this shard.
        certain: Of these, those that no neighbour can have caused.
        machines: With a machine.
        seconds: Time limit of the last time-out.
    """

    crashes: int = 0
    stuck: int = 0
    certain: int = 0
    machines: int = 0
    seconds: float = 0.0

    @property
    def too_many(self) -> bool:
        """Whether it is given up; losses that a neighbour may have caused count as one."""
        doubtful = self.crashes + self.stuck > self.certain
        return self.certain + doubtful >= MAX_ATTEMPTS or self.machines >= MAX_MACHINES


class RetryLedger:
    """Counts the losses of every shard and checkpoint; the driver asks it before each attempt."""

    def __init__(self) -> None:
        """Begin with no losses."""
        #: By shard, and by identifier of a checkpoint.
        self._losses: dict[object, _Losses] = {}

    def is_suspect(self, task: Task) -> bool:
        """Whether a shard must be tried alone on its worker."""
        unit, shard = task
        return not self._losses.keys().isdisjoint({shard, unit.checkpoint})

    def given_up(self, task: Task) -> Failure | None:
        """Why a shard is not tried again; None where it is."""
        unit, shard = task
        words = _words(task)
        for key, what, where in ((shard, words, ""), (unit.checkpoint, "it", f", at last {words}")):
            losses = self._losses.get(key)
            if losses is not None and losses.too_many:
                code: ReasonCode = "timeout" if losses.stuck > losses.crashes else "worker_lost"
                return Failure(f"{what} {_fault(losses)}{where}; see the worker's log", code=code)
        return None

    def ended(self, task: Task) -> None:
        """Note that a shard left its process alive: written, or failed with a sentence."""
        unit, shard = task
        self._losses.pop(shard, None)
        self._losses.pop(unit.checkpoint, None)

    def crashed(self, task: Task, *, alone: bool) -> None:
        """Note that a shard was in flight in a process that died; ``alone`` with no other one."""
        for losses in self._losses_of(task):
            losses.crashes += 1
            losses.certain += alone

    def stuck(self, task: Task, seconds: float) -> None:
        """Note that a shard exceeded its time limit, so that its worker ended itself."""
        for losses in self._losses_of(task):
            losses.stuck, losses.certain = losses.stuck + 1, losses.certain + 1
            losses.seconds = seconds

    def lost_with_machine(self, task: Task) -> None:
        """Note that a shard was in flight on a machine that is gone; no checkpoint is blamed."""
        self._losses.setdefault(task[1], _Losses()).machines += 1

    def _losses_of(self, task: Task) -> list[_Losses]:
        unit, shard = task
        keys: tuple[object, ...] = (shard,) if unit.checkpoint is None else (shard, unit.checkpoint)
        return [self._losses.setdefault(key, _Losses()) for key in keys]


def _words(task: Task) -> str:
    unit, shard = task
    if unit.kind == "description":
        return "loading it"
    return f"{shard.unit.partition('/')[0]} {shard.start} to {shard.stop}"


def _fault(losses: _Losses) -> str:
    said = []
    if losses.crashes:
        said.append(
            f"took {losses.crashes} workers down (out of memory, or a crash in the model's code)"
        )
    if losses.stuck:
        said.append(f"took longer than shard_timeout, {losses.seconds:g} s, {losses.stuck} times")
    if losses.machines >= MAX_MACHINES:
        said.append(f"was lost with {losses.machines} machines")
    return " and ".join(said)
