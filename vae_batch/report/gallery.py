"""The pictures stored for one checkpoint, and how images are brought to one frame.

Every image is uint8 (height, width, channels) with 1 or 3 channels, of any size that can be scored.
A gallery may lack any of its entries; what is there must have the shape stated below.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Gallery = Mapping[str, NDArray[Any]]
"""Arrays by name; images are (..., H, W, C) uint8.

- ``samples``, ``originals``, ``reconstructions``, ``reference_samples``: (n, H, W, C).
- ``interpolation``: (pairs, steps, H, W, C).
- ``traversal``: (dimensions, values, H, W, C), by decreasing KL; ``traversal_dimensions``
  (dimensions,) integers; ``traversal_kl`` (dimensions,) nats; ``traversal_values`` (values,);
  ``traversal_collapsed`` (dimensions,) bool, by the definition of ``metrics.latent_usage``.
- ``worst_originals``, ``worst_reconstructions``: (k, H, W, C), the largest error of all reference
  images first; ``worst_ids`` (k,) their indices; ``worst_errors`` (k,) mean squared errors of
  pixels in 0..1.
- ``nearest_generated``, ``nearest_training``: (k, H, W, C), the first samples and the training
  image nearest to each; ``nearest_ids`` (k,) its index; ``nearest_distances`` (k,) between
  activations of the extractor that ``nearest_extractor`` () names.
- ``duplicate_first``, ``duplicate_second``: (k, H, W, C), the most similar pairs of ``samples``;
  ``duplicate_ids`` (k, 2); ``duplicate_distances`` (k,) between activations of the extractor that
  ``duplicate_measure`` () names or, where it says "pixels", root mean squared, pixels in 0..1.
- ``kl_per_dimension`` (d,) nats, its sum is the KL; ``kl_collapsed`` (d,) bool;
  ``aggregate_mean``, ``aggregate_std`` (d,) of the aggregate posterior; ``aggregate_dimensions``
  (k,) those of largest KL, whose histograms of posterior draws are ``aggregate_density`` (k, b)
  between ``aggregate_edges`` (b + 1,); draws beyond the last edges are missing from them.
- ``spectrum_frequencies`` (f,) cycles per pixel; ``spectrum_power``, ``spectrum_power_reference``
  (f,) squared 8-bit levels.
"""

Images = NDArray[np.uint8]


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
    return [framed(stack, height, width, channels) for stack in stacks]


def framed(stack: Images, height: int, width: int, channels: int) -> Images:
    """Images in the middle of white ones of at least their size."""
    top, left = (height - stack.shape[-3]) // 2, (width - stack.shape[-2]) // 2
    frame = np.full((*stack.shape[:-3], height, width, channels), 255, dtype=np.uint8)
    rows, columns = slice(top, top + stack.shape[-3]), slice(left, left + stack.shape[-2])
    frame[..., rows, columns, :] = stack
    return frame
