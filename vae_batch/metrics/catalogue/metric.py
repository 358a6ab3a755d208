"""One entry of the metric table: everything that the product knows of a score column.

A package brings metrics of its own through the entry point ``vae_batch.metrics``; see
:mod:`vae_batch.metrics.catalogue.plug_ins`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    from numpy.typing import NDArray

Direction = Literal["lower", "higher", "neither"]

#: What must exist before a metric is defined: a half of the VAE (a set of generated images counts
#: as a decoder with a prior), its prior, the latents that images were decoded from, or arrays.
Need = Literal[
    "encoder",
    "decoder",
    "prior",
    "posterior",
    "latents",
    "pixels",
    "activations",
    "class_probabilities",
]

#: What of the reference a metric is computed from: a later word includes the earlier ones, except
#: that images give activations only by an extractor.
OfReference = Literal["nothing", "moments", "activations", "images"]

#: Stored files of a row that metrics are computed from, named as the units of a plan.
UnitKind = Literal[
    "description",
    "losses",
    "importance",
    "generated",
    "reference",
    "reconstructed",
    "pictures",
    "reference_pictures",
]

#: Columns that two rows must share before they are compared, by what a metric depends on.
_SAME_IMAGES = ("scoring_version", "reference_sha256", "reference_subset", "n_reference", "seed")
_SAME_PIXELS = (*_SAME_IMAGES, "model_range", "input_fit")
_SAME_LIKELIHOOD = (*_SAME_PIXELS, "likelihood", "sigma", "condition")
SAME_PROTOCOL = (
    *_SAME_IMAGES,
    *("reference_is", "extractor", "weights_sha256", "protocol", "n_generated"),
)


class StoredArrays(Protocol):
    """Stored arrays of one checkpoint, from which a plug-in metric is computed.

    Arrays are read when a method is called. Index i is the same latent sample or the same test
    image for every checkpoint of a run.
    """

    def activations(self) -> NDArray[Any]:
        """(n, d) float32 activations of the generated images."""
        ...

    def probabilities(self) -> NDArray[Any]:
        """(n, classes) class probabilities of the generated images."""
        ...

    def reference_activations(self) -> NDArray[Any]:
        """(m, d) float32 activations of the reference images."""
        ...

    def losses(self) -> Mapping[str, NDArray[Any]]:
        """(k,) float64 per-image values of the test images by column, such as ``elbo``."""
        ...


class IndexedScore(Protocol):
    """A score with the influence of each index on it, as ``PairedScore`` is one."""

    @property
    def value(self) -> float:
        """The score."""
        ...

    @property
    def influence(self) -> NDArray[Any]:
        """(n,) float64 influence of each index, in the score's unit, with mean 0."""
        ...


#: Computes a plug-in metric. A plain number is a score without a standard error; a
#: ``PairedScore`` brings the influence of each index, so that checkpoints can be compared by it.
#: A ValueError says in one sentence why the metric is undefined.
Compute = Callable[[StoredArrays], float | IndexedScore]


