"""Tasks beside the shards: reductions and scores under way, and who takes their results."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from vae_batch.plan import ClusterLostError, InputError
from vae_batch.run.execute.executor import Executor, Handle
from vae_batch.run.execute.failures import Failure, failure_of

_log = logging.getLogger(__name__)

#: Tasks that are asked for their results at a time.
_LOOKED_AT = 32


@dataclass(frozen=True)
class _Task:
    handle: Handle
    receive: Callable[[Any, float], None]
    fail: Callable[[Failure], None]


class BackgroundTasks:
    """Tasks of one run; a store that is full or out of reach ends the run, other errors do not."""

    def __init__(self, executor: Executor) -> None:
        """Run tasks on ``executor``."""
        self._executor = executor
        self._under_way: list[_Task] = []

    @property
    def are_under_way(self) -> bool:
        """Whether any result has not been taken yet."""
        return bool(self._under_way)

    def submit(
        self,
        receive: Callable[[Any, float], None],
        fail: Callable[[Failure], None],
        function: Callable[..., Any],
        *arguments: Any,  # noqa: ANN401
    ) -> None:
        """Start a task; where it has ended by then, its result is taken at once.

        Args:
            receive: Takes the result, and the seconds that the task took where it ran.
            fail: Takes the failure of a task that raised, or ended its process.
            function: To be called, elsewhere.
            *arguments: Of it.
        """
        task = _Task(self._executor.submit(timed, function, *arguments), receive, fail)
        if task.handle.is_ready():  # a serial run's: its row must not wait for the next one
            self._receive(task)
        else:
            self._under_way.append(task)

    def receive_ready(self, *, wait: bool) -> bool:
        """Take results that are there, or all; whether there were any."""
        # Each question is a call to the cluster. Tasks end roughly in order: the first ones tell.
        looked_at = self._under_way if wait else self._under_way[:_LOOKED_AT]
        ready = [task for task in looked_at if wait or task.handle.is_ready()]
        for task in ready:
            self._under_way.remove(task)
            self._receive(task)
        return bool(ready)

    def _receive(self, task: _Task) -> None:
        try:
            seconds, result = task.handle.result()
        except (OSError, InputError, ClusterLostError):
            raise
        except Exception as error:  # isolation: such as a task that ended its process
            _log.exception("a reduction or score failed")
            task.fail(failure_of(error))
        else:
            task.receive(result, seconds)


def timed(function: Callable[..., Any], *arguments: Any) -> tuple[float, Any]:  # noqa: ANN401
    """Seconds that a call took where it was made, and its return value."""
    began = time.perf_counter()
    value = function(*arguments)
    return time.perf_counter() - began, value
