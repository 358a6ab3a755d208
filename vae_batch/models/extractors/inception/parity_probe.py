"""The parity probe: fixed images through ``inception-random``, against stored float64 features.

A device that computes in float32 stays within rounding of the stored features whatever its
maker, threads or graph; one that computes coarser does not. The images are made here from
integers, so every machine has the same bits; the features beside this file were computed in
float64 throughout (``tests/models/extractors/write_parity_probe.py``).
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vae_batch.models.extractors.extractor import ExtractorIdentity
from vae_batch.models.extractors.inception.extractor import (
    InceptionExtractor,
    identify_inception,
)
from vae_batch.models.extractors.inception.layout import FEATURE_DIM, IMAGE_SIZE
from vae_batch.models.extractors.inception.resize import NUMPY_OPS, normalise, resize
from vae_batch.plan.errors import InputError

if TYPE_CHECKING:
    import keras

#: Largest ``relative_deviation`` of a device in float32, and of one whose convolutions take TF32.
#: Measured on a CPU: 3.1e-6 in float32; with the convolutions' operands rounded 3.6e-3 to TF32
#: (10 bits) and 2.8e-2 to bfloat16 (7 bits). So the first passes float32 alone, the second TF32.
TOLERANCE = 1e-3
TF32_TOLERANCE = 1e-2

STORED = Path(__file__).with_name("parity_probe.npz")

_EXTRACTOR = "inception-random"
_COUNT = 16
_EDGE = 32
_SEED = 299


@dataclass(frozen=True)
class StoredProbe:
    """What the probe's file holds.

    Attributes:
        features: (16, 2048) float64 pooled features of ``probe_images``.
        provenance: Command, versions, and hashes of images and weights.
    """

    features: NDArray[np.float64]
    provenance: dict[str, Any]


@dataclass(frozen=True)
class Parity:
    """Deviations of one device, see ``relative_deviation``.

    Attributes:
        float32: With float32 convolutions.
        as_scored: As workers compute; another figure only where ``tf32``.
        tf32: Whether TensorFlow computes convolutions in TF32 here.
    """

    float32: float
    as_scored: float
    tf32: bool


def probe_images() -> NDArray[np.uint8]:
    """The probe's (16, 32, 32, 3) uint8 images: image 0 smooth, image 15 noise, mixtures between.

    The smooth part is the bilinear surface through four random corner colours. All arithmetic is
    on integers from raw Philox bits, so no platform or NumPy version can round differently.
    """
    philox = np.random.Philox(key=np.array([_SEED, 0], np.uint64))
    corners = _bytes(philox, (_COUNT, 2, 2, 3))
    noise = _bytes(philox, (_COUNT, _EDGE, _EDGE, 3))
    ramp = np.arange(_EDGE)
    sides = np.stack([_EDGE - 1 - ramp, ramp])  # (2, 32): weights of the two corners of an axis
    smooth = np.einsum("nabc,ay,bx->nyxc", corners, sides, sides) // (_EDGE - 1) ** 2
    share = np.arange(_COUNT).reshape(-1, 1, 1, 1)
    mixed = (smooth * (_COUNT - 1 - share) + noise * share) // (_COUNT - 1)
    images: NDArray[np.uint8] = mixed.astype(np.uint8)
    return images


def _bytes(philox: np.random.Philox, shape: tuple[int, ...]) -> NDArray[np.int64]:
    """The highest 8 of raw 64 bits, one draw a value."""
    raw = np.asarray(philox.random_raw(int(np.prod(shape))))
    return (raw >> np.uint64(56)).astype(np.int64).reshape(shape)


def relative_deviation(features: NDArray[np.floating], reference: NDArray[np.float64]) -> float:
    """Largest absolute difference over the largest reference value: max |f - r| / max |r|.

    Relative to the scale of the features, not to each of them, because many are near zero.

    Args:
        features: (n, d), any float dtype.
        reference: (n, d) float64.

    Returns:
        The deviation; infinite where a feature is not finite.

    Raises:
        ValueError: The shapes differ.
    """
    if features.shape != reference.shape:
        raise ValueError(
            f"features: expected shape {reference.shape} like the reference, got {features.shape}"
        )
    if not np.isfinite(features).all():
        return float("inf")
    difference = np.abs(features.astype(np.float64) - reference)
    return float(difference.max() / np.abs(reference).max())


def measure_parity() -> Parity:
    """Run the probe on this process's device and compare with the file.

    Raises:
        InputError: The file is damaged, or is of other images or weights than this version's.
    """
    reference = read_stored_probe().features
    as_scored = _deviation(reference, _COUNT)
    if not _takes_tf32():
        return Parity(as_scored, as_scored, tf32=False)
    import tensorflow as tf

    tf.config.experimental.enable_tensor_float_32_execution(False)
    try:
        # Another batch size, as TensorFlow may remember the TF32 algorithm it chose for a shape.
        float32 = _deviation(reference, _COUNT // 2)
    finally:
        tf.config.experimental.enable_tensor_float_32_execution(True)
    return Parity(float32, as_scored, tf32=True)


def _deviation(reference: NDArray[np.float64], batch_size: int) -> float:
    extractor = InceptionExtractor(identify_inception(_EXTRACTOR), batch_size)
    images = probe_images()
    starts = range(0, len(images), batch_size)
    features = [extractor.extract(images[start : start + batch_size])[0] for start in starts]
    return relative_deviation(np.concatenate(features), reference)


def _takes_tf32() -> bool:
    """Whether TensorFlow computes float32 convolutions in TF32 here: its default since Ampere."""
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    if not gpus or not tf.config.experimental.tensor_float_32_execution_enabled():
        return False
    details = tf.config.experimental.get_device_details(gpus[0])
    return tuple(details.get("compute_capability", (0, 0))) >= (8, 0)


def features_in_float64(images: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Pooled features with every step in float64: resize, normalisation and network.

    The network is the extractor's own, cloned layer by layer with a float64 policy; its float32
    weights are kept as they are, since they define the extractor. Positions of the resize are
    float32 numbers by its definition. Needs the TensorFlow backend on a CPU.

    Args:
        images: (n, height, width, 3) uint8.

    Returns:
        (n, 2048) float64.
    """
    from vae_batch.models.extractors.inception.folded_weights import random_weights
    from vae_batch.models.extractors.inception.network import build_network

    identity = identify_inception(_EXTRACTOR)
    network = _in_float64(build_network(random_weights(), "keras"))
    pixels = resize(images.astype(np.float64), identity.resize, IMAGE_SIZE, ops=NUMPY_OPS)
    inputs = normalise(pixels, identity.normalisation)
    # One image a pass, so that memory stays small whatever the number of images.
    passes = [np.asarray(network(inputs[i : i + 1])[0]) for i in range(len(inputs))]
    features = np.concatenate(passes)
    if features.dtype != np.float64 or features.shape != (len(images), FEATURE_DIM):
        raise RuntimeError(f"expected float64 features, found {features.dtype} {features.shape}")
    return features


