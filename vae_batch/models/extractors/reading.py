"""How a network is read as an extractor: its embedding, its class output and its pixel range.

Decided like a VAE's roles: by the graph, by activations, by probing, else declared.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import get_args

import numpy as np
import numpy.typing as npt

from vae_batch.models.autoencoder.description import Decision, noise_images
from vae_batch.models.autoencoder.images import ImageLayout, ImageShape, find_layout
from vae_batch.models.autoencoder.labels import list_ports
from vae_batch.models.autoencoder.network_runs import (
    refusing_to_run,
    require_finite,
    require_finite_weights,
)
from vae_batch.models.autoencoder.value_range import encoder_range
from vae_batch.models.batching import map_batches
from vae_batch.models.formats.format import Array, Floats, LoadOptions, Network, Networks, Port
from vae_batch.models.formats.load import load_networks
from vae_batch.models.image_range import bounds_of, from_uint8, luminance, to_three_channels
from vae_batch.models.references.reference import ProbeImages
from vae_batch.plan.errors import CheckpointError
from vae_batch.plan.reading import ClassOutput, Reading, ValueRange
from vae_batch.plan.spec import EvaluationSpec

_GIB = 2**30
_BATCH = 64
#: Fewer are no image: a decoder's latents, say.
_FEWEST_PIXELS = 16
#: Rows of class probabilities sum to 1 within this.
ROW_SUM_TOLERANCE = 1e-3
#: Features that differ by less, in units of their size, are constant.
_CONSTANT = 1e-6
#: Accuracy settles a question from this on, beyond so many standard errors of the alternative.
_ACCURATE, _ERRORS = 0.5, 4.0
_RANGES: tuple[ValueRange, ...] = get_args(ValueRange)
_MULTI_LABEL = (
    "the extractor ends in a sigmoid for each of {0} labels, which are no distribution over classes"
)
_NO_CLASSES = "the extractor gives features alone, no class probabilities"


@dataclass(frozen=True)
class Declared:
    """What the spec says of an extractor's file; None where it says nothing."""

    embedding: str | None
    class_output: ClassOutput | None
    value_range: ValueRange | None
    options: LoadOptions

    @classmethod
    def of(cls, spec: EvaluationSpec) -> Declared:
        """The declarations of a spec."""
        reading = Reading(custom_objects=spec.custom_objects)
        options = LoadOptions(reading, spec.trust, int(spec.memory_cap * _GIB), whole=True)
        return cls(spec.embedding, spec.class_output, spec.classifier_range, options)


@dataclass(frozen=True)
class ExtractorReading:
    """How a network is read as an extractor; all that a worker needs to read it alike.

    Attributes:
        embedding: Name of an output or a layer; None for what the last dense layer takes.
        output: Place of the class output among the network's own outputs, or of the features where
            it has none.
        class_output: What the class output holds.
        value_range: Of the pixels that the network takes.
        feature_dim: Dimensions of the embedding.
        class_count: Classes; 0 without probabilities.
        no_probabilities: Why there are none, or None.
        options: How the file may be loaded.
        decisions: What was decided, and how.
    """

    embedding: str | None
    output: int
    class_output: ClassOutput
    value_range: ValueRange
    feature_dim: int
    class_count: int
    no_probabilities: str | None
    options: LoadOptions
    decisions: tuple[Decision, ...]

    @property
    def words(self) -> str:
        """For a protocol: what the features and the probabilities are."""
        found = {decision.subject: decision.verdict for decision in self.decisions}
        return f"{self.value_range}/{found['embedding']}/{self.class_output}"


def load_network(path: str, options: LoadOptions) -> Network:
    """The one network of an extractor's file.

    Raises:
        CheckpointError: It cannot be loaded, or has more than one input.
    """
    networks = load_networks({"model": path}, options)
    network = networks.whole if isinstance(networks, Networks) else None
    if network is None:
        raise CheckpointError("the file holds no single Keras model, SavedModel or ONNX graph")
    if len(network.inputs) != 1:
        raise CheckpointError(
            f"it takes the inputs {list_ports(network.inputs)}; expected images alone"
        )
    return network