@dataclass(frozen=True)
class Metric:
    """One column of the score table.

    Attributes:
        column: Name in the score table.
        title: Heading in the report.
        short: Heading where space is scarce, such as a terminal.
        unit: Unit of the values, or "" for a pure number.
        direction: Which way is better, or "neither".
        definition: One sentence with the metric's main trap.
        source: Where the definition comes from.
        needs: Without one of these the metric is null, with that reason.
        group: Name under which a user asks for it (``--metrics``).
        of_reference: What of the reference it is computed from; None for what its group is.
        requirement: How many images it needs, in words, or "" where any number will do.
        standard_error: Whether a column ``<column>_se`` holds its standard error.
        warned: Whether a column ``<column>_warning`` says how a value must not be used.
        interval: Columns with the ends of its own 95 % interval, or None.
        least: Smallest value of what is estimated, which no interval ends below; None where there
            is none.
        within_likelihood: Whether values compare within one family of likelihoods only, and given
            labels only with others that are.
        estimated_by: Further columns of the score table that change what is estimated: values are
            compared only where these agree.
        compared: How checkpoints are compared by it: by paired differences of per-image values of
            the test ``images``, or of influences of the generated ``samples``; None where they are
            not.
        compared_as: Column that stands for it in every comparison, selection, race and tolerance,
            or "" where it stands for itself.
        images_per_dimension: Generated and reference images per feature dimension below which its
            bias forbids a comparison; the column is null there.
        raced_over: Units that a race by it needs, of which the last one grows from round to round;
            empty where it cannot be raced by.
        default_choice: Place, from 1, in the order in which a metric is looked for to choose the
            best checkpoint by; 0 where it is chosen by only on request.
        headline: Whether it stands in the narrow tables and has a curve; the others are shown in
            full tables.
        spread_of: Column whose spread over splits or subsets it is, or "".
        reads: For plug-ins: units that it is computed from.
        compute: For plug-ins: computes it from stored arrays; None for the metrics shipped.
    """

    column: str
    title: str
    short: str
    unit: str
    direction: Direction
    definition: str
    source: str
    needs: tuple[Need, ...]
    _: KW_ONLY
    group: str
    of_reference: OfReference | None = None
    requirement: str = ""
    standard_error: bool = False
    warned: bool = False
    interval: tuple[str, str] | None = None
    least: float | None = None
    within_likelihood: bool = False
    estimated_by: tuple[str, ...] = ()
    compared: Literal["images", "samples"] | None = None
    compared_as: str = ""
    images_per_dimension: float = 0.0
    raced_over: tuple[UnitKind, ...] = ()
    default_choice: int = 0
    headline: bool = False
    spread_of: str = ""
    reads: tuple[UnitKind, ...] = ()
    compute: Compute | None = None

    @property
    def per_extractor(self) -> bool:
        """Whether the value depends on the extractor, or on the checkpoint alone."""
        return "activations" in self.needs or "class_probabilities" in self.needs

    @property
    def conditions(self) -> tuple[str, ...]:
        """Columns of the score table that two rows must share before it compares them.

        Every ranking follows from these: stars, comparisons, selection, races, charts and nights.
        """
        if self.per_extractor:
            return (*SAME_PROTOCOL, *self.estimated_by)
        shared = _SAME_LIKELIHOOD if self.within_likelihood else _SAME_PIXELS
        return (*shared, *self.estimated_by)

    @property
    def sign(self) -> float:
        """1 where lower values are better, -1 where higher ones are.

        Raises:
            ValueError: Neither direction is better.
        """
        if self.direction == "neither":
            raise ValueError(f"{self.column} has no better direction, so it ranks no checkpoints")
        return -1.0 if self.direction == "higher" else 1.0

    @property
    def columns(self) -> tuple[str, ...]:
        """Its columns of the score table: value, standard error and warning if any, reason."""
        error = (f"{self.column}_se",) if self.standard_error else ()
        warning = (f"{self.column}_warning",) if self.warned else ()
        return (self.column, *error, f"{self.column}_reason", *warning)


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
        of_reference: What of the reference its metrics are computed from, unless they say
            otherwise.
        cost: Of scoring, for estimates; 0 where it takes next to no time.
    """

    name: str
    reads: tuple[UnitKind, ...]
    is_default: bool = True
    of_reference: OfReference = "images"
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
    Group("fid", _SAMPLES, of_reference="moments", cost=ScoreCost(0.0, 31.0, 2)),
    Group(
        "fid_infinity",
        _SAMPLES,
        is_default=False,
        of_reference="moments",
        cost=ScoreCost(0.0, 14.0, 2),
    ),
    Group("inception_score", ("generated",), of_reference="nothing", cost=ScoreCost(0.0, 0.7)),
    Group("kid", _SAMPLES, of_reference="activations", cost=ScoreCost(2.0, 13.0, by_samples=2)),
    Group("precision", _SAMPLES, of_reference="activations", cost=_NEIGHBOURS),
    Group(
        "diagnostics",
        ("losses", "pictures", "reference_pictures", *_SAMPLES),
        cost=ScoreCost(0.6, 8.7, by_samples=2),
    ),
    Group(
        "memorisation",
        _SAMPLES,
        is_default=False,
        of_reference="activations",
        cost=_NEIGHBOURS,
    ),
)
