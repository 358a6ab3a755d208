"""VAEs whose decoders sleep: shards of a known duration that need no core, to check scheduling.

    python jobs/benchmarks/delayed_decoder.py FOLDER COUNT SECONDS

A worker loads them with ``custom_objects = ["delayed_decoder"]`` and ``trust = true``, with this
folder on its ``PYTHONPATH``.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

SHAPE, LATENT = (8, 8, 1), 3


@keras.saving.register_keras_serializable("delayed_decoder")
class Delay(keras.layers.Layer):
    """Returns its input after some seconds."""

    def __init__(self, seconds: float, **kwargs: Any) -> None:  # noqa: ANN401
        """Sleep this long at each call."""
        super().__init__(**kwargs)
        self.seconds = seconds

    def call(self, inputs: Any) -> Any:  # noqa: ANN401
        """Sleep, also inside a compiled graph."""

        def wait(values: np.ndarray) -> np.ndarray:
            time.sleep(self.seconds)
            return values

        passed = tf.numpy_function(wait, [inputs], tf.float32, stateful=True)
        passed.set_shape(inputs.shape)
        return passed

    def compute_output_shape(self, input_shape: Any) -> Any:  # noqa: ANN401
        """Return the input's shape."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Return the configuration, with the seconds."""
        return {**super().get_config(), "seconds": self.seconds}


def save_delayed(folder: Path, seed: int, seconds: float) -> None:
    """Save a pair of halves with seeded weights, whose decoder sleeps at each batch."""
    folder.mkdir(parents=True)
    keras.utils.set_random_seed(seed)
    images = keras.Input(SHAPE)
    flat = keras.layers.Flatten()(images)
    heads = [keras.layers.Dense(LATENT, name=name)(flat) for name in ("mean", "logvar")]
    keras.Model(images, heads, name="encoder").save(folder / "encoder.keras")
    latents = keras.Input((LATENT,))
    pixels = keras.layers.Dense(64, "sigmoid")(Delay(seconds)(latents))
    decoded = keras.layers.Reshape(SHAPE)(pixels)
    keras.Model(latents, decoded, name="decoder").save(folder / "decoder.keras")


def save_classifier(path: Path) -> None:
    """Save a small untrained extractor."""
    keras.utils.set_random_seed(0)
    images = keras.Input((8, 8, 3))
    scaled = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(images))
    features = keras.layers.Dense(16, "relu")(scaled)
    keras.Model(images, keras.layers.Dense(10, "softmax")(features)).save(path)


def main() -> None:
    """Save checkpoints and a classifier into a folder."""
    import delayed_decoder  # So that the layer is saved under this module's name.

    folder, count, seconds = Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    for number in range(1, count + 1):
        delayed_decoder.save_delayed(folder / f"runs/step-{number:04d}", number, seconds)
    save_classifier(folder / "classifier.keras")


if __name__ == "__main__":
    main()
