"""The order in which shards are handed to workers."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from vae_batch.plan import Shard, Unit

Task = tuple[Unit, Shard]


def descriptions_ahead(tasks: Sequence[Task]) -> list[Task]:
    """Put the description of each checkpoint amid the shards of the one before.

    Describing a checkpoint is loading it. So one worker finds out whether that works before the
    others come to it, and a checkpoint that fails to load, or takes its worker down, does so once
    and not once on every worker. Half a checkpoint ahead and no more, since workers keep two
    checkpoints: each is then still loaded once by a worker that does all.

    Args:
      tasks: Checkpoint by checkpoint, the reference (of no checkpoint) first.
    """
    groups = [list(group) for _, group in groupby(tasks, key=lambda task: task[0].checkpoint)]
    ordered: list[Task] = []
    for group, following in zip([[], *groups], [*groups, []], strict=True):
        ahead = [task for task in following if _is_description(task)]
        own = [task for task in group if not _is_description(task)]
        half = len(own) // 2
        ordered += [*own[:half], *ahead, *own[half:]]
    return ordered


def _is_description(task: Task) -> bool:
    return task[0].kind == "description"
