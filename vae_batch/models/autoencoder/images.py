"""Images between the reference and a network: layout, size and value range."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from vae_batch.models.formats.format import Array, Floats, PortShape, Shape
from vae_batch.models.image_range import bounds_of, from_uint8, to_uint8
from vae_batch.plan.errors import CheckpointError
from vae_batch.plan.reading import InputFit, ValueRange

Pixels = npt.NDArray[np.uint8]
ImageShape = tuple[int, int, int]


@dataclass(frozen=True)
class ImageLayout:
    """How a network lays out an image.

    Attributes:
        order: ``channels-last``, ``channels-first``, or ``flat`` for any other row-major shape
            such as (784,) or (28, 28).
        shape: Of one image in the network.
        image_shape: (H, W, C) of the same image.
    """

    order: Literal["channels-last", "channels-first", "flat"]
    shape: Shape
    image_shape: ImageShape

    def to_network(self, images: Floats) -> Floats:
        """(n, H, W, C) as (n, *shape)."""
        if self.order == "channels-first":
            return np.ascontiguousarray(np.moveaxis(images, -1, 1))
        return images.reshape(len(images), *self.shape)

    def from_network(self, array: Array) -> Array:
        """(n, *shape) as (n, H, W, C)."""
        if self.order == "channels-first":
            return np.ascontiguousarray(np.moveaxis(array, 1, -1))
        return array.reshape(len(array), *self.image_shape)


def find_layout(shape: PortShape, reference: ImageShape, any_size: bool) -> ImageLayout | None:
    """The layout of an image input or output, or None where it holds no images like the reference.

    Free sizes become the reference's. With ``any_size``, other heights and widths are accepted
    too, and a flat shape is read as a square.
    """
    known = with_free_sizes(shape, reference)
    if known is None:
        return None
    height, width, channels = reference
    if known == reference:
        return ImageLayout("channels-last", known, reference)
    if known == (channels, height, width):
        return ImageLayout("channels-first", known, reference)
    transposed = len(known) == 3 and sorted(known) == sorted(reference)
    if math.prod(known) == math.prod(reference) and not transposed:
        return ImageLayout("flat", known, reference)
    return _layout_of_other_size(known, channels) if any_size and not transposed else None


def _layout_of_other_size(shape: Shape, channels: int) -> ImageLayout | None:
    match shape:
        case (height, width, last) if last == channels:
            return ImageLayout("channels-last", shape, (height, width, channels))
        case (first, height, width) if first == channels:
            return ImageLayout("channels-first", shape, (height, width, channels))
        case (height, width) if channels == 1:
            return ImageLayout("flat", shape, (height, width, 1))
        case (size,):
            side = math.isqrt(size // channels)
            if side and side * side * channels == size:
                return ImageLayout("flat", shape, (side, side, channels))
    return None


def image_shapes(shapes: Sequence[PortShape], reference: ImageShape) -> set[PortShape]:
    """Which of several shapes hold images.

    Those of the reference's size; where there are none, those of images of another size with at
    least a quarter of the reference's pixels, which most latents do not have.
    """
    exact = {shape for shape in shapes if find_layout(shape, reference, any_size=False)}
    return exact or {shape for shape in shapes if _is_similar(shape, reference)}


def _is_similar(shape: PortShape, reference: ImageShape) -> bool:
    layout = find_layout(shape, reference, any_size=True)
    if layout is None:
        return False
    height, width, _ = layout.image_shape
    return 4 * height * width >= reference[0] * reference[1]


def with_free_sizes(shape: PortShape, like: ImageShape) -> Shape | None:
    """A shape with its free sizes filled in so that it holds images ``like`` (H, W, C), or None."""
    if None not in shape:
        return tuple(int(size) for size in shape if size is not None)
    height, width, channels = like
    candidates: tuple[Shape, ...] = (like, (channels, height, width), (height, width))
    for candidate in candidates:
        fits = len(candidate) == len(shape) and all(
            size is None or size == wanted for size, wanted in zip(shape, candidate, strict=True)
        )
        if fits and math.prod(candidate) == math.prod(like):
            return candidate
    return None


def read_layout(
    shape: PortShape, reference: ImageShape, fit: InputFit | None, who: str
) -> ImageLayout:
    """The layout of an input or output that must hold images; ``who`` begins the error message."""
    layout = find_layout(shape, reference, any_size=True)
    if layout is None:
        other = "grey" if reference[2] == 3 else "rgb"
        like = (*reference[:2], 4 - reference[2])
        if find_layout(shape, like, any_size=True) is not None:
            kind = "their three channels are equal" if other == "grey" else "it was trained on grey"
            raise CheckpointError(
                f"{who} {shape}, but the reference images are {reference}; if {kind}, declare "
                f"--reference-colours {other}, else score this checkpoint against the images it "
                "was trained on"
            )
        raise CheckpointError(
            f"{who} {shape}, but the reference images are {reference}; score this checkpoint "
            "against the images it was trained on"
        )
    require_fit(layout.image_shape, shape, reference, fit, who)
    return layout


def require_fit(
    image: ImageShape, shape: PortShape, reference: ImageShape, fit: InputFit | None, who: str
) -> None:
    """Refuse images of another size than the reference's where nothing fits them.

    Args:
        image: (H, W, C) of the images.
        shape: As the message shows it, after ``who``.
        reference: (H, W, C) of the reference.
        fit: As declared.
        who: Begins the message.

    Raises:
        CheckpointError: Names what to declare.
    """
    height, width, _ = image
    if (height, width) == reference[:2]:
        return
    can_pad = height >= reference[0] and width >= reference[1]
    if fit is None:
        pad = "--input-fit pad (a black border around each image) or " if can_pad else ""
        raise CheckpointError(
            f"{who} {shape}, but the reference images are {reference}; declare {pad}--input-fit "
            "resize, whichever its training used, or score this checkpoint against the images it "
            "was trained on",
            {"input_fit": ("pad", "resize") if can_pad else "resize"},
        )
    if fit == "pad" and not can_pad:
        raise CheckpointError(
            f"{who} {shape}, which is smaller than the reference images {reference}, so "
            "--input-fit pad is impossible; declare --input-fit resize if its training images "
            "were resized",
            {"input_fit": "resize"},
        )


@dataclass(frozen=True)
class ImageFit:
    """Converts reference images to the model's own images, and back.

    Attributes:
        reference_shape: (H, W, C) of the reference images.
        image_shape: (H, W, C) of the model's images.
        how: ``pad`` puts a black border around the centred image, ``resize`` is Pillow's
            antialiased bilinear filter; None where the sizes are equal.
        value_range: Of the model's images.
    """

    reference_shape: ImageShape
    image_shape: ImageShape
    how: InputFit | None
    value_range: ValueRange

    def to_model(self, pixels: Pixels) -> Floats:
        """(n, H, W, C) uint8 of the reference as (n, *image_shape) float32 in the range."""
        if self.how != "resize":
            return from_uint8(np.pad(pixels, [(0, 0), *self._border(), (0, 0)]), self.value_range)
        low, high = bounds_of(self.value_range)
        grey = resized(pixels.astype(np.float32), self.image_shape).astype(np.float64)
        scaled = low + np.clip(grey, 0, 255) * ((high - low) / 255)
        return scaled.astype(np.float32)

    def to_pictures(self, means: Floats) -> Pixels:
        """(n, *image_shape) in the range as (n, H, W, C) uint8 of the reference's size."""
        if self.how == "resize":
            means = resized(means, self.reference_shape)
        elif self.how == "pad":
            (top, _), (left, _) = self._border()
            height, width, _ = self.reference_shape
            means = means[:, top : top + height, left : left + width]
        return to_uint8(means, self.value_range)

    def _border(self) -> list[tuple[int, int]]:
        """(top, bottom) and (left, right); an odd pixel goes below and to the right."""
        missing = (self.image_shape[axis] - self.reference_shape[axis] for axis in (0, 1))
        return [(pixels // 2, pixels - pixels // 2) for pixels in missing]


def rescaled(images: Floats, present: ValueRange, wanted: ValueRange) -> Floats:
    """Images of one value range in another, computed in float64."""
    if present == wanted:
        return images
    (low, high), (new_low, new_high) = bounds_of(present), bounds_of(wanted)
    unit = (images.astype(np.float64) - low) / (high - low)
    return (new_low + unit * (new_high - new_low)).astype(np.float32)


def resized(images: Floats, shape: ImageShape) -> Floats:
    """(n, H, W, C) float32 at another height and width: Pillow's bilinear, which antialiases."""
    from PIL import Image

    height, width, channels = shape
    planes = np.ascontiguousarray(np.moveaxis(images, -1, 1), np.float32)
    out = np.empty((len(images), channels, height, width), np.float32)
    for row, image in enumerate(planes):
        for channel, plane in enumerate(image):
            small = Image.fromarray(plane).resize((width, height), Image.Resampling.BILINEAR)
            out[row, channel] = np.asarray(small)
    return np.ascontiguousarray(np.moveaxis(out, 1, -1))
