"""The parity probe: fixed images through ``inception-random``, against stored float64 features.

A device that computes in float32 stays within rounding of the stored features, whatever its maker,
threads or graph; one that computes with lower precision does not. The images are made here from
integers, so every machine has the same bits. ``tests/models/extractors/write_parity_probe.py``
computed the stored features in float64 throughout.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vae_batch.models.extractors.extractor import ExtractorIdentity
from vae_batch.models.extractors.inception.extractor import (
    InceptionExtractor,
    identify_inception,
)
from vae_batch.models.extractors.inception.layout import FEATURE_DIM
from vae_batch.plan.errors import InputError
from vae_batch.storage.array_files import npz_arrays
from vae_batch.storage.checked_json import parse_as

#: Largest ``relative_deviation`` of a device in float32, and of one with TF32 convolutions.
#: Measured on a CPU: 3.1e-6 in float32; 3.6e-3 with the operands of convolutions rounded to TF32
#: (10 bits), 2.8e-2 with bfloat16 (7 bits). So the first passes float32 alone, the second TF32.
TOLERANCE = 1e-3
TF32_TOLERANCE = 1e-2

STORED = Path(__file__).with_name("parity_probe.npz")

_EXTRACTOR = "inception-random"
_COUNT = 16
_EDGE = 32
_SEED = 299


@dataclass(frozen=True)
class StoredProbe:
    """Content of the probe's file.

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
        as_scored: As workers compute; differs from ``float32`` only if ``tf32``.
        tf32: Whether TensorFlow computes convolutions in TF32 here.
        bits: SHA-256 of the features as workers compute them.
    """

    float32: float
    as_scored: float
    tf32: bool
    bits: str = ""


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
    """The highest 8 of raw 64 bits, one draw per value."""
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
        InputError: The file is damaged, or was made for another version's images or weights.
    """
    reference = read_stored_probe().features
    features = _features(_COUNT)
    as_scored = relative_deviation(features, reference)
    bits = hashlib.sha256(features.tobytes()).hexdigest()
    if not _takes_tf32():
        return Parity(as_scored, as_scored, tf32=False, bits=bits)
    import tensorflow as tf

    tf.config.experimental.enable_tensor_float_32_execution(False)
    try:
        # Another batch size, since TensorFlow may reuse the TF32 algorithm it chose for a shape.
        float32 = relative_deviation(_features(_COUNT // 2), reference)
    finally:
        tf.config.experimental.enable_tensor_float_32_execution(True)
    return Parity(float32, as_scored, tf32=True, bits=bits)


def _features(batch_size: int) -> NDArray[np.float32]:
    """The probe's features on this device."""
    extractor = InceptionExtractor(identify_inception(_EXTRACTOR), batch_size)
    images = probe_images()
    starts = range(0, len(images), batch_size)
    return np.concatenate(
        [extractor.extract(images[start : start + batch_size])[0] for start in starts]
    )


def _takes_tf32() -> bool:
    """Whether TensorFlow computes float32 convolutions in TF32: its default since Ampere."""
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    if not gpus or not tf.config.experimental.tensor_float_32_execution_enabled():
        return False
    details = tf.config.experimental.get_device_details(gpus[0])
    return tuple(details.get("compute_capability", (0, 0))) >= (8, 0)


def read_stored_probe() -> StoredProbe:
    """Read the stored features.

    Raises:
        InputError: The file is missing, damaged, or made for another version's images or weights.
    """
    try:
        with STORED.open("rb") as file, npz_arrays(file) as archive:
            features, text = archive["features"], str(archive["provenance"])
        provenance = parse_as(dict[str, Any], text)
    except (OSError, ValueError) as error:
        raise InputError(
            f"the stored probe {STORED} cannot be read ({error}); install vae_batch again"
        ) from error
    expected = fixed_points(probe_images(), identify_inception(_EXTRACTOR))
    changed = [name for name, value in expected.items() if provenance.get(name) != value]
    if changed or features.shape != (_COUNT, FEATURE_DIM) or features.dtype != np.float64:
        what = ", ".join(changed) or f"features of shape {features.shape}"
        raise InputError(
            f"the stored probe {STORED} was made for another version of vae_batch ({what}); "
            "install vae_batch again"
        )
    return StoredProbe(features, provenance)


def fixed_points(images: NDArray[np.uint8], identity: ExtractorIdentity) -> dict[str, str]:
    """What the features depend on; a change of any of it makes the file invalid."""
    return {
        "images_sha256": hashlib.sha256(images.tobytes()).hexdigest(),
        "weights_sha256": identity.weights_sha256,
        "protocol": identity.protocol,
    }
