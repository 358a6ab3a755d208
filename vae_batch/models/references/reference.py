"""Reference sets: the real images that generated ones are compared with, in a fixed order.

Opening a set checks everything that can be checked without decoding every image; reading returns
uint8 NHWC. scikit-learn, Pillow and Keras are imported only by the sources that need them, so a
driver can open most sets without TensorFlow. Workers never open a set: they read the images that
the driver has stored.
"""

from __future__ import annotations

import difflib
import os
import shlex
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from vae_batch.models.image_range import VALUE_RANGES, bounds_of, to_three_channels
from vae_batch.models.inputs.files import LocalCopy
from vae_batch.models.references.array_images import (
    ONE_ARRAY,
    ArrayPixels,
    class_labels,
    npy_pixels,
    npz_pixels,
    split_of,
)
from vae_batch.models.references.encoded_images import (
    EncodedPixels,
    folder_pixels,
    is_image_name,
    parquet_pixels,
    zip_pixels,
)
from vae_batch.models.references.fit import SquareFit
from vae_batch.models.references.subset import Subset, subset_positions, unlike_the_rest
from vae_batch.plan.errors import InputError
from vae_batch.plan.location import Location, is_uri, require_regular
from vae_batch.plan.reading import Colours
from vae_batch.storage.array_files import npy_array, npz_headers

_CHANNELS: dict[Colours, int] = {"grey": 1, "rgb": 3}
SPLITS = ("train", "test", "all")
_PATH_KINDS = (
    "a folder or .zip of png/jpg/jpeg/bmp/webp images, a .npz, a .npy or a .parquet file; also as "
    "URI"
)
_DIGITS_TRAIN = 1000

Pixels = ArrayPixels | EncodedPixels

_EncodedReader = Callable[[Path, SquareFit | None], tuple[EncodedPixels, np.ndarray | None]]
_ENCODED: dict[str, _EncodedReader] = {
    ".parquet": parquet_pixels,
    ".zip": zip_pixels,
}


@dataclass(frozen=True)
class ReferenceImages:
    """A set of real images in a fixed order.

    Attributes:
        name: The named set, the path as it was given, or a URI without query and credentials.
        split: ``train``, ``test`` or ``all``; a source without splits is ``all``.
        source_range: (black, white) of the stored values.
        range_inferred: Whether the range was inferred from the values instead of declared.
        shape: (H, W, C) of one image; C is 1 or 3.
        labels: (n,) int64 classes if the source has them, else None.
        classes: Number of classes of the whole split (its largest label plus 1), or None.
        notes: Sentences for the user, such as how label names were numbered.
        grey_remedy: What to do where an image of a grey set has unequal channels.
    """

    name: str
    split: str
    source_range: tuple[float, float]
    range_inferred: bool
    shape: tuple[int, int, int]
    labels: np.ndarray | None
    classes: int | None
    _pixels: Pixels
    _positions: np.ndarray
    _all_labels: np.ndarray | None = None
    notes: tuple[str, ...] = ()
    _copy: LocalCopy | None = None  # holds files that pixels are read from
    grey_remedy: str = "leave out --reference-colours grey"

    def __len__(self) -> int:
        return len(self._positions)

    @property
    def whole_count(self) -> int:
        """Images of the whole split, of which these may be a subset."""
        return len(self._pixels)

    def unlike_the_rest(self) -> str | None:
        """Whether these are the first images and differ from the others; see ``subset``."""
        if self._positions[-1] + 1 > len(self):
            return None
        labels = self._all_labels
        return unlike_the_rest(len(self), self.whole_count, self._pixels.read, labels)

    def read(self, start: int, stop: int) -> np.ndarray:
        """Read images [start, stop) as (stop - start, H, W, C) uint8 in [0, 255].

        Raises:
            IndexError: The range is not within the set.
            InputError: An image file cannot be decoded; the message names it.
        """
        if not 0 <= start <= stop <= len(self):
            raise IndexError(f"images [{start}, {stop}) of {self.name}, which has {len(self)}")
        if start == stop:
            return np.empty((0, *self.shape), np.uint8)
        return self.at(np.arange(start, stop))

    def at(self, indices: npt.NDArray[np.int64]) -> np.ndarray:
        """Read images at (n,) indices of the set as (n, H, W, C) uint8 in [0, 255].

        Raises:
            InputError: An image file cannot be decoded; the message names it.
        """
        return self._in_colours(self._pixels.read(self._positions[indices]), indices)

    @property
    def own_channels(self) -> int:
        """Channels of the stored images."""
        return self._pixels.shape[2]

    def _in_colours(
        self, images: npt.NDArray[np.uint8], indices: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.uint8]:
        """Images with as many channels as the set is declared to have."""
        if images.shape[-1] == self.shape[-1]:
            return images
        if self.shape[-1] == 3:
            return to_three_channels(images)
        unequal = (images != images[..., :1]).any(axis=(1, 2, 3))
        if unequal.any():
            raise InputError(
                f"{self.name}: image {indices[np.argmax(unequal)]} has unequal channels, so it "
                f"is no grey image; {self.grey_remedy}"
            )
        return images[..., :1]


