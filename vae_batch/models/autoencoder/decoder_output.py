"""What a decoder returns: logits, probabilities or a mean, and perhaps the scale of its pixels."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.special import expit

from vae_batch.models.autoencoder.description import Context, OutputKind
from vae_batch.models.autoencoder.images import ImageLayout, ImageShape, image_shapes, read_layout
from vae_batch.models.autoencoder.labels import list_ports
from vae_batch.models.autoencoder.network_runs import Trial, require_finite, run_once
from vae_batch.models.formats.format import Array, Floats, Network
from vae_batch.plan.errors import CheckpointError
from vae_batch.plan.reading import Likelihood

#: Likelihoods whose decoder's output is read like that of another one.
_FAMILIES: dict[Likelihood, Likelihood] = {
    "continuous_bernoulli": "bernoulli",
    "discretized_logistic": "gaussian",
}

#: What a spec declares for a decoder that returns a mean; every checkpoint has a best sigma.
_GAUSSIAN: dict[str, object] = {"likelihood": "gaussian", "sigma": "optimal"}

#: Largest difference between a decoder's probabilities and the sigmoid of its logits; half
#: precision rounds probabilities to 2^-9.
_SIGMOID_TOLERANCE = 0.02

ScaleKind = Literal["log_std", "logvar", "std"]

#: Pattern of an output's name, and what it holds; the first match counts.
_SCALE_NAMES: tuple[tuple[str, ScaleKind], ...] = (
    ("(log|ln)_?var", "logvar"),
    ("(log|ln)_?(std|sigma|scale)", "log_std"),
    ("std|sigma|scale", "std"),
)


@dataclass(frozen=True)
class LearnedScale:
    """Where a decoder returns the scale of its pixels, learned beside their mean.

    Attributes:
        index: Place among the network's outputs.
        kind: What it holds.
        name: Of the output.
    """

    index: int
    kind: ScaleKind
    name: str

    def log_scale(self, output: Array, images: ImageLayout) -> Floats:
        """(n, H, W, C) log standard deviation, from one value per pixel, channel or image."""
        require_finite(output, "decoder's scale")
        values = output.astype(np.float64)
        if self.kind == "std":
            if values.min() <= 0:
                raise CheckpointError(
                    f"the decoder's output {self.name!r} is read as a standard deviation but has "
                    f"{values.min():.4g}; name it log_std or log_var if it is a logarithm"
                )
            values = np.log(values)
        logs: Floats = (values / 2 if self.kind == "logvar" else values).astype(np.float32)
        if logs[0].size == int(np.prod(images.image_shape)):
            return images.from_network(logs)
        per_image = logs.reshape(len(logs), 1, 1, -1)
        return np.broadcast_to(per_image, (len(logs), *images.image_shape)).copy()


@dataclass(frozen=True)
class DecoderOutput:
    """A decoder whose output is known.

    Attributes:
        network: The network to run; for logits the one without the final sigmoid.
        index: Place of the images among its outputs.
        layout: Of the images.
        kind: ``logits``, ``probabilities`` or ``mean``.
        likelihood: p(x|z), declared or inferred from the activation.
        activation: The last one, even where a sigmoid was removed; None where it is unknown.
        scale: Where the pixels' learned scale is, or None.
    """

    network: Network
    index: int
    layout: ImageLayout
    kind: OutputKind
    likelihood: Likelihood
    activation: str | None
    scale: LearnedScale | None = None


def read_decoder_output(trial: Trial, context: Context, stated: OutputKind | None) -> DecoderOutput:
    """What a decoder returns, from its declaration, its final activation and a few rows of it.

    A final sigmoid is removed where possible, so that the Bernoulli NLL is computed from logits: a
    float32 probability of exactly 0 or 1 has lost what the NLL needs. A plug-in has ``stated`` what
    it returns; networks have not.

    Raises:
        CheckpointError: The images cannot be found among the outputs, they are random, or the
            likelihood is neither declared nor inferred from the final activation.
    """
    index = _image_output(trial, context.image_shape)
    images = trial.outputs[index]
    fit, declared = context.reading.input_fit, context.reading.likelihood
    layout = read_layout(images.shape[1:], context.image_shape, fit, "the decoder gives")
    require_finite(images, "decoder")
    if trial.random[index]:
        raise CheckpointError(
            "the decoder gives other images for the same latents in a second run; save a decoder "
            "that returns the mean (or probabilities, or logits), not sampled pixels"
        )
    # With several outputs the format's final activation may belong to another output.
    activation = trial.network.activation if len(trial.outputs) == 1 else None
    family = _FAMILIES.get(declared, declared) if declared else None
    kind, inferred, how = _meaning(activation, images, family, stated)
    likelihood = declared or inferred
    network = trial.network
    if activation == "sigmoid" and inferred == "bernoulli":
        logits = _logits_of(trial)
        kind = "probabilities" if logits is None else "logits"
        how += ", which cannot be removed" if logits is None else ", which is removed"
        network = logits or network
    if kind == "probabilities":
        _require_probabilities(images)
    context.decide("decoder output", f"{kind}, {likelihood} likelihood", how)
    scale = None
    if context.reading.sigma == "learned":
        scale = _find_learned_scale(trial, index, layout)
        context.decide("scale", f"learned, {scale.kind}", f"the decoder's output {scale.name!r}")
    return DecoderOutput(network, index, layout, kind, likelihood, activation, scale)


def _meaning(
    activation: str | None, values: Floats, declared: Likelihood | None, stated: OutputKind | None
) -> tuple[OutputKind, Likelihood, str]:
    """Kind, likelihood and how they were decided."""
    if stated is not None:
        return _stated(stated, declared)
    if declared == "gaussian":
        return "mean", "gaussian", "declared by --likelihood gaussian"
    if activation == "sigmoid":
        return "probabilities", "bernoulli", "its last activation is a sigmoid"
    if declared is None:
        last = "the decoder's last activation is unknown"
        if activation is not None:
            last = f"the decoder ends with activation {activation!r}, not sigmoid"
        raise CheckpointError(
            f"the likelihood cannot be inferred: {last}; declare --likelihood bernoulli (the "
            "output is logits or probabilities) or --likelihood gaussian --sigma S (the output is "
            "a mean)",
            _possible_likelihoods(activation, values),
        )
    how = "declared by --likelihood bernoulli"
    if activation == "linear":
        return "logits", "bernoulli", f"{how}; no activation follows"
    if activation is not None:
        return "probabilities", "bernoulli", f"{how}; its last activation is {activation}"
    if values.min() < 0 or values.max() > 1:
        return "logits", "bernoulli", f"{how}; values beyond 0..1 are no probabilities"
    return "probabilities", "bernoulli", f"{how}; all values lie in 0..1"


def _possible_likelihoods(activation: str | None, values: Floats) -> dict[str, object]:
    may_be_logits = activation in (None, "linear")
    if may_be_logits or (values.min() >= 0 and values.max() <= 1):
        return {"likelihood": ("bernoulli", "gaussian")}
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
    """The decoder without its sigmoid, where that is possible and agrees with the decoder."""
    if trial.network.before_sigmoid is None:
        return None
    network, (probabilities,) = trial.network.before_sigmoid(), trial.outputs
    (logits,) = run_once(network, "decoder without its sigmoid", trial.batch_size, *trial.inputs)
    if logits.shape != probabilities.shape or not np.isfinite(logits).all():
        return None
    return network if np.abs(expit(logits) - probabilities).max() < _SIGMOID_TOLERANCE else None


def _require_probabilities(values: Floats) -> None:
    if values.min() < 0 or values.max() > 1:
        raise CheckpointError(
            f"the decoder gives values from {values.min():.4g} to {values.max():.4g}, which are "
            "no Bernoulli probabilities; declare --likelihood gaussian --sigma S",
            _GAUSSIAN,
        )


def _image_output(trial: Trial, reference: ImageShape) -> int:
    """Place of the images: the only output of an image's shape, else the one named like it."""
    ports, outputs = trial.network.outputs, trial.outputs
    if len(outputs) == 1:
        return 0
    shapes = [output.shape[1:] for output in outputs]
    like_images = image_shapes(shapes, reference)
    images = [i for i, shape in enumerate(shapes) if shape in like_images]
    means = [i for i in images if _is_mean(ports[i].name)]
    rest = [i for i in images if not _is_scale(ports[i].name)]
    for found in (images, means, rest):
        if len(found) == 1:
            return found[0]
    raise CheckpointError(
        f"the decoder has the outputs {list_ports(ports)}, of which none is known to be "
        "the mean image; save a decoder with that output alone"
    )


