"""Checkpoints as files: found by patterns, paired, named and hashed.

Nothing here loads a model, so a driver can plan without TensorFlow.
"""

from vae_batch.models.checkpoints.find import Checkpoint, find_checkpoints
from vae_batch.models.checkpoints.names import read_step

__all__ = ["Checkpoint", "find_checkpoints", "read_step"]
