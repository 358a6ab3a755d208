"""The Inception extractors.

The driver calls ``identify_inception``, which finds and checks the weights without TensorFlow.
Workers load exactly those weights with ``InceptionExtractor``.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from vae_batch.models.extractors.extractor import ExtractorIdentity
from vae_batch.models.extractors.inception.folded_weights import (
    RANDOM_CLASSES,
    InceptionWeights,
    description_sha256,
    random_weights,
    random_weights_description,
)
from vae_batch.models.extractors.inception.layout import FEATURE_DIM, IMAGE_SIZE
from vae_batch.models.extractors.inception.network import Variant, build_network
from vae_batch.models.extractors.inception.resize import check_normalisation, check_resize
from vae_batch.models.extractors.inception.runtime import (
    CONCURRENT_BATCHES,
    Runner,
    grow_gpu_memory,
    keras_runner,
    tensorflow_runner,
)
from vae_batch.models.extractors.weights.readers import read_weights
from vae_batch.models.extractors.weights.search import find_weights, locate_identified
from vae_batch.plan.errors import InputError

# Extractor -> network variant, resize, normalisation.
_PROTOCOLS: dict[str, tuple[Variant, str, str]] = {
    "inception-2015": ("2015", "tf1-bilinear", "(x-128)/128"),
    "inception-keras": ("keras", "tf2-bilinear", "x/127.5-1"),
    "inception-random": ("keras", "tf2-bilinear", "x/127.5-1"),
}

INCEPTION_EXTRACTORS = tuple(_PROTOCOLS)

_RANDOM_REASON = "inception-random has random weights: its probabilities say nothing about classes"
_NO_TOP_REASON = (
    "the weights file has no classification layer (notop), so there are no class probabilities"
)

# Compiled graphs that are kept, one per image size.
_KEPT_GRAPHS = 2


def identify_inception(
    name: str,
    weights: Sequence[str] = (),
    *,
    allow_unverified: bool = False,
    resize: str | None = None,
    normalisation: str | None = None,
) -> ExtractorIdentity:
    """Find an extractor's weights, check them, and return its identity.

    Imports neither TensorFlow nor Keras. Weights are searched in this order: ``weights``, the
    folder in ``VAE_BATCH_WEIGHTS``, Keras' cache, the cache of ``vae_batch``. If none are found,
    they are downloaded.

    Args:
        name: One of ``INCEPTION_EXTRACTORS``.
        weights: Weights files. Their format is read from the content, and the one that fits the
            extractor is used. ``inception-random`` ignores them.
        allow_unverified: Accept a file of the right kind whose hash is unknown.
        resize: Another resize than the extractor's own, one of ``resize.RESIZES``.
        normalisation: Another normalisation, one of ``resize.NORMALISATIONS``.

    Returns:
        The identity.

    Raises:
        InputError: A name is unknown, or weights cannot be found or must not be used.
    """
    if name not in _PROTOCOLS:
        choices = ", ".join(INCEPTION_EXTRACTORS)
        raise InputError(f"extractor {name!r} is unknown; expected one of {choices}.")
    _, own_resize, own_normalisation = _PROTOCOLS[name]
    resize = check_resize(resize or own_resize)
    normalisation = check_normalisation(normalisation or own_normalisation)
    is_own = (resize, normalisation) == (own_resize, own_normalisation)
    stem = name if is_own else f"{name} {resize}"
    path, sha256, classes, reason, verified = _identify_weights(name, weights, allow_unverified)
    return ExtractorIdentity(
        name=stem if verified else f"{stem}@{sha256[:8]}, unverified weights",
        weights_path=path,
        weights_sha256=sha256,
        protocol=f"{name}/{resize}/{IMAGE_SIZE}/uint8/{normalisation}",
        feature_dim=FEATURE_DIM,
        class_count=classes,
        inception_score_reason=reason,
        resize=resize,
        normalisation=normalisation,
        verified=verified,
        network=name,
    )


def _identify_weights(
    name: str, weights: Sequence[str], allow_unverified: bool
) -> tuple[str | None, str, int, str | None, bool]:
    """Path, sha256, class count, reason for no Inception Score, whether the hash is known."""
    if name == "inception-random":
        sha256 = description_sha256(random_weights_description())
        return None, sha256, RANDOM_CLASSES, _RANDOM_REASON, True
    found = find_weights(name, weights, allow_unverified=allow_unverified)
    reason = None if found.class_count else _NO_TOP_REASON
    verified = found.published is not None
    path = found.source or str(found.path)
    return path, found.sha256, found.class_count, reason, verified


def _load(identity: ExtractorIdentity) -> InceptionWeights:
    if identity.network == "inception-random":
        if identity.weights_sha256 != description_sha256(random_weights_description()):
            raise InputError(
                "inception-random: the identity describes other random weights than this version "
                "of vae_batch makes; use the same version everywhere."
            )
        return random_weights()
    found = locate_identified(identity.network, identity.weights_path, identity.weights_sha256)
    weights = read_weights(found)
    if weights.class_count != identity.class_count:
        raise InputError(
            f"{found.shown}: expected {identity.class_count} classes, found {weights.class_count}."
        )
    return weights


class InceptionExtractor:
    """An Inception network ready to run, in the process that made it.

    Args:
        identity: From ``identify_inception``.
        batch_size: Images per pass. Every pass has this shape, so results do not depend on how
            images are split into batches.

    Raises:
        InputError: The weights are missing here, or are not those of the identity.
    """

    def __init__(self, identity: ExtractorIdentity, batch_size: int) -> None:
        if batch_size < 1:
            raise InputError(f"batch_size should be at least 1, found {batch_size}.")
        import keras

        self.identity = identity
        self.batch_size = batch_size
        self._on_tensorflow = keras.backend.backend() == "tensorflow"
        self.concurrent_batches = 1
        if self._on_tensorflow:
            grow_gpu_memory()
            # TensorFlow sums the taps of this resize in a buffer that two batches cannot share.
            if identity.resize != "pil-bicubic":
                self.concurrent_batches = CONCURRENT_BATCHES
        self._network = build_network(_load(identity), _PROTOCOLS[identity.network][0])
        self._runners: dict[tuple[int, int], Runner] = {}
        self._compiling = threading.Lock()

    def extract(self, images: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Compute features and probabilities of at most one batch of images.

        Args:
            images: (n, height, width, 3) uint8 in [0, 255], n <= ``batch_size``.

        Returns:
            (n, 2048) float32 pooled features and (n, classes) float32 probabilities; (n, 0) if the
            weights have no classifier, and the identity then says why there is no score.

        Raises:
            InputError: Another shape, dtype or too many images.
        """
        self._check(images)
        count, height, width, _ = images.shape
        with self._compiling:
            run = self._runner(height, width)
        batch = np.zeros((self.batch_size, height, width, 3), dtype=np.uint8)
        batch[:count] = images
        outputs = [output[:count] for output in run(batch)]
        if not self.identity.class_count:
            outputs.append(np.zeros((count, 0), dtype=np.float32))
        return outputs[0], outputs[1]

    def _check(self, images: NDArray[np.uint8]) -> None:
        shaped = images.ndim == 4 and images.shape[-1] == 3 and min(images.shape[1:3]) > 0
        if not shaped or images.dtype != np.uint8:
            raise InputError(
                "images should be uint8 of shape (n, height, width, 3), found "
                f"{images.dtype} of shape {images.shape}; convert them first."
            )
        if len(images) > self.batch_size:
            raise InputError(
                f"expected at most batch_size = {self.batch_size} images, found {len(images)}."
            )

    def _runner(self, height: int, width: int) -> Runner:
        runner = self._runners.pop((height, width), None)
        if runner is None:
            make = tensorflow_runner if self._on_tensorflow else keras_runner
            shape = (self.batch_size, height, width, 3)
            runner = make(self._network, self.identity.resize, self.identity.normalisation, shape)
        self._runners[(height, width)] = runner
        for oldest in list(self._runners)[:-_KEPT_GRAPHS]:
            del self._runners[oldest]
        return runner
