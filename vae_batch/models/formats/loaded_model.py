"""Models of a checkpoint's files, put together as its networks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vae_batch.models.formats.format import Networks
from vae_batch.models.formats.keras.network import network_of, networks_of


@dataclass(frozen=True)
class LoadedModel:
    """A Keras 3 or tf_keras model from one file.

    Attributes:
      model: The model.
      source: The file.
      format: As the score table names it.
      replaced: Names of sampling layers that give their mean.
    """

    model: Any
    source: str
    format: str
    replaced: tuple[str, ...] = ()


def as_networks(loaded: Mapping[str, LoadedModel]) -> Networks:
    """The networks of models by role: one ``model``, or ``encoder`` and ``decoder``.

    Raises:
      CheckpointError: A model was never built.
    """
    if "model" in loaded:
        whole = loaded["model"]
        return networks_of(whole.model, whole.source, whole.format, whole.replaced)
    parts: dict[str, Any] = {
        role: network_of(half.model, half.source, half.replaced) for role, half in loaded.items()
    }
    ways = dict.fromkeys(half.format for half in loaded.values())
    return Networks("+".join(ways), **parts)
