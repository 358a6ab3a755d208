"""Entries of the likelihood side: what a VAE is trained for."""

from __future__ import annotations

from vae_batch.metrics.catalogue.metric import Metric

_VAE = "Kingma and Welling 2013, arXiv:1312.6114"
_IWAE = "Burda, Grosse and Salakhutdinov 2016, arXiv:1509.00519"
#: Draws per image and the images drawn for: both move the bound.
_IMPORTANCE = ("iwae_draws", "iwae_images")
_SURGERY = "Hoffman and Johnson 2016, ELBO surgery, NIPS workshop on approximate inference"

LIKELIHOOD = (
    Metric(
        "reconstruction_nll",
        "Reconstruction NLL",
        "NLL",
        "nats/image",
        "lower",
        "Mean of -log p(x|z) of a test image at a draw z of its posterior, or at the code of an "
        "encoder without one, which is not ranked with draws; a cross entropy and no normalised "
        "likelihood under a Bernoulli decoder with grey targets.",
        f"{_VAE}; Loaiza-Ganem and Cunningham 2019, arXiv:1907.06845",
        needs=("encoder", "decoder"),
        group="losses",
        estimated_by=("latent",),
        compared="images",
        default_choice=4,
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
        group="losses",
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
        group="losses",
        compared="images",
        raced_over=("description", "losses"),
        default_choice=3,
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
        "Minus the ELBO in bits divided by the number of pixel values, with log2(255/w) added "
        "for a density over 8-bit images scaled by v/255 to a range of width w (the column "
        "bin_width is w/255; papers that dequantise have w/256, 0.006 bits more); not comparable "
        "across likelihood families.",
        "Theis, van den Oord and Bethge 2016, arXiv:1511.01844",
        needs=("encoder", "decoder", "posterior"),
        group="losses",
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
        group="losses",
        estimated_by=("latent",),
        headline=True,
    ),
    Metric(
        "reconstruction_nll_at_mean",
        "Reconstruction NLL at the mean",
        "NLL at mean",
        "nats/image",
        "lower",
        "Mean of -log p(x|z) of a test image at the mean of its posterior, without noise; no "
        "part of the ELBO, for which reconstruction_nll draws z, and lower than that the more "
        "the decoder depends on where in the posterior z falls.",
        _VAE,
        needs=("encoder", "decoder"),
        group="losses",
        standard_error=True,
        within_likelihood=True,
    ),
    Metric(
        "beta_objective",
        "Training objective at beta",
        "beta objective",
        "nats/image",
        "neither",
        "Minus the reconstruction NLL minus beta times the KL, with the beta that the checkpoint "
        "was trained with; comparable at one beta only, and below beta = 1 no bound on log p(x), "
        "so rank checkpoints by the ELBO.",
        "Higgins et al. 2017, beta-VAE, International Conference on Learning Representations",
        needs=("encoder", "decoder", "posterior"),
        group="losses",
        estimated_by=("beta",),
        standard_error=True,
        within_likelihood=True,
    ),
    Metric(
        "iwae",
        "Importance-weighted bound",
        "IWAE",
        "nats/image",
        "higher",
        "Mean over test images of the log of the mean importance weight of K draws from the "
        "posterior, a lower bound on log p(x) that rises with K, so compare it at one number of "
        "draws only, and not where iwae_pareto_k flags many images.",
        _IWAE,
        needs=("encoder", "decoder", "posterior"),
        group="iwae",
        estimated_by=_IMPORTANCE,
        compared="images",
        raced_over=("description", "losses", "importance"),
        standard_error=True,
        within_likelihood=True,
    ),
    Metric(
        "iwae_ess",
        "Effective draws of the IWAE",
        "IWAE ESS",
        "draws",
        "higher",
        "Mean over test images of the squared sum of the K importance weights over the sum of "
        "their squares, between 1 and K; large by chance where no draw fell where the "
        "posterior is underrated, so read it beside iwae_pareto_k.",
        "Kong 1992, A note on importance sampling using standardized weights",
        needs=("encoder", "decoder", "posterior"),
        group="iwae",
        estimated_by=_IMPORTANCE,
    ),
    Metric(
        "iwae_pareto_k",
        "Images with unreliable IWAE weights",
        "IWAE heavy tails",
        "share of images",
        "lower",
        "Share of test images whose importance weights have a fitted Pareto shape k above "
        "min(1 - 1/log10 K, 0.7), so that their bound is no estimate of log p(x); a fit errs by "
        "about 0.3 at K = 64, where the limit is 0.45, and by 0.1 at K = 5000.",
        "Vehtari et al. 2024, arXiv:1507.02646; Zhang and Stephens 2009, Technometrics 51(3)",
        needs=("encoder", "decoder", "posterior"),
        group="iwae",
        estimated_by=_IMPORTANCE,
    ),
    Metric(
        "latent_dimensions",
        "Latent dimensions",
        "latents",
        "",
        "neither",
        "Size of the latent code, all of its axes multiplied, against which active units and "
        "collapsed dimensions are read; a property of the network and no score.",
        "The encoder's output",
        needs=("encoder",),
        group="latents",
    ),
    Metric(
        "active_units",
        "Active units",
        "active",
        "",
        "neither",
        "Number of latent dimensions whose posterior mean varies by more than 0.01 over the test "
        "images; the threshold is absolute, so it counts nothing comparable for a prior other "
        "than N(0, I) or for a rescaled code.",
        f"{_IWAE}, section 5.2",
        needs=("encoder", "posterior"),
        group="latents",
        requirement="2",
    ),
    Metric(
        "collapsed_dimensions",
        "Collapsed dimensions",
        "collapsed",
        "",
        "neither",
        "Number of latent dimensions whose KL to the prior is below 0.01 nats on at least 99 % of "
        "the test images; a dimension may be neither collapsed nor active, where its posterior "
        "is constant but not the prior.",
        "Lucas et al. 2019, arXiv:1911.02469",
        needs=("encoder", "posterior"),
        group="latents",
        requirement="2",
    ),
    Metric(
        "mutual_information",
        "Mutual information of image and code",
        "MI",
        "nats/image",
        "neither",
        "Part of the KL that tells n test images apart, from one draw an image and the mixture of "
        "all posteriors; at most log n, and within 2 nats of log n it measures n and not the "
        "checkpoint.",
        _SURGERY,
        needs=("encoder", "posterior"),
        group="latents",
    ),
    Metric(
        "marginal_kl",
        "KL of the aggregate posterior",
        "marginal KL",
        "nats/image",
        "neither",
        "Rest of the KL, the divergence of the mixture of all posteriors from the prior from which "
        "samples are drawn; too high by what mutual_information is too low, and zero for a "
        "collapsed model, too.",
        _SURGERY,
        needs=("encoder", "posterior"),
        group="latents",
    ),
    Metric(
        "aggregate_prior_kl",
        "Aggregate posterior, moments against the prior",
        "moment KL",
        "nats",
        "lower",
        "KL to N(0, I) of a Gaussian with the aggregate posterior's mean and covariance; zero does "
        "not mean a match beyond these two moments, and a collapsed model reaches it, so read it "
        "beside active units and at one number of images.",
        "Closed form of the KL of two Gaussians; aggregate posterior: Makhzani et al. 2015, "
        "arXiv:1511.05644",
        needs=("encoder", "posterior"),
        group="latents",
    ),
    Metric(
        "aggregate_prior_mmd",
        "Aggregate posterior, discrepancy from the prior",
        "prior MMD",
        "",
        "lower",
        "Squared maximum mean discrepancy of one posterior draw an image from as many prior draws, "
        "with the inverse multiquadratic kernel of scale 2d; unbiased, so that a match may give "
        "a negative value, and comparable at one number of latent dimensions only.",
        "Gretton et al. 2012, Journal of Machine Learning Research 13; kernel: Tolstikhin et al. "
        "2018, arXiv:1711.01558",
        needs=("encoder", "posterior"),
        group="latents",
        estimated_by=("latent_dimensions",),
        requirement="2",
    ),
)
