"""Running a checkpoint's networks: fixed batches, and checks of what they give."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from vae_batch.models.batching import map_batches
from vae_batch.models.formats.limits import ran_out_of_memory
from vae_batch.models.formats.network import Network, as_float32
from vae_batch.plan.errors import CheckpointError

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float32]
Outputs = tuple[Floats, ...]

#: Kinds of floats that NumPy does not count among its own.
_HALF_PRECISION = ("bfloat16",)


class BatchMemoryError(CheckpointError):
    """Memory did not suffice to run a network in batches of the size asked for."""


def in_batches(
    function: Callable[..., tuple[Array, ...]], batch_size: int, *arrays: Array
) -> Outputs:
    """Outputs of a function of arrays, in batches of one fixed shape, as float32."""
    return tuple(as_float32(output) for output in map_batches(function, batch_size, *arrays))


def floats(network: Network, *arrays: Array) -> Outputs:
    """A network's outputs as float32."""
    return tuple(as_float32(output) for output in network.run(*arrays))


def tried(network: Network, who: str, batch_size: int, *arrays: Array) -> Outputs:
    """A network's outputs on its first rows; whatever it raises is the checkpoint's fault.

    Raises:
      BatchMemoryError: Memory ran out; a smaller batch may do.
      CheckpointError: It cannot be run, or gives other outputs than its ports say.
    """
    try:
        outputs = in_batches(network.run, batch_size, *arrays)
    except CheckpointError:
        raise
    except Exception as error:  # whatever a model's graph raises, its checkpoint fails
        kind = BatchMemoryError if ran_out_of_memory(error) else CheckpointError
        raise kind(f"the {who} cannot be run: {str(error)[:300]}") from error
    if len(outputs) != len(network.outputs):
        raise CheckpointError(
            f"the {who} of {network.source} gives {len(outputs)} outputs, but names "
            f"{len(network.outputs)}"
        )
    return outputs


@dataclass(frozen=True)
class Trial:
    """A network that was run on a few rows.

    Attributes:
      network: That was run.
      inputs: Arrays that it was given.
      outputs: Arrays that it gave.
      random: Whether each output differed in a second run on the same inputs.
      batch_size: Rows a batch.
    """

    network: Network
    inputs: tuple[Array, ...]
    outputs: Outputs
    random: tuple[bool, ...]
    batch_size: int

    @classmethod
    def of(cls, network: Network, who: str, batch_size: int, inputs: Sequence[Array]) -> Trial:
        """Run a network twice.

        Raises:
          CheckpointError: It cannot be run.
        """
        outputs, again = (tried(network, who, batch_size, *inputs) for _ in range(2))
        random = tuple(differs(one, other) for one, other in zip(outputs, again, strict=True))
        return cls(network, tuple(inputs), outputs, random, batch_size)


def differs(one: Floats, other: Floats) -> bool:
    """Whether two runs on the same input differ by more than a device's rounding.

    Values that are not finite are met by the checks for that.
    """
    if not (np.isfinite(one).all() and np.isfinite(other).all()):
        return False
    size = max(float(np.abs(one).max()), float(np.finfo(np.float32).tiny))
    return bool(np.abs(one - other).max() > 1e-4 * size)


def require_finite(values: Floats, who: str) -> None:
    """Check what a network gave.

    Raises:
      CheckpointError: Says how many values are not finite.
    """
    bad = int(np.size(values) - np.count_nonzero(np.isfinite(values)))
    if bad:
        raise CheckpointError(
            f"the {who} gives {bad} non-finite values (NaN or infinity) in a batch of "
            f"{len(values)}: the training has probably diverged; score an earlier checkpoint"
        )


def require_finite_weights(network: Network, who: str) -> None:
    """Check a network's weights.

    Raises:
      CheckpointError: Names the first weight with NaN or infinity.
    """
    for name, values in network.weights():
        floats = values.dtype.kind == "f" or values.dtype.name in _HALF_PRECISION
        if floats and not np.isfinite(values.astype(np.float32, copy=False)).all():
            raise CheckpointError(
                f"the {who}'s weight {name} holds NaN or infinity: the training has probably "
                "diverged; score an earlier checkpoint"
            )
