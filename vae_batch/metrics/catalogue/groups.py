"""Groups of metrics, as users ask for them, and the stored files that each group is made of."""

from __future__ import annotations

from dataclasses import dataclass

from vae_batch.metrics.catalogue.metric import UnitKind


@dataclass(frozen=True)
class Group:
    """Metrics that are asked for together, since they cost and read the same.

    Attributes:
        name: As ``--metrics`` takes it.
        reads: Units that its metrics are computed from.
        is_default: Whether it is computed when nothing is asked for.
    """

    name: str
    reads: tuple[UnitKind, ...]
    is_default: bool = True


_SAMPLES: tuple[UnitKind, ...] = ("generated", "reference")

#: FID-infinity is not computed by default, as its slope needs many samples; nor is memorisation,
#: which needs the activations of the training images.
SHIPPED_GROUPS = (
    Group("losses", ("losses",)),
    Group("latents", ("losses",)),
    Group("iwae", ("losses", "importance")),
    Group("reconstruction", ("losses",)),
    Group("reconstruction_fid", ("reference", "reconstructed")),
    Group("fid", _SAMPLES),
    Group("fid_infinity", _SAMPLES, is_default=False),
    Group("inception_score", ("generated",)),
    Group("kid", _SAMPLES),
    Group("precision", _SAMPLES),
    Group("diagnostics", ("losses", "pictures", "reference_pictures", *_SAMPLES)),
    Group("memorisation", _SAMPLES, is_default=False),
)
