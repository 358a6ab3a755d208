"""Extractors by name."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from vae_batch.metrics.samples.protocols import PROTOCOLS
from vae_batch.models.extractors.classifier import (
    ClassifierExtractor,
    identify_classifier,
    network_sha256,
)
from vae_batch.models.extractors.extractor import Extractor, ExtractorIdentity
from vae_batch.models.extractors.inception.extractor import (
    INCEPTION_EXTRACTORS,
    InceptionExtractor,
    identify_inception,
)
from vae_batch.models.extractors.vision_transformer import (
    FAMILIES,
    VisionTransformerExtractor,
    identify_vision_transformer,
    is_vision_transformer,
)
from vae_batch.models.references.reference import ProbeImages
from vae_batch.plan.errors import InputError
from vae_batch.plan.location import is_uri
from vae_batch.plan.spec import EvaluationSpec

#: The network of all named protocols.
_OF_TOOLS = "inception-2015"


def identify_extractor(
    name: str, spec: EvaluationSpec, probe: Callable[[], ProbeImages]
) -> ExtractorIdentity:
    """Identify an extractor; Inception without loading it and without importing TensorFlow.

    Args:
        name: Of an Inception, or the path of a network.
        spec: What is declared of it.
        probe: Makes the reference images with which a network is probed.

    Raises:
        InputError: The name is unknown, or its weights cannot be found or must not be used.
    """
    if name in INCEPTION_EXTRACTORS:
        return identify_inception(
            name, spec.weights, allow_unverified=spec.allow_unverified_weights
        )
    _require_known(name)
    if is_vision_transformer(name):
        return identify_vision_transformer(name)
    return identify_classifier(name, spec, probe)


def identify_protocol(tool: str, spec: EvaluationSpec) -> ExtractorIdentity:
    """Identify the network of 2015 behind the resize of a tool, whose numbers its rows hold.

    Tools with the same resize and normalisation share activations, with ``inception-2015`` too.

    Raises:
        InputError: Its weights cannot be found or must not be used.
    """
    protocol = PROTOCOLS[tool]
    found = identify_inception(
        _OF_TOOLS,
        spec.weights,
        allow_unverified=spec.allow_unverified_weights,
        resize=protocol.resize,
        normalisation=protocol.normalisation,
    )
    _, at, unverified = found.name.partition("@")
    name = f"{protocol.title}{at}{unverified}"
    return replace(found, name=name, tool=tool, shared_name=found.name)


def require_extractors(spec: EvaluationSpec) -> None:
    """Refuse extractors and weights that cannot be had, as far as names and local paths tell.

    Nothing is read or downloaded.

    Raises:
        InputError: A name is unknown, or a local file does not exist.
    """
    for name in spec.extractors:
        if name not in INCEPTION_EXTRACTORS:
            _require_known(name)
            if not is_uri(name) and not Path(name).expanduser().exists():
                network_sha256(name)
    for path in spec.weights:
        if not is_uri(path) and not Path(path).expanduser().exists():
            raise InputError(f"weights {path!r} do not exist; expected the path or URI of a file")


def _require_known(name: str) -> None:
    if "/" in name or Path(name).suffix or Path(name).exists():
        return
    near = difflib.get_close_matches(name, INCEPTION_EXTRACTORS, n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    raise InputError(
        f"unknown extractor {name!r}{hint}; expected {', '.join(INCEPTION_EXTRACTORS)} or the "
        "path of a network: .keras, HDF5, SavedModel, .onnx, or a folder of transformers with "
        "DINOv2 or CLIP"
    )


def load_extractor(identity: ExtractorIdentity, batch_size: int) -> Extractor:
    """Load the network of an identity."""
    if identity.network in INCEPTION_EXTRACTORS:
        return InceptionExtractor(identity, batch_size)
    if identity.network in FAMILIES:
        return VisionTransformerExtractor(identity, batch_size)
    return ClassifierExtractor(identity)


def extractor_folder(identity: ExtractorIdentity) -> str:
    """File-safe name in stored paths: name, and hash of the weights."""
    name = identity.shared_name or identity.name
    slug = re.sub(r"[^A-Za-z0-9]+", "-", name.split("@")[0]).strip("-").lower()
    return f"{slug[-40:]}-{identity.weights_sha256[:12]}"
