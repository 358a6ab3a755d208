"""Rows of the score table as typed values, and the one place where they are dictionaries."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, TypeVar, get_args

from vae_batch.metrics.catalogue import METRICS
from vae_batch.storage.checked_json import parse_as
from vae_batch.storage.score_schema import FLAGS_APART, SCHEMA

Status = Literal["scored", "failed"]

#: What a reference holds: images, features of images, or mean and covariance of features.
ReferenceKind = Literal["images", "features", "statistics"]

#: Why a value is undefined, or why a row failed.
ReasonCode = Literal[
    "not_requested",  # the metric's group was not asked for
    "not_computed",  # asked for, but the files that it needs were never computed
    "missing_part",  # the checkpoint lacks an encoder, a decoder, a posterior, a prior or latents
    "not_in_protocol",  # the tool whose numbers the row holds prints none
    "no_class_probabilities",  # the extractor has none
    "no_training_images",  # --training was not given
    "no_reference_images",  # the reference holds features or statistics
    "no_reference_activations",  # the reference holds statistics
    "not_declared",  # a sigma or beta that only the user can know
    "too_few_images",
    "images_too_small",
    "bias_dominated",  # too few images for the feature dimensions
    "bias_not_known",  # what is left of the bias cannot be estimated from these images
    "not_finite",  # the value came out as infinite or not a number
    "refused",  # the metric is undefined for these inputs
    "checkpoint_error",  # the checkpoint cannot be loaded or run
    "damaged_files",  # stored files were damaged again and again
    "worker_lost",  # workers died on this checkpoint
    "timeout",  # a shard ran longer than --shard-timeout
    "unexpected",  # an exception that nothing foresaw; see the row's traceback
    "unknown",  # written by version 0.1, which recorded no codes
]

WarningKind = Literal[
    "checkpoint_reading",  # how the checkpoint was read may be wrong
    "reference_reading",  # how the reference images or labels were read
    "posterior_collapse",
    "collapsed_dimensions",
    "saturated_information",
    "near_duplicates",
    "exact_duplicates",
    "blurred",
    "noisy",
    "memorisation",
    "heavy_importance_weights",
    "smaller_batches",
    "device",  # bits differ between the devices that computed the row, or from run to run
    "estimator",  # a value is another quantity than that of most checkpoints
    "reference_subset",  # the reference images are not like those left out
    "unknown",  # written by version 0.1, which recorded no kinds
]

Severity = Literal["info", "warning", "severe"]

_Word = TypeVar("_Word")


@dataclass(frozen=True)
class Reason:
    """Why a value is undefined, or why a row failed.

    Attributes:
        code: What programs decide by.
        text: A sentence for people.
    """

    code: ReasonCode
    text: str


@dataclass(frozen=True)
class RowWarning:
    """Something that a reader of a row's scores should know.

    Attributes:
        kind: What it is about.
        severity: ``severe`` where the checkpoint itself is broken or useless as a generator.
        text: A sentence for people.
    """

    kind: WarningKind
    severity: Severity
    text: str


@dataclass(frozen=True)
class Score:
    """One metric of one row.

    Attributes:
        value: In the metric's unit; None where it is undefined.
        standard_error: In the same unit; None where the metric has none.
        reason: Why the value is undefined; None where it is defined.
        warning: How a value that is defined must not be used; None where there is no such limit.
    """

    value: float | None = None
    standard_error: float | None = None
    reason: Reason | None = None
    warning: str | None = None


@dataclass(frozen=True)
class Conditions:
    """What the numbers of a row depend on, by the names of their columns.

    Attributes:
        extractor: Name of the feature extractor.
        weights_sha256: Of its weights.
        protocol: Resize, normalisation and input type of the extractor, in one string.
        n_generated: Generated images.
        n_reference: Reference images; None where that is not known of statistics.
        reference: Name of the reference set.
        reference_split: Its split.
        reference_sha256: Of its pixels.
        checkpoint_sha256: Of the checkpoint's files.
        seed: Of all random draws.
        tool: Whose numbers these are, such as ``pytorch-fid``, under its named protocol; None for
            our own.
        reference_is: ``sample`` where distances are those of the two distributions, ``population``
            where they are from these reference images; None in tables of version 0.1, whose
            distances were the latter.
        reference_kind: What the reference holds; None in older tables, whose references are images.
        reference_protocol: How its features or statistics were made, in words; None of images.
        reference_fit: How reference images were brought to one size, such as ``center-crop 256``;
            reconstructions are compared with the fitted images. None where they are as stored.
        feature_dim: Dimensions of the extractor's features; None before any were computed.
        generated_subset: Which images of a set of generated ones were used: ``all``, or how many
            were drawn; None of a model, which generates them.
        left_race_at: Samples after which early elimination dropped the checkpoint, if it did.
        model_format: File format of the checkpoint.
        model_range: Pixel range of the model's images, such as ``0..1``.
        input_fit: How reference images were fitted to the model's input size, if they were.
        condition: How the model takes labels; None for an unconditional model.
        second_head: What the encoder returns beside the mean.
        likelihood: Family of p(x|z).
        sigma: Standard deviation of a gaussian likelihood, in units of ``model_range``.
        sigma_source: ``declared``, ``optimal`` or ``learned``.
        bin_width: Width of one grey level, in units of ``model_range``, by which ``bits_per_dim``
            takes a density for one of 8-bit images; None where p(x|z) is of grey levels.
        beta: Weight of the KL divergence in the training objective.
        reference_subset: Which images of the reference were used: ``all``, or how many were drawn.
        latent: Where a reconstruction is decoded from for its likelihood: a posterior's ``draw``,
            or the ``code`` of an encoder without a posterior; None without an encoder.
        iwae_draws: Posterior draws per image of the importance-weighted bound.
        iwae_images: Which reference images that bound is of, in words as ``reference_subset``.
        scoring_version: Version of all definitions and estimators; None in tables that record none.
    """

    extractor: str
    weights_sha256: str
    protocol: str
    n_generated: int
    n_reference: int | None
    reference: str
    reference_split: str
    reference_sha256: str
    checkpoint_sha256: str
    seed: int
    tool: str | None = None
    reference_is: str | None = None
    reference_kind: ReferenceKind | None = None
    reference_protocol: str | None = None
    reference_fit: str | None = None
    feature_dim: int | None = None
    left_race_at: int | None = None
    generated_subset: str | None = None
    model_format: str | None = None
    model_range: str | None = None
    input_fit: str | None = None
    condition: str | None = None
    second_head: str | None = None
    likelihood: str | None = None
    sigma: float | None = None
    sigma_source: str | None = None
    bin_width: float | None = None
    beta: float | None = None
    reference_subset: str | None = None
    latent: str | None = None
    iwae_draws: int | None = None
    iwae_images: str | None = None
    scoring_version: int | None = None

    @property
    def sigma_setting(self) -> float | str | None:
        """Sigma as it was set: ``optimal`` or ``learned`` is one setting for all checkpoints."""
        return self.sigma if self.sigma_source in (None, "declared") else self.sigma_source

    @property
    def family(self) -> str:
        """The likelihood and its sigma: losses under different ones are not comparable."""
        likelihood, sigma = self.likelihood or "likelihood unknown", self.sigma_setting
        if sigma is None:
            return likelihood
        return f"{likelihood}, sigma {sigma if isinstance(sigma, str) else f'{sigma:g}'}"

    def of(self, names: Iterable[str]) -> dict[str, object]:
        """Some conditions by name, as rows must share them: sigma is its setting."""
        return {n: self.sigma_setting if n == "sigma" else getattr(self, n) for n in names}


@dataclass(frozen=True)
class Provenance:
    """Where and when a row was made.

    Attributes:
        fingerprint: Of everything that moves a number of the row; None where it must be scored
            again.
        scored_at: UTC, ISO 8601, to the second.
        version: Of the package.
        device: Kind of device that computed the row's files; None where none did.
    """

    fingerprint: str | None
    scored_at: str
    version: str
    device: str | None = None


@dataclass(frozen=True)
class ScoreRow:
    """The scores of one checkpoint under one extractor.

    Attributes:
        checkpoint: Its label.
        step: Training step; None where its name has none.
        status: ``scored``, or ``failed`` where some or all scores could not be had.
        conditions: What the scores depend on.
        provenance: Where and when they were made.
        scores: By metric column; a metric that is absent has neither a value nor a reason.
        warnings: In the order in which they were found.
        reason: Why the row failed; None where it is scored.
        traceback: Path of the failure's traceback below the output folder, where there is one.
    """

    checkpoint: str
    step: int | None
    status: Status
    conditions: Conditions
    provenance: Provenance
    scores: Mapping[str, Score] = field(default_factory=dict)
    warnings: tuple[RowWarning, ...] = ()
    reason: Reason | None = None
    traceback: str | None = None

    @property
    def key(self) -> tuple[str, str]:
        """(checkpoint, extractor), which is unique in a score table."""
        return self.checkpoint, self.conditions.extractor

    def score(self, column: str) -> Score:
        """The score of a metric; an empty one where the row says nothing of it."""
        return self.scores.get(column) or Score()

    def value(self, column: str) -> float | None:
        """The value of a metric; None where it is undefined."""
        return self.score(column).value

    def held(self, names: Iterable[str]) -> dict[str, object]:
        """Conditions and values of metrics by name, as rows must share them to be compared."""
        return {
            name: self.value(name) if name in METRICS else self.conditions.of((name,))[name]
            for name in names
        }

    def to_record(self) -> dict[str, Any]:
        """The row by the columns of :data:`SCHEMA`.

        Raises:
            KeyError: A score is of a metric, or has a part, that the table has no column for.
        """
        record: dict[str, Any] = dict.fromkeys(SCHEMA.names)
        record |= {**vars(self.conditions), **vars(self.provenance)}
        for name in ("checkpoint", "step", "status", "traceback"):
            record[name] = getattr(self, name)
        if self.reason is not None:
            record |= {"reason": self.reason.text, "reason_code": self.reason.code}
        if self.warnings:
            record["warnings"] = FLAGS_APART.join(warning.text for warning in self.warnings)
            record["warnings_json"] = json.dumps([asdict(warning) for warning in self.warnings])
        codes = {name: s.reason.code for name, s in self.scores.items() if s.reason is not None}
        record["reason_codes"] = json.dumps(codes) if codes else None
        for column, score in self.scores.items():
            record |= _columns_of(column, score)
        unknown = sorted(set(record) - set(SCHEMA.names))
        if unknown:
            raise KeyError(f"columns {unknown} are not in the score table's schema")
        return record

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> ScoreRow:
        """The row of a record; of version 0.1, too, whose reasons get the code ``unknown``.

        Raises:
            ValueError: The record lacks a value that every row has, or holds a code or kind that
                no row has.
        """
        codes = parse_as(dict[str, ReasonCode], record.get("reason_codes") or "{}")
        scores = {column: _score_of(record, column, codes.get(column)) for column in METRICS}
        return cls(
            checkpoint=_required(record, "checkpoint"),
            step=record.get("step"),
            status=_one_of(get_args(Status), _required(record, "status")),
            conditions=Conditions(**_fields_of(Conditions, record)),
            provenance=Provenance(**_fields_of(Provenance, record)),
            scores={column: score for column, score in scores.items() if score != Score()},
            warnings=_warnings_of(record),
            reason=_reason(record.get("reason"), record.get("reason_code")),
            traceback=record.get("traceback"),
        )


def _columns_of(column: str, score: Score) -> dict[str, Any]:
    """The parts of a score that are there, by column."""
    parts = {
        column: score.value,
        f"{column}_se": score.standard_error,
        f"{column}_reason": score.reason.text if score.reason else None,
        f"{column}_warning": score.warning,
    }
    return {name: part for name, part in parts.items() if part is not None}


def _score_of(record: Mapping[str, Any], column: str, code: ReasonCode | None) -> Score:
    return Score(
        value=record.get(column),
        standard_error=record.get(f"{column}_se"),
        reason=_reason(record.get(f"{column}_reason"), code),
        warning=record.get(f"{column}_warning"),
    )


def _reason(text: str | None, code: ReasonCode | None) -> Reason | None:
    return None if text is None else Reason(_one_of(_CODES, code or "unknown"), text)


def _warnings_of(record: Mapping[str, Any]) -> tuple[RowWarning, ...]:
    if record.get("warnings_json"):
        return parse_as(tuple[RowWarning, ...], record["warnings_json"])
    texts = (record.get("warnings") or "").split(FLAGS_APART)
    return tuple(RowWarning("unknown", "warning", text) for text in texts if text)


_CODES = get_args(ReasonCode)
_MAY_BE_NULL = frozenset({"fingerprint", "n_reference"})


def require_key(record: Mapping[str, Any]) -> None:
    """Raise a ValueError where a record lacks its checkpoint or extractor."""
    for name in ("checkpoint", "extractor"):
        _required(record, name)


def _one_of(known: tuple[_Word, ...], word: _Word) -> _Word:
    if word not in known:
        raise ValueError(f"expected one of {', '.join(map(str, known))}, found {word!r}")
    return word


def _fields_of(
    kind: type[Conditions] | type[Provenance], record: Mapping[str, Any]
) -> dict[str, Any]:
    """Values of a dataclass's fields, whose names are those of columns."""
    found = {each.name: record.get(each.name) for each in fields(kind)}
    for each in fields(kind):
        if each.default is not None and each.name not in _MAY_BE_NULL:
            _required(record, each.name)
    return found


def _required(record: Mapping[str, Any], name: str) -> Any:  # noqa: ANN401
    value = record.get(name)
    if value is None:
        raise ValueError(
            f"a row of the score table has no {name} (checkpoint {record.get('checkpoint')!r}, "
            f"extractor {record.get('extractor')!r}); every row has one"
        )
    return value
