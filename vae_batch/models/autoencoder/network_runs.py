"""Runs a checkpoint's networks in batches of one fixed shape, and checks what they return."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from vae_batch.models.batching import map_batches
from vae_batch.models.formats.format import Array, Floats, Network, Shape, as_float32
from vae_batch.models.formats.keras.custom_objects import without_its_code
from vae_batch.models.formats.keras.load_model import plain_message, undefined_name
from vae_batch.models.formats.limits import ran_out_of_memory
from vae_batch.plan.errors import CheckpointError

Outputs = tuple[Floats, ...]


class BatchMemoryError(CheckpointError):
    """Memory ran out for batches of the requested size."""


def in_batches(
    function: Callable[..., tuple[Array, ...]], batch_size: int, *arrays: Array
) -> Outputs:
    """Outputs of a function of arrays, computed in batches of one fixed shape, as float32."""
    return tuple(as_float32(output) for output in map_batches(function, batch_size, *arrays))


@contextlib.contextmanager
def refusing_to_run(who: str, *, whole: bool = False) -> Iterator[None]:
    """Whatever a network raises in the context becomes a ``CheckpointError``.

    Args:
        who: The network, in messages.
        whole: Whether it is no part of a VAE, as in ``LoadOptions``.

    Raises:
        BatchMemoryError: Memory ran out; a smaller batch may help.
        CheckpointError: It cannot run.
    """
    try:
        yield
    except CheckpointError:
        raise
    except Exception as error:  # a model's graph may raise anything
        kind = BatchMemoryError if ran_out_of_memory(error) else CheckpointError
        if undefined := undefined_name(error):
            raise without_its_code(f"the {who} cannot be run: {undefined}", whole) from error
        raise kind(f"the {who} cannot be run: {plain_message(error)[:300]}") from error


def run_once(network: Network, who: str, batch_size: int, *arrays: Array) -> Outputs:
    """A network's outputs; whatever it raises becomes a ``CheckpointError``.

    Args:
        network: The network.
        who: It, in messages.
        batch_size: Rows per batch.
        *arrays: One for each input.

    Raises:
        BatchMemoryError: Memory ran out; a smaller batch may help.
        CheckpointError: It cannot run, or returns another number of outputs than it names.
    """
    with refusing_to_run(who):
        outputs = in_batches(network.run, batch_size, *arrays)
    if len(outputs) != len(network.outputs):
        raise CheckpointError(
            f"the {who} of {network.source} returns {len(outputs)} outputs, but names "
            f"{len(network.outputs)}"
        )
    return outputs


@dataclass(frozen=True)
class Trial:
    """A network that was run on a few rows.

    Attributes:
        network: The network.
        inputs: Arrays that it was given.
        outputs: Arrays that it returned.
        random: Whether each output differed in a second run on the same inputs.
        batch_size: Rows per batch.
    """

    network: Network
    inputs: tuple[Array, ...]
    outputs: Outputs
    random: tuple[bool, ...]
    batch_size: int

    @property
    def names(self) -> list[str]:
        """Names of the outputs."""
        return [port.name for port in self.network.outputs]

    @property
    def shapes(self) -> list[Shape]:
        """Shapes of the outputs, without the batch axis."""
        return [output.shape[1:] for output in self.outputs]

    @classmethod
    def of(cls, network: Network, who: str, batch_size: int, inputs: Sequence[Array]) -> Trial:
        """Run a network twice."""
        outputs, again = (run_once(network, who, batch_size, *inputs) for _ in range(2))
        random = tuple(_differs(one, other) for one, other in zip(outputs, again, strict=True))
        return cls(network, tuple(inputs), outputs, random, batch_size)


def _differs(one: Floats, other: Floats) -> bool:
    """Whether two runs on one input differ by more than rounding; non-finite values do not count.

    ``require_finite`` reports those.
    """
    if not (np.isfinite(one).all() and np.isfinite(other).all()):
        return False
    size = max(float(np.abs(one).max()), float(np.finfo(np.float32).tiny))
    return bool(np.abs(one - other).max() > 1e-4 * size)


def require_finite(values: Array, who: str) -> None:
    """Check what a network returned."""
    bad = int(np.size(values) - np.count_nonzero(np.isfinite(values)))
    if bad:
        raise CheckpointError(
            f"the {who} gives {bad} non-finite values (NaN or infinity) in a batch of "
            f"{len(values)}: the training has probably diverged; score an earlier checkpoint"
        )


def require_finite_weights(network: Network, who: str) -> None:
    """Check a network's weights."""
    for name, values in network.weights():
        if values.dtype.kind == "c":
            raise CheckpointError(
                f"the {who}'s weight {name} holds complex numbers; expected real ones, since their "
                "imaginary part would be lost"
            )
        is_float = values.dtype.kind == "f" or values.dtype.name == "bfloat16"
        if is_float and not np.isfinite(values.astype(np.float32, copy=False)).all():
            raise CheckpointError(
                f"the {who}'s weight {name} holds NaN or infinity: the training has probably "
                "diverged; score an earlier checkpoint"
            )