@dataclass(frozen=True)
class Pass:
    """One pass of an extractor's network over images.

    Attributes:
        network: With the embedding before its own outputs, or without.
        layout: How it lays out images.
        embedding: Place of the embedding among the outputs.
        output: Place of the class output.
    """

    network: Network
    layout: ImageLayout
    embedding: int
    output: int

    def run(self, images: npt.NDArray[np.uint8], value_range: ValueRange) -> tuple[Array, Array]:
        """Features (n, d) and raw class outputs of images (n, H, W, 3) uint8."""
        outputs = self.network.run(_given(self.network, self.layout, images, value_range))
        return _pooled(outputs[self.embedding]), outputs[self.output]


def pass_of(network: Network, reading: ExtractorReading, shape: ImageShape) -> Pass:
    """The pass that a reading describes, for images (H, W, C)."""
    layout = _layout(network.inputs[0], shape)
    names = [port.name for port in network.outputs]
    if reading.embedding in names:
        return Pass(network, layout, names.index(reading.embedding), reading.output)
    return Pass(_inner(network, reading.embedding), layout, 0, reading.output + 1)


def probabilities(scores: Array, kind: ClassOutput) -> Floats:
    """(n, c) float32 class probabilities of a class output; (n, 0) where it holds none.

    Raises:
        ValueError: The rows of a ``softmax`` output do not sum to 1; says by how much.
    """
    scores = scores.reshape(len(scores), -1).astype(np.float32)
    single = scores.shape[1] == 1
    if kind == "none" or (kind == "sigmoid" and not single):
        return np.zeros((len(scores), 0), np.float32)
    if kind == "logits":
        both = np.concatenate([np.zeros_like(scores), scores], axis=1) if single else scores
        powers = np.exp(both - both.max(axis=1, keepdims=True))
        shares: Floats = powers / powers.sum(axis=1, keepdims=True)
        return shares
    if kind == "sigmoid":
        return np.concatenate([1 - scores, scores], axis=1)
    off = float(np.abs(scores.sum(axis=1) - 1).max())
    if not off <= ROW_SUM_TOLERANCE or scores.min() < 0:
        raise ValueError(f"rows sum to 1 only within {off:.3g}")
    return scores


def read_extractor(path: str, declared: Declared, probe: ProbeImages) -> ExtractorReading:
    """Decide how a file is read as an extractor.

    Args:
        path: Local path or URI of a Keras model (``.keras``, HDF5) or a SavedModel folder.
        declared: What the spec says.
        probe: Reference images, or noise.

    Raises:
        CheckpointError: The file cannot be read, or something has to be declared.
    """
    try:  # classes that only the checkpoints need have no part in an extractor's identity
        own = replace(declared, options=replace(declared.options, reading=Reading()))
        network = load_network(path, own.options)
        declared = own
    except CheckpointError as error:
        if "custom_objects" not in error.declare:
            raise
        network = load_network(path, declared.options)
    require_finite_weights(network, "extractor")
    return _Reader(network, declared, probe).read()


