"""The book chapter's evaluation of several VAEs, in plain Keras; a script of the benchmarks.

    python book_procedure.py score TASK.json
    python book_procedure.py export TASK.json

``score`` does for each checkpoint what the chapter "Evaluating VAEs" does, and prints a JSON line:
two losses on real images, then the Inception Score and the Fréchet distance of generated images.
Each of the last two builds its InceptionV3, resizes a whole set at once and calls ``predict``; the
reference's activations are computed anew. Only what keeps the chapter's code from running or from
being right is changed (see ``tests/metrics/book_chapter.py``): an encoder is run once, images
have three channels and 0..255, probabilities come from the softmax, means are float64, splits use
every sample. Draws and the rounding of images are those of ``vae_batch``, so that images are equal.

``export`` writes PNG files, for tools that take folders: TASK's reference, then each checkpoint.
A task is what ``Task.write`` of ``end_to_end_runs.py`` writes.
"""

from __future__ import annotations

import itertools
import json
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from scipy.linalg import sqrtm
from scipy.stats import entropy

from vae_batch.models.sampling import standard_normals

Floats = NDArray[np.floating[Any]]
Pixels = NDArray[np.uint8]

_SIDE = 299


def load(checkpoint: str) -> tuple[keras.Model, keras.Model]:
    """Encoder and decoder of a folder."""
    names = ("encoder.keras", "decoder.keras")
    encoder, decoder = (keras.models.load_model(Path(checkpoint, name)) for name in names)
    return encoder, decoder


def losses(
    encoder: keras.Model, decoder: keras.Model, real: Pixels, seed: int
) -> tuple[float, float]:
    """Reconstruction loss and KL divergence of real images, nats per image."""
    images = (real / 255).astype(np.float32)
    mean, logvar = encoder.predict(images, verbose=0)[:2]
    noise = standard_normals(seed, "posterior_noise", 0, len(mean), mean.shape[1:])
    decoded = decoder.predict(mean + np.exp(0.5 * logvar) * noise, verbose=0)
    flat = [array.reshape(len(real), -1) for array in (images, decoded)]
    cross_entropy = keras.losses.binary_crossentropy(*flat)
    reconstruction = float(np.mean(cross_entropy)) * flat[0].shape[1]
    kl = -0.5 * np.sum(1 + logvar - np.square(mean) - np.exp(logvar), axis=-1)
    return reconstruction, float(np.mean(kl))


def generate(decoder: keras.Model, samples: int, seed: int) -> Pixels:
    """Decoded latents as 8-bit images."""
    latents = standard_normals(seed, "latents", 0, samples, decoder.input_shape[1:])
    decoded = decoder.predict(latents, verbose=0)
    return np.clip(np.rint(decoded.astype(np.float64) * 255), 0, 255).astype(np.uint8)


def resized(images: Pixels) -> tf.Tensor:
    """A whole set as InceptionV3 takes it."""
    rgb = np.repeat(images, 3, axis=-1) if images.shape[-1] == 1 else images
    pixels = tf.image.resize(rgb.astype(np.float32), (_SIDE, _SIDE))
    return keras.applications.inception_v3.preprocess_input(pixels)


def inception_score(images: Pixels, weights: str, splits: int) -> float:
    """Mean over contiguous splits."""
    network = keras.applications.InceptionV3(weights=weights)
    rows = network.predict(resized(images), verbose=0).astype(np.float64)
    edges = [len(rows) * split // splits for split in range(splits + 1)]
    scores = []
    for start, stop in itertools.pairwise(edges):
        part = rows[start:stop] / rows[start:stop].sum(axis=1, keepdims=True)
        marginal = part.mean(axis=0)
        scores.append(np.exp(np.mean([entropy(row, marginal) for row in part])))
    return float(np.mean(scores))


def frechet_distance(generated: Pixels, real: Pixels, weights: str) -> float:
    """Of pooled features, by ``scipy.linalg.sqrtm``."""
    network = keras.applications.InceptionV3(weights=weights)
    pooled = keras.Model(network.input, network.get_layer("avg_pool").output)
    x, y = (
        pooled.predict(resized(images), verbose=0).astype(np.float64)
        for images in (generated, real)
    )
    S, R = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    root = sqrtm(S @ R)
    shift = x.mean(axis=0) - y.mean(axis=0)
    return float(shift @ shift + np.trace(S + R - 2.0 * root.real))


def score(task: dict[str, Any]) -> None:
    """Score every checkpoint of a task, one after another."""
    real = np.load(task["reference_images"])
    samples, seed, weights = task["samples"], task["seed"], task["keras_weights"]
    for checkpoint in task["checkpoints"]:
        encoder, decoder = load(checkpoint)
        reconstruction, kl = losses(encoder, decoder, real, seed)
        generated = generate(decoder, samples, seed)
        found = {
            "reconstruction_nll": reconstruction,
            "kl": kl,
            "inception_score": inception_score(generated, weights, task["splits"]),
            "fid": frechet_distance(generated, real, weights),
        }
        print(json.dumps(found), flush=True)


def export(task: dict[str, Any]) -> None:
    """Write the reference, and samples of every checkpoint, as folders of PNG files."""
    write_pngs(np.load(task["reference_images"]), Path(task["reference_pngs"]))
    for checkpoint, folder in zip(task["checkpoints"], task["generated_pngs"], strict=True):
        write_pngs(generate(load(checkpoint)[1], task["samples"], task["seed"]), Path(folder))
        print(json.dumps({}), flush=True)


def write_pngs(images: Pixels, folder: Path) -> None:
    """Write one file per image, in order."""
    from PIL import Image

    folder.mkdir(parents=True, exist_ok=True)
    for place, image in enumerate(images):
        pixels = image[..., 0] if image.shape[-1] == 1 else image
        Image.fromarray(pixels).save(folder / f"{place:06d}.png")


if __name__ == "__main__":
    verb, task_path = sys.argv[1:]
    {"score": score, "export": export}[verb](json.loads(Path(task_path).read_text()))
