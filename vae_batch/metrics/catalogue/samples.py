"""Entries of the sample side: generated images against the reference."""

from __future__ import annotations

from vae_batch.metrics.catalogue.metric import Metric

_INCEPTION_SCORE = (
    "Salimans et al. 2016, arXiv:1606.03498; Barratt and Sharma 2018, arXiv:1801.01973"
)

SAMPLES = (
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
        needs=("decoder", "prior", "activations"),
        requirement="2; an interval needs 5 times the feature dimensions",
        headline=True,
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
        needs=("decoder", "prior", "class_probabilities"),
        requirement="as many as splits",
        standard_error=True,
        headline=True,
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
        needs=("decoder", "prior", "class_probabilities"),
        requirement="as many as splits",
        headline=True,
    ),
)
