"""Writes the float64 features that ``vae-batch doctor`` compares every device with.

    CUDA_VISIBLE_DEVICES= python tests/models/extractors/write_parity_probe.py

Rewrites ``vae_batch/models/extractors/inception/parity_probe.npz``; needed only when the random
weights or the protocol of ``inception-random`` change. Runs on the CPU, under a minute.
"""

from __future__ import annotations

import json
import platform
import sys
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vae_batch import __version__
from vae_batch.models.extractors.inception.extractor import identify_inception
from vae_batch.models.extractors.inception.folded_weights import random_weights
from vae_batch.models.extractors.inception.layout import FEATURE_DIM, IMAGE_SIZE
from vae_batch.models.extractors.inception.network import build_network
from vae_batch.models.extractors.inception.parity_probe import STORED, fixed_points, probe_images
from vae_batch.models.extractors.inception.resize import NUMPY_OPS, normalise, resize

if TYPE_CHECKING:
    import keras

EXTRACTOR = "inception-random"


def features_in_float64(images: np.ndarray) -> np.ndarray:
    """(n, 2048) pooled features with every step in float64: resize, normalisation and network.

    The network is the extractor's own, cloned layer by layer with a float64 policy; its float32
    weights are kept as they are, since they define the extractor. Positions of the resize are
    float32 numbers by its definition. Needs the TensorFlow backend on a CPU.
    """
    identity = identify_inception(EXTRACTOR)
    network = in_float64(build_network(random_weights(), "keras"))
    pixels = resize(images.astype(np.float64), identity.resize, IMAGE_SIZE, ops=NUMPY_OPS)
    inputs = normalise(pixels, identity.normalisation)
    # One image per pass, so that memory stays small.
    features = np.concatenate([network(inputs[i : i + 1])[0] for i in range(len(inputs))])
    assert (features.dtype, features.shape) == (np.float64, (len(images), FEATURE_DIM))
    return features


def in_float64(network: keras.Model) -> keras.Model:
    """A copy of a functional model whose layers all compute in float64, with the same weights."""
    import keras

    def widened(layer: Any) -> Any:
        if not isinstance(layer, keras.layers.Layer):
            return layer  # an operation without dtype of its own: it takes that of its input
        return type(layer).from_config({**layer.get_config(), "dtype": "float64"})

    inputs = keras.Input(network.input_shape[1:], dtype="float64")
    wide = keras.models.clone_model(network, input_tensors=inputs, clone_function=widened)
    wide.set_weights(network.get_weights())
    return wide


def main(out: Path) -> None:
    images = probe_images()
    provenance = {
        "what": "pooled features of this module's probe_images, float64 throughout",
        "command": "python tests/models/extractors/write_parity_probe.py",
        "versions": {
            **{name: version(name) for name in ("tensorflow", "keras", "numpy")},
            "vae_batch": __version__,
            "python": platform.python_version(),
            "machine": platform.machine(),
        },
        **fixed_points(images, identify_inception(EXTRACTOR)),
    }
    features = features_in_float64(images)
    text = json.dumps(provenance, indent=1, sort_keys=True)
    np.savez_compressed(out, features=features, provenance=np.array(text))
    print(f"{out}: {features.shape} {features.dtype}, largest {features.max()}")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else STORED)
