"""Inputs of the stages: the loaded checkpoint, reference images, and draws by sample index."""

from __future__ import annotations

from typing import cast

import numpy as np
import numpy.typing as npt

from vae_batch.models.autoencoder.assemble import assemble
from vae_batch.models.autoencoder.images import ImageShape
from vae_batch.models.autoencoder.vae import Autoencoder
from vae_batch.models.batching import map_batches
from vae_batch.models.formats.format import LoadOptions
from vae_batch.models.formats.load import load_networks
from vae_batch.models.inspection import own_noise
from vae_batch.models.references.subset import Positions
from vae_batch.models.sample_sets import (
    FeatureSet,
    SampleSet,
    open_feature_set,
    open_sample_set,
)
from vae_batch.models.sampling import draw_labels, standard_normals
from vae_batch.plan import EvaluationSpec, Shard
from vae_batch.run.planning.checkpoint_job import CheckpointJob
from vae_batch.run.planning.units import generated_by
from vae_batch.run.planning.worker_config import WorkerConfig
from vae_batch.run.reference.facts import ReferenceFacts
from vae_batch.run.reference.images import read_labelled

Array = npt.NDArray[np.generic]
Arrays = dict[str, Array]
Floats = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int64]

#: What generated images come from.
Generator = Autoencoder | SampleSet
Loaded = Generator | FeatureSet

#: Reference images that a checkpoint is probed with when it is loaded.
PROBE_IMAGES = 256

_GIB = 2**30


def load_job(config: WorkerConfig, job: CheckpointJob) -> Loaded:
    """Load a checkpoint: its networks' roles are decided, and it is probed. Open a set of images.

    Raises:
        CheckpointError: Names what the checkpoint lacks and what to declare.
    """
    spec, checkpoint = config.spec, job.checkpoint
    if checkpoint.samples is not None:
        ((_, path),) = checkpoint.files
        chosen = generated_by(spec, checkpoint)[0], spec.reference_subset, spec.settled_batch_size
        sha256 = checkpoint.sha256
        if checkpoint.samples.kind == "features":
            return open_feature_set(path, *chosen, sha256)
        return open_sample_set(path, job.reading, config.reference.shape, *chosen, sha256)
    pixels, labels = first_images(config, PROBE_IMAGES)
    return load_probed(config.spec, config.reference, job, pixels, labels)


def load_probed(
    spec: EvaluationSpec,
    facts: ReferenceFacts,
    job: CheckpointJob,
    pixels: Pixels | None,
    labels: Labels | None,
) -> Autoencoder:
    """As `load_job`, with the first `PROBE_IMAGES` reference images, (n, H, W, C), and labels.

    Without reference images the model's own size is taken.
    """
    terms = LoadOptions(job.reading, spec.trust, int(spec.memory_cap * _GIB))
    checkpoint = job.checkpoint
    networks = load_networks(dict(checkpoint.files), terms, checkpoint.sha256)
    return assemble(
        networks,
        job.reading,
        facts.shape or cast("ImageShape", own_noise(networks).pixels.shape[1:]),
        len(facts.label_counts) or None,
        spec.settled_batch_size,
        probe_images=pixels,
        probe_labels=labels,
    )


def reference_rows(config: WorkerConfig, positions: Positions) -> tuple[Pixels, Labels | None]:
    """Reference images at (n,) positions and their labels, where the set has them."""
    return read_labelled(config.stores.reference, config.reference, positions)


def first_images(config: WorkerConfig, count: int) -> tuple[Pixels | None, Labels | None]:
    """The first reference images and their labels; None where the reference holds no images."""
    if config.reference.kind != "images":
        return None, None
    return reference_rows(config, np.arange(min(count, config.reference.count)))


def can_generate(vae: Generator) -> bool:
    """Whether the checkpoint has a decoder and a prior to draw from, or is a set of images."""
    return not {"decoder", "prior"} & set(vae.description.missing)


def generated_inputs(
    spec: EvaluationSpec, facts: ReferenceFacts, vae: Generator, shard: Shard
) -> list[Array]:
    """Latents of generated samples, and labels where the checkpoint takes them.

    Of a set of images, their positions in it.
    """
    if isinstance(vae, SampleSet):
        return [np.arange(shard.start, shard.stop)]
    seed, start, stop = spec.seed, shard.start, shard.stop
    inputs: list[Array] = [standard_normals(seed, "latents", start, stop, vae.latent_shape)]
    if vae.takes_labels:
        inputs.append(draw_labels(seed, start, stop, facts.label_counts))
    return inputs


def generated_pictures(spec: EvaluationSpec, vae: Generator, inputs: list[Array]) -> Pixels:
    """(n, H, W, C) uint8 images of what `generated_inputs` gave."""

    def draw(latents: Array, labels: Labels | None = None) -> tuple[Pixels]:
        return (vae.pictures(latents, labels),)

    (pixels,) = map_batches(draw, spec.settled_batch_size, *inputs)
    return pixels.astype(np.uint8, copy=False)
