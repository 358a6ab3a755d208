"""What an extractor is: a network that gives pooled features and class probabilities of images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

from vae_batch.models.references.precomputed import Origin
from vae_batch.plan.errors import InputError
from vae_batch.plan.spec import WITHOUT_EXTRACTOR

if TYPE_CHECKING:
    from vae_batch.models.extractors.reading import ExtractorReading


@dataclass(frozen=True)
class ExtractorIdentity:
    """What decides an extractor's numbers, and nothing else; picklable.

    Attributes:
        name: As rows name it: one of ``INCEPTION_EXTRACTORS``, with the beginning of the hash where
            that is not a published one; for a network of the user's, the stem of its file and the
            beginning of its hash.
        weights_path: Path or URI of the weights file; None for ``inception-random``.
        weights_sha256: Of the weights file (for a ``.tgz``, of the GraphDef inside); for
            ``inception-random``, of a description that fixes every number.
        protocol: Name, resize, size, input type and normalisation in one string.
        feature_dim: 2048; of a network of the user's, its embedding's.
        class_count: 1008 or 1000; 0 without class probabilities.
        inception_score_reason: Why the Inception Score is null, or None if it is defined.
        resize: One of ``resize.RESIZES``.
        normalisation: One of ``resize.NORMALISATIONS``; for a classifier, its pixel range.
        reading: How a network of the user's is read; None for Inception.
        verified: False if the weights have an unknown hash and were explicitly allowed.
        network: Which network reads the weights: one of ``INCEPTION_EXTRACTORS``, ``dinov2``,
            ``clip``, ``classifier`` or ``none``.
        tool: Whose numbers the rows hold, one of ``metrics.samples.protocols.PROTOCOLS``; None for
            our own.
        shared_name: Under which activations are stored, where several tools share them; "" for
            ``name``.
    """

    name: str
    weights_path: str | None
    weights_sha256: str
    protocol: str
    feature_dim: int
    class_count: int
    inception_score_reason: str | None
    resize: str
    normalisation: str
    reading: ExtractorReading | None = None
    verified: bool = True
    network: str = "classifier"
    tool: str | None = None
    shared_name: str = ""


NO_EXTRACTOR = ExtractorIdentity(
    name=WITHOUT_EXTRACTOR,
    weights_path=None,
    weights_sha256="",
    protocol=WITHOUT_EXTRACTOR,
    feature_dim=0,
    class_count=0,
    inception_score_reason=None,
    resize="",
    normalisation="",
    network=WITHOUT_EXTRACTOR,
)
"""Stands for the extractor in rows of a run whose metrics need none."""


class Extractor(Protocol):
    """A loaded network.

    Attributes:
        concurrent_batches: How many calls of ``extract`` should run at the same time.
    """

    concurrent_batches: int

    def extract(
        self, images: npt.NDArray[np.uint8]
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Compute the activations of at most one batch of images.

        Args:
            images: (n, H, W, 3) uint8 in [0, 255].

        Returns:
            Pooled features (n, d) float32 and class probabilities (n, c) float32, whose rows sum
            to 1.
        """
        ...


def require_made_by(
    name: str, dimension: int, origin: Origin, extractor: ExtractorIdentity
) -> None:
    """Refuse what was computed by another network than an extractor.

    Raises:
        InputError: The number of dimensions differs; or the protocol or weights, where both are
            known.
    """
    if dimension != extractor.feature_dim:
        raise InputError(
            f"{name} is of features of {dimension} dimensions, but {extractor.name} has "
            f"{extractor.feature_dim}; use what was made with the same network and layer"
        )
    for what, own, other in (
        ("protocol", origin.protocol, extractor.protocol),
        ("weights_sha256", origin.weights_sha256, extractor.weights_sha256),
    ):
        if own and other and own != other:
            raise InputError(
                f"{name} was made with {what} {own}, but {extractor.name} has {other}; distances "
                "across networks or protocols mean nothing"
            )
