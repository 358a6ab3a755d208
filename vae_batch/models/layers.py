"""Keras layers in the checkpoints of this project; importing this module registers them."""

from __future__ import annotations

from typing import Any

import keras

Tensor = Any
Shape = tuple[int | None, ...]


@keras.saving.register_keras_serializable(package="vae_batch")
class Sampling(keras.layers.Layer):  # type: ignore[misc]  # Keras has no types
    """Draws z = mean + exp(logvar / 2) * noise, the reparameterisation trick (1312.6114).

    Input: [mean, logvar], two tensors of one shape. Output: a tensor of that shape, a new sample
    in every call.
    """

    def __init__(self, seed: int = 0, **settings: Any) -> None:  # noqa: ANN401
        super().__init__(**settings)
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)

    def call(self, inputs: tuple[Tensor, Tensor]) -> Tensor:
        """A sample of N(mean, exp(logvar))."""
        mean, logvar = inputs
        noise = keras.random.normal(
            keras.ops.shape(mean), dtype=mean.dtype, seed=self.seed_generator
        )
        return mean + keras.ops.exp(0.5 * logvar) * noise

    def compute_output_shape(self, input_shape: list[Shape]) -> Shape:
        """The shape of the mean."""
        return input_shape[0]

    def get_config(self) -> dict[str, Any]:
        """Adds ``seed``."""
        return {**super().get_config(), "seed": self.seed}
