"""Entries of the diagnostics: what is wrong with samples, not how good they are."""

from __future__ import annotations

from vae_batch.metrics.catalogue.metric import Metric

_LAPLACIAN = "Pech-Pacheco et al. 2000, International Conference on Pattern Recognition"
_VENDI = "Friedman and Dieng 2022, arXiv:2210.02410"
_AUTHENTICITY = "Alaa et al. 2022, arXiv:2102.08921"
_COPYING = "Meehan, Chaudhuri and Dasgupta 2020, arXiv:2004.05675"

DIAGNOSTICS = (
    Metric(
        "sharpness_ratio",
        "Sharpness, generated over real",
        "sharpness",
        "",
        "neither",
        "Median variance of the Laplacian of generated images over that of real ones, best at "
        "1; below it samples are blurred, and noise or high contrast raise it as detail does.",
        _LAPLACIAN,
        needs=("decoder", "prior", "pixels"),
        group="diagnostics",
    ),
    Metric(
        "sharpness_ratio_reference",
        "Sharpness, real over real",
        "ref sharpness",
        "",
        "neither",
        "The sharpness ratio of one half of the reference images over the other, by odd and even "
        "index; how far from 1 it is says what the ratio of generated images may be by chance.",
        _LAPLACIAN,
        needs=(),
        group="diagnostics",
    ),
    Metric(
        "reconstruction_sharpness_ratio",
        "Sharpness, reconstructed over real",
        "recon sharpness",
        "",
        "neither",
        "Median variance of the Laplacian of reconstructions over that of their test images, "
        "best at 1; where it is as low as that of samples the blur is the decoder's and not "
        "the prior's.",
        _LAPLACIAN,
        needs=("encoder", "decoder"),
        group="diagnostics",
    ),
    Metric(
        "high_frequency_ratio",
        "High frequencies, generated over real",
        "high freq",
        "",
        "neither",
        "Median share of spectral power above half the Nyquist frequency of generated images "
        "over that of real ones, best at 1; below it detail is missing, above it there is "
        "noise or a checkerboard of upsampling.",
        "Durall, Keuper and Keuper 2020, arXiv:2003.01826",
        needs=("decoder", "prior", "pixels"),
        group="diagnostics",
    ),
    Metric(
        "high_frequency_ratio_reference",
        "High frequencies, real over real",
        "ref high freq",
        "",
        "neither",
        "The high-frequency ratio of one half of the reference images over the other, by odd and "
        "even index; the baseline of the generated images' ratio.",
        "Durall, Keuper and Keuper 2020, arXiv:2003.01826",
        needs=(),
        group="diagnostics",
    ),
    Metric(
        "duplicate_rate",
        "Exact duplicates",
        "duplicates",
        "",
        "lower",
        "Share of generated 8-bit images that repeat an earlier one exactly; real sets hold "
        "duplicates too, so read it beside the rate of as many reference images.",
        "Equality of 8-bit pixels, no single source",
        needs=("decoder", "prior", "pixels"),
        group="diagnostics",
        of_reference="nothing",
    ),
    Metric(
        "duplicate_rate_reference",
        "Exact duplicates in the reference",
        "ref duplicates",
        "",
        "neither",
        "Share of reference images that repeat an earlier one exactly, among as many as were "
        "generated, or all where these are fewer; a property of the data and the baseline of the "
        "generated images' rate.",
        "Equality of 8-bit pixels, no single source",
        needs=(),
        group="diagnostics",
    ),
    Metric(
        "pixel_diversity_ratio",
        "Pixel diversity, generated over real",
        "pixel diversity",
        "",
        "neither",
        "Root mean squared difference between two different generated images over that between "
        "two real ones, best at 1; below it modes are missing, and noise counts as diversity.",
        "Closed form of the mean squared distance over all pairs, 2 tr(covariance)",
        needs=("decoder", "prior", "pixels"),
        group="diagnostics",
        requirement="2",
    ),
    Metric(
        "near_duplicate_rate",
        "Near-duplicates",
        "near dup",
        "",
        "lower",
        "Share of generated images with another generated one no farther in an extractor's "
        "activations than the closest hundredth of as many real images have one, of a larger "
        "reference a random draw; real images score 0.01 by construction, at that number only.",
        "1 % quantile of the real nearest-neighbour distances, no single source",
        needs=("decoder", "prior", "activations"),
        group="diagnostics",
        of_reference="activations",
        requirement="100",
    ),
    Metric(
        "near_duplicate_rate_reference",
        "Near-duplicates, real among real",
        "ref near dup",
        "",
        "neither",
        "The near-duplicate rate of one half of the reference images by the threshold of the "
        "other half, about 0.01; its distance from that is what chance does to the rate.",
        "1 % quantile of the real nearest-neighbour distances, no single source",
        needs=("activations",),
        group="diagnostics",
        of_reference="activations",
        requirement="200",
    ),
    Metric(
        "vendi_score",
        "Vendi score",
        "Vendi",
        "images",
        "neither",
        "Effective number of different generated images, the exponential of the entropy of "
        "their cosine similarities' eigenvalues; it rises with the number of images and with "
        "noise, so compare it with the reference's, which is of as many images, of a larger "
        "reference a random draw.",
        _VENDI,
        needs=("decoder", "prior", "activations"),
        group="diagnostics",
        of_reference="nothing",
    ),
    Metric(
        "vendi_score_reference",
        "Vendi score of the reference",
        "ref Vendi",
        "images",
        "neither",
        "Effective number of different reference images, of as many as the Vendi score of "
        "generated images takes; its baseline under the same extractor.",
        _VENDI,
        needs=("activations",),
        group="diagnostics",
        of_reference="activations",
    ),
    Metric(
        "authentic_fraction",
        "Authentic samples",
        "authentic",
        "",
        "neither",
        "Share of generated images whose nearest training image has a nearer neighbour among "
        "the training images; real held-out images score between 1/3 and about 1/2 and not 1, "
        "so that only a value well below theirs speaks of copying.",
        _AUTHENTICITY,
        needs=("decoder", "prior", "activations"),
        group="memorisation",
    ),
    Metric(
        "authentic_fraction_reference",
        "Authentic held-out images",
        "ref authentic",
        "",
        "neither",
        "Share of held-out real images whose nearest training image has a nearer neighbour "
        "among the training images; the baseline of the generated images' share.",
        _AUTHENTICITY,
        needs=("activations",),
        group="memorisation",
    ),
    Metric(
        "training_distance_ratio",
        "Distance to the training set, generated over held-out",
        "train distance",
        "",
        "neither",
        "Median distance from a generated image to its nearest training image over that of a "
        "held-out real one, in an extractor's activations; well below 1 it is copying, and "
        "above 1 poor samples hide any copying.",
        _COPYING,
        needs=("decoder", "prior", "activations"),
        group="memorisation",
    ),
    Metric(
        "data_copying_z",
        "Data-copying test",
        "copying z",
        "standard deviations",
        "neither",
        "Mann-Whitney z-score of generated against held-out distances to the training set; "
        "below about -3 samples are copies of training images, above 3 they are worse than "
        "real ones, and it grows with the number of images at one strength of copying.",
        _COPYING,
        needs=("decoder", "prior", "activations"),
        group="memorisation",
        requirement="21",
    ),
    Metric(
        "latent_smoothness",
        "Latent path length",
        "path length",
        "",
        "neither",
        "Mean squared change of a decoded pixel in [0, 1] along a path between latent samples, "
        "per squared step and trimmed at 1 and 99 %; zero means that the decoder ignores its "
        "latent code, so that smoother is not better by itself.",
        "Karras et al. 2019, arXiv:1812.04948, with squared error in place of LPIPS",
        needs=("decoder", "prior", "latents"),
        group="diagnostics",
        of_reference="nothing",
    ),
)
