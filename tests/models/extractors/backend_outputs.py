"""Runs our extractor on another Keras backend, in the environment of the peers; a script.

    KERAS_BACKEND={jax,torch} python backend_outputs.py WEIGHTS IMAGES.npy OUT.npz RESIZE...

The extractor follows the name of the weights file; one row of outputs a resize.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from vae_batch.models.extractors.inception.extractor import InceptionExtractor, identify_inception

if __name__ == "__main__":
    weights, images_path, out_path, *resizes = sys.argv[1:]
    name = "inception-keras" if Path(weights).suffix == ".h5" else "inception-2015"
    images, outputs = np.load(images_path), {}
    for resize in resizes:
        identity = identify_inception(name, [weights], allow_unverified=True, resize=resize)
        features, probabilities = InceptionExtractor(identity, len(images)).extract(images)
        outputs |= {f"{resize}/features": features, f"{resize}/probabilities": probabilities}
    np.savez(out_path, **outputs)