def _in_float64(network: keras.Model) -> keras.Model:
    """A copy of a functional model whose layers all compute in float64, with the same weights."""
    import keras

    def widened(layer: Any) -> Any:  # noqa: ANN401
        if not isinstance(layer, keras.layers.Layer):
            return layer  # an operation without dtype of its own: it takes that of its input
        return type(layer).from_config({**layer.get_config(), "dtype": "float64"})

    inputs = keras.Input(network.input_shape[1:], dtype="float64")
    wide = keras.models.clone_model(network, input_tensors=inputs, clone_function=widened)
    wide.set_weights(network.get_weights())
    return wide


def write_stored_probe(path: Path, command: str, versions: dict[str, str]) -> StoredProbe:
    """Compute the float64 features and write them with their provenance.

    Args:
        path: The ``.npz`` to write.
        command: How it was made.
        versions: Versions of what computed it, by name.

    Returns:
        What was written.
    """
    images, identity = probe_images(), identify_inception(_EXTRACTOR)
    provenance = {
        "what": "pooled features of this module's probe_images, float64 throughout",
        "command": command,
        "versions": versions,
        **_fixed_points(images, identity),
    }
    features = features_in_float64(images)
    text = json.dumps(provenance, indent=1, sort_keys=True)
    np.savez_compressed(path, features=features, provenance=np.array(text))
    return StoredProbe(features, provenance)


def read_stored_probe() -> StoredProbe:
    """Read the stored features.

    Raises:
        InputError: The file is missing, damaged, or of other images or weights than this version's.
    """
    try:
        with STORED.open("rb") as file:
            archive = np.load(file, allow_pickle=False)
            features, text = archive["features"], archive["provenance"].item()
        provenance = json.loads(text)
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise InputError(
            f"the stored probe {STORED} cannot be read ({error}); install vae_batch again"
        ) from error
    expected = _fixed_points(probe_images(), identify_inception(_EXTRACTOR))
    moved = [name for name, value in expected.items() if provenance.get(name) != value]
    if moved or features.shape != (_COUNT, FEATURE_DIM) or features.dtype != np.float64:
        what = ", ".join(moved) or f"features of shape {features.shape}"
        raise InputError(
            f"the stored probe {STORED} was made for another version of vae_batch ({what}); "
            "install vae_batch again"
        )
    return StoredProbe(features, provenance)


def _fixed_points(images: NDArray[np.uint8], identity: ExtractorIdentity) -> dict[str, str]:
    """What the features depend on; a change of any makes the file stale."""
    return {
        "images_sha256": hashlib.sha256(images.tobytes()).hexdigest(),
        "weights_sha256": identity.weights_sha256,
        "protocol": identity.protocol,
    }
