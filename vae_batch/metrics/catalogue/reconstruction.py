"""Entries of reconstruction: a test image against its own decoding."""

from __future__ import annotations

from vae_batch.metrics.catalogue.metric import Metric

_SSIM = "Wang, Bovik, Sheikh and Simoncelli 2004, IEEE Transactions on Image Processing 13(4)"

RECONSTRUCTION = (
    Metric(
        "mse",
        "Squared error",
        "MSE",
        "",
        "lower",
        "Mean squared difference per pixel value between a test image and its reconstruction, "
        "pixels scaled to [0, 1]; its optimum is the mean of what could be, so that it favours "
        "blur.",
        "Kingma and Welling 2013, arXiv:1312.6114 (Gaussian decoder, up to scale and constant)",
        needs=("encoder", "decoder"),
        group="reconstruction",
        compared="images",
        default_choice=5,
        standard_error=True,
    ),
    Metric(
        "mae",
        "Absolute error",
        "MAE",
        "",
        "lower",
        "Mean absolute difference per pixel value between a test image and its reconstruction, "
        "pixels scaled to [0, 1]; on images that are mostly background it is mostly about the "
        "background.",
        "Absolute error, no single source",
        needs=("encoder", "decoder"),
        group="reconstruction",
        standard_error=True,
    ),
    Metric(
        "psnr",
        "Peak signal-to-noise ratio",
        "PSNR",
        "dB",
        "higher",
        "Mean over test images of 10 log10(range^2 / squared error); images that are "
        "reconstructed without any error are infinite and counted in another column, so that "
        "the mean is over the others only.",
        "Huynh-Thu and Ghanbari 2008, Electronics Letters 44(13)",
        needs=("encoder", "decoder"),
        group="reconstruction",
        estimated_by=("perfect_reconstructions",),
        standard_error=True,
    ),
    Metric(
        "perfect_reconstructions",
        "Perfect reconstructions",
        "perfect",
        "images",
        "neither",
        "Number of test images whose reconstruction has no error at all, which the mean PSNR "
        "leaves out; more than a few suggest blank images or a decoder that never saw the "
        "bottleneck.",
        "The images of infinite PSNR",
        needs=("encoder", "decoder"),
        group="reconstruction",
    ),
    Metric(
        "ssim",
        "Structural similarity",
        "SSIM",
        "",
        "higher",
        "Mean over test images of the structural similarity with the reconstruction (11 x 11 "
        "Gaussian window, sigma 1.5), at most 1; flat dark regions count as similar, so that "
        "digits on black score high, and images below 11 pixels a side have none.",
        _SSIM,
        needs=("encoder", "decoder"),
        group="reconstruction",
        compared="images",
        standard_error=True,
    ),
    Metric(
        "ms_ssim",
        "Multi-scale structural similarity",
        "MS-SSIM",
        "",
        "higher",
        "Mean over test images of the structural similarity over five halved scales, at most "
        "1; defined for images of more than 160 pixels a side only.",
        "Wang, Simoncelli and Bovik 2003, Asilomar Conference on Signals, Systems and Computers",
        needs=("encoder", "decoder"),
        group="reconstruction",
        standard_error=True,
    ),
    Metric(
        "reconstruction_fid",
        "Fréchet distance of reconstructions",
        "rFID",
        "",
        "lower",
        "Fréchet distance between an extractor's activations of reconstructed and of reference "
        "images; it sees the decoder's blur but not the prior, so that it bounds what sampling "
        "can reach without telling whether it does, and it compares at one number of images "
        "only.",
        "Heusel et al. 2017, arXiv:1706.08500; of reconstructions: Esser et al. 2021, "
        "arXiv:2012.09841",
        needs=("encoder", "decoder", "activations"),
        group="reconstruction_fid",
        requirement="2",
    ),
)