@dataclass(frozen=True)
class ProbeImages:
    """Images on which a network is tried.

    Attributes:
        pixels: (n, H, W, C) uint8.
        labels: (n,) their classes, or None.
        classes: Number of classes, or None.
        name: Of their reference set.
    """

    pixels: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64] | None
    classes: int | None
    name: str

    @classmethod
    def of(cls, images: ReferenceImages, count: int) -> ProbeImages:
        """The first images of a set, at most ``count``."""
        count = min(count, len(images))
        labels = None if images.labels is None else images.labels[:count]
        return cls(images.read(0, count), labels, images.classes, images.name)


def open_reference(
    source: str,
    split: str = "test",
    value_range: str | None = None,
    limit: int | None = None,
    subset: Subset = "first",
    colours: Colours | None = None,
    fit: SquareFit | None = None,
) -> ReferenceImages:
    """Open a reference set by name, path or URI.

    Args:
        source: ``digits`` (scikit-learn's bundled 8x8 digits), ``mnist``, ``fashion_mnist`` or
            ``cifar10``; or a folder or ``.zip`` of images (sorted by relative path, subfolders
            included), a ``.npz`` (x_train/x_test, or one array named images, arr_0 or x), a
            ``.npy`` or a ``.parquet`` file with a column of encoded images. What a URI names is
            copied into a temporary folder for as long as the set is open.
        split: ``train``, ``test`` or ``all`` (train, then test); ignored by sources without splits.
        value_range: Range of the stored values, one of ``VALUE_RANGES``. None means 0..255 for
            integers and infers the range of floats. It is checked over the whole set, before
            ``limit``.
        limit: Use only ``limit`` images.
        subset: Which: the ``first`` ones, or a ``random`` draw that is the same in every call.
        colours: ``grey`` takes one of three equal channels, as checked when images are read;
            ``rgb`` repeats a grey channel; None takes images as they are.
        fit: Brings images of any size to one; None refuses those that differ in size.

    Returns:
        The set. Encoded images are not decoded yet.

    Raises:
        InputError: The source is unknown, unreadable, empty, of mixed sizes, outside its range, or
            smaller than ``limit``.
    """
    if split not in SPLITS:
        raise InputError(f"reference split {split!r} is not known; it may be {', '.join(SPLITS)}")
    if value_range is not None:
        bounds_of(value_range)
    copy = _copied(source) if is_uri(source) else None
    name = Location.parse(source).label if copy else source
    try:
        path = str(copy.path) if copy else source
        pixels, labels, actual_split = _open(path, split, value_range, fit)
    except InputError as error:
        raise InputError(_named(str(error), copy, name)) from None
    if copy and isinstance(pixels, EncodedPixels):
        pixels = replace(pixels, names=[_named(image, copy, name) for image in pixels.names])
    count = len(pixels)
    notes = [_named(note, copy, name) for note in getattr(pixels, "notes", ())]
    if labels is not None:
        labels, note = class_labels(labels, count, name)
        notes += [note] if note else []
    if pixels.range_inferred:
        low, high = pixels.source_range
        notes.append(
            f"reference {name}: value range {low:g}..{high:g} inferred and checked; declare it "
            "with --reference-range"
        )
    if limit is not None and not 1 <= limit <= count:
        raise InputError(
            f"{name}: {limit} reference images were asked for, but split {actual_split!r} "
            f"has {count}; ask for 1 to {count}"
        )
    positions = subset_positions(subset, limit or count, count)
    return ReferenceImages(
        name=name,
        split=actual_split,
        source_range=pixels.source_range,
        range_inferred=pixels.range_inferred,
        shape=(*pixels.shape[:2], _CHANNELS[colours] if colours else pixels.shape[2]),
        labels=None if labels is None else labels[positions],
        classes=None if labels is None else int(labels.max()) + 1,
        _pixels=pixels,
        _positions=positions,
        _all_labels=labels,
        notes=tuple(notes),
        _copy=copy,
    )


