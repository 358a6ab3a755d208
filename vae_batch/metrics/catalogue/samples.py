"""Entries of the sample side: generated images against the reference."""

from __future__ import annotations

from vae_batch.metrics.catalogue.metric import Metric

_INCEPTION_SCORE = (
    "Salimans et al. 2016, arXiv:1606.03498; Barratt and Sharma 2018, arXiv:1801.01973"
)
_CORRECTED_SCORE = "Salimans et al. 2016, arXiv:1606.03498; bias: Roulston 1999, Physica D 125"
_KID = "Binkowski et al. 2018, arXiv:1801.01401"
_PRECISION_RECALL = "Kynkaanniemi et al. 2019, arXiv:1904.06991"
_DENSITY_COVERAGE = "Naeem et al. 2020, arXiv:2002.09797"
_JACKKNIFE = (
    "Quenouille 1956, Biometrika 43; second order: Schucany, Gray and Owen 1971, JASA 66; bias: "
    "Chong and Forsyth 2020, arXiv:1911.07023"
)
#: Images per feature dimension that an interval of a Fréchet distance needs: the field's 10,000
#: images are just enough for Inception's 2048 dimensions.
IMAGES_PER_DIMENSION = 10_000 / 2048
_INTERVAL = "10000/2048 = 4.88 times the feature dimensions, generated and (as a sample) reference"

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
        group="fid",
        compared_as="fid_corrected",
        requirement="2; an interval needs 5 times the feature dimensions",
        warned=True,
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
        group="inception_score",
        compared_as="inception_score_corrected",
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
        group="inception_score",
        spread_of="inception_score",
        requirement="as many as splits",
        headline=True,
    ),
    Metric(
        "kid",
        "Kernel distance",
        "KID",
        "",
        "lower",
        "Squared maximum mean discrepancy of an extractor's activations of generated and of "
        "reference images under a cubic kernel, over all pairs; unbiased at any number of "
        "samples, and so at times negative where the sets are alike.",
        _KID,
        needs=("decoder", "prior", "activations"),
        group="kid",
        compared="samples",
        raced_over=("reference", "generated"),
        default_choice=2,
        requirement="3",
        standard_error=True,
        least=0.0,
    ),
    Metric(
        "kid_subsets",
        "Kernel distance, mean of subsets",
        "KID subsets",
        "",
        "lower",
        "Mean kernel distance of 100 random subsets of 1000 images of each set, as papers print "
        "KID; with the same expectation as the distance over all pairs, but more noise.",
        f"{_KID}; subsets as torch-fidelity 0.4 draws them, seed 2020",
        needs=("decoder", "prior", "activations"),
        group="kid",
        requirement="1000",
    ),
    Metric(
        "kid_subsets_std",
        "Kernel distance, std over subsets",
        "KID std",
        "",
        "neither",
        "Standard deviation of the kernel distance over 100 subsets of 1000 images (ddof 0), as "
        "papers print it; it is not the standard error of the distance.",
        f"{_KID}; subsets as torch-fidelity 0.4 draws them, seed 2020",
        needs=("decoder", "prior", "activations"),
        group="kid",
        spread_of="kid_subsets",
        requirement="1000",
    ),
    Metric(
        "precision",
        "Precision",
        "precision",
        "",
        "higher",
        "Share of generated images within the distance of some reference image to its third "
        "neighbour (k = 3, rim included); it falls with the number of samples and one outlier "
        "of the reference raises it, so compare it at one number of samples only.",
        _PRECISION_RECALL,
        needs=("decoder", "prior", "activations"),
        group="precision",
        requirement="4",
    ),
    Metric(
        "recall",
        "Recall",
        "recall",
        "",
        "higher",
        "Share of reference images within the distance of some generated image to its third "
        "neighbour (k = 3, rim included); scattered bad images raise it, since their balls are "
        "large.",
        _PRECISION_RECALL,
        needs=("decoder", "prior", "activations"),
        group="precision",
        requirement="4",
    ),
    Metric(
        "density",
        "Density",
        "density",
        "",
        "higher",
        "Mean number of reference balls (k = 5, rim excluded) around a generated image, over k; "
        "1 in expectation for equal distributions, and above it where a model keeps to the "
        "densest part of the data.",
        _DENSITY_COVERAGE,
        needs=("decoder", "prior", "activations"),
        group="precision",
        requirement="6",
    ),
    Metric(
        "coverage",
        "Coverage",
        "coverage",
        "",
        "higher",
        "Share of reference balls (k = 5, rim excluded) that hold a generated image; for equal "
        "distributions and numbers of images about 0.97, and less with fewer generated images.",
        _DENSITY_COVERAGE,
        needs=("decoder", "prior", "activations"),
        group="precision",
        requirement="6",
    ),
    Metric(
        "fid_corrected",
        "Fréchet distance, bias-corrected",
        "FID corrected",
        "",
        "lower",
        "Fréchet distance of the two distributions: less the bias of sampling both sets, to second "
        "order by leaving out tenths and halves; of a reference that is the population (column "
        "reference_is) less that of the generated images alone; as much bias may be left as the "
        "last correction took off, which the interval allows for and the standard error does not.",
        _JACKKNIFE,
        needs=("decoder", "prior", "activations"),
        group="fid",
        interval=("fid_low", "fid_high"),
        least=0.0,
        compared="samples",
        images_per_dimension=IMAGES_PER_DIMENSION,
        raced_over=("reference", "generated"),
        default_choice=1,
        requirement=_INTERVAL,
        standard_error=True,
    ),
    Metric(
        "fid_low",
        "Fréchet distance, lower end",
        "FID low",
        "",
        "lower",
        "Lower end of the 95 % interval of the bias-corrected Fréchet distance; intervals of "
        "two checkpoints that overlap may still differ, since they share their noise.",
        _JACKKNIFE,
        needs=("decoder", "prior", "activations"),
        group="fid",
        requirement=_INTERVAL,
    ),
    Metric(
        "fid_high",
        "Fréchet distance, upper end",
        "FID high",
        "",
        "lower",
        "Upper end of the 95 % interval of the bias-corrected Fréchet distance; the plug-in "
        "distance itself is often above it.",
        _JACKKNIFE,
        needs=("decoder", "prior", "activations"),
        group="fid",
        requirement=_INTERVAL,
    ),
    Metric(
        "fid_infinity",
        "Fréchet distance, extrapolated",
        "FID infinity",
        "",
        "lower",
        "Fréchet distance extrapolated to infinitely many generated images by a line in 1/N "
        "through 15 sizes from a tenth of the images (at most 5000) on; too low where the "
        "smallest size is near the feature dimensions.",
        "Chong and Forsyth 2020, arXiv:1911.07023",
        needs=("decoder", "prior", "activations"),
        group="fid_infinity",
        requirement="10 times the feature dimensions, to be reliable",
    ),
    Metric(
        "inception_score_corrected",
        "Inception Score, bias-corrected",
        "IS corrected",
        "",
        "higher",
        "Inception Score of all images at once less its bias, to second order; not to be compared "
        "with published means over splits, whose bias is larger, and undefined with fewer than "
        "5 images for each class in use.",
        _CORRECTED_SCORE,
        needs=("decoder", "prior", "class_probabilities"),
        group="inception_score",
        interval=("inception_score_low", "inception_score_high"),
        least=1.0,
        compared="samples",
        requirement="5 for each class in use",
        standard_error=True,
    ),
    Metric(
        "inception_score_low",
        "Inception Score, lower end",
        "IS low",
        "",
        "higher",
        "Lower end of the 95 % interval of the bias-corrected Inception Score, which allows for "
        "twice its second bias correction; intervals of two checkpoints that overlap may still "
        "differ.",
        _CORRECTED_SCORE,
        needs=("decoder", "prior", "class_probabilities"),
        group="inception_score",
        requirement="5 for each class in use",
    ),
    Metric(
        "inception_score_high",
        "Inception Score, upper end",
        "IS high",
        "",
        "higher",
        "Upper end of the 95 % interval of the bias-corrected Inception Score, which allows for "
        "twice its second bias correction; intervals of two checkpoints that overlap may still "
        "differ.",
        _CORRECTED_SCORE,
        needs=("decoder", "prior", "class_probabilities"),
        group="inception_score",
        requirement="5 for each class in use",
    ),
)
