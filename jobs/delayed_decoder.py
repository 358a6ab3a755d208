"""VAEs whose decoders wait: shards of a known length that need no core, for checks of scheduling.

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
    """Passes its input on after some seconds."""

    def __init__(self, seconds: float, **kwargs: Any) -> None:  # noqa: ANN401
        """Wait so long at each call."""
        super().__init__(**kwargs)
        self.seconds = seconds

    def call(self, inputs: Any) -> Any:  # noqa: ANN401
        """Wait, also inside a compiled graph."""

        def wait(values: np.ndarray) -> np.ndarray:
            time.sleep(self.seconds)
            return values

        passed = tf.numpy_function(wait, [inputs], tf.float32, stateful=True)
        passed.set_shape(inputs.shape)
        return passed

    def compute_output_shape(self, input_shape: Any) -> Any:  # noqa: ANN401
        """The input's."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """With the seconds."""
        return {**super().get_config(), "seconds": self.seconds}


def save_delayed(folder: Path, seed: int, seconds: float) -> None:
    """Save a pair of halves with seeded weights, whose decoder waits at each batch."""
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
    """Save a small extractor that has learned nothing."""
    keras.utils.set_random_seed(0)
    images = keras.Input((8, 8, 3))
    scaled = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(images))
    features = keras.layers.Dense(16, "relu")(scaled)
    keras.Model(images, keras.layers.Dense(10, "softmax")(features)).save(path)


def main() -> None:
    """Save so many pairs and a classifier into a folder: FOLDER COUNT SECONDS."""
    import delayed_decoder  # so that the layer is saved as that module's, and found again

    folder, count, seconds = Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    for number in range(1, count + 1):
        delayed_decoder.save_delayed(folder / f"runs/step-{number:04d}", number, seconds)
    save_classifier(folder / "classifier.keras")


if __name__ == "__main__":
    main()
