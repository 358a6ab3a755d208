"""What a decoder's output means: logits, probabilities or a mean; read, not guessed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from vae_batch.plan.errors import CheckpointError
from vae_batch.plan.spec import Likelihood

if TYPE_CHECKING:
    import keras

_SHAPE_ONLY = ("Reshape", "Flatten", "Permute", "Cropping2D")


@dataclass(frozen=True)
class DecoderOutput:
    """A decoder whose output is known.

    Attributes:
      model: Latents to ``kind``; for logits the final sigmoid has been taken off.
      kind: ``logits``, ``probabilities`` or ``mean``.
      likelihood: ``bernoulli`` or ``gaussian``.
    """

    model: Any
    kind: Literal["logits", "probabilities", "mean"]
    likelihood: Likelihood


def read_decoder_output(decoder: keras.Model, declared: Likelihood | None) -> DecoderOutput:
    """Likelihood from the declaration or the final activation.

    A final sigmoid is taken off, so that the Bernoulli NLL is computed from logits: in float32 a
    probability of exactly 0 or 1 has lost the information that its NLL needs.

    Raises:
      CheckpointError: Nothing is declared and the final activation does not tell.
    """
    last = _activating_layer(decoder)
    activation = _activation_name(last)
    if declared == "gaussian":
        return DecoderOutput(decoder, "mean", "gaussian")
    if activation == "sigmoid":
        import keras

        last.activation = keras.activations.linear  # of this process's own copy
        return DecoderOutput(decoder, "logits", "bernoulli")
    if declared == "bernoulli":
        kind: Literal["logits", "probabilities"] = (
            "logits" if activation == "linear" else "probabilities"
        )
        return DecoderOutput(decoder, kind, "bernoulli")
    raise CheckpointError(
        f"the likelihood cannot be inferred: the decoder ends in {type(last).__name__} with "
        f"activation {activation!r}, not sigmoid; declare --likelihood bernoulli (the output is "
        "logits) or --likelihood gaussian --sigma S (the output is a mean)"
    )


def _activating_layer(decoder: keras.Model) -> Any:  # noqa: ANN401
    """The last layer that changes values, through nested models and shape-only layers."""
    for layer in reversed(getattr(decoder, "layers", [])):
        if type(layer).__name__ in _SHAPE_ONLY:
            continue
        return _activating_layer(layer) if getattr(layer, "layers", None) else layer
    return decoder


def _activation_name(layer: Any) -> str | None:  # noqa: ANN401
    activation = getattr(layer, "activation", None)
    return getattr(activation, "__name__", None)
