"""Parts of a run that take down, or hold up, the worker that touches them.

They have a module of their own, since workers import them by name. In the driver they do nothing,
which its environment says.
"""

from __future__ import annotations

import os
import threading
import time
from dataclasses import dataclass
from typing import Any

from vae_batch.models.checkpoints import Checkpoint
from vae_batch.storage import Store

IN_DRIVER = "VAE_BATCH_TEST_DRIVER"


@dataclass(frozen=True)
class DeadlyCheckpoint(Checkpoint):
    """A crash in native code while it is loaded."""

    def __getattribute__(self, name: str) -> Any:
        if name == "files" and IN_DRIVER not in os.environ:
            os._exit(1)
        return super().__getattribute__(name)


@dataclass(frozen=True)
class StuckCheckpoint(Checkpoint):
    """A file system that never answers; the time of its shard is over at once."""

    def __getattribute__(self, name: str) -> Any:
        if name == "files" and IN_DRIVER not in os.environ:
            timers = [
                found for found in threading.enumerate() if isinstance(found, threading.Timer)
            ]
            own = next(timer for timer in timers if self.identifier in timer.args[0].unit)
            own.function(*own.args)
        return super().__getattribute__(name)


@dataclass(frozen=True, repr=False)
class DeadlyStore(Store):
    """Takes down who writes losses of the second checkpoint, once others have begun."""

    def write(self, path: str, content: bytes) -> None:
        if path.startswith("losses/checkpoint=step-0002") and IN_DRIVER not in os.environ:
            time.sleep(0.5)
            os._exit(1)
        super().write(path, content)


@dataclass(frozen=True, repr=False)
class FailingStore(Store):
    """Raises an unexpected error when activations of the first checkpoint are written."""

    def write(self, path: str, content: bytes) -> None:
        if path.startswith("activations/checkpoint=step-0001") and IN_DRIVER not in os.environ:
            raise KeyError("missing statistic")
        super().write(path, content)
