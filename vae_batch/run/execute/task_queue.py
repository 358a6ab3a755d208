"""Shards to compute, and which one a worker gets: one of the checkpoint that it has loaded."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Hashable, Sequence

from vae_batch.plan import Shard, Unit

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
