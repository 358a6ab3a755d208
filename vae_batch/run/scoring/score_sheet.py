"""Scores that are defined, and a reason for each that is not."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from vae_batch.metrics.catalogue import METRICS
from vae_batch.plan import EvaluationSpec

Row = dict[str, Any]
Array = npt.NDArray[np.generic]


class ScoreSheet:
    """Collects the numbers of one row; a metric that refuses its input gives its sentence instead.

    Attributes:
      values: Columns of the score table, reasons among them.
      shown: Arrays that the report shows, by the kind of the unit that they are kept beside.
    """

    def __init__(self, undefined: Mapping[str, str]) -> None:
        """Begin with the metrics that cannot be had.

        Args:
          undefined: Column to reason.
        """
        self._undefined = dict(undefined)
        self.shown: dict[str, dict[str, Array]] = {}
        self.values: Row = {f"{column}_reason": reason for column, reason in undefined.items()}

    def wants(self, *columns: str) -> bool:
        """Whether any of the columns is to be computed."""
        return any(column not in self._undefined for column in columns)

    def add(self, compute: Callable[[], Mapping[str, Any]], *columns: str) -> None:
        """Compute the values of columns, unless none of them is wanted.

        Args:
          compute: Gives numbers by column, standard errors among them. A ValueError becomes the
            reason why the columns are undefined.
          *columns: Metrics that it gives.
        """
        if not self.wants(*columns):
            return
        try:
            found = compute()
        except ValueError as error:
            self.refuse(str(error), *columns)
            return
        self.refuse("it was not computed", *(c for c in columns if c not in found))
        broken = [c for c in columns if c in found and not math.isfinite(found[c])]
        self.refuse("it came out as infinite or not a number", *broken)
        self.values |= {name: value for name, value in found.items() if self._is_wanted(name)}

    def show(self, kind: str, compute: Callable[[], Mapping[str, Array]]) -> None:
        """Compute arrays for the report; what cannot be had costs a picture and no score.

        Args:
          kind: Of the unit that they are made of.
          compute: Gives arrays by name; an OSError or ValueError leaves them out.
        """
        with contextlib.suppress(OSError, ValueError):
            self.shown.setdefault(kind, {}).update(compute())

    def refuse(self, reason: str, *columns: str) -> None:
        """Give a reason why columns are undefined, where they have none."""
        for column in columns:
            if column not in self._undefined and column not in self.values:
                self._undefined[column] = reason
                self.values[f"{column}_reason"] = reason

    def close(self) -> Row:
        """All columns; a metric that has neither a value nor a reason by now gets one."""
        for column, metric in METRICS.items():
            self.refuse(
                f"needs the model: run `vae-batch score` with --metrics {metric.group}", column
            )
        return self.values

    def _is_wanted(self, name: str) -> bool:
        return name.removesuffix("_se") not in self._undefined


def undefined_metrics(
    missing: Mapping[str, str], no_class_probabilities: str | None, spec: EvaluationSpec
) -> dict[str, str]:
    """Metrics that a row cannot have or was not asked for, each with its reason.

    Args:
      missing: Parts that the checkpoint lacks, each with a sentence.
      no_class_probabilities: Why the extractor has none, or None where it has.
      spec: The groups asked for.
    """
    absent = dict(missing)
    if no_class_probabilities:
        absent["class_probabilities"] = no_class_probabilities
    reasons = {}
    for column, metric in METRICS.items():
        lacking = [need for need in metric.needs if need in absent]
        if lacking:
            reasons[column] = absent[lacking[0]]
        elif metric.group not in spec.metrics:
            reasons[column] = f"not asked for; add --metrics {metric.group}"
    return reasons
