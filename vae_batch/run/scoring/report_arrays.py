"""Small arrays that the report shows of a row beside its scores.

They are computed when the row is scored and stored in one small file beside the unit that they are
computed from, so that a report of many checkpoints reads no columns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from vae_batch.metrics.likelihood.posterior import COLLAPSED_SHARE, LatentUsage
from vae_batch.metrics.samples.nearest import closest_pairs
from vae_batch.metrics.samples.set_diagnostics import TrainingNeighbours
from vae_batch.models.gallery import SAMPLES
from vae_batch.plan import Unit
from vae_batch.run.reference.facts import image_folder
from vae_batch.run.reference.images import read_images
from vae_batch.run.scoring.score_sheet import Array
from vae_batch.run.scoring.stored import Columns, RowParts
from vae_batch.run.stages.pictures import worst_first
from vae_batch.storage import (
    SHOWN,
    DamagedFileError,
    Store,
    decode_arrays,
    encode_arrays,
    pictures_name,
    read_receipt,
    read_verified,
    write_with_receipt,
)

Arrays = dict[str, Array]
Values = npt.NDArray[Any]

#: Generated samples, from the first, whose nearest training image is shown.
NEAREST = 8
#: Most alike pairs of samples that are shown.
PAIRS = 8

#: Dimensions whose aggregate posterior is shown, and bins of its histogram.
_HISTOGRAMS = 8
_BINS = 64
#: Smallest range of the histograms, in prior standard deviations.
_REACH = 4.0
#: Share of the draws inside that range.
_INSIDE = 0.999


def worst_reconstructions(parts: RowParts, errors: Values) -> Arrays:
    """The reference images with the largest errors, and their reconstructions.

    Args:
        parts: Of the row; each shard of losses has pictures of its own worst reconstructions.
        errors: (n,) squared error of each reference image.

    Raises:
        OSError: A shard's pictures, or the images, are not stored or are damaged.
    """
    unit, worst = parts.units["losses"], worst_first(errors)
    reconstructions: dict[int, Values] = {}
    for shard in unit.shards():
        if ((worst >= shard.start) & (worst < shard.stop)).any():
            stored = decode_arrays(read_verified(parts.stores.out, unit, pictures_name(shard)))
            found = zip(stored["index"], stored["reconstruction"], strict=True)
            reconstructions |= {int(index): picture for index, picture in found}
    folder, size = image_folder(parts.reference_sha256), parts.spec.shard_size
    store = parts.stores.reference
    return {
        "worst_ids": worst.astype(np.int64),
        "worst_errors": errors[worst],
        "worst_originals": read_images(store, folder, unit.samples, size, worst),
        "worst_reconstructions": np.stack([reconstructions[int(index)] for index in worst]),
    }


def nearest_training(parts: RowParts, found: TrainingNeighbours) -> Arrays:
    """The training images nearest to the first generated samples, by activations.

    Raises:
        OSError: The images are not stored or are damaged.
    """
    unit = parts.units["training"]
    folder, ids = unit.path.split("/")[0], found.indices[:NEAREST]
    images = read_images(parts.stores.reference, folder, unit.samples, unit.shard_size, ids)
    return {
        "nearest_ids": ids.astype(np.int64),
        "nearest_distances": found.distances[:NEAREST],
        "nearest_training": images,
    }


def alike_samples(features: Values) -> Arrays:
    """The most alike pairs among the samples that the gallery shows, by activations."""
    pairs, distances = closest_pairs(features[:SAMPLES], PAIRS)
    return {"duplicate_ids": pairs, "duplicate_distances": distances}


def posterior_summary(mean: Values, logvar: Values, usage: LatentUsage) -> Arrays:
    """KL and collapse of each latent dimension, and the moments of the aggregate posterior.

    The moments of the equal mixture of all images' posteriors are exact: its mean is the mean of
    the means, its variance the mean variance plus the variance of the means.
    """
    means = mean.reshape(len(mean), -1).astype(np.float64)
    variances = np.exp(logvar.reshape(means.shape).astype(np.float64))
    return {
        "kl_per_dimension": usage.kl,
        "kl_collapsed": usage.low_kl_shares >= COLLAPSED_SHARE,
        "aggregate_mean": means.mean(axis=0),
        "aggregate_std": np.sqrt(variances.mean(axis=0) + means.var(axis=0)),
    }


def posterior_histograms(draws: Values, kl: Values) -> Arrays:
    """Densities of one posterior draw per image, in the dimensions of the largest KL.

    All dimensions share their bins, which cover 99.9 % of the draws and at least 4 prior standard
    deviations. Draws outside are omitted, so a density integrates to the share inside.

    Args:
        draws: (n, *latent_shape).
        kl: (d,) mean KL of each dimension, nats.
    """
    dimensions = np.argsort(-kl, kind="stable")[:_HISTOGRAMS]
    values = draws.reshape(len(draws), -1)[:, dimensions]
    reach = max(_REACH, float(np.ceil(np.quantile(np.abs(values), _INSIDE))))
    edges = np.linspace(-reach, reach, _BINS + 1)
    counts = np.stack([np.histogram(column, edges)[0] for column in values.T])
    return {
        "aggregate_dimensions": dimensions.astype(np.int64),
        "aggregate_edges": edges,
        "aggregate_density": counts / (len(values) * (edges[1] - edges[0])),
    }


def mean_spectra(drawn: Sequence[Columns], real: Sequence[Columns]) -> Arrays:
    """Radial power spectra of generated and of reference images, from those of their shards.

    Raises:
        ValueError: A set has none, or the two sets have images of different sizes.
    """
    frequencies, power = _mean_spectrum(drawn)
    of_reference, power_of_reference = _mean_spectrum(real)
    if not np.array_equal(frequencies, of_reference):
        raise ValueError("generated and reference images differ in size")
    return {
        "spectrum_frequencies": frequencies,
        "spectrum_power": power,
        "spectrum_power_reference": power_of_reference,
    }


def _mean_spectrum(shards: Sequence[Columns]) -> tuple[Values, Values]:
    """A set's spectrum is the mean over its images."""
    if not all("spectrum_power" in shard for shard in shards):
        raise ValueError("images that small have no spectrum")
    counts = [int(shard["count"]) for shard in shards]
    power = np.average([shard["spectrum_power"] for shard in shards], axis=0, weights=counts)
    return shards[0]["spectrum_frequencies"], power


def write_shown(parts: RowParts, shown: Mapping[str, Arrays]) -> None:
    """Write arrays beside the units that they are computed from; other metrics' arrays stay."""
    for kind, arrays in shown.items():
        if arrays:
            store, unit = parts.store_of(kind), parts.units[kind]
            content = encode_arrays({**read_shown(store, unit), **arrays})
            write_with_receipt(store, unit, SHOWN, content, rows=unit.samples)


def read_shown(store: Store, unit: Unit) -> Arrays:
    """Arrays kept beside a unit; none where the file is missing or damaged."""
    if read_receipt(store, unit, SHOWN) is None:  # of an older run; avoids repeated reads
        return {}
    try:
        return decode_arrays(read_verified(store, unit, SHOWN))
    except DamagedFileError:
        return {}
