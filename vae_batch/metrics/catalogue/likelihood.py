"""Entries of the likelihood side: what a VAE is trained for."""

from __future__ import annotations

from vae_batch.metrics.catalogue.metric import Metric

_VAE = "Kingma and Welling 2013, arXiv:1312.6114"

LIKELIHOOD = (
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
        needs=("encoder", "decoder"),
        standard_error=True,
        within_likelihood=True,
        headline=True,
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
        needs=("encoder", "posterior"),
        standard_error=True,
        headline=True,
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
        needs=("encoder", "decoder", "posterior"),
        standard_error=True,
        within_likelihood=True,
        headline=True,
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
        needs=("encoder", "decoder", "posterior"),
        within_likelihood=True,
        headline=True,
    ),
    Metric(
        "clipped_pixels",
        "Clipped pixels",
        "clipped",
        "pixels/image",
        "lower",
        "Mean number of pixels of a test image whose predicted probability was 0, 1 or within "
        "the clip of it, where the clip and not the decoder sets the reconstruction NLL; zero "
        "where the decoder gives logits, and undefined where it gives means.",
        "The clip of keras.losses.binary_crossentropy, 1e-7",
        needs=("encoder", "decoder"),
        headline=True,
    ),
)
