"""Extractors by name."""

from __future__ import annotations

import difflib
import re
from pathlib import Path

from vae_batch.models.extractors.classifier import ClassifierExtractor, identify_classifier
from vae_batch.models.extractors.extractor import Extractor, ExtractorIdentity
from vae_batch.models.extractors.inception.extractor import (
    INCEPTION_EXTRACTORS,
    InceptionExtractor,
    identify_inception,
)
from vae_batch.plan.errors import InputError
from vae_batch.plan.spec import EvaluationSpec


def identify_extractor(name: str, spec: EvaluationSpec) -> ExtractorIdentity:
    """Identify an extractor without loading it and without importing TensorFlow.

    Raises:
        InputError: The name is unknown, or its weights cannot be found or must not be used.
    """
    if name in INCEPTION_EXTRACTORS:
        return identify_inception(
            name, spec.weights, allow_unverified=spec.allow_unverified_weights
        )
    if "/" in name or Path(name).suffix or Path(name).exists():
        return identify_classifier(name, spec.classifier_range)
    near = difflib.get_close_matches(name, INCEPTION_EXTRACTORS, n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    raise InputError(
        f"unknown extractor {name!r}{hint}; expected {', '.join(INCEPTION_EXTRACTORS)} or the "
        "path of a Keras classifier (.keras)"
    )


def load_extractor(identity: ExtractorIdentity, batch_size: int) -> Extractor:
    """Load the network of an identity."""
    if identity.name in INCEPTION_EXTRACTORS:
        return InceptionExtractor(identity, batch_size)
    return ClassifierExtractor(identity)


def extractor_folder(identity: ExtractorIdentity) -> str:
    """File-safe name in stored paths: name, and hash of the weights."""
    slug = re.sub(r"[^A-Za-z0-9]+", "-", identity.name.split("@")[0]).strip("-").lower()
    return f"{slug[-40:]}-{identity.weights_sha256[:12]}"
