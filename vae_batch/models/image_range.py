"""Value ranges of images: declared or inferred, always checked; conversion to and from uint8.

Within a run every image is uint8 in [0, 255]. Floats occur only in files and in models, where a
range says what black and white are.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from vae_batch.plan.errors import InputError

VALUE_RANGES: dict[str, tuple[float, float]] = {
    "0..1": (0.0, 1.0),
    "-1..1": (-1.0, 1.0),
    "0..255": (0.0, 255.0),
}

# Undeclared floats with a maximum in (1, 16] may be 0..1 with overshoot from a resize, or another
# scale such as 0..16. Read as 0..255 they would be black, so their range must be declared.
_AMBIGUOUS_BELOW = 16.0
_TOLERANCE = 1e-6  # of the range's width: rounding of float32 arithmetic, not data
_CHUNK_VALUES = 1 << 24


def bounds_of(value_range: str | tuple[float, float]) -> tuple[float, float]:
    """(black, white) of a range, given by its name or as a pair.

    Raises:
        InputError: The name is not one of ``VALUE_RANGES``, or the pair is not increasing.
    """
    if isinstance(value_range, str):
        if value_range not in VALUE_RANGES:
            raise InputError(f"value_range {value_range!r} is not known; {_choices()}")
        return VALUE_RANGES[value_range]
    low, high = (float(bound) for bound in value_range)
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise InputError(f"value_range {value_range!r} must be finite and increasing; {_choices()}")
    return low, high


def range_before(scale: np.ndarray, offset: np.ndarray) -> str | None:
    """Name of the range that ``scale * pixels + offset`` maps to 0..1 or -1..1, or None.

    Both have one value; None too where they leave pixels as they are.
    """
    if scale.size != 1 or offset.size != 1 or (scale == 1 and offset == 0):
        return None
    for name, ends in VALUE_RANGES.items():
        made = [scale.item() * end + offset.item() for end in ends]
        if any(np.allclose(made, VALUE_RANGES[to], atol=1e-3) for to in ("0..1", "-1..1")):
            return name
    return None


def resolve_range(
    images: np.ndarray, value_range: str | None, source: str
) -> tuple[tuple[float, float], bool]:
    """Declared or inferred range of a whole set of images.

    A declared range is checked over every value. Undeclared integers of 0 and 1 are 0..1, since
    they are binarised images; other integers are 0..255. Undeclared floats are -1..1 if any is
    negative, 0..1 if their maximum is above 1/255 and at most 1, else 0..255. A maximum in (1, 16]
    is ambiguous and an error, and so is one of floats of at most 1/255.

    Args:
        images: (n, ...) integers, booleans or floats; may be a memory map.
        value_range: A name in ``VALUE_RANGES``, or None to infer.
        source: What to call the set in an error.

    Returns:
        ((black, white), inferred); inferred is False for a declared range and for uint8 in 0..255.

    Raises:
        InputError: NaN or infinite values, values outside the range, or an ambiguous range; the
            message names the first image concerned.
    """
    if images.dtype.kind not in "uifb":
        raise InputError(
            f"{source}: images have dtype {images.dtype}; expected uint8 in 0..255 or floats"
        )
    declared = None if value_range is None else bounds_of(value_range)
    if images.dtype == np.uint8 and declared == (0.0, 255.0):
        return (0.0, 255.0), False
    low, high = _extrema(images, source)
    bounds = declared or _infer(images.dtype, low, high, source)
    inferred = declared is None and not (images.dtype == np.uint8 and bounds == (0.0, 255.0))
    slack = _TOLERANCE * (bounds[1] - bounds[0])
    if low < bounds[0] - slack or high > bounds[1] + slack:
        raise InputError(_outside(images, bounds, (low, high), source, inferred))
    return bounds, inferred


def to_uint8(images: np.ndarray, value_range: str | tuple[float, float]) -> np.ndarray:
    """Convert images to uint8 in [0, 255]: scale, round half to even, clip.

    Args:
        images: (n, ...) floats or integers in ``value_range``. Values outside it are clipped,
            since a decoder without a bounded last layer overshoots.
        value_range: Name or (black, white).

    Returns:
        uint8 array of the same shape.

    Raises:
        InputError: A value is NaN or infinite; the message names the image.
    """
    low, high = bounds_of(value_range)
    if images.dtype == np.uint8 and (low, high) == (0.0, 255.0):
        return images
    if images.dtype.kind == "f" and not np.isfinite(images).all():
        raise InputError(_not_finite(images, 0, "images"))
    scaled = (images.astype(np.float64) - low) * (255.0 / (high - low))
    return np.clip(np.rint(scaled), 0, 255).astype(np.uint8)


def from_uint8(images: np.ndarray, value_range: str | tuple[float, float]) -> np.ndarray:
    """Convert uint8 images in [0, 255] to float32 in a model's range.

    ``to_uint8`` is the exact inverse.

    Raises:
        InputError: The images are not uint8.
    """
    if images.dtype != np.uint8:
        raise InputError(f"from_uint8 takes uint8 images, got {images.dtype}; use to_uint8 first")
    low, high = bounds_of(value_range)
    # Each of the 256 values is rounded to float32 once, from float64.
    table = (low + np.arange(256) * ((high - low) / 255.0)).astype(np.float32)
    converted: npt.NDArray[np.float32] = table[images]
    return converted


def to_three_channels(images: np.ndarray) -> np.ndarray:
    """Repeat the channel of grey images: (n, H, W, 1) or (n, H, W, 3) to (n, H, W, 3).

    Raises:
        InputError: Another shape.
    """
    if images.ndim == 4 and images.shape[-1] == 3:
        return images
    if images.ndim == 4 and images.shape[-1] == 1:
        return np.repeat(images, 3, axis=-1)
    raise InputError(f"expected images (n, H, W, 1) or (n, H, W, 3), got {images.shape}")


def luminance(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Grey of colour images: (n, H, W, 3) to (n, H, W, 1) uint8, by ITU-R 601 as in Pillow.

    Equal channels give their own value.
    """
    weights = np.array([19595, 38470, 7471], np.uint32)  # of 65536: 0.299, 0.587, 0.114
    grey = (images.astype(np.uint32) @ weights + 0x8000) >> 16
    converted: npt.NDArray[np.uint8] = grey.astype(np.uint8)[..., None]
    return converted


