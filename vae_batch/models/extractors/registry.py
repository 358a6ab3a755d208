"""Extractors by name."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable
from pathlib import Path

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
from vae_batch.models.references.reference import ProbeImages
from vae_batch.plan.errors import InputError
from vae_batch.plan.location import is_uri
from vae_batch.plan.spec import EvaluationSpec


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
    return identify_classifier(name, spec, probe)


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
        "path of a network (.keras, HDF5, SavedModel, .onnx)"
    )


def load_extractor(identity: ExtractorIdentity, batch_size: int) -> Extractor:
    """Load the network of an identity."""
    if identity.network in INCEPTION_EXTRACTORS:
        return InceptionExtractor(identity, batch_size)
    return ClassifierExtractor(identity)


def extractor_folder(identity: ExtractorIdentity) -> str:
    """File-safe name in stored paths: name, and hash of the weights."""
    slug = re.sub(r"[^A-Za-z0-9]+", "-", identity.name.split("@")[0]).strip("-").lower()
    return f"{slug[-40:]}-{identity.weights_sha256[:12]}"
