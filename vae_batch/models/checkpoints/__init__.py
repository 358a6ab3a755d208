"""Checkpoints as files: finding them, naming them, reading their steps.

Nothing here loads a model, so a driver can plan without TensorFlow.
"""

from vae_batch.models.checkpoints.checkpoint import Checkpoint
from vae_batch.models.checkpoints.find import find_checkpoints
from vae_batch.models.checkpoints.steps import read_step

__all__ = ["Checkpoint", "find_checkpoints", "read_step"]
