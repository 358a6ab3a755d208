"""The metric table: each score column once; tables, tooltips and laws are made from it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from vae_batch.metrics.catalogue.diagnostics import DIAGNOSTICS
from vae_batch.metrics.catalogue.likelihood import LIKELIHOOD
from vae_batch.metrics.catalogue.likelihood_details import LIKELIHOOD_DETAILS
from vae_batch.metrics.catalogue.metric import Direction, Metric, Need
from vae_batch.metrics.catalogue.reconstruction import RECONSTRUCTION
from vae_batch.metrics.catalogue.sample_distances import SAMPLE_DISTANCES
from vae_batch.metrics.catalogue.samples import SAMPLES

#: Tables in the order of the report, each with the group of its metrics.
_TABLES = (
    (LIKELIHOOD, "losses"),
    (LIKELIHOOD_DETAILS, "latents"),
    (RECONSTRUCTION, "reconstruction"),
    (SAMPLES, "fid"),
    (SAMPLE_DISTANCES, "fid"),
    (DIAGNOSTICS, "diagnostics"),
)

#: Where a metric's group is not that of its table, by the beginning of its column.
_BY_PREFIX = {
    "reconstruction_nll": "losses",
    "beta_objective": "losses",
    "iwae": "iwae",
    "reconstruction_fid": "reconstruction_fid",
    "fid_infinity": "fid_infinity",
    "inception_score": "inception_score",
    "kid": "kid",
    "precision": "precision",
    "recall": "precision",
    "density": "precision",
    "coverage": "precision",
    "authentic_fraction": "memorisation",
    "training_distance_ratio": "memorisation",
    "data_copying_z": "memorisation",
}


def _grouped() -> Iterator[Metric]:
    for table, usual in _TABLES:
        for metric in table:
            own = (group for start, group in _BY_PREFIX.items() if metric.column.startswith(start))
            yield replace(metric, group=next(own, usual))


METRICS: dict[str, Metric] = {metric.column: metric for metric in _grouped()}
"""Every metric of the score table by its column, in the order of the report."""

__all__ = ["METRICS", "Direction", "Metric", "Need"]
