"""Writes the golden outputs from the other tools' own code; a script, run by hand.

    VAE_BATCH_PEERS_PYTHON=... PYTHONPATH=tests python tests/models/extractors/write_golden.py

See golden/PROVENANCE.md.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from pathlib import Path

import numpy as np
from support.models.published_layouts import (
    GOLDEN_SEED_2015,
    GOLDEN_SEED_KERAS,
    RawInception,
    raw_inception,
    sample_images,
    state_dict_arrays,
    write_legacy_state_dict,
)

GOLDEN = Path(__file__).parent / "golden"
GOLDEN_IMAGES = (3, 40, 32)


def summary(features: np.ndarray, probabilities: np.ndarray) -> dict[str, object]:
    """What is kept of the outputs for a few images."""
    best = probabilities.argmax(axis=1)
    return {
        "features": features[:, :8].astype(float).tolist(),
        "feature_mean": features.mean(axis=1, dtype=float).tolist(),
        "feature_std": features.std(axis=1, dtype=float).tolist(),
        "class": best.tolist(),
        "probability": probabilities[np.arange(len(best)), best].astype(float).tolist(),
        "first_probabilities": probabilities[:, :4].astype(float).tolist(),
    }


def keras_application(raw: RawInception) -> object:
    """keras.applications.InceptionV3 holding the numbers, with features beside probabilities."""
    import keras

    from vae_batch.models.extractors.inception.layout import KERAS_ORDER

    model = keras.applications.InceptionV3(weights=None)
    kernels = [layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]
    norms = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    for name, kernel, norm in zip(KERAS_ORDER, kernels, norms, strict=True):
        unit = raw.units[name]
        kernel.set_weights([unit.kernel])
        norm.set_weights([unit.beta, unit.mean, unit.variance])
    model.get_layer("predictions").set_weights([raw.kernel, raw.bias])
    return keras.Model(model.input, [model.get_layer("avg_pool").output, model.output])


def keras_outputs(raw: RawInception, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Outputs of Keras' own network behind tf.image.resize and its preprocess_input."""
    import keras
    import tensorflow as tf

    pixels = tf.image.resize(images, (299, 299))
    inputs = keras.applications.inception_v3.preprocess_input(pixels)
    features, probabilities = keras_application(raw)(inputs, training=False)
    return np.asarray(features), np.asarray(probabilities)


def peer_outputs(tool: str, weights: Path, images: np.ndarray) -> dict[str, np.ndarray]:
    """Outputs of pytorch-fid or torch-fidelity, run in the environment of the peers."""
    python = os.environ["VAE_BATCH_PEERS_PYTHON"]
    script = str(Path(__file__).with_name("peer_outputs.py"))
    with tempfile.TemporaryDirectory() as folder:
        inputs, outputs = Path(folder, "images.npy"), Path(folder, "out.npz")
        np.save(inputs, images)
        subprocess.run([python, script, tool, weights, inputs, outputs], check=True)
        with np.load(outputs) as arrays:
            return {name: arrays[name] for name in arrays.files}


def main() -> None:
    images = sample_images(*GOLDEN_IMAGES)
    golden = {"keras": summary(*keras_outputs(raw_inception(GOLDEN_SEED_KERAS, 1000), images))}
    with tempfile.TemporaryDirectory() as folder:
        raw = raw_inception(GOLDEN_SEED_2015, 1008)
        weights = write_legacy_state_dict(Path(folder, "random.pth"), state_dict_arrays(raw))
        for tool in ("torch-fidelity", "pytorch-fid"):
            arrays = peer_outputs(tool, weights, images)
            golden[tool] = summary(arrays["features"], arrays["probabilities"])
    for tool, numbers in golden.items():
        (GOLDEN / f"{tool}.json").write_text(json.dumps(numbers, indent=1) + "\n")


if __name__ == "__main__":
    main()
