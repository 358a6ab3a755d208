"""The contract of a checkpoint format: shipped, or of the entry point vae_batch.checkpoints."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from vae_batch.models.formats.network import Networks
from vae_batch.plan.reading import Reading

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class LoadingTerms:
    """Under which terms a checkpoint is loaded.

    Attributes:
      reading: What the user declared of this checkpoint.
      trust: Whether the user's modules and code in files may be run.
      memory_cap: Bytes that loading may take.
    """

    reading: Reading
    trust: bool
    memory_cap: int


class ArrayVae(Protocol):
    """A VAE as plain arrays: what a plug-in returns when it has no networks to be read.

    Attributes:
      latent_shape: Of one latent sample.
      image_shape: (H, W, C) of one image.
      output: What ``decode`` returns: Bernoulli ``logits`` or ``probabilities``, or the
        gaussian ``mean``.

    ``encode`` may be None for a decoder alone, ``decode`` for an encoder alone.
    """

    latent_shape: tuple[int, ...]
    image_shape: tuple[int, int, int]
    output: Literal["logits", "probabilities", "mean"]
    encode: Any  # (n, H, W, C) in the model's range -> mean, log-variance (n, *latent_shape)
    decode: Any  # (n, *latent_shape) -> (n, H, W, C) as `output` says


class CheckpointFormat(Protocol):
    """One format of checkpoint files.

    Attributes:
      name: As the score table names it.
      suffixes: Endings of file names that a folder scan takes for this format.
    """

    name: str
    suffixes: tuple[str, ...]

    def recognises(self, path: str, head: bytes) -> bool:
        """Whether a file is of this format, by its first 4096 bytes (b"" for a folder)."""
        ...

    def load(self, files: Mapping[str, str], terms: LoadingTerms) -> Networks | ArrayVae:
        """The checkpoint's networks, or its arrays' functions.

        Args:
          files: Role (``model``, ``encoder`` or ``decoder``) to a local path.
          terms: What was declared, and whether code may be run.

        Raises:
          CheckpointError: Says what the files lack and what to add.
        """
        ...
