"""The metric table: each score column once; tables, tooltips and laws are made from it."""

from __future__ import annotations

from vae_batch.metrics.catalogue.likelihood import LIKELIHOOD
from vae_batch.metrics.catalogue.metric import Direction, Metric, Need
from vae_batch.metrics.catalogue.samples import SAMPLES

METRICS: dict[str, Metric] = {metric.column: metric for metric in (*LIKELIHOOD, *SAMPLES)}
"""Every metric of the score table by its column, in the order of the report."""

__all__ = ["METRICS", "Direction", "Metric", "Need"]