def _choices() -> str:
    return "value_range may be " + ", ".join(f"'{name}'" for name in VALUE_RANGES)


def _chunk(images: np.ndarray) -> int:
    return max(1, _CHUNK_VALUES // max(1, math.prod(images.shape[1:])))


def _extrema(images: np.ndarray, source: str) -> tuple[float, float]:
    """Smallest and largest value of the set; NaN and infinities are errors."""
    low, high = math.inf, -math.inf
    step = _chunk(images)
    for start in range(0, len(images), step):
        chunk = images[start : start + step]
        chunk_low, chunk_high = float(chunk.min()), float(chunk.max())
        if not (math.isfinite(chunk_low) and math.isfinite(chunk_high)):
            raise InputError(_not_finite(chunk, start, source))
        low, high = min(low, chunk_low), max(high, chunk_high)
    return low, high


def _infer(dtype: np.dtype, low: float, high: float, source: str) -> tuple[float, float]:
    if dtype.kind == "b":
        return VALUE_RANGES["0..1"]
    if dtype.kind in "ui":
        if low >= 0 and high == 1:
            return VALUE_RANGES["0..1"]
        if 1 < high <= _AMBIGUOUS_BELOW and low >= 0:
            raise InputError(
                f"{source}: the range of these integer images is not clear (found min {low:g}, max "
                f"{high:g}, which is black in 0..255); scale them to 0..255, or declare that they "
                "are that dark with --reference-range 0..255"
            )
        return VALUE_RANGES["0..255"]
    if low < 0:
        return VALUE_RANGES["-1..1"]
    if 1 / 255 < high <= 1 + _TOLERANCE:
        return VALUE_RANGES["0..1"]
    if high > _AMBIGUOUS_BELOW:
        return VALUE_RANGES["0..255"]
    raise InputError(
        f"{source}: the range of these float images cannot be inferred (found min {low:g}, "
        f"max {high:g}); declare it with --reference-range: {_choices()}"
    )


def _first_image(offends: np.ndarray) -> int:
    return int(np.flatnonzero(offends.reshape(len(offends), -1).any(axis=1))[0])


def _not_finite(images: np.ndarray, start: int, source: str) -> str:
    index = start + _first_image(~np.isfinite(images))
    return (
        f"{source}: image {index} has NaN or infinite values; expected finite pixels "
        "(remove the image or repair it)"
    )


def _outside(
    images: np.ndarray,
    bounds: tuple[float, float],
    found: tuple[float, float],
    source: str,
    inferred: bool,
) -> str:
    slack = _TOLERANCE * (bounds[1] - bounds[0])
    index, step = 0, _chunk(images)
    for start in range(0, len(images), step):
        chunk = images[start : start + step]
        offends = (chunk < bounds[0] - slack) | (chunk > bounds[1] + slack)
        if offends.any():
            index = start + _first_image(offends)
            break
    which = "inferred" if inferred else "declared"
    return (
        f"{source}: images outside the {which} range: image {index} is the first; expected values "
        f"in {bounds[0]:g}..{bounds[1]:g}, found min {found[0]:g}, max {found[1]:g} over the set; "
        f"{_choices()}"
    )
