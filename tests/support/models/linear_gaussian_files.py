"""Probabilistic PCA of 4 x 4 images (``linear_gaussian_vae.py``) saved with Keras.

Images are 8-bit, a step of 0.0039 against a noise of 0.05; all exact values are those of the model
at the quantised pixels, so that the quantisation itself is no error. What is left is the float32 of
the networks: a decoded pixel errs by 3e-8, a squared error of 16 pixels over 2 sigma^2 by
16 x 0.05 x 3e-8 / 0.0025 = 1e-5 nats, as do the means of posteriors. ``ROUNDING`` allows twice
that, on values of about 20 nats.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from metrics.linear_gaussian_vae import LinearGaussianVae, small_image_vae
from numpy.typing import NDArray
from scipy.special import ndtri

from vae_batch.run.execute.executor import SerialExecutor, Task
from vae_batch.run.execute.worker import ShardOutcome
from vae_batch.run.planning.worker_config import WorkerConfig

Array = NDArray[Any]
Settings = dict[str, Any]

COUNT, SIGMA, ROUNDING = 1500, 0.05, 2e-5
PIXELS, LATENTS = 16, 3

#: Signals of 2 and 1 noise deviations, and a dimension that the decoder ignores.
VAE = small_image_vae(side=4, norms=(0.1, 0.05, 0.0), sigma=SIGMA)


class Counting(SerialExecutor):
    """Notes the kinds of unit that it computes."""

    def __init__(self) -> None:
        self.kinds: set[str] = set()

    def run_shards(self, tasks: Sequence[Task], config: WorkerConfig) -> Iterator[ShardOutcome]:
        self.kinds |= {unit.kind for unit, _ in tasks}
        return super().run_shards(tasks, config)


def draw_pixels() -> Array:
    """(n, 16) uint8 draws of the model, of which nothing is cut at black or white."""
    drawn = VAE.images(COUNT, seed=0)
    assert drawn.min() > 0
    assert drawn.max() < 1
    return np.rint(255 * drawn).astype(np.uint8)


def save(folder: Path, vae: LinearGaussianVae, last: str = "linear") -> Path:
    """Both halves as dense layers with the model's own matrices."""
    import keras

    folder.mkdir()
    images, code = keras.Input((4, 4, 1)), keras.Input((LATENTS,))
    flat = keras.layers.Flatten()(images)
    heads = [keras.layers.Dense(LATENTS, name=name) for name in ("mean", "logvar")]
    encoder = keras.Model(images, [head(flat) for head in heads])
    heads[0].set_weights([vae.encoder_weights, vae.encoder_bias])
    heads[1].set_weights([np.zeros((PIXELS, LATENTS)), vae.logvar])
    decoded = keras.layers.Dense(PIXELS, last)(code)
    decoder = keras.Model(code, keras.layers.Reshape((4, 4, 1))(decoded))
    decoder.set_weights([vae.weights.T, vae.bias])
    encoder.save(folder / "encoder.keras")
    decoder.save(folder / "decoder.keras")
    return folder


def settings_in(folder: Path, classifier: Path) -> Settings:
    """Settings of a run over the exact VAE, saved in a folder with its images."""
    np.savez(folder / "images.npz", draw_pixels().reshape(-1, 4, 4, 1))
    return {
        "checkpoints": [str(save(folder / "vae", VAE))],
        "reference": str(folder / "images.npz"),
        "extractors": [str(classifier)],
        "samples": 64,
        "shard_size": 512,
        "batch_size": 64,
        "likelihood": "gaussian",
        "sigma": SIGMA,
        "reference_subset": "first",
        "iwae_images": 200,
        "iwae_draws": 32,
        "metrics": "losses,latents,iwae,reconstruction",
        "workers": 0,
        "out": str(folder / "out"),
    }


def posterior_noise(count: int) -> Array:
    """3 of the 4 words of each image's own counter, stream 2 of seed 0."""
    words = np.random.Philox(key=[0, 2], counter=[0, 0, 0, 0]).random_raw(4 * count)
    return ndtri(((words.reshape(count, 4)[:, :LATENTS] >> np.uint64(11)) + 0.5) * 2.0**-53)


def drawn_latents(vae: LinearGaussianVae, x: Array) -> Array:
    mean, logvar = vae.encode(x)
    return mean + np.exp(logvar / 2) * posterior_noise(len(x))


def exact_kl(vae: LinearGaussianVae, x: Array) -> Array:
    mean, logvar = vae.encode(x)
    return 0.5 * (mean**2 + np.exp(logvar) - 1 - logvar).sum(axis=1)
