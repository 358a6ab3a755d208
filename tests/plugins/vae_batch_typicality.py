"""A metric of a package's own: a plug-in for the entry point ``vae_batch.metrics``."""

import numpy as np

from vae_batch.metrics import Metric, PairedScore


def typicality(stored):
    """Mean distance of an activation's norm from the mean norm of reference activations."""
    typical = np.linalg.norm(stored.reference_activations().astype(np.float64), axis=1).mean()
    norms = np.linalg.norm(stored.activations().astype(np.float64), axis=1)
    return PairedScore.from_values(np.abs(norms - typical))


TYPICALITY = Metric(
    "typicality",
    "Distance from the typical norm",
    "typicality",
    "",
    "lower",
    "Mean distance of a generated image's activation norm from the mean norm of reference images; "
    "it sees one number per image, so that a model of noise may score well.",
    "Nalisnick et al. 2019, arXiv:1906.02994, with norms in place of log-likelihoods",
    needs=("decoder", "prior", "activations"),
    group="typicality",  # --metrics typicality; here a new group
    requirement="2",
    standard_error=True,
    compared="samples",  # its influences are per generated image
    headline=True,  # in narrow tables, and with a curve
    reads=("generated", "reference"),
    compute=typicality,
)
