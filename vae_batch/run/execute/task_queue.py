"""Shards to compute: which one a worker gets, and what is tried again after a worker was lost."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

from vae_batch.plan import Shard, Unit
from vae_batch.run.execute.failures import Failure
from vae_batch.storage import ReasonCode

Task = tuple[Unit, Shard]


class TaskQueue:
    """Hands out shards to workers that have room for one.

    In the order of the list every worker would load every checkpoint, which takes most of the time
    where checkpoints are many and small. So a worker stays with its checkpoint; when none of its
    shards is left, it takes the next checkpoint that no worker has, and when there is none, it
    helps with the checkpoint that has most shards left per worker.

    Shards of the reference, which need no checkpoint, come first. When half of them are handed
    out, each worker describes (that is, loads) a checkpoint of its own in between: a checkpoint
    that cannot be loaded, or ends its worker, does so there, and not on every worker at once.
    """

    def __init__(self, tasks: Sequence[Task]) -> None:
        """Queue ``tasks``, which are sorted by checkpoint."""
        self._shared: deque[Task] = deque()
        self._left: dict[str, deque[Task]] = {}
        for task in tasks:
            self._queue_of(task[0].checkpoint).append(task)
        self._half = len(self._shared) // 2
        #: Checkpoints that no worker has had, in order.
        self._untouched = dict.fromkeys(self._left)
        self._loaded: dict[Hashable, str] = {}
        self._workers_with: Counter[str] = Counter()

    def __bool__(self) -> bool:
        """Whether shards are left."""
        return bool(self._shared or self._left)

    def next(self, worker: Hashable) -> Task | None:
        """A shard for a worker; None where none is left."""
        own = self._loaded.get(worker)
        if self._shared:
            if own is None and len(self._shared) <= self._half and self._next_is_description():
                return self._take(worker, next(iter(self._untouched)))
            return self._shared.popleft()
        if own is None or own not in self._left:
            own = self._choose()
        return None if own is None else self._take(worker, own)

    def put_back(self, task: Task) -> None:
        """Queue a shard again, before all others of its checkpoint."""
        self._queue_of(task[0].checkpoint).appendleft(task)

    def drop(self, unit: Unit, *, whole_checkpoint: bool) -> None:
        """Remove the shards of a unit, or all shards of its checkpoint."""
        checkpoint = unit.checkpoint
        if whole_checkpoint and checkpoint is not None:
            self._keep(checkpoint, lambda task: False)
        else:
            self._keep(checkpoint, lambda task: task[0].path != unit.path)

    def unload(self, worker: Hashable) -> None:
        """Note that a worker has no checkpoint loaded: its process was replaced."""
        before = self._loaded.pop(worker, None)
        if before is not None:
            self._workers_with[before] -= 1

    def _queue_of(self, checkpoint: str | None) -> deque[Task]:
        return self._shared if checkpoint is None else self._left.setdefault(checkpoint, deque())

    def _keep(self, checkpoint: str | None, is_kept: Callable[[Task], bool]) -> None:
        kept = deque(filter(is_kept, self._queue_of(checkpoint)))
        if checkpoint is None:
            self._shared = kept
        elif kept:
            self._left[checkpoint] = kept
        else:
            self._left.pop(checkpoint)
            self._untouched.pop(checkpoint, None)

    def _next_is_description(self) -> bool:
        following = next(iter(self._untouched), None)
        return following is not None and self._left[following][0][0].kind == "description"

    def _choose(self) -> str | None:
        if self._untouched:
            return next(iter(self._untouched))
        share = {
            name: len(left) / (1 + self._workers_with[name]) for name, left in self._left.items()
        }
        return max(share, key=share.__getitem__, default=None)

    def _take(self, worker: Hashable, checkpoint: str) -> Task:
        if self._loaded.get(worker) != checkpoint:
            self.unload(worker)
            self._loaded[worker] = checkpoint
            self._workers_with[checkpoint] += 1
            self._untouched.pop(checkpoint, None)
        left = self._left[checkpoint]
        task = left.popleft()
        if not left:
            del self._left[checkpoint]
        return task


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
    """Counts the losses of every shard and checkpoint; the driver asks it before each attempt.

    A shard that ends its worker is tried again, since machines and memory fail, but not without
    limit. Two shards are in flight in a worker: one computes while another is written. When the
    process dies, either may be the cause. So they, and the other shards of their checkpoints, are
    suspects: each is tried alone on a worker until one shard of the checkpoint ends well, and only
    what dies repeatedly while alone is given up. A neighbour is never blamed, and a checkpoint that
    kills every worker that loads it costs each of them one death at most, and
    :data:`MAX_ATTEMPTS` - 1 more.
    """

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
