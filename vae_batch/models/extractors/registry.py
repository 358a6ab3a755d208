"""Extractors by name: networks that give pooled features and class probabilities of images."""

from __future__ import annotations

import difflib
import re
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from vae_batch.models.extractors.classifier import ClassifierExtractor, identify_classifier
from vae_batch.models.extractors.inception.extractor import (
    INCEPTION_EXTRACTORS,
    ExtractorIdentity,
    InceptionExtractor,
    identify_inception,
)
from vae_batch.plan.errors import InputError
from vae_batch.plan.spec import EvaluationSpec


class Extractor(Protocol):
    """A loaded network.

    Attributes:
      concurrent_batches: Calls of ``extract`` that may and should be under way at once.
    """

    concurrent_batches: int

    def extract(
        self, images: npt.NDArray[np.uint8]
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Activations of at most one batch of images.

        Args:
          images: (n, H, W, 3) uint8 in [0, 255].

        Returns:
          Pooled features (n, d) float32 and class probabilities (n, c) float32, rows summing
          to 1.
        """
        ...


def identify_extractor(name: str, spec: EvaluationSpec) -> ExtractorIdentity:
    """What an extractor is, before it is loaded and without importing TensorFlow.

    Raises:
      InputError: The name is unknown, its weights are not to be had or not to be trusted.
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
    """The network that an identity names."""
    if identity.name in INCEPTION_EXTRACTORS:
        return InceptionExtractor(identity, batch_size)
    return ClassifierExtractor(identity)


def extractor_folder(identity: ExtractorIdentity) -> str:
    """File-safe name in stored paths: name, and hash of the weights."""
    slug = re.sub(r"[^A-Za-z0-9]+", "-", identity.name.split("@")[0]).strip("-").lower()
    return f"{slug[-40:]}-{identity.weights_sha256[:12]}"
