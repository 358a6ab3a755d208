"""What a decoder's output means: logits, probabilities or a mean; read, not guessed."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import expit

from vae_batch.models.autoencoder.description import Decision, OutputKind
from vae_batch.models.autoencoder.images import ImageLayout, ImageShape, image_shapes, read_layout
from vae_batch.models.autoencoder.labels import list_ports
from vae_batch.models.autoencoder.learned_scale import LearnedScale
from vae_batch.models.autoencoder.network_runs import Trial, require_finite, tried
from vae_batch.models.formats.network import Network
from vae_batch.plan.errors import CheckpointError
from vae_batch.plan.reading import InputFit, Likelihood

Floats = npt.NDArray[np.float32]

#: Likelihoods whose decoders look like another's: how their output is read.
_FAMILIES: dict[Likelihood, Likelihood] = {
    "continuous_bernoulli": "bernoulli",
    "discretized_logistic": "gaussian",
}

#: What a spec declares of a decoder that gives a mean; every checkpoint has a best sigma.
_GAUSSIAN = {"likelihood": "gaussian", "sigma": "optimal"}

#: A decoder without its sigmoid must give the logits of what it gave with it; half precision
#: rounds probabilities to 2^-9.
_SAME = 0.02


@dataclass(frozen=True)
class DecoderOutput:
    """A decoder whose output is known.

    Attributes:
      network: That gives it; for logits without the final sigmoid.
      index: Place of the images among its outputs.
      layout: Of the images.
      kind: ``logits``, ``probabilities`` or ``mean``.
      likelihood: p(x|z), declared or told by the activation.
      activation: The last, with a sigmoid that was taken off; None where it is not known.
      decision: How this was settled.
      scale: Where the pixels' learned scale is, or None.
    """

    network: Network
    index: int
    layout: ImageLayout
    kind: OutputKind
    likelihood: Likelihood
    activation: str | None
    decision: Decision
    scale: LearnedScale | None = None


def read_decoder_output(
    trial: Trial,
    reference: ImageShape,
    fit: InputFit | None,
    declared: Likelihood | None,
    stated: OutputKind | None,
) -> DecoderOutput:
    """What a decoder gives, from its declaration, its final activation and a few rows of it.

    A final sigmoid is taken off where it can be, so that the Bernoulli NLL is computed from
    logits: in float32 a probability of exactly 0 or 1 has lost what its NLL needs.

    Args:
      trial: Of the decoder.
      reference: (H, W, C) of the reference images.
      fit: Declared for images of another size.
      declared: Likelihood, or None.
      stated: What a plug-in says of its output; None for networks.

    Raises:
      CheckpointError: The images cannot be found among the outputs, they are drawn at random, or
        the likelihood is neither declared nor told by the final activation.
    """
    index = _image_output(trial, reference)
    images = trial.outputs[index]
    layout = read_layout(images.shape[1:], reference, fit, "the decoder gives")
    require_finite(images, "decoder")
    if trial.random[index]:
        raise CheckpointError(
            "the decoder gives other images for the same latents in a second run; save a decoder "
            "that returns the mean (or probabilities, or logits), not drawn pixels"
        )
    # With several outputs the format's final activation may be another output's.
    activation = trial.network.activation if len(trial.outputs) == 1 else None
    family = _FAMILIES.get(declared, declared) if declared else None
    kind, inferred, how = _meaning(activation, images, family, stated)
    likelihood: Likelihood = declared or inferred
    network = trial.network
    if activation == "sigmoid" and inferred == "bernoulli":
        logits = _logits_of(trial)
        kind = "probabilities" if logits is None else "logits"
        how += ", which cannot be taken off" if logits is None else ", which is taken off"
        network = logits or network
    if kind == "probabilities":
        _require_probabilities(images)
    decision = Decision("decoder output", f"{kind}, {likelihood} likelihood", how)
    return DecoderOutput(network, index, layout, kind, likelihood, activation, decision)


def _meaning(
    activation: str | None, values: Floats, declared: Likelihood | None, stated: OutputKind | None
) -> tuple[OutputKind, Likelihood, str]:
    if stated is not None:
        return _stated(stated, declared)
    if declared == "gaussian":
        return "mean", "gaussian", "declared by --likelihood gaussian"
    if activation == "sigmoid":
        return "probabilities", "bernoulli", "its last activation is a sigmoid"
    if declared is None:
        last = "it ends in no activation that this format tells"
        if activation is not None:
            last = f"the decoder ends with activation {activation!r}, not sigmoid"
        raise CheckpointError(
            f"the likelihood cannot be inferred: {last}; declare --likelihood bernoulli (the "
            "output is logits or probabilities) or --likelihood gaussian --sigma S (the output is "
            "a mean)",
            _either(activation, values),
        )
    how = "declared by --likelihood bernoulli"
    if activation == "linear":
        return "logits", "bernoulli", f"{how}; no activation follows"
    if activation is not None:
        return "probabilities", "bernoulli", f"{how}; its last activation is {activation}"
    if values.min() < 0 or values.max() > 1:
        return "logits", "bernoulli", f"{how}; values beyond 0..1 are no probabilities"
    return "probabilities", "bernoulli", f"{how}; all values lie in 0..1"


def _either(activation: str | None, values: Floats) -> dict[str, object]:
    """What may be declared of a decoder whose likelihood nothing tells."""
    may_be_logits = activation in (None, "linear")
    if may_be_logits or (values.min() >= 0 and values.max() <= 1):
        return {"likelihood": "bernoulli | gaussian"}
    return dict(_GAUSSIAN)


def _stated(stated: OutputKind, declared: Likelihood | None) -> tuple[OutputKind, Likelihood, str]:
    how = f"the plug-in's output is {stated}"
    if stated == "mean":
        if declared != "gaussian":
            raise CheckpointError(
                f"{how}, which needs a gaussian likelihood; declare --likelihood gaussian "
                "--sigma S",
                _GAUSSIAN,
            )
        return stated, "gaussian", how
    if declared != "gaussian":
        return stated, "bernoulli", how
    if stated == "logits":
        raise CheckpointError(
            f"{how}, but --likelihood gaussian is declared; leave it out, or let the plug-in give "
            "the mean",
            {"likelihood": "bernoulli", "sigma": None},
        )
    return "mean", "gaussian", f"{how}; --likelihood gaussian is declared"


def _logits_of(trial: Trial) -> Network | None:
    """The decoder without its sigmoid, where it can be had and agrees with the decoder."""
    if trial.network.before_sigmoid is None:
        return None
    network, (probabilities,) = trial.network.before_sigmoid(), trial.outputs
    who = "decoder without its sigmoid"
    (logits,) = tried(network, who, trial.batch_size, *trial.inputs)
    agrees = logits.shape == probabilities.shape and np.isfinite(logits).all()
    return network if agrees and np.abs(expit(logits) - probabilities).max() < _SAME else None


def _require_probabilities(values: Floats) -> None:
    if values.min() < 0 or values.max() > 1:
        raise CheckpointError(
            f"the decoder gives values from {values.min():.4g} to {values.max():.4g}, which are "
            "no Bernoulli probabilities; declare --likelihood gaussian --sigma S",
            _GAUSSIAN,
        )


def _image_output(trial: Trial, reference: ImageShape) -> int:
    """Place of the images: the only output of an image's shape, else the one named so."""
    decoder, outputs = trial.network, trial.outputs
    if len(outputs) == 1:
        return 0
    shapes = [output.shape[1:] for output in outputs]
    like_images = image_shapes(shapes, reference)
    images = [i for i, shape in enumerate(shapes) if shape in like_images]
    if len(images) == 1:
        return images[0]
    scales = [i for i in images if _is_scale(decoder.outputs[i].name)]
    means = [i for i in images if _is_mean(decoder.outputs[i].name)]
    rest = [i for i in images if i not in scales]
    for found in (means, rest):
        if len(found) == 1:
            return found[0]
    raise CheckpointError(
        f"the decoder has the outputs {list_ports(decoder.outputs)}, of which none is known to be "
        "the mean image; save a decoder with that output alone"
    )


def _is_scale(name: str) -> bool:
    joined = "".join(re.findall(r"[a-z]+", name.lower()))
    return bool(re.search(r"(log|ln)(var|scale|std|sigma)|sigma|std(dev)?$|(^|[^e])scale$", joined))


def _is_mean(name: str) -> bool:
    words = set(re.findall(r"[a-z]+", name.lower()))
    return bool(words & {"mean", "mu", "loc", "image", "images", "reconstruction", "recon"})