class _Reader:
    """Decides one network's reading; keeps what was decided, and how."""

    def __init__(self, network: Network, declared: Declared, probe: ProbeImages) -> None:
        self._network, self._declared, self._probe = network, declared, probe
        self._layout = _layout(network.inputs[0], probe.pixels.shape[1:])
        self._decisions: list[Decision] = []
        self._outputs: dict[ValueRange, list[Array]] = {}

    def read(self) -> ExtractorReading:
        declared = self._declared
        self._decide("images in", f"{self._layout.order} {self._layout.shape}", "by shapes")
        ranges = self._possible_ranges()
        embedding, output = self._places()
        kind = self._class_output(output, ranges)
        value_range = ranges[0] if len(ranges) == 1 else self._range_by_labels(output, kind)
        name = embedding
        if embedding is None and kind == "none":
            name = self._network.outputs[output].name
        draft = ExtractorReading(
            *(name, output, kind, value_range, 0, 0, None), declared.options, ()
        )
        features, classes = self._activations(draft)
        width, count = features.shape[1], classes.shape[1]
        reason = None
        if not count:
            labels = self._width(output)
            reason = _NO_CLASSES if kind == "none" else _MULTI_LABEL.format(labels)
        self._decide("probabilities", f"{count} classes" if count else "none", reason or "")
        return replace(
            draft,
            feature_dim=width,
            class_count=count,
            no_probabilities=reason,
            decisions=tuple(self._decisions),
        )

    def _decide(self, subject: str, verdict: str, how: str) -> None:
        self._decisions.append(Decision(subject, verdict, how))

    def _possible_ranges(self) -> tuple[ValueRange, ...]:
        """The one range, where it is declared or the network's beginning tells it; else all."""
        network, declared = self._network, self._declared.value_range
        own = encoder_range(network, network.inputs[0])
        found, how = declared, "declared by --classifier-range"
        if found is None and own is not None:
            found, how = own, "by its first layer or input type"
        if found is None and network.input_statistics is not None:
            found, how = self._range_by_statistics(*network.input_statistics)
        if found is None:
            return _RANGES
        self._decide("value range", found, how)
        return (found,)

    def _range_by_statistics(self, mean: float, std: float) -> tuple[ValueRange | None, str]:
        """The range in which the probe images have the statistics that a first layer removes."""
        pixels = self._probe.pixels / 255.0
        misfits = []
        for name in _RANGES:
            low, high = bounds_of(name)
            own_std = max(float(pixels.std()) * (high - low), 1e-6)
            own_mean = low + float(pixels.mean()) * (high - low)
            misfit = abs(np.log(max(std, 1e-6) / own_std)) + abs(mean - own_mean) / max(std, 1e-6)
            misfits.append((float(misfit), name))
        (best, name), (second, _), *_ = sorted(misfits)
        how = f"its first layer subtracts {mean:.4g} and divides by {std:.4g}"
        return (name, how) if best < second / 2 else (None, how)

    def _places(self) -> tuple[str | None, int]:
        """Declared or only embedding, and the place of the class output."""
        ports, embedding = self._network.outputs, self._declared.embedding
        how = "declared by --embedding"
        if len(ports) == 1:
            if embedding is not None:
                self._decide("embedding", embedding, how)
            return embedding, 0
        names = [port.name for port in ports]
        rest = [place for place, name in enumerate(names) if name != embedding]
        heads = [place for place in rest if self._is_distribution(place)]
        if embedding is None and len(heads) == 1 and len(ports) == 2:
            embedding = names[1 - heads[0]]
            how = "the output beside the class probabilities"
        if embedding is None:
            raise CheckpointError(
                f"it has the outputs {list_ports(ports)}, and which of them is the embedding is "
                "not clear; declare its name with --embedding",
                {"embedding": tuple(names)},
            )
        self._decide("embedding", embedding, how)
        if len(heads) == 1 or len(rest) == 1:
            return embedding, (heads or rest)[0]
        if self._declared.class_output == "none":
            return embedding, names.index(embedding) if embedding in names else 0
        raise CheckpointError(
            f"it has the outputs {list_ports(ports)}, and which of them are class probabilities is "
            "not clear; declare --class-output none to score without the Inception Score, or save "
            "the model with the outputs [features, probabilities]",
            {"class_output": "none"},
        )

    def _is_distribution(self, place: int) -> bool:
        scores = self._outputs_in(_RANGES[0])[place]
        if scores.ndim != 2 or scores.shape[1] < 2 or not np.isfinite(scores).all():
            return False
        off = np.abs(scores.sum(axis=1) - 1).max()
        return bool(off <= ROW_SUM_TOLERANCE and scores.min() >= 0)

    def _class_output(self, place: int, ranges: tuple[ValueRange, ...]) -> ClassOutput:
        declared = self._declared.class_output
        kind, how = self._kind_by_graph(place)
        settled = kind == "softmax" and declared in ("logits", "sigmoid")
        if declared is not None and not settled:  # that of another of the run's extractors
            self._decide("class output", declared, "declared by --class-output")
            return declared
        if kind is None:
            kind, how = self._kind_by_labels(place, ranges)
        self._decide("class output", kind, how)
        return kind

    def _kind_by_graph(self, place: int) -> tuple[ClassOutput | None, str]:
        port, network = self._network.outputs[place], self._network
        activation = network.activation if place == 0 else None
        if port.name == self._declared.embedding:
            return "none", "its only output is the embedding"
        if self._is_distribution(place):
            return "softmax", f"{activation or 'rows sum to 1'}"
        if activation == "log_softmax":
            return "logits", "it ends in log_softmax"
        if activation == "sigmoid" and self._width(place) == 1:
            return "sigmoid", "one output, which ends in a sigmoid"
        if len(self._outputs_in(_RANGES[0])[place].shape) != 2:
            return "none", f"an output of shape {port.shape} is no class score"
        if place == 0 and network.gives_features:
            return "none", f"its last activation is {activation}, which no class score has"
        return None, ""

    def _kind_by_labels(
        self, place: int, ranges: tuple[ValueRange, ...]
    ) -> tuple[ClassOutput, str]:
        """Class scores, where their largest one is the reference's label."""
        port = self._network.outputs[place]
        is_sigmoid = place == 0 and self._network.activation == "sigmoid"
        scores: ClassOutput = "sigmoid" if is_sigmoid else "logits"
        correct = [c for r in ranges if (c := self._correct(place, r)) is not None]
        best = max((float(c.mean()) for c in correct), default=0.0)
        if correct and self._is_accurate(best):
            return scores, f"its largest output is the label of {best:.0%} of the probe images"
        raise CheckpointError(
            f"its output {port.name!r} {port.shape} may hold class scores or an embedding, which "
            f"nothing tells apart; declare --class-output {scores} or --class-output none",
            {"class_output": (scores, "none")},
        )

    def _range_by_labels(self, place: int, kind: ClassOutput) -> ValueRange:
        """The range in which the network predicts the labels of the reference best."""
        masks = {} if kind == "none" else {r: self._correct(place, r) for r in _RANGES}
        known = {name: mask for name, mask in masks.items() if mask is not None}
        ranked = sorted(known, key=lambda name: -known[name].mean())
        if ranked and self._is_accurate(float(known[ranked[0]].mean())):
            best = known[ranked[0]]
            others = [known[name] for name in ranked[1:]]
            if all(_differ(best, other) for other in others):
                accuracy = f"{best.mean():.0%} of the probe images are classified correctly"
                self._decide("value range", ranked[0], accuracy)
                return ranked[0]
        found = ", ".join(f"{name}: {known[name].mean():.0%}" for name in ranked)
        raise CheckpointError(
            "the pixel range that it takes is not known: it begins with no Rescaling or "
            f"Normalization layer, and the reference's labels do not settle it "
            f"({'accuracy ' + found if found else 'there are none for its classes'}); declare the "
            "range of its training images with --classifier-range 0..1, -1..1 or 0..255",
            {"classifier_range": tuple(ranked) or _RANGES},
        )

    def _correct(self, place: int, value_range: ValueRange) -> npt.NDArray[np.bool_] | None:
        """Whether the largest output of each probe image is its label; None without such labels."""
        labels = self._probe.labels
        scores = self._outputs_in(value_range)[place]
        if labels is None or scores.ndim != 2 or not np.isfinite(scores).all():
            return None
        width = scores.shape[1]
        if labels.max() >= max(width, 2) or labels.min() == labels.max():
            return None
        if width == 1:
            middle = 0.5 if self._network.activation == "sigmoid" else 0.0
            guesses = (scores[:, 0] > middle).astype(np.int64)
        else:
            guesses = scores.argmax(axis=1)
        correct: npt.NDArray[np.bool_] = guesses == labels
        return correct

    def _is_accurate(self, accuracy: float) -> bool:
        labels = self._probe.labels
        assert labels is not None
        chance = float(np.bincount(labels).max() / len(labels))
        error = np.sqrt(chance * (1 - chance) / len(labels))
        return bool(accuracy >= _ACCURATE and accuracy > chance + _ERRORS * error)

    def _activations(self, draft: ExtractorReading) -> tuple[Array, Array]:
        """Features and probabilities of the probe images, checked."""
        shape = self._probe.pixels.shape[1:]
        passed = pass_of(self._network, draft, shape)
        if draft.embedding is None:
            name = passed.network.outputs[0].name
            self._decide("embedding", name, "what its last dense layer takes")
        elif not any(decision.subject == "embedding" for decision in self._decisions):
            self._decide("embedding", draft.embedding, "its only output")

        def run(images: Array) -> tuple[Array, Array]:
            return passed.run(images, draft.value_range)

        with refusing_to_run("extractor", whole=True):
            features, scores = map_batches(run, _BATCH, to_three_channels(self._probe.pixels))
        require_finite(features, "extractor")
        size = float(np.abs(features).max())
        varied = self._probe.pixels.min(axis=0).tolist() != self._probe.pixels.max(axis=0).tolist()
        if varied and float(np.ptp(features, axis=0).max()) <= _CONSTANT * size:
            what = "zero" if size == 0 else "the same"
            raise CheckpointError(
                f"its embedding is {what} for all {len(features)} probe images, so every distance "
                "would be 0; its training has probably failed, or it is given pixels of the wrong "
                f"range ({draft.value_range}): declare --classifier-range, or another layer with "
                "--embedding",
                {"classifier_range": tuple(r for r in _RANGES if r != draft.value_range)},
            )
        try:
            return features, probabilities(scores, draft.class_output)
        except ValueError as error:
            raise CheckpointError(
                f"its output is declared to hold class probabilities, but {error}; declare "
                "--class-output logits, sigmoid or none",
                {"class_output": ("logits", "sigmoid", "none")},
            ) from error

    def _width(self, place: int) -> int:
        return int(np.prod(self._outputs_in(_RANGES[0])[place].shape[1:]))

    def _outputs_in(self, value_range: ValueRange) -> list[Array]:
        """All outputs for the probe images (and some noise) in a range."""
        if value_range not in self._outputs:
            pixels = to_three_channels(self._probe.pixels)

            def run(images: Array) -> tuple[Array, ...]:
                return self._network.run(_given(self._network, self._layout, images, value_range))

            with refusing_to_run("extractor", whole=True):
                self._outputs[value_range] = list(map_batches(run, _BATCH, pixels))
        return self._outputs[value_range]


