"""The gallery of a checkpoint: pictures that the report shows."""

from __future__ import annotations

from vae_batch.models.autoencoder.vae import Autoencoder
from vae_batch.models.gallery import draw_gallery
from vae_batch.run.planning.worker_config import WorkerConfig
from vae_batch.run.stages.inputs import Arrays, reference_rows

#: Reference images of the gallery: enough to order latent dimensions by their KL.
_GALLERY_IMAGES = 512


def gallery_of_checkpoint(config: WorkerConfig, vae: Autoencoder) -> Arrays:
    """Samples, reconstructions, interpolations and traversals, as the parts allow."""
    facts = config.reference
    pixels, labels = reference_rows(config, 0, min(_GALLERY_IMAGES, facts.count))
    return draw_gallery(vae, pixels, labels, config.spec.seed, facts.label_counts)
