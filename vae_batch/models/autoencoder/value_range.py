"""Size and value range of a model's images: declared, or inferred from both halves, and checked."""

from __future__ import annotations

from typing import get_args

import numpy as np

from vae_batch.models.autoencoder.decoder_output import DecoderOutput
from vae_batch.models.autoencoder.description import Context
from vae_batch.models.autoencoder.images import ImageFit
from vae_batch.models.autoencoder.vae import ImageInput
from vae_batch.models.formats.format import Floats, Network, Port
from vae_batch.models.image_range import VALUE_RANGES, bounds_of
from vae_batch.plan.errors import CheckpointError
from vae_batch.plan.reading import ValueRange

_RANGES: dict[str | None, ValueRange] = {name: name for name in get_args(ValueRange)}
_OF_ACTIVATION: dict[str | None, ValueRange] = {"sigmoid": "0..1", "tanh": "-1..1"}
_FITTED = {"pad": "padded with black", "resize": "resized with antialiased bilinear"}
#: A decoder without a bounded last layer overshoots a little; images of another range lie beyond
#: a quarter of the range's width in more than a twentieth of their values.
_OVERSHOOT = 0.25
_SHARE = 0.05
#: Values that never exceed this are no pixels of 0..255.
_DARK = 2.0


def read_size_and_range(
    source: ImageInput | None, hint: str | None, output: DecoderOutput | None, context: Context
) -> ImageFit:
    """How the reference's images become the model's.

    ``hint`` is the range from which the encoder's first layer rescales. Decisions and warnings are
    added to the context.
    """
    ends = {"images in": source, "images out": output}
    layouts = {subject: end.layout for subject, end in ends.items() if end is not None}
    shapes = [layout.image_shape for layout in layouts.values()]
    if len(set(shapes)) > 1:
        raise CheckpointError(
            f"the encoder takes images {shapes[0]}, but the decoder gives images {shapes[1]}; they "
            "are not halves of one VAE"
        )
    for subject, layout in layouts.items():
        context.decide(subject, f"{layout.order} {layout.shape}", "by shapes")
    how = context.reading.input_fit if shapes[0] != context.image_shape else None
    if how is not None:
        verdict = f"{context.image_shape} to {shapes[0]}, {_FITTED[how]}"
        context.decide("input fit", verdict, "declared by --input-fit")
    value_range, reason = _value_range(output, hint, context.reading.model_range)
    context.decide("value range", value_range, reason)
    own = source.value_range if source else None
    if own is not None and own != value_range:
        reason = "by its first layer; images are converted to it"
        context.decide("encoder's own range", own, reason)
    if output is None and context.reading.model_range is None and hint is None:
        context.warnings.append(
            f"the range {value_range} of the encoder's images is the default, and without a "
            "decoder it cannot be checked; declare --model-range"
        )
    return ImageFit(context.image_shape, shapes[0], how, value_range)


def _value_range(
    output: DecoderOutput | None, hint: str | None, declared: ValueRange | None
) -> tuple[ValueRange, str]:
    """The range, and how it was decided."""
    if output is not None and output.likelihood in ("bernoulli", "continuous_bernoulli"):
        if declared not in (None, "0..1"):
            raise CheckpointError(
                f"a Bernoulli likelihood needs pixels in 0..1, but --model-range is {declared}; "
                "set --model-range 0..1, or declare --likelihood gaussian --sigma S",
                {"model_range": "0..1"},
            )
        return "0..1", "a Bernoulli likelihood needs it"
    if declared is not None:
        return declared, "declared by --model-range"
    activation = output.activation if output else None
    if activation in _OF_ACTIVATION:
        return _OF_ACTIVATION[activation], f"the decoder ends in {activation}"
    if hint in _RANGES:
        return _RANGES[hint], "the encoder's first layer rescales from it"
    return "0..1", "by default; --model-range declares another"


def encoder_range(encoder: Network, port: Port) -> ValueRange | None:
    """The range in which an encoder takes images, where its first layer or dtype says so."""
    if encoder.input_hint in _RANGES:
        return _RANGES[encoder.input_hint]
    return "0..255" if port.dtype == "uint8" else None


def check_value_range(means: Floats, value_range: ValueRange, declared: bool) -> list[str]:
    """Compare decoder means (n, H, W, C) with the range that they should be in.

    Returns:
        A warning where a declared range does not fit, else nothing.

    Raises:
        CheckpointError: An inferred range does not fit.
    """
    too_dark = value_range == "0..255" and float(np.abs(means).max()) <= _DARK
    if _share_outside(means, value_range) <= _SHARE and not too_dark:
        return []
    sentence = (
        f"the decoder gives values from {means.min():.2g} to {means.max():.2g}, which do not look "
        f"like pixels in {value_range}"
    )
    if declared:
        return [f"{sentence}, declared by --model-range"]
    raise CheckpointError(
        f"{sentence}; declare the --model-range of its training images: {', '.join(VALUE_RANGES)}",
        {"model_range": _other_ranges(means, value_range)},
    )


def _other_ranges(means: Floats, excluded: ValueRange) -> tuple[ValueRange, ...]:
    """The other ranges, the one that most values lie in first, and of equals the narrowest."""

    def misfit(name: ValueRange) -> tuple[float, float]:
        low, high = bounds_of(name)
        return _share_outside(means, name), high - low

    return tuple(sorted((name for name in _RANGES.values() if name != excluded), key=misfit))


def _share_outside(means: Floats, value_range: ValueRange) -> float:
    """Share of values beyond a range by more than the overshoot of a decoder."""
    low, high = bounds_of(value_range)
    slack = _OVERSHOOT * (high - low)
    return float(np.mean((means < low - slack) | (means > high + slack)))