def open_generated(
    path: str, value_range: str | None, limit: int, subset: Subset, channels: int | None
) -> ReferenceImages:
    """Open a set of generated images, read as a reference is.

    Args:
        path: Local folder or file, as ``open_reference`` takes them; labels are ignored.
        value_range: Of floats, or None to infer it; 8-bit images are 0..255, or binarised.
        limit: Use at most as many images.
        subset: Which, where the set holds more.
        channels: 1 or 3: one of three equal channels is taken, or a grey one repeated; None for its
            own.

    Raises:
        InputError: It is unreadable, empty, of mixed sizes, or outside its range.
    """
    declared = value_range if _holds_floats(path) else None
    try:
        pixels, _, split = _open(path, "all", declared)
    except InputError as error:
        raise InputError(str(error).replace("--reference-range", "--model-range")) from None
    return ReferenceImages(
        name=path,
        split=split,
        source_range=pixels.source_range,
        range_inferred=pixels.range_inferred,
        shape=(*pixels.shape[:2], channels or pixels.shape[2]),
        labels=None,
        classes=None,
        _pixels=pixels,
        _positions=subset_positions(subset, min(limit, len(pixels)), len(pixels)),
        grey_remedy="the reference images are grey: score it against colour images, or save grey",
        notes=tuple(getattr(pixels, "notes", ())),
    )


def _holds_floats(path: str) -> bool:
    """Whether a file holds an array of images that are floats."""
    try:
        if path.endswith(".npy"):
            return npy_array(path).dtype.kind == "f"
        headers = npz_headers(path) if path.endswith(".npz") else {}
    except (OSError, ValueError):  # opening it says why
        return False
    return any(key in headers and headers[key][1].kind == "f" for key in ONE_ARRAY)


def require_source(source: str) -> None:
    """Refuse a source that is neither a URI, a named set nor an existing path; nothing is read.

    Raises:
        InputError: Names the known sets and kinds of paths.
    """
    if source not in _NAMED and not is_uri(source) and not Path(source).expanduser().exists():
        raise InputError(_unknown(source))


def _copied(uri: str) -> LocalCopy:
    """Copy what a URI names; of a folder, only the images."""
    label = Location.parse(uri).label
    try:
        return LocalCopy(uri, is_image_name)
    except FileNotFoundError:
        raise InputError(
            f"reference {label!r} does not exist; expected {_PATH_KINDS}, or a named set: "
            f"{', '.join(NAMED_SETS)}"
        ) from None
    except OSError as error:
        raise InputError(f"reference {label!r} cannot be read: {error}") from None


def _named(message: str, copy: LocalCopy | None, source: str) -> str:
    """A message in which a copy has the name of its original."""
    return message if copy is None else message.replace(str(copy.path), source)


def _open(
    source: str, split: str, value_range: str | None, fit: SquareFit | None = None
) -> tuple[Pixels, np.ndarray | None, str]:
    """Pixels, labels and the split that they belong to."""
    if source in _NAMED:
        images, labels, stored = _NAMED[source](split)
        _require_range(value_range, stored, source)
        return ArrayPixels(images, stored, range_inferred=False, fit=fit), labels, split
    path = Path(source).expanduser()
    suffix = path.suffix.lower()
    if not path.exists():
        raise InputError(_unknown(source))
    try:
        require_regular(path)
    except OSError as error:
        raise InputError(f"reference {source!r} cannot be read: {error}") from None
    if path.is_dir() or suffix in _ENCODED:
        read = folder_pixels if path.is_dir() else _ENCODED[suffix]
        pixels, labels = read(path, fit)
        if value_range == "0..1":  # binarised, as checked when they are read
            pixels = replace(pixels, source_range=VALUE_RANGES[value_range])
        _require_range(value_range, pixels.source_range, source)
        return pixels, labels, "all"
    if suffix == ".npz":
        array, labels, actual = npz_pixels(path, split, value_range)
        return replace(array, fit=fit), labels, actual
    if suffix == ".npy":
        return replace(npy_pixels(path, value_range), fit=fit), None, "all"
    if suffix in (".pkl", ".pickle"):
        raise InputError(_pickled(path))
    raise InputError(
        f"reference {source!r}: a {suffix or 'nameless'} file is not a set; expected {_PATH_KINDS}"
    )


