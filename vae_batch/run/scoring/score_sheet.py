"""The scores of one row as they are computed: values, and a reason for each undefined one."""

from __future__ import annotations

import contextlib
import logging
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Final

import numpy as np
import numpy.typing as npt

from vae_batch.metrics.catalogue import GROUPS, METRICS
from vae_batch.metrics.catalogue.metric import OfReference
from vae_batch.metrics.comparison.paired_difference import PairedScore
from vae_batch.models.autoencoder.description import Need
from vae_batch.plan import EvaluationSpec
from vae_batch.run.execute.failures import Failure, failure_of
from vae_batch.storage import Reason, ReasonCode, RowWarning, Score, WarningKind
from vae_batch.storage.score_rows import ReferenceKind, Severity

Array = npt.NDArray[np.generic]
Scores = dict[str, Score]

_NO_IMAGES: Final[ReasonCode] = "no_reference_images"
_NO_ACTIVATIONS: Final[ReasonCode] = "no_reference_activations"

#: What a reference does not have, by what it holds.
_LACKS: Mapping[ReferenceKind, Mapping[OfReference, Reason]] = {
    "images": {},
    "features": {
        "images": Reason(_NO_IMAGES, "needs reference images; this reference holds features"),
    },
    "statistics": {
        "images": Reason(_NO_IMAGES, "needs reference images; this reference holds statistics"),
        "activations": Reason(
            _NO_ACTIVATIONS, "needs the reference's features; this reference holds statistics"
        ),
    },
}

_log = logging.getLogger(__name__)


class UndefinedScoreError(ValueError):
    """A score is undefined for the row's files; the reason says why."""

    def __init__(self, code: ReasonCode, text: str) -> None:
        """Name the reason by its code and in a sentence."""
        super().__init__(text)
        self.reason = Reason(code, text)


