"""The evaluation spec: what is scored, against what, and how. Flags and TOML share its keys."""

from __future__ import annotations

import difflib
import fnmatch
from collections.abc import Iterator
from typing import Any, Literal

from pydantic import ValidationError, field_validator, model_validator
from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError

from vae_batch.metrics.catalogue import BROKEN_PLUG_INS, DEFAULT_GROUPS, GROUPS, METRICS, metric_for
from vae_batch.plan.location import misspelt_uri
from vae_batch.plan.race_settings import RaceSettings
from vae_batch.plan.reading import (
    ClassOutput,
    Colours,
    Reading,
    ReferenceFilter,
    ReferenceFit,
    Role,
    ValueRange,
)
from vae_batch.plan.reading import spec_field as _field
from vae_batch.plan.shards import MOST_SAMPLES, MOST_SHARDS, shard_count, shard_limit

ReferenceIs = Literal["sample", "population"]
Tool = Literal["pytorch-fid", "clean-fid", "torch-fidelity", "adm", "ttur", "dgm-eval"]

#: Extractor of the rows of a run in which no metric needs one.
WITHOUT_EXTRACTOR = "none"

#: Groups of metrics of which other tools print some.
TOOL_GROUPS = frozenset({"fid", "inception_score", "kid", "precision"})

#: Seconds, about 30 years: more than clocks of threads can wait for is refused.
_LONGEST = 1e9

_ROLES = ("identity", "content", "reading", "runtime")


