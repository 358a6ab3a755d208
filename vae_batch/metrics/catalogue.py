"""The metric table: what each score column means, in words a reader of the report sees."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Direction = Literal["lower", "higher", "neither"]


@dataclass(frozen=True)
class Metric:
    """One column of the score table.

    Attributes:
        column: name in the score table.
        title: heading in the report.
        short: heading where space is scarce, such as a terminal.
        unit: unit of the values, or "" for a pure number.
        direction: which way is better, or "neither".
        definition: one sentence with the metric's main trap.
        source: where the definition comes from.
    """

    column: str
    title: str
    short: str
    unit: str
    direction: Direction
    definition: str
    source: str


_VAE = "Kingma and Welling 2013, arXiv:1312.6114"
_INCEPTION_SCORE = (
    "Salimans et al. 2016, arXiv:1606.03498; Barratt and Sharma 2018, arXiv:1801.01973"
)

_TABLE = (
    Metric(
        "reconstruction_nll",
        "Reconstruction NLL",
        "NLL",
        "nats/image",
        "lower",
        "Mean of -log p(x|z) of a test image under its own reconstruction, summed over pixels; "
        "under a Bernoulli decoder with grey targets it is a cross entropy and no normalised "
        "likelihood, so compare it within one likelihood family only.",
        f"{_VAE}; Loaiza-Ganem and Cunningham 2019, arXiv:1907.06845",
    ),
    Metric(
        "kl",
        "KL to the prior",
        "KL",
        "nats/image",
        "neither",
        "Mean divergence of the encoder's posterior from the N(0, I) prior, summed over latent "
        "dimensions; zero means that the latent code is ignored (posterior collapse), so "
        "smaller is not better by itself.",
        f"{_VAE}, appendix B",
    ),
    Metric(
        "elbo",
        "ELBO",
        "ELBO",
        "nats/image",
        "higher",
        "Minus the reconstruction NLL minus the KL, a lower bound on log p(x) at beta = 1 "
        "whatever beta the checkpoint was trained with; comparable within one likelihood "
        "family and one scaling of the pixels only.",
        _VAE,
    ),
    Metric(
        "bits_per_dim",
        "Bits per dimension",
        "bits/dim",
        "bits/dim",
        "lower",
        "Minus the ELBO in bits divided by the number of pixel values, with log2(256/w) added "
        "for a density over 8-bit images scaled to a range of width w; not comparable across "
        "likelihood families.",
        "Theis, van den Oord and Bethge 2016, arXiv:1511.01844",
    ),
    Metric(
        "fid",
        "Fréchet distance",
        "FID",
        "",
        "lower",
        "Fréchet distance between Gaussians fitted to an extractor's activations of generated "
        "and of reference images; biased upwards when samples are few, so compare it at the "
        "same number of samples, extractor and resize only.",
        "Heusel et al. 2017, arXiv:1706.08500; bias: Chong and Forsyth 2020, arXiv:1911.07023",
    ),
    Metric(
        "inception_score",
        "Inception Score",
        "IS",
        "",
        "higher",
        "Exponential of the mean divergence of an image's class probabilities from their "
        "average, between 1 and the number of classes; a secondary score, since it never sees "
        "a real image and says little where the classes are not the images' own.",
        _INCEPTION_SCORE,
    ),
    Metric(
        "inception_score_std",
        "Inception Score, std over splits",
        "IS std",
        "",
        "neither",
        "Standard deviation of the Inception Score across its splits (ddof 0), as papers print "
        "it; it is not the standard error of the score.",
        _INCEPTION_SCORE,
    ),
    Metric(
        "clipped_pixels",
        "Clipped pixels",
        "clipped",
        "pixels/image",
        "lower",
        "Mean number of pixels of a test image whose predicted probability was 0, 1 or within "
        "the clip of it, where the clip and not the decoder sets the reconstruction NLL; zero "
        "where the decoder gives logits.",
        "The clip of keras.losses.binary_crossentropy, 1e-7",
    ),
)

METRICS: dict[str, Metric] = {metric.column: metric for metric in _TABLE}
"""Every metric of the score table by its column, in the order of the report."""