class ScoreSheet:
    """Collects what is computed of one row.

    Attributes:
        scores: By metric column: a value, or a reason why there is none.
        warnings: In the order in which they were found.
        failures: Unexpected exceptions; each cost the metrics that were being computed.
        influences: Scores with the influence of each generated sample, by metric.
        shown: Arrays that the report shows, by the kind of the unit beside which they are kept.
        feature_dim: Dimensions of the extractor's features, once they are known.
    """

    def __init__(self, undefined: Mapping[str, Reason]) -> None:
        """Begin with the metrics that are undefined whatever the files hold.

        Args:
            undefined: Reason by metric column.
        """
        self.scores: Scores = {column: Score(reason=why) for column, why in undefined.items()}
        self.warnings: list[RowWarning] = []
        self.failures: list[Failure] = []
        self.influences: dict[str, PairedScore] = {}
        self.shown: dict[str, dict[str, Array]] = {}
        self.feature_dim: int | None = None

    def value(self, column: str) -> float | None:
        """The value of a metric; None where it is undefined, or not computed yet."""
        return self.scores[column].value if column in self.scores else None

    def wants(self, *columns: str) -> bool:
        """Whether any of the columns is still to be computed."""
        return any(self._is_wanted(column) for column in columns)

    def add(self, compute: Callable[[], Mapping[str, Score]], *columns: str) -> None:
        """Compute metrics, unless none of them is wanted.

        A ValueError is the reason why all of them are undefined; any other exception but an
        OSError is recorded as a failure of these metrics alone.

        Args:
            compute: Gives scores by column, each with a value or a reason.
            *columns: The metrics that it gives.

        Raises:
            OSError: A file is damaged, or a store out of reach: no fault of the metric.
        """
        if not self.wants(*columns):
            return
        found: Mapping[str, Score] = {}
        with self.isolated(*columns):
            try:
                found = compute()
            except UndefinedScoreError as error:
                self.refuse(error.reason, *columns)
            except ValueError as error:
                self.refuse(Reason("refused", str(error)), *columns)
        missing, broken = (
            Reason("not_computed", "it was not computed"),
            Reason("not_finite", "it came out as infinite or not a number"),
        )
        for column in columns:
            if column not in found:
                self.refuse(missing, column)
            elif found[column].reason is None and not math.isfinite(_number(found[column])):
                self.refuse(broken, column)
        self.scores |= {column: s for column, s in found.items() if self._is_wanted(column)}

    @contextlib.contextmanager
    def isolated(self, *columns: str) -> Iterator[None]:
        """Let an unexpected exception cost these metrics, as far as they have no score yet.

        Raises:
            OSError: As it was raised.
        """
        try:
            yield
        except OSError:
            raise
        except Exception as error:  # isolation: a fault of one metric costs no other
            _log.exception("cannot compute %s", ", ".join(columns))
            failure = failure_of(error)
            self.failures.append(failure)
            self.refuse(Reason("unexpected", failure.reason), *columns)

    def warn(self, kind: WarningKind, severity: Severity, text: str) -> None:
        """Add a warning to the row."""
        self.warnings.append(RowWarning(kind, severity, text))

    def show(self, kind: str, compute: Callable[[], Mapping[str, Array]]) -> None:
        """Compute arrays for the report; where they cannot be had, a picture is missing.

        Args:
            kind: Of the unit that they are made of.
            compute: Gives arrays by name; an OSError or ValueError leaves them out.
        """
        try:
            self.shown.setdefault(kind, {}).update(compute())
        except (OSError, ValueError):
            _log.info("the report will lack arrays of %s", kind, exc_info=True)

    def refuse(self, reason: Reason, *columns: str) -> None:
        """Give a reason why metrics are undefined, where they have no score yet."""
        self.scores |= {column: Score(reason=reason) for column in columns if self.wants(column)}

    def close(self, otherwise: Reason | None = None) -> Scores:
        """All scores; a metric that has neither a value nor a reason by now gets one.

        Args:
            otherwise: That reason; by default that the metric's group must be computed first.
        """
        for column, metric in METRICS.items():
            command = f"run `vae-batch score` with --metrics {metric.group}"
            reason = Reason("not_computed", f"needs the model: {command}")
            self.refuse(otherwise or reason, column)
        return {column: self.scores[column] for column in METRICS}

    def _is_wanted(self, column: str) -> bool:
        return column not in self.scores


def _number(score: Score) -> float:
    return math.nan if score.value is None else score.value


def columns_of(*groups: str) -> list[str]:
    """Columns of the metrics of some groups."""
    return [column for column, metric in METRICS.items() if metric.group in groups]


def undefined_metrics(
    missing: Mapping[Need, str],
    no_class_probabilities: str | None,
    spec: EvaluationSpec,
    reference: ReferenceKind = "images",
) -> dict[str, Reason]:
    """Metrics that a row cannot have, or that were not requested, each with its reason.

    Args:
        missing: Parts that the checkpoint lacks, each with a sentence.
        no_class_probabilities: Why the extractor has none, or None where it has.
        spec: Names the groups that were requested.
        reference: What the reference holds.
    """
    absent: dict[str, Reason] = {
        need: Reason("missing_part", text) for need, text in missing.items()
    }
    if no_class_probabilities:
        lack = Reason("no_class_probabilities", no_class_probabilities)
        absent["class_probabilities"] = lack
    reasons = {}
    for column, metric in METRICS.items():
        lacking = [need for need in metric.needs if need in absent]
        of_reference = metric.of_reference or GROUPS[metric.group].of_reference
        if lacking:
            reasons[column] = absent[lacking[0]]
        elif "pixels" in absent and of_reference == "images":
            reasons[column] = absent["pixels"]
        elif of_reference in _LACKS[reference]:
            reasons[column] = _LACKS[reference][of_reference]
        elif metric.group not in spec.metrics:
            text = f"not requested; add --metrics {metric.group}"
            reasons[column] = Reason("not_requested", text)
    return reasons
