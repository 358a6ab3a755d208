"""Any network of images as an extractor: an embedding, and class probabilities if it has any.

For digits, medical or satellite images, a network trained on such images says more than one
trained on ImageNet.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import astuple
from pathlib import Path

import numpy as np
import numpy.typing as npt

from vae_batch.models.child_process import in_child
from vae_batch.models.extractors.extractor import ExtractorIdentity
from vae_batch.models.extractors.reading import (
    Declared,
    ExtractorReading,
    Pass,
    load_network,
    pass_of,
    probabilities,
    read_extractor,
)
from vae_batch.models.formats.user_modules import is_given, source_sha256
from vae_batch.models.inputs.files import content_sha256
from vae_batch.models.references.reference import ProbeImages
from vae_batch.plan.errors import CheckpointError, InputError
from vae_batch.plan.location import Location
from vae_batch.plan.spec import EvaluationSpec

Float32 = npt.NDArray[np.float32]

# Readings of this process by content, declarations and probe images: a night plans several times.
_readings: dict[tuple[object, ...], ExtractorReading] = {}


def identify_classifier(
    path: str, spec: EvaluationSpec, probe: Callable[[], ProbeImages]
) -> ExtractorIdentity:
    """Identify a network by its content and by how it is read.

    Reading it needs TensorFlow, which is imported in a process of its own, unless this process
    has it or is going to compute.

    Args:
        path: Local path or URI of a Keras model or a SavedModel folder.
        spec: What is declared.
        probe: Makes the reference images to probe with.

    Raises:
        InputError: The file cannot be read, or something has to be declared.
    """
    label = Location.parse(path).label
    digest = network_sha256(path)
    try:
        reading = _reading(path, digest, spec, probe())
    except (CheckpointError, OSError) as error:
        raise InputError(f"extractor {label}: {error}") from error
    modules = reading.options.reading.custom_objects
    code = "".join(f"/code-{source_sha256(module)[:8]}" for module in modules)
    name = f"{Path(Location.parse(path).path.rstrip('/')).stem}@{digest[:8]}"
    return ExtractorIdentity(
        name=name,
        weights_path=path,
        weights_sha256=digest,
        protocol=f"keras-classifier/tf2-bilinear/model-input/uint8/{reading.words}{code}",
        feature_dim=reading.feature_dim,
        class_count=reading.class_count,
        inception_score_reason=reading.no_probabilities,
        resize="tf2-bilinear",
        normalisation=reading.value_range,
        reading=reading,
    )


def network_sha256(path: str) -> str:
    """SHA-256 of a network's file or folder.

    Raises:
        InputError: It cannot be read.
    """
    try:
        return content_sha256(path)
    except OSError as error:
        raise InputError(
            f"extractor {path} cannot be read ({type(error).__name__}: {error}); expected the path "
            "or URI of a network (.keras, HDF5, SavedModel, .onnx), or one of inception-2015, "
            "inception-keras, inception-random"
        ) from None


def _reading(path: str, digest: str, spec: EvaluationSpec, probe: ProbeImages) -> ExtractorReading:
    declared = Declared.of(spec)
    labels = b"" if probe.labels is None else probe.labels.tobytes()
    key = (digest, repr(astuple(declared)), hash((probe.pixels.tobytes(), labels)))
    if key not in _readings:
        given = any(map(is_given, spec.custom_objects))  # of this process, not by value
        here = spec.workers == 0 or "tensorflow" in sys.modules or given
        arguments = (path, declared, probe)
        read = read_extractor(*arguments) if here else in_child(read_extractor, *arguments)
        _readings[key] = read
    return _readings[key]


class ClassifierExtractor:
    """A network of the user's as an ``Extractor``, read as its identity says."""

    concurrent_batches = 1

    def __init__(self, identity: ExtractorIdentity) -> None:
        """Load the network.

        Raises:
            InputError: The file is not a usable network; the message says why.
        """
        if identity.reading is None:
            raise ValueError(f"{identity.name} is no network of the user's")
        self._name, self._reading = identity.name, identity.reading
        self._pass: tuple[tuple[int, ...], Pass] | None = None
        try:
            self._network = load_network(str(identity.weights_path), self._reading.options)
        except (CheckpointError, OSError) as error:
            raise InputError(f"extractor {identity.name}: {error}") from error

    def extract(self, images: npt.NDArray[np.uint8]) -> tuple[Float32, Float32]:
        """See ``Extractor.extract``.

        Raises:
            InputError: The network's outputs are not class probabilities.
        """
        shape = images.shape[1:]
        if self._pass is None or self._pass[0] != shape:
            self._pass = shape, pass_of(self._network, self._reading, shape)
        features, scores = self._pass[1].run(images, self._reading.value_range)
        try:
            return features, probabilities(scores, self._reading.class_output)
        except ValueError as error:
            raise InputError(
                f"extractor {self._name}: its outputs are not class probabilities ({error}); "
                "declare --class-output logits, sigmoid or none"
            ) from error
