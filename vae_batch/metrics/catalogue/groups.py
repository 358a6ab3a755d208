"""Groups of metrics, as users ask for them, and the stored files that each group is made of."""

from __future__ import annotations

from dataclasses import dataclass

from vae_batch.metrics.catalogue.metric import UnitKind


@dataclass(frozen=True)
class ScoreCost:
    """Core seconds of one group of a row, at 10,000 samples and with a prepared reference.

    Attributes:
        fixed: Independent of the features.
        growing: Added at 2,048 features.
        by_features: Power of the number of features by which ``growing`` scales.
        by_samples: Power of the number of samples by which both scale.
    """

    fixed: float = 0.0
    growing: float = 0.0
    by_features: int = 1
    by_samples: int = 1


@dataclass(frozen=True)
class Group:
    """Metrics that are asked for together, since they cost and read the same.

    Attributes:
        name: As ``--metrics`` takes it.
        reads: Units that its metrics are computed from.
        is_default: Whether it is computed when nothing is asked for.
        cost: Of scoring, for estimates; 0 where it takes next to no time.
    """

    name: str
    reads: tuple[UnitKind, ...]
    is_default: bool = True
    cost: ScoreCost = ScoreCost()


_SAMPLES: tuple[UnitKind, ...] = ("generated", "reference")
_NEIGHBOURS = ScoreCost(5.0, 20.0, by_samples=2)

#: FID-infinity is not computed by default, as its slope needs many samples; nor is memorisation,
#: which needs the activations of the training images. Costs are by ``jobs/benchmarks/scoring.py``
#: on the cores of ``run.cost.default_rates.MEASURED_ON``; memorisation is assumed to cost as much
#: as precision, which also searches neighbours.
SHIPPED_GROUPS = (
    Group("losses", ("losses",)),
    Group("latents", ("losses",), cost=ScoreCost(2.2)),
    Group("iwae", ("losses", "importance")),
    Group("reconstruction", ("losses",)),
    Group("reconstruction_fid", ("reference", "reconstructed"), cost=ScoreCost(0.0, 1.2, 2)),
    Group("fid", _SAMPLES, cost=ScoreCost(0.0, 31.0, 2)),
    Group("fid_infinity", _SAMPLES, is_default=False, cost=ScoreCost(0.0, 14.0, 2)),
    Group("inception_score", ("generated",), cost=ScoreCost(0.0, 0.7)),
    Group("kid", _SAMPLES, cost=ScoreCost(2.0, 13.0, by_samples=2)),
    Group("precision", _SAMPLES, cost=_NEIGHBOURS),
    Group(
        "diagnostics",
        ("losses", "pictures", "reference_pictures", *_SAMPLES),
        cost=ScoreCost(0.6, 8.7, by_samples=2),
    ),
    Group("memorisation", _SAMPLES, is_default=False, cost=_NEIGHBOURS),
)
