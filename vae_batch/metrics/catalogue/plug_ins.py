"""Metrics of other packages, through the entry point ``vae_batch.metrics``.

An entry point names a :class:`~vae_batch.metrics.catalogue.metric.Metric` or a sequence of them.
Each has ``compute``, the function that computes it from stored arrays, and ``reads``, the units
that these arrays belong to. A metric that is ``compared`` returns a ``PairedScore``. Its group may
be a shipped one or a new one.

    # my_package/metric.py
    WIDTH = Metric("feature_width", ..., group="width", reads=("generated",), compute=width)

    # pyproject.toml
    [project.entry-points."vae_batch.metrics"]
    width = "my_package.metric:WIDTH"

The package must be installed wherever rows are scored, on the workers of a cluster too.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from importlib.metadata import entry_points

from vae_batch.metrics.catalogue.metric import Group, Metric, OfReference, UnitKind

ENTRY_POINTS = "vae_batch.metrics"

_LOG = logging.getLogger(__name__)


def load_plug_ins(shipped: Mapping[str, Metric]) -> tuple[dict[str, Metric], dict[str, str]]:
    """Metrics of all entry points by column, in the order of the entry points' names.

    Args:
        shipped: Metrics that a plug-in's must not have the columns of.

    Returns:
        The metrics, and by entry point why its metrics cannot be used.
    """
    found: dict[str, Metric] = {}
    broken: dict[str, str] = {}
    for entry in sorted(entry_points(group=ENTRY_POINTS), key=lambda entry: entry.name):
        try:
            metrics = _usable(entry.load(), {*shipped, *found})
        except Exception as error:  # another package's code must not stop every command
            package = f" of package {entry.dist.name}" if entry.dist else ""
            title = f"metric plug-in {entry.name!r}{package} ({entry.value})"
            broken[title] = f"{type(error).__name__}: {error}"
            _LOG.warning("%s cannot be used; fix or uninstall it", title, exc_info=True)
        else:
            found |= {metric.column: raceable(metric) for metric in metrics}
    return found, broken


def raceable(metric: Metric) -> Metric:
    """A plug-in that says over which units it is raced, where it can be.

    It is compared, and reads the units that grow in a race (generated samples, or losses of test
    images) and no others that have one entry per sample.
    """
    grown: UnitKind = "generated" if metric.compared == "samples" else "losses"
    others = [kind for kind in metric.reads if kind not in (grown, "description")]
    if metric.raced_over or not metric.compared or grown not in metric.reads:
        return metric
    if not {"reference"}.issuperset(others):
        return metric
    return replace(metric, raced_over=("description", *others, grown))


def groups_of_plug_ins(metrics: Iterable[Metric], shipped: Iterable[Group]) -> list[Group]:
    """Groups that only plug-in metrics are of, each with all units that its metrics read."""
    known = {group.name for group in shipped}
    reads: dict[str, dict[UnitKind, None]] = {}
    for metric in metrics:
        if metric.group not in known:
            reads.setdefault(metric.group, {}).update(dict.fromkeys(metric.reads))
    return [
        Group(name, tuple(units), of_reference=_of_reference(units))
        for name, units in reads.items()
    ]


def _of_reference(units: Iterable[UnitKind]) -> OfReference:
    if not {"losses", "importance", "reconstructed", "reference_pictures"}.isdisjoint(units):
        return "images"
    return "activations" if "reference" in units else "nothing"


def _usable(found: object, taken: set[str]) -> Sequence[Metric]:
    """An entry point's metrics, checked.

    Raises:
        TypeError: It is neither a metric nor a sequence of metrics.
        ValueError: A metric's column, group or function cannot be used.
    """
    metrics = found if isinstance(found, tuple | list) else (found,)
    for metric in metrics:
        if not isinstance(metric, Metric):
            raise TypeError(f"expected a Metric or a sequence of them, found {metric!r}")
        for name in (metric.column, metric.group):
            if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
                raise ValueError(f"expected lower-case letters, digits and _, found {name!r}")
        if metric.column in taken:
            raise ValueError(f"another metric has the column {metric.column}; rename yours")
        if metric.compute is None or not metric.reads:
            raise ValueError(f"metric {metric.column} needs `compute` and `reads`")
    return metrics
