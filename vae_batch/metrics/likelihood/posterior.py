"""Use of the latent code: active units and posterior collapse.

Latent axes are flattened in C order.
"""

from __future__ import annotations

from dataclasses import dataclass

from numpy.typing import ArrayLike

from vae_batch.metrics.likelihood.densities import gaussian_kl_per_dimension
from vae_batch.metrics.validation import FloatArray, sample_rows

ACTIVE_VARIANCE = 0.01
"""A unit is active where its posterior mean varies by more than this over images."""

COLLAPSED_KL = 0.01
COLLAPSED_SHARE = 0.99
"""A dimension is collapsed where its KL is below 0.01 nats on at least 99 % of the images."""

COLLAPSED_RATE = 0.1
"""A model is collapsed where its mean KL is below this, nats an image."""


@dataclass(frozen=True, eq=False)
class LatentUsage:
    """Which latent dimensions a checkpoint uses.

    Attributes:
        kl: (d,) mean over images of each dimension's KL to N(0, 1); their sum is the rate.
        mean_variances: (d,) variance over images (ddof 1) of the posterior means.
        low_kl_shares: (d,) share of images whose KL in that dimension is below 0.01 nats.
    """

    kl: FloatArray
    mean_variances: FloatArray
    low_kl_shares: FloatArray

    @property
    def rate(self) -> float:
        """Mean KL to the prior, nats an image."""
        return float(self.kl.sum())

    @property
    def active_units(self) -> int:
        """Dimensions whose mean varies by more than 0.01 (arXiv:1509.00519, section 5.2)."""
        return int((self.mean_variances > ACTIVE_VARIANCE).sum())

    @property
    def collapsed_dimensions(self) -> int:
        """Dimensions with KL < 0.01 on at least 99 % of the images (cf. arXiv:1911.02469)."""
        return int((self.low_kl_shares >= COLLAPSED_SHARE).sum())

    @property
    def is_collapsed(self) -> bool:
        """Whether the model ignores its code: a rate below 0.1 nats, or no active unit."""
        return self.rate < COLLAPSED_RATE or self.active_units == 0


def latent_usage(mean: ArrayLike, logvar: ArrayLike) -> LatentUsage:
    """Active units and collapse from the posteriors of n images.

    Args:
        mean: (n, *shape) posterior means, n >= 2.
        logvar: The same shape, log variances.

    Raises:
        ValueError: As ``gaussian_kl``, or fewer than 2 images.
    """
    kl = gaussian_kl_per_dimension(mean, logvar)
    if len(kl) < 2:
        raise ValueError(f"mean: a variance over images needs at least 2 images, got {len(kl)}")
    means = sample_rows("mean", mean)
    # Shifted by the first row, equal means vary by exactly 0.
    variances = (means - means[0]).var(axis=0, ddof=1)
    return LatentUsage(kl.mean(axis=0), variances, (kl < COLLAPSED_KL).mean(axis=0))
