"""Which shard a worker gets: one of the checkpoint that it has loaded, while there is one."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Hashable, Sequence

from vae_batch.plan import Shard, Unit

Task = tuple[Unit, Shard]


class Assignments:
    """Gives out tasks by their numbers, each once; whoever asks has room for one now.

    In the order of the list every worker would come to every checkpoint and load it, which takes
    most of the time where checkpoints are many and small. So a worker stays with its checkpoint;
    when nothing is left of that, it takes the next one that nobody has, and when there is none,
    helps where most is left for each worker.

    Tasks of no checkpoint, the reference's, come first. When half of them are given out, each
    worker describes (that is, loads) a checkpoint of its own in between: what cannot be loaded, or
    takes its worker down, does so there, and not on every worker at once.
    """

    def __init__(self, checkpoints: Sequence[str | None], descriptions: Sequence[bool]) -> None:
        """All tasks are there to be given.

        Args:
          checkpoints: Of each task; None where it needs none.
          descriptions: Whether each task is its checkpoint's description.
        """
        self._shared: deque[int] = deque()
        self._left: dict[str, deque[int]] = {}
        for number, checkpoint in enumerate(checkpoints):
            if checkpoint is None:
                self._shared.append(number)
            else:
                self._left.setdefault(checkpoint, deque()).append(number)
        self._is_description = descriptions
        self._half = len(self._shared) // 2
        #: Checkpoints that no worker has had, in order.
        self._untouched = dict.fromkeys(self._left)
        self._lives: dict[Hashable, Hashable] = {}
        self._loaded: dict[Hashable, str] = {}
        self._workers_with: Counter[str] = Counter()

    def next(self, worker: Hashable, life: Hashable = None) -> int | None:
        """The number of a task for a worker; None where all have been given.

        Args:
          worker: Keeps its name when its process is replaced.
          life: Its process; a new one has nothing loaded.
        """
        if self._lives.setdefault(worker, life) != life:
            self._lives[worker] = life
            self._unload(worker)
        own = self._loaded.get(worker)
        if self._shared:
            if own is None and len(self._shared) <= self._half and self._next_is_description():
                return self._give(worker, next(iter(self._untouched)))
            return self._shared.popleft()
        if own is None or own not in self._left:
            own = self._choose()
        return None if own is None else self._give(worker, own)

    def _next_is_description(self) -> bool:
        following = next(iter(self._untouched), None)
        return following is not None and self._is_description[self._left[following][0]]

    def _choose(self) -> str | None:
        if self._untouched:
            return next(iter(self._untouched))
        share = {
            name: len(left) / (1 + self._workers_with[name]) for name, left in self._left.items()
        }
        return max(share, key=share.__getitem__, default=None)

    def _give(self, worker: Hashable, checkpoint: str) -> int:
        if self._loaded.get(worker) != checkpoint:
            self._unload(worker)
            self._loaded[worker] = checkpoint
            self._workers_with[checkpoint] += 1
            self._untouched.pop(checkpoint, None)
        left = self._left[checkpoint]
        number = left.popleft()
        if not left:
            del self._left[checkpoint]
        return number

    def _unload(self, worker: Hashable) -> None:
        before = self._loaded.pop(worker, None)
        if before is not None:
            self._workers_with[before] -= 1


def assignments_of(tasks: Sequence[Task]) -> Assignments:
    """Of shards, checkpoint by checkpoint."""
    return Assignments(
        [unit.checkpoint for unit, _ in tasks],
        [unit.kind == "description" for unit, _ in tasks],
    )