def _differ(best: npt.NDArray[np.bool_], other: npt.NDArray[np.bool_]) -> bool:
    """Whether one classifies significantly more images correctly (McNemar's test)."""
    won, lost = int((best & ~other).sum()), int((other & ~best).sum())
    return bool(won - lost > _ERRORS * np.sqrt(max(won + lost, 1)))


def _inner(network: Network, name: str | None) -> Network:
    make: Callable[[str | None], Network] | None = network.inner
    if make is None:
        raise CheckpointError(
            f"{network.source}: nothing inside its graph can be reached; save the model with the "
            "outputs [features, probabilities]"
        )
    return make(name)


def _layout(port: Port, reference: ImageShape) -> ImageLayout:
    """Where a network takes images like the reference's, grey or in colour, of any size."""
    height, width, channels = reference
    likes = [(height, width, count) for count in dict.fromkeys((channels, 3, 1))]
    for any_size in (False, True):
        for like in likes:
            layout = find_layout(port.shape, like, any_size)
            if layout is not None and math.prod(layout.image_shape[:2]) >= _FEWEST_PIXELS:
                return layout
    raise CheckpointError(
        f"it takes inputs of shape {port.shape}, expected images (height, width, 1 or 3) or a flat "
        f"form of the reference's {reference}"
    )


