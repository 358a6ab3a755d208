"""What other programs computed of a set of images: its features, or their mean and covariance."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from vae_batch.metrics.samples.moments import SYMMETRY_TOLERANCE, Moments
from vae_batch.models.references.array_images import ONE_ARRAY
from vae_batch.plan.errors import InputError
from vae_batch.storage.array_files import npy_array, npz_arrays, npz_headers

#: What a file of arrays holds.
Content = Literal["images", "features", "statistics"]

#: Keys of an ``.npz`` of features, (n, d); the first that is there. The others are those of
#: clean-fid and of dgm-eval.
FEATURES = ("features", "feats", "reps")
PROBABILITIES = "probabilities"
MEAN, COVARIANCE = "mu", "sigma"
_COUNTS = ("n", "num_images")
_SPATIAL = ("mu_s", "sigma_s")

_CHUNK = 1 << 12
_SUM_TOLERANCE = 1e-3
#: Statistics in single precision are as asymmetric as its rounding.
_SINGLE_TOLERANCE = 1e-5

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float32]


def content_of(path: str | Path) -> tuple[Content, int] | None:
    """What a local ``.npy`` or ``.npz`` file holds, and how many samples; None of anything else.

    Only headers are read. Statistics come first, since ADM's files hold images beside them.

    Raises:
        OSError: It cannot be read.
        ValueError: It is damaged.
    """
    suffix = Path(path).suffix.lower()
    if suffix == ".npy":
        return _by_shape(npy_array(path).shape)
    if suffix != ".npz":
        return None
    headers = npz_headers(path)
    if {MEAN, COVARIANCE} <= set(headers):
        return "statistics", 0
    for keys, kind in ((ONE_ARRAY, "images"), (FEATURES, "features")):
        key = next((key for key in keys if key in headers), None)
        found = key and _by_shape(headers[key][0])
        if found and found[0] == kind:
            return found
    return None


def _by_shape(shape: tuple[int, ...]) -> tuple[Content, int] | None:
    """Images have three axes or four, features two."""
    if len(shape) == 2:
        return "features", shape[0]
    return ("images", shape[0]) if len(shape) in (3, 4) else None


@dataclass(frozen=True)
class Origin:
    """How a file's content was made, as far as the file says.

    Attributes:
        protocol: Network, resize and normalisation in one string, or None.
        weights_sha256: Of the network's weights, or None.
    """

    protocol: str | None = None
    weights_sha256: str | None = None

    @classmethod
    def of(cls, arrays: Mapping[str, Array]) -> Origin:
        """As `vae-batch export --statistics` writes it."""
        return cls(*(_text(arrays, name) for name in ("protocol", "weights_sha256")))


@dataclass(frozen=True)
class Features:
    """Features of images, and perhaps class probabilities.

    Attributes:
        values: (n, d) real numbers; may be a memory map.
        probabilities: (n, c), whose rows sum to 1; (n, 0) without any.
        origin: How they were made.
    """

    values: Array
    probabilities: Array
    origin: Origin

    def __len__(self) -> int:
        return len(self.values)

    def rows(self, positions: npt.NDArray[np.int64]) -> tuple[Floats, Floats]:
        """Features (k, d) and probabilities (k, c) at (k,) positions, float32."""
        return (
            np.asarray(self.values[positions], np.float32),
            np.asarray(self.probabilities[positions], np.float32),
        )


def open_features(path: str | Path) -> Features:
    """Features of a local ``.npy`` (n, d) or ``.npz`` file, checked.

    Raises:
        InputError: Shapes that do not fit, fewer than 2 rows, values that are not finite, or
            probabilities that do not sum to 1; names the row.
    """
    name, origin = str(path), Origin()
    try:
        if Path(path).suffix.lower() == ".npy":
            values: Array = npy_array(path)
            probabilities: Array = np.empty((len(values), 0), np.float32)
        else:
            with open(path, "rb") as file, npz_arrays(file) as arrays:
                values = arrays[next(key for key in FEATURES if key in arrays.files)]
                none = np.empty((len(values), 0), np.float32)
                has_classes = PROBABILITIES in arrays.files
                probabilities = arrays[PROBABILITIES] if has_classes else none
                origin = Origin.of(arrays)
    except InputError:
        raise
    except (OSError, ValueError) as error:
        raise InputError(f"{name} cannot be read as features ({error}); save it again") from error
    if values.ndim != 2 or values.dtype.kind not in "fiu" or not values.shape[1]:
        raise InputError(
            f"{name}: features have shape {values.shape} of {values.dtype}; expected real numbers "
            "(n, dimensions)"
        )
    if len(values) < 2:
        raise InputError(f"{name} holds features of {len(values)} image(s), expected at least 2")
    if probabilities.ndim != 2 or len(probabilities) != len(values):
        raise InputError(
            f"{name}: {PROBABILITIES} have shape {probabilities.shape}; expected "
            f"({len(values)}, classes), a row for each row of features"
        )
    _require_rows(name, values, probabilities)
    return Features(values, probabilities, origin)


def _require_rows(name: str, values: Array, probabilities: Array) -> None:
    for start in range(0, len(values), _CHUNK):
        rows = slice(start, start + _CHUNK)
        finite = np.isfinite(values[rows]).all(axis=1)
        if not finite.all():
            row = start + int(np.argmin(finite))
            raise InputError(f"{name}: row {row} of the features is not finite; leave it out")
        shares = np.asarray(probabilities[rows], np.float64)
        off = ~(np.abs(shares.sum(axis=1) - 1) <= _SUM_TOLERANCE) | (shares < 0).any(axis=1)
        if shares.shape[1] and off.any():
            row = int(np.argmax(off))
            raise InputError(
                f"{name}: row {start + row} of {PROBABILITIES} sums to {shares[row].sum():g}; "
                "expected class probabilities of sum 1: save a softmax, no logits"
            )


@dataclass(frozen=True)
class Statistics:
    """Mean and covariance of features.

    Attributes:
        moments: Their count is arbitrary where ``count`` is None: no result depends on it.
        count: Number of images, or None where it is not known.
        origin: How they were made.
        notes: Sentences for the user.
    """

    moments: Moments
    count: int | None
    origin: Origin
    notes: tuple[str, ...] = ()

    @property
    def sha256(self) -> str:
        """Of mean, covariance and count."""
        digest = hashlib.sha256(repr((self.count, self.moments.dimension)).encode())
        digest.update(np.ascontiguousarray(self.moments.mean).tobytes())
        digest.update(np.ascontiguousarray(self.moments.scatter).tobytes())
        return digest.hexdigest()


def open_statistics(path: str | Path, declared: int | None) -> Statistics:
    """Statistics of a local ``.npz`` file with ``mu`` (d,) and ``sigma`` (d, d), ddof 1.

    Args:
        path: As TTUR, pytorch-fid, clean-fid, ADM and `vae-batch export --statistics` write it.
        declared: Number of images, as the user says.

    Raises:
        InputError: Shapes that do not fit, values that are not finite, an asymmetric covariance, or
            another number of images in the file than declared.
    """
    name = str(path)
    try:
        with open(path, "rb") as file, npz_arrays(file) as arrays:
            mean, covariance = arrays[MEAN], arrays[COVARIANCE]
            origin, own = Origin.of(arrays), _count(arrays)
            others = [key for key in (*ONE_ARRAY, *_SPATIAL) if key in arrays.files]
    except InputError:
        raise
    except (OSError, ValueError) as error:
        raise InputError(f"{name} cannot be read as statistics ({error}); save it again") from error
    d = mean.size
    if mean.shape != (d,) or d == 0 or covariance.shape != (d, d):
        raise InputError(
            f"{name}: {MEAN} has shape {mean.shape} and {COVARIANCE} {covariance.shape}; expected "
            "(d,) and (d, d)"
        )
    if own and declared and own != declared:
        raise InputError(
            f"{name}: --reference-samples {declared} were declared, but the file says that its "
            f"statistics are of {own} images; leave --reference-samples out"
        )
    count = own or declared
    matrix = covariance.astype(np.float64)
    asymmetry = float(np.abs(matrix - matrix.T).max()) / max(float(np.abs(matrix).max()), 1e-300)
    is_double = covariance.dtype == np.float64
    if not asymmetry <= (SYMMETRY_TOLERANCE if is_double else _SINGLE_TOLERANCE):
        raise InputError(
            f"{name}: {COVARIANCE} is not symmetric (by {asymmetry:.2g} of its largest entry), so "
            "it is no covariance; save the statistics again"
        )
    try:
        moments = Moments.from_covariance(count or d + 2, mean, (matrix + matrix.T) / 2)
    except ValueError as error:
        raise InputError(f"{name}: {error}") from error
    note = f"{name}: not used, since it holds statistics: {', '.join(others)}"
    return Statistics(moments, count, origin, (note,) if others else ())


def _count(arrays: Mapping[str, Array]) -> int | None:
    found = next((arrays[key] for key in _COUNTS if key in arrays), None)
    return int(found) if found is not None and found.size == 1 and found > 1 else None


def _text(arrays: Mapping[str, Array], name: str) -> str | None:
    if name not in arrays or arrays[name].dtype.kind != "U" or arrays[name].size != 1:
        return None
    return str(arrays[name]) or None
