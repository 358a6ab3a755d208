"""Models of a checkpoint's files, put together as its networks."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from vae_batch.models.formats import memory
from vae_batch.models.formats.keras_network import network_of, networks_of
from vae_batch.models.formats.network import Networks

# What a model may have beyond the weights in its file: states that are not saved.
_SPARE_WEIGHTS = 64 << 20


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


@contextlib.contextmanager
def bounded(source: str, weight_bytes: int, cap: int) -> Iterator[None]:
    """While it lasts, a model may make little more than the weights that its file holds.

    Args:
      source: The file, for messages.
      weight_bytes: That it holds, once in memory.
      cap: Bytes that loading may take at all.

    Raises:
      CheckpointError: It made more.
    """
    limit = 2 * weight_bytes + _SPARE_WEIGHTS
    reason = f", but the file holds {memory.in_words(weight_bytes)}: save the model again"
    if limit > cap:
        limit, reason = cap, memory.over_cap(cap)
    with memory.weight_budget(limit, source, reason):
        yield