class EvaluationSpec(Reading):
    """Everything one run of the job needs; frozen, unknown keys are refused.

    Every field is a key of the TOML file and, with dashes, a flag of ``vae-batch score``.
    """

    checkpoints: tuple[str, ...] = _field(
        "content", (), "Paths, folders, globs or URIs of VAE checkpoints, or of generated images."
    )
    encoder: str | None = _field(
        "content", None, "Pattern of encoder files, such as 'runs/*/enc-{step}.keras'."
    )
    decoder: str | None = _field(
        "content", None, "Pattern of decoder files; its * and {step} pair them with encoders."
    )
    reference: str = _field(
        "content",
        ...,
        "Real images: digits, mnist, fashion_mnist, cifar10, a folder, .zip, .npz, .npy or "
        ".parquet; or their features or statistics (mu, sigma) as .npz.",
    )
    reference_split: str = _field(
        "content", "test", "Split of a reference set that has splits: test, train or all."
    )
    reference_range: ValueRange | None = _field(
        "content", None, "Range of float reference images; inferred and checked when not given."
    )
    reference_colours: Colours | None = _field(
        "content",
        None,
        "Take reference images of three equal channels as grey, or repeat grey in three (rgb).",
    )
    reference_fit: ReferenceFit | None = _field(
        "content",
        None,
        "How reference and training images of any size become squares of --reference-size: "
        "center-crop (ADM's: box halvings, bicubic, the middle) or resize (Lanczos, whatever the "
        "shape); images that differ in size are refused when not given.",
    )
    reference_size: int | None = _field(
        "content", None, "Pixels of a side of images that --reference-fit fits.", ge=1, le=65536
    )
    reference_filter: ReferenceFilter | None = _field(
        "content",
        None,
        "Pillow's filter by which --reference-fit makes images smaller or larger in one step "
        "(default: ADM's two steps for center-crop, lanczos for resize).",
    )
    reference_samples: int | None = _field(
        "identity",
        None,
        "Use N of the reference images only (default: all); of a file of statistics, the number of "
        "images that it is of.",
        ge=2,
        le=MOST_SAMPLES,
    )
    reference_subset: Literal["random", "first"] = _field(
        "identity",
        "random",
        "Which images --reference-samples, --training-samples and --iwae-images take, and "
        "--samples of a set of images: a random draw, the same in every run, or the first ones.",
    )
    reference_is: ReferenceIs = _field(
        "identity",
        "sample",
        "What the reference images are: a sample of the distribution that is meant, whose own bias "
        "and error are corrected for, too, or the population itself.",
    )
    reference_protocol: str | None = _field(
        "content",
        None,
        "In words, the network, resize and normalisation that a reference of features or "
        "statistics was made with, where its file does not say.",
        min_length=1,
    )
    training: str | None = _field(
        "content",
        None,
        "Images the VAEs were trained on, for memorisation: a split of the reference such as "
        "train, or another set.",
    )
    training_samples: int | None = _field(
        "content", None, "Use N of the training images only (default: all).", ge=2, le=MOST_SAMPLES
    )
    out: str = _field("runtime", "results/", "Output folder or URI.", min_length=1)
    extractors: tuple[str, ...] = _field(
        "content",
        ("inception-2015",),
        "inception-2015, inception-keras, inception-random, or the path of a network.",
        min_length=1,
    )
    protocols: tuple[Tool, ...] = _field(
        "content",
        (),
        "Also print the numbers that another tool would print, from inception-2015 and that tool's "
        "resize, in rows of their own; see `vae-batch help protocols`.",
    )
    weights: tuple[str, ...] = _field(
        "content", (), "Files of extractor weights, identified by their content."
    )
    allow_unverified_weights: bool = _field(
        "runtime",
        False,
        "Accept weight files whose hash is not a published one (the hash is in every row).",
    )
    classifier_range: ValueRange | None = _field(
        "content",
        None,
        "Pixel range that a network named as extractor takes: inferred from a first Rescaling or "
        "Normalization or from the reference's labels, else asked for.",
    )
    embedding: str | None = _field(
        "content",
        None,
        "Layer or output of such a network that gives the features (default: what its last dense "
        "layer takes).",
    )
    class_output: ClassOutput | None = _field(
        "content",
        None,
        "What such a network's class output holds: softmax, logits, sigmoid, or none for features "
        "alone; inferred from its last activation, else asked for.",
    )
    samples: int = _field(
        "identity",
        10000,
        "Images generated per checkpoint, or taken of a set of generated images.",
        ge=2,
        le=MOST_SAMPLES,
    )
    seed: int = _field("identity", 0, "Seed of latents and posterior noise.", ge=0, lt=2**63)
    per_checkpoint: dict[str, dict[str, Any]] = _field(
        "content",
        {},
        "What is declared for some checkpoints only: a glob of their paths to its keys.",
    )
    trust: bool = _field(
        "runtime",
        False,
        "Run code of checkpoints and of modules named in the spec: Python lambdas, builders, "
        "custom classes, TFSMLayers.",
    )
    memory_cap: float = _field(
        "runtime", 8.0, "GiB that loading one checkpoint may take on a worker.", gt=0, le=2**20
    )
    metrics: tuple[str, ...] = _field(
        "runtime",
        DEFAULT_GROUPS,
        "Groups of metrics, or 'all': a group that is not requested is not computed, and can be "
        "added to a finished run.",
    )
    iwae_draws: int = _field(
        "identity",
        64,
        "Posterior draws an image of the importance-weighted bound.",
        ge=1,
        le=1_000_000,
    )
    iwae_images: int = _field(
        "identity",
        1000,
        "Reference images of the importance-weighted bound.",
        ge=2,
        le=MOST_SAMPLES,
    )
    splits: int = _field("identity", 10, "Inception Score splits.", ge=1)
    shard_size: int = _field("identity", 512, "Samples per shard.", ge=1, le=MOST_SAMPLES)
    batch_size: int | None = _field(
        "identity",
        None,
        "Images per batch, of one fixed shape; 32 on CPUs, on GPUs chosen by a short probe.",
        ge=1,
        le=1_000_000,
    )
    select: str | None = _field(
        "runtime",
        None,
        "Metric by which the best checkpoint is chosen (default: fid_corrected where there are "
        "enough images for it, else kid, else elbo).",
    )
    confirm: bool = _field(
        "runtime", False, "Measure the best and the second again on fresh seeds."
    )
    race: RaceSettings | None = _field(
        "runtime",
        None,
        "Score in rounds and drop checkpoints that can no longer be best by this metric; the table "
        "[race] of a TOML file has more keys.",
    )
    keep_activations: Literal["all", "reference", "best", "none"] = _field(
        "runtime",
        "all",
        "Activations kept after the run: all, the reference's, also those of the best checkpoint, "
        "or none; moments and losses always stay.",
    )
    wait: float = _field(
        "runtime",
        0.0,
        "Seconds to wait for another run in the same output folder.",
        ge=0,
        le=_LONGEST,
    )
    shard_timeout: float = _field(
        "runtime",
        3600.0,
        "Seconds after which a shard's worker is considered hung and is replaced.",
        gt=0,
        le=_LONGEST,
    )
    stable_for: float = _field(
        "runtime",
        60.0,
        "Nightly: seconds for which a checkpoint must not have changed before it is scored.",
        ge=0,
        le=_LONGEST,
    )
    tolerance: dict[str, float] = _field(
        "runtime",
        {},
        "Nightly: metrics and how much worse than the best before, in their own units, a new "
        "checkpoint may be.",
    )
    workers: int | None = _field(
        "runtime",
        None,
        "Extraction workers: 0 runs in this process without Ray; default one a GPU or node.",
        ge=0,
        le=100_000,
    )
    address: str | None = _field(
        "runtime", None, "Ray cluster to join (default: RAY_ADDRESS, else a local one)."
    )
    reference_cache: str | None = _field(
        "runtime", None, "Folder or URI of reference activations shared between output folders."
    )

    @property
    def needs_extractor(self) -> bool:
        """Whether a requested group of metrics reads activations."""
        reads = {kind for name in self.metrics for kind in GROUPS[name].reads}
        return not reads.isdisjoint(("generated", "reference", "reconstructed"))

    @property
    def settled_batch_size(self) -> int:
        """The batch size of a spec whose run has settled it.

        Raises:
            ValueError: It is still open.
        """
        if self.batch_size is None:
            raise ValueError("batch_size is still open; it is settled before shards are computed")
        return self.batch_size

    @field_validator("*", mode="after")
    @classmethod
    def _no_null_characters(cls, value: object) -> object:
        """No path, URI or name can hold one, and the system's errors on it name nothing."""
        if any("\0" in text for text in _texts(value)):
            raise ValueError("expected text without null characters")
        return value

    @field_validator(
        "checkpoints", "encoder", "decoder", "reference", "training", "out", "extractors",
        "weights", "reference_cache",
    )  # fmt: skip
    @classmethod
    def _uris_are_spelt_right(cls, value: object) -> object:
        """Else it is a local path, which may hold a secret, and is shown and stored as one."""
        wrong = next(filter(None, map(misspelt_uri, _texts(value))), None)
        if wrong is not None:
            raise PydanticCustomError("misspelt_uri", "{wrong}", {"wrong": wrong})
        return value

    @field_validator("metrics", mode="before")
    @classmethod
    def _groups(cls, value: object) -> object:
        """``a,b`` and ``all`` are lists, too; the order of groups means nothing."""
        given = value.split(",") if isinstance(value, str) else value
        if not isinstance(given, list | tuple):
            return value
        names = [part.strip() for item in given for part in str(item).split(",")]
        chosen = set(GROUPS) if "all" in names else set(names)
        unknown = sorted(chosen - set(GROUPS))
        if unknown:
            near = difflib.get_close_matches(unknown[0], [*GROUPS, "all"], n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ValueError(
                f"no group of metrics is named {', '.join(unknown)}; expected all, or some of "
                f"{', '.join(GROUPS)}{hint}{_broken_plug_ins()}"
            )
        return tuple(name for name in GROUPS if name in chosen)

    @field_validator("select")
    @classmethod
    def _selects_by_what_is_compared(cls, value: str | None) -> str | None:
        """``fid`` becomes ``fid_corrected``, which stands for it in every comparison."""
        return None if value is None else metric_for(value, "select").column

    @field_validator("tolerance")
    @classmethod
    def _tolerates_what_is_compared(cls, value: dict[str, float]) -> dict[str, float]:
        columns = {name: metric_for(name, "tolerance").column for name in value}
        twice = [name for name, column in columns.items() if name != column and column in value]
        if twice:
            raise ValueError(f"{twice[0]} and {columns[twice[0]]} are one metric; name it once")
        return {columns[name]: allowed for name, allowed in value.items()}

    @field_validator("checkpoints", "extractors", "protocols", "weights", mode="before")
    @classmethod
    def _single_value_is_a_list(cls, value: object) -> object:
        return (value,) if isinstance(value, str) else value

    @field_validator("extractors", "protocols")
    @classmethod
    def _are_different(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(value)) < len(value):
            raise ValueError("one is named twice; name each once")
        return value

    def reading_of(self, label: str) -> Reading:
        """What is declared of one checkpoint: the spec's fields, then those of matching globs.

        Args:
            label: The checkpoint's path as the score table names it.
        """
        values = {name: getattr(self, name) for name in Reading.model_fields}
        for pattern, declared in self.per_checkpoint.items():
            if fnmatch.fnmatchcase(label, pattern):
                values |= declared
        return Reading.model_validate(values)

    @model_validator(mode="after")
    def _checkpoints_are_named(self) -> EvaluationSpec:
        if not (self.checkpoints or self.encoder or self.decoder):
            raise ValueError(
                "checkpoints is required (paths, folders, globs or URIs), or patterns of halves: "
                "--encoder 'runs/*/enc-{step}.keras' --decoder 'runs/*/dec-{step}.keras'"
            )
        return self

    @model_validator(mode="after")
    def _a_fit_has_a_size(self) -> EvaluationSpec:
        if (self.reference_fit is None) != (self.reference_size is None):
            raise ValueError(
                "reference_fit and reference_size belong together: give both, such as "
                "--reference-fit center-crop --reference-size 256"
            )
        if self.reference_filter is not None and self.reference_fit is None:
            raise ValueError(
                "reference_filter says how reference_fit resizes; add --reference-fit center-crop "
                "or resize"
            )
        return self

    @model_validator(mode="after")
    def _tools_have_something_to_print(self) -> EvaluationSpec:
        if self.protocols and TOOL_GROUPS.isdisjoint(self.metrics):
            raise ValueError(
                f"protocols print metrics of {', '.join(sorted(TOOL_GROUPS))} only; add one of "
                "these to --metrics"
            )
        return self

    @model_validator(mode="after")
    def _declarations_are_readable(self) -> EvaluationSpec:
        for pattern, declared in self.per_checkpoint.items():
            try:
                values = {name: getattr(self, name) for name in Reading.model_fields}
                Reading.model_validate({**values, **declared})
            except ValidationError as error:
                problem = error.errors()[0]
                key = ".".join(str(part) for part in problem["loc"])
                said = f"{key}{': ' if key else ''}{problem['msg']}"
                if problem["type"] == "finite_number":
                    said = f"{problem['loc'][0]}: expected a finite number"
                raise ValueError(
                    f"per_checkpoint {pattern!r}: {said}; its keys may be "
                    f"{', '.join(Reading.model_fields)}"
                ) from None
        return self

    @model_validator(mode="after")
    def _a_race_can_be_run(self) -> EvaluationSpec:
        race = self.race
        if race is None:
            return self
        metric = METRICS[race.metric]
        if metric.group not in self.metrics:
            raise ValueError(
                f"race is by {race.metric}, which metrics does not contain; add {metric.group} to "
                "--metrics"
            )
        if self.select not in (None, race.metric):
            raise ValueError(
                f"select is {self.select}, race is by {race.metric}: only those that may be best "
                "by the latter are scored in full; select by the race's metric, or without a race"
            )
        if metric.compared == "samples" and self.keep_activations != "all":
            raise ValueError(
                f"a race by {race.metric} goes on from stored activations, so that "
                f"keep_activations = {self.keep_activations!r} would have them computed again; "
                "keep all, and use `vae-batch prune` when the race is over"
            )
        return self

    @model_validator(mode="after")
    def _numbers_fit(self) -> EvaluationSpec:
        if "inception_score" in self.metrics and self.samples < self.splits:
            raise ValueError(
                f"splits is {self.splits} but only {self.samples} samples are generated; "
                "use --samples of at least --splits, or fewer splits"
            )
        shards = shard_count(self.samples, self.shard_size)
        if shards > MOST_SHARDS:
            raise ValueError(
                f"samples is {self.samples:,} and shard_size {self.shard_size:,}: these are "
                f"{shards:,} shards per checkpoint, {shard_limit(self.samples)}"
            )
        return self


def _texts(value: object) -> Iterator[str]:
    """Texts in a value, keys among them."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from _texts([*value, *value.values()])
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _texts(inner)


def role_of(name: str) -> Role:
    """Role of a spec field: identity, content, reading or runtime."""
    extra = _info(name).json_schema_extra
    if not isinstance(extra, dict) or extra.get("role") not in _ROLES:
        raise KeyError(
            f"EvaluationSpec.{name} has no role; declare it with _field(role, ...) where role is "
            "'identity' if it moves a number, 'content' if it enters the fingerprint by the hash "
            "of what it names, 'reading' if it says how a checkpoint's files are to be "
            "understood, or 'runtime' if it never moves a number"
        )
    return extra["role"]  # type: ignore[return-value]


def identity_of(spec: EvaluationSpec) -> dict[str, Any]:
    """The spec's identity fields by name, as plain values."""
    values = spec.model_dump(mode="json")
    return {name: values[name] for name in sorted(values) if role_of(name) == "identity"}


def _broken_plug_ins() -> str:
    """What is said of plug-ins whose groups are missing since they could not be loaded."""
    return "".join(
        f"; {title} cannot be used ({why}); fix or uninstall it"
        for title, why in BROKEN_PLUG_INS.items()
    )


def _info(name: str) -> FieldInfo:
    return EvaluationSpec.model_fields[name]
