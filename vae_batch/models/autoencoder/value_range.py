"""What black and white are to a VAE: declared, or read from its layers, and checked."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from vae_batch.models.autoencoder.description import Decision
from vae_batch.models.formats.network import Network, Port
from vae_batch.models.image_range import VALUE_RANGES, bounds_of
from vae_batch.plan.errors import CheckpointError
from vae_batch.plan.reading import Likelihood, ValueRange

Floats = npt.NDArray[np.float32]

_NAMES: dict[str, ValueRange] = {"0..1": "0..1", "-1..1": "-1..1", "0..255": "0..255"}
_OF_ACTIVATION: dict[str | None, ValueRange] = {"sigmoid": "0..1", "tanh": "-1..1"}
#: A decoder without a bounded last layer overshoots a little; images of another range lie beyond
#: a quarter of the range's width in more than a twentieth of their values.
_OVERSHOOT = 0.25
_SHARE = 0.05
#: Values that never pass this are no pixels of 0..255.
_DARK = 2.0


def read_value_range(
    declared: ValueRange | None,
    likelihood: Likelihood | None,
    activation: str | None,
    hint: str | None,
) -> tuple[ValueRange, Decision]:
    """The range that a VAE's images are in.

    Args:
      declared: By the user; wins.
      likelihood: Of the decoder; a Bernoulli one has 0..1.
      activation: Last of the decoder.
      hint: Range that the encoder's first layer rescales from.

    Raises:
      CheckpointError: Another range than 0..1 is declared for a Bernoulli likelihood.
    """
    if likelihood in ("bernoulli", "continuous_bernoulli"):
        if declared not in (None, "0..1"):
            raise CheckpointError(
                f"a Bernoulli likelihood needs pixels in 0..1, but --model-range is {declared}; "
                "set --model-range 0..1, or declare --likelihood gaussian --sigma S",
                {"model_range": "0..1"},
            )
        return _decided("0..1", "a Bernoulli likelihood has it")
    if declared is not None:
        return _decided(declared, "declared by --model-range")
    if activation in _OF_ACTIVATION:
        return _decided(_OF_ACTIVATION[activation], f"the decoder ends in {activation}")
    if hint in _NAMES:
        return _decided(_NAMES[hint], "the encoder's first layer rescales from it")
    return _decided("0..1", "by default; --model-range declares another")


def encoder_range(encoder: Network, port: Port) -> ValueRange | None:
    """The range that the encoder itself takes images in, where its layers or dtype tell."""
    if encoder.input_hint in _NAMES:
        return _NAMES[str(encoder.input_hint)]
    return "0..255" if port.dtype == "uint8" else None


def check_value_range(means: Floats, value_range: ValueRange, declared: bool) -> list[str]:
    """Compare what a decoder gives with the range that it should be in.

    Args:
      means: (n, H, W, C) decoder means.
      value_range: Declared or inferred.
      declared: Whether it was declared; then a misfit is a warning.

    Returns:
      Warnings.

    Raises:
      CheckpointError: An inferred range does not fit.
    """
    low, high = bounds_of(value_range)
    slack = _OVERSHOOT * (high - low)
    beyond = float(np.mean((means < low - slack) | (means > high + slack)))
    too_dark = value_range == "0..255" and float(np.abs(means).max()) <= _DARK
    if beyond <= _SHARE and not too_dark:
        return []
    sentence = (
        f"the decoder gives values from {means.min():.2g} to {means.max():.2g}, which do not look "
        f"like pixels in {value_range}"
    )
    if declared:
        return [f"{sentence}, declared by --model-range"]
    raise CheckpointError(
        f"{sentence}; declare the --model-range of its training images: "
        f"{', '.join(name for name in VALUE_RANGES)}",
        {"model_range": " | ".join(_nearest_ranges(means, value_range))},
    )


def _nearest_ranges(means: Floats, excluded: ValueRange) -> list[ValueRange]:
    """The other ranges, the one that most values lie in first, and of equals the narrowest."""

    def outside(name: ValueRange) -> tuple[float, float]:
        low, high = bounds_of(name)
        slack = _OVERSHOOT * (high - low)
        return float(np.mean((means < low - slack) | (means > high + slack))), high - low

    return sorted((name for name in VALUE_RANGES if name != excluded), key=outside)


def _decided(value_range: ValueRange, how: str) -> tuple[ValueRange, Decision]:
    return value_range, Decision("value range", value_range, how)