def _is_scale(name: str) -> bool:
    joined = "".join(re.findall(r"[a-z]+", name.lower()))
    return bool(re.search(r"(log|ln)(var|scale|std|sigma)|sigma|std(dev)?$|(^|[^e])scale$", joined))


def _is_mean(name: str) -> bool:
    words = set(re.findall(r"[a-z]+", name.lower()))
    return bool(words & {"mean", "mu", "loc", "image", "images", "reconstruction", "recon"})


def _find_learned_scale(trial: Trial, images: int, layout: ImageLayout) -> LearnedScale:
    """The output beside the images (at place ``images``) that holds their scale."""
    ports = trial.network.outputs
    sizes = {1, layout.image_shape[2], int(np.prod(layout.image_shape))}
    for place, output in enumerate(trial.outputs):
        if place == images or output[0].size not in sizes:
            continue
        name = ports[place].name
        for pattern, kind in _SCALE_NAMES:
            if re.search(pattern, name.lower()):
                return LearnedScale(place, kind, name)
    raise CheckpointError(
        "--sigma learned needs a decoder output that holds the scale (one value per pixel, channel "
        "or image) and is named log_var, log_std or std; found the outputs "
        f"{list_ports(ports)}; name it so, or declare --sigma as a number or optimal",
        {"sigma": "optimal"},
    )