def _pickled(path: Path) -> str:
    """EDM's statistics are pickles; the command writes those of FID for ``.npz``."""
    source, target = str(path), str(path.with_suffix(".npz"))
    code = (
        f"import pickle, numpy; r = pickle.load(open({source!r}, 'rb')); "
        f"numpy.savez({target!r}, n=r['num_images'], **r['fid'])"
    )
    return (
        f"reference {source!r} is a pickle, which runs code when it is opened, so it is refused. "
        "If it holds EDM's statistics and you trust it, convert it: python -c "
        f"{shlex.quote(code)}, and give the .npz"
    )


def _require_range(value_range: str | None, stored: tuple[float, float], source: str) -> None:
    if value_range is not None and VALUE_RANGES[value_range] != stored:
        raise InputError(
            f"{source}: its images are stored in {stored[0]:g}..{stored[1]:g}, but value_range "
            f"{value_range!r} was declared; leave it out"
        )


_Loaded = tuple[np.ndarray, np.ndarray | None, tuple[float, float]]


def _digits(split: str) -> _Loaded:
    """The bundled 8x8 digits, values 0..16: train is 1000 of a fixed shuffle, test the other 797.

    RandomState, since NumPy promises that its stream never changes.
    """
    from sklearn.datasets import load_digits

    digits = load_digits()
    order = np.random.RandomState(0).permutation(len(digits.target))
    chosen = {"train": order[:_DIGITS_TRAIN], "test": order[_DIGITS_TRAIN:], "all": order}[split]
    labels = digits.target[chosen].astype(np.int64)
    return digits.images[chosen][..., None], labels, (0.0, 16.0)


def _mnist(split: str) -> _Loaded:
    """MNIST, read from Keras' cache without importing Keras if it is there."""
    cached = _keras_home() / "datasets" / "mnist.npz"
    if not cached.is_file():
        return _from_keras("mnist", split)
    pixels, labels, _ = npz_pixels(cached, split, "0..255")
    if labels is None or pixels.shape != (28, 28, 1):
        raise InputError(f"{cached} is not Keras' mnist.npz; remove it and download it again")
    return pixels.images, labels, (0.0, 255.0)


def _keras_home() -> Path:
    return Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras").expanduser()


def _from_keras(name: str, split: str) -> _Loaded:
    """A set of keras.datasets, which imports TensorFlow and may download."""
    import keras

    try:
        (x_train, y_train), (x_test, y_test) = getattr(keras.datasets, name).load_data()
    except Exception as error:  # Keras raises a bare Exception when a download fails
        raise InputError(
            f"reference {name!r} is not in Keras' cache and could not be downloaded "
            f"({type(error).__name__}: {error}). Without a network: copy the folder "
            f"{_keras_home() / 'datasets'} from a machine where keras.datasets.{name}.load_data() "
            "has run, or save the images as .npz (x_train, y_train, x_test, y_test) and give that "
            "path as the reference"
        ) from error
    images, labels = split_of({"train": (x_train, y_train), "test": (x_test, y_test)}, split)
    return (images if images.ndim == 4 else images[..., None]), labels, (0.0, 255.0)


_NAMED: dict[str, Callable[[str], _Loaded]] = {
    "digits": _digits,
    "mnist": _mnist,
    "fashion_mnist": lambda split: _from_keras("fashion_mnist", split),
    "cifar10": lambda split: _from_keras("cifar10", split),
}
NAMED_SETS = tuple(_NAMED)


def _unknown(source: str) -> str:
    nearest = difflib.get_close_matches(source, NAMED_SETS, n=1)
    hint = f"; did you mean {nearest[0]!r}?" if nearest else "."
    return (
        f"reference {source!r} is neither a named set nor an existing path{hint} "
        f"Named sets: {', '.join(NAMED_SETS)}. Paths: {_PATH_KINDS}."
    )
