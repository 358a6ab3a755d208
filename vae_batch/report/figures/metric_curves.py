"""Metrics against training steps: a figure for each metric and extractor, and one of all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from vae_batch.report.curve_scales import logarithmic_steps, logarithmic_values
from vae_batch.report.curves import Curve, Series, read_curves
from vae_batch.report.figures.curve_figures import (
    BAND,
    Look,
    curve_figure,
    curves_figure,
    line_looks,
)
from vae_batch.report.figures.figure import LeftOut, PlannedFigure, numbers, vector
from vae_batch.report.labels import slugs, without_shared_folder

#: What has a curve here beside the headline metrics: whatever differences are tested of.
_ALSO = ("iwae", "mse", "ssim", "kid")
#: A headline that is the spread of another, and no interval of it.
_NOT = ("inception_score_std",)


def metric_curves(scores: pd.DataFrame) -> Iterator[PlannedFigure | LeftOut]:
    """`curves`, then `curves-<metric>`, with `-<extractor>` for those that depend on one."""
    read = [c for c in read_curves(scores, _ALSO) if c.metric.column not in _NOT]
    runs = [*dict.fromkeys(line.run for curve in read for line in curve.series)]
    names = dict(zip(runs, without_shared_folder(runs), strict=True))
    curves = [part for curve in read for part in _by_extractor(curve, names)]
    extractors = slugs(line.extractor for c in curves for line in c.series if line.extractor)
    drawn = [curve for curve in curves if curve.series]
    looks = line_looks(drawn)
    if not drawn:
        yield LeftOut("curves", "no checkpoint has a finite score")
        return
    yield PlannedFigure(
        "curves",
        "Metrics against training steps",
        {"kind": "curves", "panels": [_values(curve) for curve in drawn]},
        vector(partial(curves_figure, drawn, looks)),
    )
    for curve in curves:
        yield _figure(curve, looks, extractors)


def _figure(
    curve: Curve, looks: Mapping[str, Look], extractors: Mapping[str, str]
) -> PlannedFigure | LeftOut:
    names = {extractors[line.extractor] for line in curve.series if line.extractor}
    name = "-".join(["curves", curve.metric.column, *names])
    if not curve.series:
        return LeftOut(name, "no checkpoint has a finite value")
    return PlannedFigure(
        name,
        f"{curve.metric.title} against {curve.axis.title}",
        {"kind": "curves", **_values(curve)},
        vector(partial(curve_figure, curve, looks)),
    )


def _by_extractor(curve: Curve, runs: Mapping[str, str]) -> list[Curve]:
    """A curve for each extractor, since values under two of them share no scale."""
    groups: dict[str | None, list[Series]] = {}
    for line in curve.series:
        groups.setdefault(line.extractor, []).append(line)
    return [_renamed(curve, lines, runs) for lines in groups.values()] or [curve]


def _renamed(curve: Curve, lines: Sequence[Series], runs: Mapping[str, str]) -> Curve:
    """The curve of some of its lines, labelled by what differs; what they share is said once.

    A line keeps its run's name, so that a run looks the same in every figure.
    """
    shared = [part for part in lines[0].parts if all(part in line.parts for line in lines)]
    shared = [part for part in shared if part not in {line.run for line in lines}]
    renamed = [
        replace(line, label=" · ".join(_own_parts(line, shared, runs[line.run]))) for line in lines
    ]
    return replace(curve, series=tuple(renamed), conditions=" · ".join(shared))


def _own_parts(line: Series, shared: Sequence[str], run: str) -> list[str]:
    return [run if part == line.run else part for part in line.parts if part not in shared]


def _values(curve: Curve) -> dict[str, Any]:
    """The numbers of one panel."""
    metric = curve.metric
    return {
        "metric": metric.column,
        "definition": metric.definition,
        "direction": metric.direction,
        "conditions": curve.conditions,
        "x": {
            "label": curve.axis.title,
            "scale": "log" if logarithmic_steps(curve.axis) else "linear",
            "names": curve.axis.names,
        },
        "y": {
            "label": metric.title,
            "unit": metric.unit,
            "scale": "log" if logarithmic_values(curve) else "linear",
        },
        "columns": _columns(curve),
        "series": [_series_values(line) for line in curve.series],
        "failed": numbers(curve.failed),
        "undefined": numbers(curve.undefined),
    }


def _columns(curve: Curve) -> dict[str, str]:
    """Which columns of `scores.parquet` the numbers come from, and what the band is."""
    name = curve.metric.column
    columns = {"x": "step", "y": name}
    if any(np.isfinite(line.corrected).any() for line in curve.series):
        columns["corrected"] = f"{name}_corrected"
        ends = f"{name}_low to {name}_high" if name == "fid" else f"± 1.96 {name}_corrected_se"
        columns["band"] = f"{BAND} of {name}_corrected: {ends}"
    elif any(np.isfinite(line.low).any() for line in curve.series):
        columns["band"] = f"{BAND} of {name}: ± 1.96 {name}_se"
    return columns


def _series_values(line: Series) -> dict[str, Any]:
    arrays = {
        "x": line.x,
        "y": line.y,
        "corrected": line.corrected,
        "low": line.low,
        "high": line.high,
    }
    known = {name: array for name, array in arrays.items() if np.isfinite(array).any()}
    return {
        "label": line.label,
        "run": line.run,
        "extractor": line.extractor,
        "checkpoints": [*line.checkpoints],
        **{name: numbers(array) for name, array in known.items()},
    }
