"""How smoothly decoded images follow their latents.

changes = path_changes(at_t, at_t_plus_step, 1e-2)     # one value a path, shard by shard
trimmed_mean(changes)                                  # over all paths
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from vae_batch.metrics.images.arrays import image_blocks
from vae_batch.metrics.validation import (
    FloatArray,
    real_array,
    require_finite,
    require_positive,
    require_same_shape,
    sample_rows,
)

TRIM = (1.0, 99.0)
"""Percentiles between which path lengths are averaged, both included."""


def path_changes(image_a: ArrayLike, image_b: ArrayLike, epsilon: float) -> FloatArray:
    """Squared change of a decoded pixel per squared step, one value a path.

    The mean is E d(G(z_t), G(z_t + epsilon)) / epsilon^2, as StyleGAN's perceptual path length
    (Karras et al. 2019, arXiv:1812.04948, section 4.1) with d the squared error per pixel value.
    Zero means a decoder that ignores z.

    Args:
        image_a: (n, ...) decoded floats at z_t.
        image_b: The same at z_t + epsilon.
        epsilon: Step, about 1e-2; much smaller ones drown in the rounding of float32.

    Returns:
        (n,) in squared units of a pixel per squared unit of latent path, >= 0.

    Raises:
        ValueError: Integer images (their quantisation would be all that is measured), shapes that
            differ, non-finite pixels, or an epsilon that is not positive.
    """
    require_same_shape("image_a", image_a, "image_b", image_b)
    require_positive("epsilon", epsilon)
    for name, image in (("image_a", image_a), ("image_b", image_b)):
        if real_array(name, image).dtype.kind != "f":
            raise ValueError(
                f"{name}: expected decoded floats, got {np.asarray(image).dtype}; quantised "
                "pixels change in steps that drown a small latent step"
            )
    a, b = np.asarray(image_a), np.asarray(image_b)
    if a.ndim == 0 or a.size == 0:
        raise ValueError(f"image_a: expected at least one pair of images, got shape {a.shape}")
    changes = np.empty(len(a))
    for block in image_blocks(a):
        change = sample_rows("image_b", b[block]) - sample_rows("image_a", a[block])
        changes[block] = (change**2).mean(axis=1) / epsilon**2
    return changes


def trimmed_mean(changes: ArrayLike) -> float:
    """Mean of (n,) values between their 1st and 99th percentile, both included.

    Raises:
        ValueError: No values, or non-finite ones.
    """
    values = real_array("changes", changes)
    if values.ndim != 1 or not values.size:
        raise ValueError(f"changes: expected at least one value a path, got shape {values.shape}")
    require_finite("changes", values)
    lengths: FloatArray = values.astype(np.float64)
    low = np.percentile(lengths, TRIM[0], method="lower")
    high = np.percentile(lengths, TRIM[1], method="higher")
    return float(lengths[(lengths >= low) & (lengths <= high)].mean())
