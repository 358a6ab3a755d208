"""What a checkpoint format gives: networks as arrays in, arrays out, and what is known of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Port:
    """One input or output of a network.

    Attributes:
      name: Of the tensor's layer or key, as the model's author chose it.
      shape: Of one sample, without the batch axis; None where the size is free.
      dtype: Such as ``float32`` or ``int32``.
    """

    name: str
    shape: tuple[int | None, ...]
    dtype: str = "float32"


def _no_weights() -> Iterator[tuple[str, Array]]:
    return iter(())


@dataclass(frozen=True)
class Network:
    """One network of a checkpoint, ready to be run.

    Attributes:
      source: The file it came from, for messages.
      inputs: Its inputs, in the order in which ``run`` takes them.
      outputs: Its outputs, in the order in which ``run`` returns them.
      run: Arrays (n, *shape), one an input, to a tuple of arrays (n, *shape), one an output; in
        inference mode, compiled where the library can.
      activation: Name of the last activation that changes values (``sigmoid``, ``tanh``,
        ``linear``); None where the format does not tell.
      before_sigmoid: Makes the same network without its final sigmoid, so that a Bernoulli NLL is
        computed from logits; None where there is no sigmoid or it cannot be taken off.
      replaced: Names of sampling layers that return their mean here, because their class is not
        at hand or not trusted.
      input_hint: Pixel range that the first layer tells, such as ``0..255`` of Rescaling(1/255).
      weights: Name and values of every weight, for a check that all are finite.
      largest: Bytes of the largest tensor that it makes of one sample, and the layer that makes
        it; None where the format does not tell.
    """

    source: str
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    run: Callable[..., tuple[Array, ...]]
    activation: str | None = None
    before_sigmoid: Callable[[], Network] | None = None
    replaced: tuple[str, ...] = ()
    input_hint: str | None = None
    weights: Callable[[], Iterator[tuple[str, Array]]] = _no_weights
    largest: tuple[int, str] | None = None


@dataclass(frozen=True)
class Networks:
    """The networks of one checkpoint.

    Attributes:
      format: As the score table names it: ``keras``, ``hdf5``, ``tf_keras``, ``saved_model``,
        ``weights+builder``, or a plug-in's name.
      encoder: Images (and perhaps labels) to the posterior's heads, or None.
      decoder: Latents (and perhaps labels) to images, or None.
      whole: One network in which no halves were found; its shapes tell what it is.
      notes: How the parts were found, for ``inspect``.
    """

    format: str
    encoder: Network | None = None
    decoder: Network | None = None
    whole: Network | None = None
    notes: tuple[str, ...] = field(default=())


def as_float32(array: Array) -> npt.NDArray[np.float32]:
    """An array in the precision that all networks are fed and read in."""
    return np.asarray(array, np.float32)
