"""A checkpoint whose files take down the worker that reads them, as a crash in native code does.

It has a module of its own, since workers import it by name.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from vae_batch.models.checkpoints import Checkpoint


@dataclass(frozen=True)
class DeadlyCheckpoint(Checkpoint):
    def __getattribute__(self, name: str) -> Any:
        if name == "files" and "VAE_BATCH_TEST_DRIVER" not in os.environ:
            os._exit(1)
        return super().__getattribute__(name)
