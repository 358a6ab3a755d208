"""Light tasks beside the shards: reductions and scores under way, and who takes their results."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from vae_batch.plan import InputError
from vae_batch.run.execute.executor import Executor, Handle

#: Tasks that are asked for their results at a time.
_LOOKED_AT = 32


@dataclass(frozen=True)
class _LightTask:
    handle: Handle
    receive: Callable[[Any], None]
    checkpoint: str | None


class LightWork:
    """Light tasks of one run; what fails costs its checkpoint, or the run where it has none."""

    def __init__(self, executor: Executor, fail: Callable[[str, str], None]) -> None:
        """Run tasks on ``executor``; ``fail`` gives up a checkpoint (identifier, reason)."""
        self._executor, self._fail = executor, fail
        self._under_way: list[_LightTask] = []

    @property
    def is_under_way(self) -> bool:
        """Whether any result has not been taken yet."""
        return bool(self._under_way)

    def submit(
        self,
        checkpoint: str | None,
        receive: Callable[[Any], None],
        function: Callable[..., Any],
        *arguments: Any,  # noqa: ANN401
    ) -> None:
        """Start a task; one that has ended by then has its result taken at once.

        Args:
          checkpoint: Identifier of whose it is; None for the reference's.
          receive: Takes the result.
          function: To be called, elsewhere.
          *arguments: Of it.
        """
        task = _LightTask(self._executor.submit(function, *arguments), receive, checkpoint)
        if task.handle.is_ready():  # a serial run's: its row must not wait for the next one's
            self._receive(task)
        else:
            self._under_way.append(task)

    def receive_ready(self, *, wait: bool) -> bool:
        """Take results that are there, or all; whether there were any."""
        # To ask is to ask the cluster. Tasks end in about their order: the first ones tell.
        looked_at = self._under_way if wait else self._under_way[:_LOOKED_AT]
        ready = [task for task in looked_at if wait or task.handle.is_ready()]
        for task in ready:
            self._under_way.remove(task)
            self._receive(task)
        return bool(ready)

    def _receive(self, task: _LightTask) -> None:
        try:
            result = task.handle.result()
        except (OSError, InputError):
            raise
        except Exception as error:  # isolation: such as a task that took its process down
            reason = f"{type(error).__name__}: {error}"[:600]
            if task.checkpoint is None:
                raise InputError(f"the reference cannot be reduced: {reason}") from error
            self._fail(task.checkpoint, f"it cannot be reduced or scored: {reason}")
        else:
            task.receive(result)
