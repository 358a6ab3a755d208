"""Activations: the extractor's output on reference, generated and reconstructed images."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from vae_batch.models.autoencoder.vae import Autoencoder
from vae_batch.models.batching import map_batches
from vae_batch.models.extractors.extractor import Extractor, ExtractorIdentity
from vae_batch.models.image_range import to_three_channels
from vae_batch.models.sample_sets import FeatureSet
from vae_batch.plan import InputError, Shard
from vae_batch.run.planning.worker_config import WorkerConfig
from vae_batch.run.reference.facts import ReferenceFacts
from vae_batch.run.reference.images import read_reference
from vae_batch.run.stages.inputs import (
    Array,
    Arrays,
    Floats,
    Generator,
    Labels,
    Pixels,
    can_generate,
    generated_inputs,
    reference_rows,
)


def activations_of_reference(
    config: WorkerConfig, facts: ReferenceFacts, extractor: Extractor, shard: Shard
) -> Arrays:
    """The extractor's output on reference or training images."""
    images = read_reference(config.stores.reference, facts, np.arange(shard.start, shard.stop))
    return _activations(config, shard, extractor, extractor.extract, to_three_channels(images))


def activations_of_generated(
    config: WorkerConfig, vae: Generator, extractor: Extractor, shard: Shard
) -> Arrays:
    """The extractor's output on decoded latent samples, rounded to 8 bits.

    Generated images are rounded as if they had been saved as PNG, as the tools of the literature
    score them. One batch is decoded while another is extracted. A checkpoint that cannot generate
    gets columns of zero width.
    """
    if not can_generate(vae):
        return _none(shard)

    def decode_and_extract(latents: Array, labels: Labels | None = None) -> tuple[Floats, Floats]:
        return extractor.extract(to_three_channels(vae.pictures(latents, labels)))

    inputs = generated_inputs(config.spec, config.reference, vae, shard)
    return _activations(config, shard, extractor, decode_and_extract, *inputs)


def activations_of_features(
    features: FeatureSet, extractor: ExtractorIdentity, shard: Shard
) -> Arrays:
    """Rows of a set of features, which another program computed.

    Raises:
        CheckpointError: They are not those of the extractor.
    """
    features.require_made_by(extractor)
    values, probabilities = features.rows(shard.start, shard.stop)
    index = np.arange(shard.start, shard.stop)
    return {"index": index, "features": values, "probabilities": probabilities}


def activations_of_reconstructed(
    config: WorkerConfig, vae: Autoencoder, extractor: Extractor, shard: Shard
) -> Arrays:
    """The extractor's output on reconstructions, at the posterior mean, of reference images."""
    if {"encoder", "decoder"} & set(vae.description.missing):
        return _none(shard)

    def reconstruct_and_extract(
        pixels: Pixels, labels: Labels | None = None
    ) -> tuple[Floats, Floats]:
        mean, _ = vae.encode(vae.to_model(pixels), labels)
        return extractor.extract(to_three_channels(vae.pictures(mean, labels)))

    pixels, labels = reference_rows(config, np.arange(shard.start, shard.stop))
    inputs: list[Array] = [pixels]
    if labels is not None:
        inputs.append(labels)
    return _activations(config, shard, extractor, reconstruct_and_extract, *inputs)


def _none(shard: Shard) -> Arrays:
    nothing = np.empty((len(shard), 0), np.float32)
    index = np.arange(shard.start, shard.stop)
    return {"index": index, "features": nothing, "probabilities": nothing}


def _activations(
    config: WorkerConfig,
    shard: Shard,
    extractor: Extractor,
    extract: Callable[..., tuple[Floats, Floats]],
    *inputs: Array,
) -> Arrays:
    features, probabilities = map_batches(
        extract,
        config.spec.settled_batch_size,
        *inputs,
        concurrency=extractor.concurrent_batches,
    )
    finite = np.isfinite(features).all(axis=1) & np.isfinite(probabilities).all(axis=1)
    if not finite.all():
        raise InputError(
            "the extractor returns NaN or infinite activations for image "
            f"{shard.start + int(np.argmin(finite))} of {shard.unit}; images are 8-bit pixels, so "
            "its weights are broken: use another extractor or weights file"
        )
    return {
        "index": np.arange(shard.start, shard.stop),
        "features": features,
        "probabilities": probabilities,
    }
