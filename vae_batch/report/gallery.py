"""The pictures stored for one checkpoint, and the checks they pass before they are drawn.

Every image is uint8 (height, width, channels) with 1 or 3 channels and sides of 8 to 256 pixels.
A gallery may lack any of its entries; what is there must have the shape stated below.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

Gallery = Mapping[str, NDArray]
"""`samples`, `originals`, `reconstructions`, `reference_samples`: (n, H, W, C) uint8;
`interpolation`: (pairs, steps, H, W, C) uint8; `traversal`: (dimensions, values, H, W, C) uint8,
by decreasing KL; `traversal_dimensions` (dimensions,) integers; `traversal_kl` (dimensions,)
nats; `traversal_values` (values,)."""

Images = NDArray[np.uint8]

_IMAGE_AXES = {
    "samples": 4,
    "originals": 4,
    "reconstructions": 4,
    "reference_samples": 4,
    "interpolation": 5,
    "traversal": 5,
}
_SIDES = range(8, 257)


def check_gallery(checkpoint: str, gallery: Gallery) -> None:
    """Check every entry's axes, dtype, channels and sides, and that paired entries agree.

    Raises:
        ValueError: an entry is not as `Gallery` states; it names checkpoint, entry and shapes.
    """
    for name, axes in _IMAGE_AXES.items():
        if name in gallery:
            _check_images(f"gallery of {checkpoint!r}: {name}", np.asarray(gallery[name]), axes)
    _check_pairs(checkpoint, gallery)
    _check_traversal(checkpoint, gallery)


def _check_images(what: str, images: NDArray, axes: int) -> None:
    good = (
        images.ndim == axes
        and images.dtype == np.uint8
        and images.shape[-1] in (1, 3)
        and images.shape[-2] in _SIDES
        and images.shape[-3] in _SIDES
        and images.size > 0
    )
    if not good:
        raise ValueError(
            f"{what}: expected uint8 images of {axes} axes, sides 8 to 256, 1 or 3 channels last, "
            f"found {images.dtype} of shape {images.shape}; store decoded pixels as 0..255 NHWC"
        )


def _check_pairs(checkpoint: str, gallery: Gallery) -> None:
    if "originals" not in gallery or "reconstructions" not in gallery:
        return
    originals, reconstructions = gallery["originals"].shape, gallery["reconstructions"].shape
    if originals != reconstructions:
        raise ValueError(
            f"gallery of {checkpoint!r}: originals {originals} and reconstructions "
            f"{reconstructions} differ in shape; they must be the same images in the same order"
        )


def _check_traversal(checkpoint: str, gallery: Gallery) -> None:
    if "traversal" not in gallery:
        return
    rows, columns = gallery["traversal"].shape[:2]
    lengths = {"traversal_dimensions": rows, "traversal_kl": rows, "traversal_values": columns}
    for name, expected in lengths.items():
        found = np.shape(gallery[name]) if name in gallery else "nothing"
        if found != (expected,):
            raise ValueError(
                f"gallery of {checkpoint!r}: {name}: expected {expected} values for a traversal "
                f"of {rows} dimensions by {columns} values, found {found}"
            )


def absolute_difference(originals: Images, reconstructions: Images) -> Images:
    """|reconstruction - original| for uint8 images, in the same 0..255 units."""
    wide = originals.astype(np.int16) - reconstructions.astype(np.int16)
    return np.abs(wide).astype(np.uint8)


def same_frame(stacks: Sequence[Images]) -> list[Images]:
    """Image stacks with one height, width and number of channels: padded with white, not resized.

    Checkpoints of one report may differ in image shape; grey images become RGB only where some
    stack has colour.
    """
    height = max(stack.shape[-3] for stack in stacks)
    width = max(stack.shape[-2] for stack in stacks)
    channels = max(stack.shape[-1] for stack in stacks)
    return [_framed(stack, height, width, channels) for stack in stacks]


def _framed(stack: Images, height: int, width: int, channels: int) -> Images:
    top, left = (height - stack.shape[-3]) // 2, (width - stack.shape[-2]) // 2
    frame = np.full((*stack.shape[:-3], height, width, channels), 255, dtype=np.uint8)
    rows, columns = slice(top, top + stack.shape[-3]), slice(left, left + stack.shape[-2])
    frame[..., rows, columns, :] = stack
    return frame