def _given(
    network: Network, layout: ImageLayout, images: npt.NDArray[np.uint8], value_range: ValueRange
) -> Array:
    """(n, H, W, 3) uint8 as a network's input: colours, range and size."""
    height, width, channels = layout.image_shape
    pixels = luminance(images) if channels == 1 else images
    floats: Array = from_uint8(pixels, value_range)
    if pixels.shape[1:3] != (height, width):
        import tensorflow as tf

        size = (height, width)
        floats = tf.image.resize(floats, size, method="bilinear", antialias=False).numpy()
    dtype = np.dtype(network.inputs[0].dtype)
    return layout.to_network(np.rint(floats).astype(dtype) if dtype.kind in "ui" else floats)


def _pooled(features: Array) -> Array:
    """(n, d): feature maps (n, H, W, d) are averaged over positions, as Inception's are."""
    if features.ndim == 4:
        features = features.mean(axis=(1, 2))
    return features.reshape(len(features), -1).astype(np.float32)


def noise_probe(shape: ImageShape) -> ProbeImages:
    """Seeded noise, where there is no reference."""
    return ProbeImages(noise_images(_BATCH, shape), None, None, "noise (no --reference was given)")


def noise_for(path: str, spec: EvaluationSpec) -> ProbeImages:
    """Seeded noise of the size that a network takes, which is loaded."""
    return noise_probe(own_image_shape(load_network(path, Declared.of(spec).options).inputs[0]))


def own_image_shape(port: Port) -> ImageShape:
    """(H, W, C) of a network's own input, for noise."""
    match [size for size in port.shape if size is not None]:
        case [height, width, channels] if channels in (1, 3):
            return height, width, channels
        case [channels, height, width] if channels in (1, 3):
            return height, width, channels
        case [height, width]:
            return height, width, 1
        case [size]:
            side = int(np.sqrt(size))
            return (side, side, 1) if side * side == size else (1, size, 1)
    return 64, 64, 3
