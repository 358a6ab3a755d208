"""Checkpoints as files: finding them, naming them, reading their steps, telling what they are.

Nothing here loads a model, so a driver can plan without TensorFlow.
"""

from vae_batch.models.checkpoints.checkpoint import Checkpoint
from vae_batch.models.checkpoints.content import FileKind, kind_of, why_unreadable
from vae_batch.models.checkpoints.file_access import fetch, is_folder, read_file, read_head
from vae_batch.models.checkpoints.find import find_checkpoints
from vae_batch.models.checkpoints.steps import read_step

__all__ = [
    "Checkpoint",
    "FileKind",
    "fetch",
    "find_checkpoints",
    "is_folder",
    "kind_of",
    "read_file",
    "read_head",
    "read_step",
    "why_unreadable",
]
