"""What tasks on a cluster find in their environment; a module that workers import by name."""

from __future__ import annotations

import json
import os
import secrets
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vae_batch.models.checkpoints import Checkpoint

#: Folder that workers write to what they saw; set on the nodes, not for the driver.
FOLDER = "VAE_BATCH_TEST_SEEN"

NAMES = (
    "CUDA_VISIBLE_DEVICES",
    "OMP_NUM_THREADS",
    "TF_NUM_INTRAOP_THREADS",
    "TF_FORCE_GPU_ALLOW_GROWTH",
)


def seen() -> dict[str, Any]:
    """This process, and its variables that matter."""
    return {"process": os.getpid(), **{name: os.environ.get(name) for name in NAMES}}


def seen_for(seconds: float) -> dict[str, Any]:
    """The same, of a task that takes so long."""
    began = time.time()
    time.sleep(seconds)
    return {**seen(), "began": began, "ended": time.time()}


@dataclass(frozen=True)
class RecordedCheckpoint(Checkpoint):
    """Notes the environment of every process that asks for its files."""

    def __getattribute__(self, name: str) -> Any:
        if name == "files" and FOLDER in os.environ:
            note = Path(os.environ[FOLDER], secrets.token_hex(8))
            note.write_text(json.dumps(seen()))
        return super().__getattribute__(name)
