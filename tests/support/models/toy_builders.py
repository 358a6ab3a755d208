"""Functions that build the toy VAE without its weights, as users name them with ``--builder``."""

from __future__ import annotations

from typing import Any

SHAPE = (8, 8, 1)
LATENT = 3


def encoder_of(library: Any, sampling: str | None = None, hidden: int = 12) -> Any:
    """The toy encoder in ``keras`` or ``tf_keras``; with a third output z where asked for.

    ``sampling`` is ``ops`` (TensorFlow functions between layers) or ``lambda`` (Python).
    """
    layers = library.layers
    images = library.Input(SHAPE)
    inner = layers.Dense(hidden, "tanh")(layers.Flatten()(images))
    mean = layers.Dense(LATENT, name="mean")(inner)
    logvar = layers.Dense(LATENT, name="logvar")(inner)
    heads = [mean, logvar]
    if sampling == "ops":
        import tensorflow as tf

        heads.append(mean + tf.exp(0.5 * logvar) * tf.random.normal(tf.shape(mean)))
    elif sampling == "lambda":
        draw = layers.Lambda(lambda inputs: inputs[0] + inputs[1], name="z")
        heads.append(draw([mean, logvar]))
    return library.Model(images, heads, name="encoder")


def decoder_of(library: Any) -> Any:
    latents = library.Input((LATENT,))
    inner = library.layers.Dense(12, "tanh")(latents)
    pixels = library.layers.Dense(64, "sigmoid")(inner)
    return library.Model(latents, library.layers.Reshape(SHAPE)(pixels), name="decoder")


def whole_of(library: Any, encoder: Any, decoder: Any) -> Any:
    images = library.Input(SHAPE)
    return library.Model(images, decoder(encoder(images)[0]), name="vae")


def subclassed_of(library: Any, encoder: Any, decoder: Any) -> Any:
    """A VAE in the manner of keras.io: the halves are attributes, and there is no ``call``."""

    class VAE(library.Model):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = encoder
            self.decoder = decoder
            self.kl_loss_tracker = library.metrics.Mean(name="kl_loss")

        def train_step(self, data: Any) -> dict[str, Any]:
            raise NotImplementedError

    return VAE()


def _both(library: Any) -> tuple[Any, Any]:
    return encoder_of(library), decoder_of(library)


def keras_vae() -> Any:
    import keras

    return whole_of(keras, *_both(keras))


def keras_halves() -> tuple[Any, Any]:
    import keras

    return _both(keras)


def keras_subclassed() -> Any:
    import keras

    return subclassed_of(keras, *_both(keras))


def tf_keras_vae() -> Any:
    import tf_keras

    return whole_of(tf_keras, *_both(tf_keras))


def tf_keras_halves() -> tuple[Any, Any]:
    import tf_keras

    return _both(tf_keras)
