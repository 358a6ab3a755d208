"""What the job asks of a VAE, and the adapter that makes a Keras checkpoint answer it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
import numpy.typing as npt
from scipy.special import expit

from vae_batch.models.batching import map_batches
from vae_batch.models.checkpoints import Checkpoint
from vae_batch.models.decoder_output import DecoderOutput, read_decoder_output
from vae_batch.models.keras_files import load_keras_file
from vae_batch.plan.errors import CheckpointError
from vae_batch.plan.spec import EvaluationSpec, Likelihood

if TYPE_CHECKING:
    import keras

Floats = npt.NDArray[np.float32]
OutputKind = Literal["logits", "probabilities", "mean"]

_PROBE_ROWS = 2


class VariationalAutoencoder(Protocol):
    """A VAE as the job sees it; the prior is N(0, I).

    Attributes:
      latent_shape: Of one latent sample.
      image_shape: (H, W, C) of one image.
      likelihood: p(x|z): ``bernoulli`` or ``gaussian``.
      output: What ``decode`` returns: Bernoulli ``logits`` or ``probabilities``, or the
        gaussian ``mean``.
    """

    latent_shape: tuple[int, ...]
    image_shape: tuple[int, ...]
    likelihood: Likelihood
    output: OutputKind

    def encode(self, images: Floats) -> tuple[Floats, Floats]:
        """(n, H, W, C) in the model's range to mean and log-variance, (n, *latent_shape)."""
        ...

    def decode(self, latents: Floats) -> Floats:
        """(n, *latent_shape) to (n, H, W, C), as ``output`` says."""
        ...


@dataclass(frozen=True)
class KerasVae:
    """A checkpoint's encoder and decoder, run in batches of one fixed shape.

    Implements :class:`VariationalAutoencoder`. Make it with :func:`load_vae`.
    """

    encoder: Any
    decoder: Any
    latent_shape: tuple[int, ...]
    image_shape: tuple[int, ...]
    input_shape: tuple[int, ...]
    likelihood: Likelihood
    output: OutputKind
    batch_size: int

    def encode(self, images: Floats) -> tuple[Floats, Floats]:
        """See the protocol.

        Raises:
          CheckpointError: The encoder gives a non-finite value.
        """
        flat = images.reshape(len(images), *self.input_shape)
        mean, logvar = map_batches(self.encoder, self.batch_size, flat)
        _require_finite(mean, "encoder's mean")
        _require_finite(logvar, "encoder's log-variance")
        return mean, logvar

    def decode(self, latents: Floats) -> Floats:
        """See the protocol.

        Raises:
          CheckpointError: The decoder gives a non-finite value.
        """
        (images,) = map_batches(self.decoder, self.batch_size, latents)
        _require_finite(images, "decoder")
        return images.reshape(len(latents), *self.image_shape)


def to_images(decoded: Floats, output: OutputKind) -> Floats:
    """Decoder means, in the model's range, from what ``decode`` returned."""
    return expit(decoded) if output == "logits" else decoded


def load_vae(
    checkpoint: Checkpoint, spec: EvaluationSpec, image_shape: tuple[int, ...]
) -> KerasVae:
    """Load, check and probe a checkpoint.

    Args:
      checkpoint: Its files.
      spec: Declared likelihood and batch size.
      image_shape: (H, W, C) of the reference images; models with flat inputs are reshaped.

    Raises:
      CheckpointError: Says what the checkpoint lacks and what to do.
    """
    encoder, decoder = _load_halves(checkpoint)
    _require_finite_weights(encoder, "encoder")
    _require_finite_weights(decoder, "decoder")
    output = read_decoder_output(decoder, spec.likelihood)
    if output.likelihood == "bernoulli" and spec.model_range != "0..1":
        raise CheckpointError(
            f"a Bernoulli likelihood needs pixels in 0..1, but --model-range is "
            f"{spec.model_range}; set --model-range 0..1, or declare --likelihood gaussian "
            "--sigma S"
        )
    latent_shape = _one_shape(decoder.input_shape, "decoder input")
    input_shape = _one_shape(encoder.input_shape, "encoder input")
    _require_size(input_shape, image_shape, "the encoder takes")
    vae = KerasVae(
        encoder=_encoder_function(encoder, latent_shape),
        decoder=_decoder_function(output),
        latent_shape=latent_shape,
        image_shape=image_shape,
        input_shape=input_shape,
        likelihood=output.likelihood,
        output=output.kind,
        batch_size=spec.settled_batch_size,
    )
    _probe(vae)
    return vae


