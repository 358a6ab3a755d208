"""Reference images in NumPy arrays and files, of any range: checked, and read as uint8."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vae_batch.models.image_range import resolve_range, to_uint8
from vae_batch.models.references.fit import SquareFit
from vae_batch.plan.errors import InputError
from vae_batch.storage.array_files import npy_array, npz_arrays

#: Keys under which an ``.npz`` holds one set of images; the first that is there.
ONE_ARRAY = ("images", "arr_0", "x")
_ONE_LABELS = ("labels", "y")
_SHOWN = 12


@dataclass(frozen=True)
class ArrayPixels:
    """Images in one array (n, H, W, C) of a checked range; may be a memory map.

    With ``fit`` they are brought to another size when they are read.
    """

    images: np.ndarray
    source_range: tuple[float, float]
    range_inferred: bool
    fit: SquareFit | None = None

    @property
    def shape(self) -> tuple[int, int, int]:
        """(H, W, C)."""
        height, width, channels = self.images.shape[1:]
        if self.fit is not None:
            height = width = self.fit.size
        return height, width, channels

    def __len__(self) -> int:
        return len(self.images)

    def read(self, positions: np.ndarray) -> np.ndarray:
        """Images at (n,) positions as (n, H, W, C) uint8 in [0, 255], a copy."""
        pixels = np.array(to_uint8(self.images[positions], self.source_range))
        return pixels if self.fit is None else self.fit.of_pixels(pixels)


def array_pixels(images: np.ndarray, value_range: str | None, source: str) -> ArrayPixels:
    """Check images of an array (n, H, W), (n, H, W, 1) or (n, H, W, 3).

    Raises:
        InputError: Another shape (the message recognises channels first and alpha), no images, or
            values outside the range.
    """
    images = _nhwc(images, source)
    bounds, inferred = resolve_range(images, value_range, source)
    return ArrayPixels(images, bounds, inferred)


def npy_pixels(path: Path, value_range: str | None) -> ArrayPixels:
    """Images of a .npy file, memory-mapped and never unpickled."""
    try:
        images = npy_array(path)
    except (OSError, ValueError) as error:
        raise InputError(_not_numpy(path, error)) from error
    return array_pixels(images, value_range, str(path))


def npz_pixels(
    path: Path, split: str, value_range: str | None
) -> tuple[ArrayPixels, np.ndarray | None, str]:
    """Images, labels and split of a .npz file (x_train/x_test, or one array); never unpickled."""
    try:
        with path.open("rb") as file, npz_arrays(file) as archive:
            images, labels, actual = _npz_arrays(archive, split, path)
    except InputError:
        raise
    except (OSError, ValueError) as error:
        raise InputError(_not_numpy(path, error)) from error
    pixels = array_pixels(images, value_range, str(path))
    return pixels, labels, actual


def split_of(
    splits: dict[str, tuple[np.ndarray, np.ndarray | None]], split: str
) -> tuple[np.ndarray, np.ndarray | None]:
    """Images and labels of one split, as stored; for ``all``, of train and then test."""
    chosen = [splits[name] for name in (("train", "test") if split == "all" else (split,))]
    images = chosen[0][0] if len(chosen) == 1 else np.concatenate([part[0] for part in chosen])
    parts = [part[1] for part in chosen if part[1] is not None]
    if len(parts) < len(chosen):
        return images, None
    if len({part.ndim for part in parts}) > 1:  # (n,) and (n, 1)
        parts = [part.reshape(len(part), -1) for part in parts]
    return images, parts[0] if len(parts) == 1 else np.concatenate(parts)


def class_labels(labels: np.ndarray, count: int, source: str) -> tuple[np.ndarray, str | None]:
    """(n,) int64 classes of labels as stored, and a note where they were numbered or converted.

    Args:
        labels: (n,) or (n, 1) whole numbers from 0 or names, or (n, classes) one-hot rows.
        count: Number of images.
        source: What to call the set in an error.

    Raises:
        InputError: Another shape, fractions, negative numbers, or rows that are not one-hot.
    """
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim == 2 and len(labels) == count and labels.dtype.kind in "uifb":
        is_one_hot = ((labels == 0) | (labels == 1)).all() and (labels.sum(axis=1) == 1).all()
        if not is_one_hot:
            raise InputError(
                f"{source}: labels of shape {labels.shape} are not one-hot: each row must hold one "
                "1 and else 0; save class numbers of shape (n,)"
            )
        return labels.argmax(axis=1).astype(np.int64), None
    if labels.shape != (count,):
        raise InputError(
            f"{source}: {count} images but labels of shape {labels.shape}; expected ({count},), or "
            f"one-hot rows ({count}, classes)"
        )
    if labels.dtype.kind in "SU":
        names, numbers = np.unique(labels, return_inverse=True)
        shown = [
            name.decode("utf-8", "replace") if labels.dtype.kind == "S" else name for name in names
        ]
        listed = ", ".join(f"{number} = {name}" for number, name in enumerate(shown[:_SHOWN]))
        more = ", ..." if len(names) > _SHOWN else ""
        note = f"{source}: label names are numbered in sorted order: {listed}{more}"
        return numbers.reshape(-1).astype(np.int64), note
    if labels.dtype.kind not in "uifb":
        raise InputError(f"{source}: labels have dtype {labels.dtype}; expected whole numbers")
    bad = ~np.isfinite(labels) | (labels < 0)
    if labels.dtype.kind == "f":
        bad |= labels != np.floor(labels)
    if bad.any():
        first = int(np.flatnonzero(bad)[0])
        raise InputError(
            f"{source}: label {first} is {labels[first]:g}; expected classes numbered 0, 1, 2, "
            "...: number the classes from 0, or give the images without labels"
        )
    return labels.astype(np.int64), None


def _nhwc(images: np.ndarray, source: str) -> np.ndarray:
    shape = images.shape
    expected = "expected (n, H, W), (n, H, W, 1) or (n, H, W, 3)"
    if len(shape) == 3:
        images = images[..., None]
    elif len(shape) != 4:
        raise InputError(f"{source}: images have shape {shape}; {expected}")
    elif shape[-1] not in (1, 3):
        if shape[1] in (1, 3, 4):
            raise InputError(
                f"{source}: images have shape {shape}, channels first; {expected}: save "
                "images.transpose(0, 2, 3, 1) instead"
            )
        alpha = " with an alpha channel" if shape[-1] == 4 else ""
        remedy = "; save images[..., :3] if it carries nothing" if alpha else ""
        raise InputError(f"{source}: images have shape {shape}{alpha}; {expected}{remedy}")
    if 0 in images.shape:
        raise InputError(f"{source}: images have shape {shape}, so there are none; {expected}")
    return images


def _npz_arrays(
    archive: np.lib.npyio.NpzFile, split: str, path: Path
) -> tuple[np.ndarray, np.ndarray | None, str]:
    keys = archive.files
    if "x_train" in keys or "x_test" in keys:
        wanted = ("train", "test") if split == "all" else (split,)
        for name in wanted:
            if f"x_{name}" not in keys:
                raise InputError(
                    f"{path}: split {split!r} needs an array x_{name}; the file has "
                    f"{', '.join(keys)}"
                )
        parts = {n: (archive[f"x_{n}"], _optional(archive, f"y_{n}")) for n in wanted}
        return *split_of(parts, split), split
    only = next((key for key in ONE_ARRAY if key in keys), None)
    if only is None:
        raise InputError(
            f"{path}: expected arrays x_train and x_test, or one array named "
            f"{', '.join(ONE_ARRAY)}; the file has {', '.join(keys) or 'none'}"
        )
    labels = next((archive[key] for key in _ONE_LABELS if key in keys), None)
    return *split_of({"test": (archive[only], labels)}, "test"), "all"


def _optional(archive: np.lib.npyio.NpzFile, key: str) -> np.ndarray | None:
    return archive[key] if key in archive.files else None


def _not_numpy(path: Path, error: Exception) -> str:
    remedy = "save it again with numpy.savez or numpy.save as plain numbers"
    if any(word in str(error) for word in ("allow_pickle", "pickled", "Python objects")):
        return f"{path} holds pickled Python objects, which are never loaded; {remedy}"
    return f"{path} cannot be read as a NumPy file ({error}); {remedy}"
