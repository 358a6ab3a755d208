"""The contract of a checkpoint format: what it is given, and the networks that it returns.

Shipped formats and those of the entry point ``vae_batch.checkpoints`` keep the same contract.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from vae_batch.plan.errors import CheckpointError
from vae_batch.plan.reading import Reading

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float32]
#: A shape without the batch axis.
Shape = tuple[int, ...]
#: The same, with None where a size is free.
PortShape = tuple[int | None, ...]


@dataclass(frozen=True)
class Port:
    """One input or output of a network.

    Attributes:
        name: Of the tensor's layer or key, as the model's author chose it.
        shape: Of one sample, without the batch axis; None where the size is free.
        dtype: Such as ``float32`` or ``int32``.
    """

    name: str
    shape: PortShape
    dtype: str = "float32"


def _no_weights() -> Iterator[tuple[str, Array]]:
    return iter(())


@dataclass(frozen=True)
class Network:
    """One network of a checkpoint, ready to run.

    Attributes:
        source: The file it came from, for messages.
        inputs: Its inputs, in the order in which ``run`` takes them.
        outputs: Its outputs, in the order in which ``run`` returns them.
        run: Maps arrays (n, *shape), one per input, to a tuple of arrays, one per output. Runs in
            inference mode, compiled where the library can compile.
        activation: Name of the last activation that changes values (``sigmoid``, ``tanh``,
            ``linear``); None where the format cannot say.
        before_sigmoid: Makes the same network without its final sigmoid, so that a Bernoulli NLL
            is computed from logits; None where there is no sigmoid or it cannot be removed.
        replaced: Names of sampling layers that return their mean here, because their class is
            unknown or not trusted.
        input_hint: Pixel range that the first layer expects, such as ``0..255`` for
            Rescaling(1/255).
        input_statistics: Mean and standard deviation of the pixels that a first Normalization (or
            a Rescaling to another range than a pixel range) maps to 0 and 1.
        gives_features: Whether the end of the first output shows that it holds features and no
            class scores: a nonlinearity other than softmax and sigmoid, or a normalisation.
        inner: Makes the same network with one more output before its own: what the named layer
            returns, or for None what its last dense layer takes. Raises ``CheckpointError`` where
            there is none; None where the format cannot do it.
        weights: Yields name and values of every weight, to check that all are finite.
        largest: Bytes of the largest tensor that it computes per sample, and the layer that
            computes it; None where the format cannot say.
    """

    source: str
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    run: Callable[..., tuple[Array, ...]]
    activation: str | None = None
    before_sigmoid: Callable[[], Network] | None = None
    replaced: tuple[str, ...] = ()
    input_hint: str | None = None
    input_statistics: tuple[float, float] | None = None
    gives_features: bool = False
    inner: Callable[[str | None], Network] | None = None
    weights: Callable[[], Iterator[tuple[str, Array]]] = _no_weights
    largest: tuple[int, str] | None = None


@dataclass(frozen=True)
class Networks:
    """The networks of one checkpoint.

    Attributes:
        format: As the score table names it: ``keras``, ``hdf5``, ``tf_keras``, ``saved_model``,
            ``onnx``, ``weights+builder``, or a plug-in's name.
        encoder: Maps images (and perhaps labels) to the posterior's parameters, or None.
        decoder: Maps latents (and perhaps labels) to images, or None.
        whole: One network in which no halves were found; its shapes decide what it is.
        notes: How the parts were found, for ``inspect``.
        warnings: What loading them did beside, such as importing a script that trains.
    """

    format: str
    encoder: Network | None = None
    decoder: Network | None = None
    whole: Network | None = None
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


class ArrayVae(Protocol):
    """A VAE as functions of NumPy arrays, which a plug-in may return in place of networks.

    Attributes:
        latent_shape: Of one latent sample.
        image_shape: (H, W, C) of one image.
        output: What ``decode`` returns: Bernoulli ``logits`` or ``probabilities``, or the Gaussian
            ``mean``.
        encode: Maps images (n, H, W, C) in the model's value range to mean and log-variance, each
            (n, *latent_shape); None for a decoder alone.
        decode: Maps latents (n, *latent_shape) to images (n, H, W, C); None for an encoder alone.
    """

    latent_shape: Shape
    image_shape: tuple[int, int, int]
    output: Literal["logits", "probabilities", "mean"]
    encode: Callable[..., Any] | None
    decode: Callable[..., Any] | None


@dataclass(frozen=True)
class LoadOptions:
    """How a checkpoint may be loaded.

    Attributes:
        reading: What the user declared about this checkpoint.
        trust: Whether the user's modules and code inside files may run.
        memory_cap: Bytes that loading may use.
        whole: Whether a model stays one network, without looking for halves in it.
    """

    reading: Reading
    trust: bool
    memory_cap: int
    whole: bool = False


class CheckpointFormat(Protocol):
    """One format of checkpoint files.

    Attributes:
        name: As the score table names it.
        suffixes: File name endings that a scan of a folder includes for this format.
    """

    @property
    def name(self) -> str: ...  # noqa: D102  see Attributes

    @property
    def suffixes(self) -> tuple[str, ...]: ...  # noqa: D102  see Attributes

    def recognises(self, path: str, head: bytes) -> bool:
        """Whether a file has this format, by its first 4096 bytes (b"" for a folder)."""
        ...

    def load(self, files: Mapping[str, str], options: LoadOptions) -> Networks | ArrayVae:
        """Load a checkpoint's networks, or the functions of a plug-in.

        Args:
            files: Role (``model``, ``encoder`` or ``decoder``) to a local path.
            options: What was declared, and whether code may run.

        Raises:
            CheckpointError: Says what the files lack and what to add.
        """
        ...


def as_float32(array: object) -> Floats:
    """An array in the precision in which all networks are fed and read.

    Raises:
        CheckpointError: It is complex, and its imaginary part would be lost.
    """
    if getattr(array, "dtype", np.dtype(np.float32)) in (np.complex64, np.complex128):
        raise CheckpointError("it returns complex numbers; expected real ones")
    return np.asarray(array, np.float32)