def _load_halves(checkpoint: Checkpoint) -> tuple[keras.Model, keras.Model]:
    files = dict(checkpoint.files)
    if "model" in files:
        model = load_keras_file(files["model"])
        names = [layer.name for layer in model.layers]
        for name in ("encoder", "decoder"):
            if name not in names:
                raise CheckpointError(
                    f"the model has no layer named {name!r} (it has {', '.join(names[:6])}"
                    f"{', ...' if len(names) > 6 else ''}): it is not a VAE in the convention "
                    "model.get_layer('encoder'), model.get_layer('decoder'); name the layers so, "
                    "or save encoder.keras and decoder.keras in one folder"
                )
        return model.get_layer("encoder"), model.get_layer("decoder")
    for name in ("encoder", "decoder"):
        if name not in files:
            other = next(iter(files.values()))
            raise CheckpointError(f"{name}.keras is missing beside {other}; save both halves")
    return load_keras_file(files["encoder"]), load_keras_file(files["decoder"])


def _one_shape(shape: Any, what: str) -> tuple[int, ...]:  # noqa: ANN401
    if not isinstance(shape, tuple) or not all(
        size is None or isinstance(size, int) for size in shape
    ):
        raise CheckpointError(f"expected one tensor as {what}, found shapes {shape}")
    if None in shape[1:]:
        raise CheckpointError(f"expected a fixed shape of the {what}, found {shape}")
    return shape[1:]


def _require_size(found: tuple[int, ...], image_shape: tuple[int, ...], who: str) -> None:
    if np.prod(found) != np.prod(image_shape):
        raise CheckpointError(
            f"{who} {found}, but the reference images are {image_shape}; score this checkpoint "
            "against the images it was trained on"
        )


def _encoder_function(encoder: keras.Model, latent_shape: tuple[int, ...]) -> Any:  # noqa: ANN401
    """Compiled ``images -> (mean, log-variance)``."""
    import keras
    import tensorflow as tf

    shapes = [tuple(output.shape[1:]) for output in encoder.outputs]
    if len(shapes) not in (2, 3) or shapes[0] != latent_shape or shapes[1] != latent_shape:
        raise CheckpointError(
            f"the encoder has outputs of shapes {shapes}, expected mean and log-variance (and "
            f"perhaps z), each of the decoder's input shape {latent_shape}"
        )
    model = keras.Model(encoder.inputs, encoder.outputs[:2])
    heads = tf.function(lambda images: model(images, training=False), autograph=False)

    def encode(images: Floats) -> tuple[Floats, Floats]:
        mean, logvar = heads(tf.constant(images))
        return mean.numpy(), logvar.numpy()

    return encode


def _decoder_function(output: DecoderOutput) -> Any:  # noqa: ANN401
    import tensorflow as tf

    run = tf.function(lambda latents: output.model(latents, training=False), autograph=False)

    def decode(latents: Floats) -> tuple[Floats]:
        return (run(tf.constant(latents)).numpy(),)

    return decode


def _probe(vae: KerasVae) -> None:
    """One small batch through both halves: shapes fit and values are finite and in range."""
    latents = np.zeros((_PROBE_ROWS, *vae.latent_shape), np.float32)
    latents[1] = 1.0
    try:
        (decoded,) = map_batches(vae.decoder, vae.batch_size, latents)
    except CheckpointError:
        raise
    except Exception as error:  # whatever a model's graph raises, its checkpoint fails
        raise CheckpointError(f"the decoder cannot be run: {str(error)[:300]}") from error
    _require_size(decoded.shape[1:], vae.image_shape, "the decoder gives")
    _require_finite(decoded, "decoder")
    if vae.output == "probabilities" and (decoded.min() < 0 or decoded.max() > 1):
        raise CheckpointError(
            f"the decoder gives values from {decoded.min():.4g} to {decoded.max():.4g}, which are "
            "no Bernoulli probabilities; declare --likelihood gaussian --sigma S"
        )
    vae.encode(np.zeros((_PROBE_ROWS, *vae.image_shape), np.float32))


def _require_finite(values: Floats, who: str) -> None:
    bad = int(np.size(values) - np.count_nonzero(np.isfinite(values)))
    if bad:
        raise CheckpointError(
            f"the {who} gives {bad} non-finite values (NaN or infinity) in a batch of "
            f"{len(values)}: the training has probably diverged; score an earlier checkpoint"
        )


def _require_finite_weights(model: keras.Model, who: str) -> None:
    for variable in model.weights:
        values = np.asarray(variable)
        if np.issubdtype(values.dtype, np.floating) and not np.isfinite(values).all():
            raise CheckpointError(
                f"the {who}'s weight {variable.path} holds NaN or infinity: the training has "
                "probably diverged; score an earlier checkpoint"
            )
