"""Light tasks beside the shards: reductions and scores under way, and who takes their results."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from vae_batch.plan import InputError
from vae_batch.run.execute.executor import Executor, Handle
from vae_batch.run.execute.failures import Failure, failure_of

_log = logging.getLogger(__name__)

#: Tasks that are asked for their results at a time.
_LOOKED_AT = 32


@dataclass(frozen=True)
class _LightTask:
    handle: Handle
    receive: Callable[[Any, float], None]
    checkpoint: str | None


class LightWork:
    """Light tasks of one run; what fails costs its checkpoint, or the run where it has none."""

    def __init__(self, executor: Executor, fail: Callable[[str, Failure], None]) -> None:
        """Run tasks on ``executor``; ``fail`` fails a checkpoint, given by its identifier."""
        self._executor, self._fail = executor, fail
        self._under_way: list[_LightTask] = []

    @property
    def is_under_way(self) -> bool:
        """Whether any result has not been taken yet."""
        return bool(self._under_way)

    def submit(
        self,
        checkpoint: str | None,
        receive: Callable[[Any, float], None],
        function: Callable[..., Any],
        *arguments: Any,  # noqa: ANN401
    ) -> None:
        """Start a task; one that has ended by then has its result taken at once.

        Args:
          checkpoint: Identifier of whose it is; None for the reference's.
          receive: Takes the result, and the seconds that the task took where it ran.
          function: To be called, elsewhere.
          *arguments: Of it.
        """
        task = _LightTask(self._executor.submit(timed, function, *arguments), receive, checkpoint)
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
            seconds, result = task.handle.result()
        except (OSError, InputError):
            raise
        except Exception as error:  # isolation: such as a task that took its process down
            failure = failure_of(error)
            if task.checkpoint is None:
                raise InputError(f"the reference cannot be reduced: {failure.reason}") from error
            _log.error("a task of %s failed", task.checkpoint, exc_info=error)
            said = f"it cannot be reduced or scored: {failure.reason}"
            self._fail(task.checkpoint, Failure(said, failure.traceback))
        else:
            task.receive(result, seconds)


def timed(function: Callable[..., Any], *arguments: Any) -> tuple[float, Any]:  # noqa: ANN401
    """Seconds that a call took where it was made, and what it returned."""
    began = time.perf_counter()
    value = function(*arguments)
    return time.perf_counter() - began, value
