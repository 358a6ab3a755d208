"""A clock for the readers of a run's events: shards may take minutes, and displays should move."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from vae_batch.run.progress.events import EventSink, Tick

_log = logging.getLogger(__name__)

#: Seconds between two ticks.
_PERIOD = 1.0

#: Seconds to wait for the thread at the end; it may itself be waiting for the cluster.
_LAST_TICK = 1.0


@contextmanager
def ticking(emit: EventSink, at_work: Callable[[], int]) -> Iterator[None]:
    """Emit a `Tick` about once a second within the block.

    Args:
        emit: Takes the events, from another thread.
        at_work: Number of workers that hold a shard; may raise, as clusters do not always answer.
    """
    over = threading.Event()

    def tick() -> None:
        while not over.wait(_PERIOD):
            event = Tick(_asked(at_work))
            if not over.is_set():
                emit(event)

    thread = threading.Thread(target=tick, name="ticker", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(_LAST_TICK)


def _asked(at_work: Callable[[], int]) -> int | None:
    try:
        return at_work()
    except Exception:  # a cluster that does not answer is asked again
        _log.debug("the workers could not be asked", exc_info=True)
        return None
