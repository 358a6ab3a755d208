"""Encoded images (png, jpeg, ...): a folder, a zip archive, or a column of a Parquet file."""

from __future__ import annotations

import functools
import io
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vae_batch.models.image_range import to_uint8
from vae_batch.models.inputs.file_kind import read_zip_contents
from vae_batch.models.inputs.files import is_hidden, walk
from vae_batch.models.references.fit import SquareFit
from vae_batch.plan.errors import InputError
from vae_batch.plan.quantities import plural
from vae_batch.storage.array_files import require_memory

if TYPE_CHECKING:
    import pyarrow as pa
    from PIL import Image

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp")
_GREY_MODES = ("1", "L")
_COLOUR_MODES = ("RGB", "P", "CMYK", "YCbCr")

#: Members and bytes of a zip archive's table of contents, and bytes of one image in it.
_MOST_MEMBERS, _LARGEST_TABLE, _LARGEST_IMAGE = 10_000_000, 1 << 30, 1 << 28

#: Where an encoded image is: a file, its bytes, or what reads them.
Encoded = Path | bytes | Callable[[], bytes]


@dataclass(frozen=True)
class EncodedPixels:
    """Encoded images, decoded when they are read.

    Attributes:
        names: What errors call each image.
        encoded: Path or bytes of each image, or what reads them.
        shape: (H, W, C) of every image.
        source_range: (black, white) of the stored values.
        range_inferred: Always False.
        fit: Brings the images to ``shape``; None where they have it.
        notes: Sentences for the user, such as what was skipped.
    """

    names: Sequence[str]
    encoded: Sequence[Encoded]
    shape: tuple[int, int, int]
    source_range: tuple[float, float] = (0.0, 255.0)
    range_inferred: bool = False
    fit: SquareFit | None = None
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.encoded)

    def read(self, positions: np.ndarray) -> np.ndarray:
        """Read images at (n,) positions as (n, H, W, C) uint8 in [0, 255].

        Raises:
            InputError: An image is truncated or damaged; the message names it.
        """
        images = np.empty((len(positions), *self.shape), np.uint8)
        for row, index in enumerate(positions):
            images[row] = self._decode(int(index))
        return images

    def _decode(self, index: int) -> np.ndarray:
        with _opened(self.encoded[index], self.names[index]) as image:
            try:
                converted = image.convert("L" if self.shape[2] == 1 else "RGB")
                if self.fit is not None:
                    converted = self.fit.of_image(converted)
            except (OSError, SyntaxError, ValueError, OverflowError, MemoryError) as error:
                raise InputError(
                    f"image {self.names[index]} is truncated or damaged ({error}); replace or "
                    "remove it"
                ) from error
        pixels = np.asarray(converted).reshape(self.shape)
        if self.source_range == (0.0, 255.0):
            return pixels
        if pixels.max() > self.source_range[1]:
            raise InputError(
                f"image {self.names[index]} has the value {pixels.max()}, outside the declared "
                f"range 0..{self.source_range[1]:g}"
            )
        return to_uint8(pixels, self.source_range)


def is_image_name(name: str) -> bool:
    """Whether a file's name is that of an encoded image."""
    return name.lower().endswith(IMAGE_SUFFIXES)


def folder_pixels(folder: Path, fit: SquareFit | None = None) -> tuple[EncodedPixels, None]:
    """Images of a folder and its subfolders, sorted by relative path.

    Links are followed; what they lead to a second time is skipped.

    Raises:
        InputError: There are no images, a link is broken, or something is no file.
    """
    found = walk(folder)
    if found.broken:
        raise InputError(
            f"{folder}: {plural(len(found.broken), 'broken link')}, such as {found.broken[0]}; "
            "restore what they name, or remove them"
        )
    if found.irregular:
        raise InputError(
            f"{folder}: {found.irregular[0]} is a pipe, a socket or a device; remove it, and what "
            "else is no file"
        )
    names = sorted(filter(is_image_name, found.files))
    if not names:
        raise InputError(
            f"{folder}: no images in this folder; expected files ending in "
            f"{', '.join(IMAGE_SUFFIXES)}"
        )
    others = Counter(Path(name).suffix or "no suffix" for name in found.files)
    skipped = [
        f"{plural(count, 'file')} with {suffix}"
        for suffix, count in sorted(others.items())
        if suffix.lower() not in IMAGE_SUFFIXES
    ]
    if found.repeated:
        again = plural(len(found.repeated), "path")
        skipped.append(f"{again} that links lead to again, such as {found.repeated[0]}")
    notes = (f"{folder}: {len(names)} images are read; skipped: {', '.join(skipped)}",)
    paths = [folder / name for name in names]
    shape = _shared_shape(paths, names, str(folder), fit)
    return EncodedPixels(names, paths, shape, fit=fit, notes=notes if skipped else ()), None


def zip_pixels(path: Path, fit: SquareFit | None = None) -> tuple[EncodedPixels, None]:
    """Images of a zip archive, sorted by their names in it; read from it one by one.

    Raises:
        InputError: It is no archive, holds no images, or one of them cannot be.
    """
    try:
        archive = zipfile.ZipFile(path)
        sizes = {member.filename: member.file_size for member in archive.infolist()}
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError) as error:
        raise InputError(f"{path} is not a readable zip archive ({error})") from error
    names = zip_image_names(path)
    if not names:
        raise InputError(
            f"{path}: no images in this archive; expected files ending in "
            f"{', '.join(IMAGE_SUFFIXES)}"
        )
    large = next((name for name in names if sizes[name] > _LARGEST_IMAGE), None)
    if large is not None:
        raise InputError(f"{path}: {large} says that it is of {sizes[large]:,} bytes; remove it")
    read = [functools.partial(archive.read, name) for name in names]
    shown = [f"{path}/{name}" for name in names]
    return EncodedPixels(shown, read, _shared_shape(read, shown, str(path), fit), fit=fit), None


def zip_image_names(path: Path) -> list[str]:
    """Sorted names of the images in a zip archive, without hidden ones; none where it is damaged.

    Only its table of contents is read.
    """
    names = read_zip_contents(str(path), _MOST_MEMBERS, _LARGEST_TABLE).names
    return sorted(name for name in names if is_image_name(name) and not is_hidden(name))


def parquet_pixels(
    path: Path, fit: SquareFit | None = None
) -> tuple[EncodedPixels, np.ndarray | None]:
    """Images and labels of a Parquet file with one column of encoded images.

    The column is binary, or a struct with a binary field ``bytes``. Labels are read from an
    column ``label`` or ``labels`` of integers or strings.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        schema = pq.read_schema(path)
        column = _image_column(schema, path)
        label = next(
            (n for n in ("label", "labels") if n in schema.names and _names_classes(schema, n)),
            None,
        )
        columns = [column] + ([label] if label else [])
        require_memory(_unpacked(pq.read_metadata(path), columns), "unpacked, it")
        table = pq.read_table(path, columns=columns)
    except InputError:
        raise
    except (pa.ArrowException, OSError, ValueError, OverflowError, MemoryError) as error:
        raise InputError(f"{path} is not a readable Parquet file ({error})") from error
    values = [_bytes_of(value) for value in table[column].to_pylist()]
    names = [f"{path} row {row}" for row in range(len(values))]
    for name, value in zip(names, values, strict=True):
        if not value:
            raise InputError(
                f"image {name}: column {column!r} holds no bytes; embed the images in the file"
            )
    if not values:
        raise InputError(f"{path}: no rows; expected at least one image")
    known = label is not None and table[label].null_count == 0
    labels = np.array(table[label].to_pylist()) if known else None
    shape = _shared_shape(values, names, str(path), fit)
    return EncodedPixels(names, values, shape, fit=fit), labels


def parquet_rows(path: Path) -> int:
    """Rows of a Parquet file with a column of encoded images; 0 of any other.

    Raises:
        OSError: It cannot be read.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        metadata = pq.read_metadata(path)
        _image_column(metadata.schema.to_arrow_schema(), path)
    except (pa.ArrowException, InputError):
        return 0
    return int(metadata.num_rows)


def _unpacked(metadata: Any, columns: Sequence[str]) -> int:  # noqa: ANN401 - pyarrow's
    """Bytes that columns of a Parquet file unpack to, as its footer says."""
    parts = (
        metadata.row_group(group).column(number)
        for group in range(metadata.num_row_groups)
        for number in range(metadata.num_columns)
    )
    named = (part for part in parts if part.path_in_schema.split(".")[0] in columns)
    return sum(part.total_uncompressed_size for part in named)


def _opened(encoded: Encoded, name: str) -> Image.Image:
    from PIL import Image, UnidentifiedImageError

    try:
        if isinstance(encoded, Path):
            return Image.open(encoded)
        return Image.open(io.BytesIO(encoded if isinstance(encoded, bytes) else encoded()))
    except (
        zipfile.BadZipFile, RuntimeError, NotImplementedError, zlib.error,
        UnidentifiedImageError, OSError, ValueError, SyntaxError, OverflowError, MemoryError,
        Image.DecompressionBombError,
    ) as error:  # fmt: skip
        raise InputError(f"image {name} cannot be read ({error}); replace or remove it") from error


def _shared_shape(
    encoded: Sequence[Encoded], names: Sequence[str], source: str, fit: SquareFit | None
) -> tuple[int, int, int]:
    """(H, W, C) by every image's header; C is 3 if any image has colour.

    Where the images are fitted, they may differ in size.
    """
    size: tuple[int, int] | None = None
    channels = 1
    for item, name in zip(encoded, names, strict=True):
        with _opened(item, name) as image:
            if image.mode not in _GREY_MODES + _COLOUR_MODES:
                raise InputError(
                    f"image {name} has mode {image.mode}; expected 8-bit grey or RGB without "
                    "alpha: convert it"
                )
            if "transparency" in image.info:
                raise InputError(
                    f"image {name} marks a colour as transparent; what is behind it is not known: "
                    "save it without transparency (of Pillow, image.convert('RGBA').convert('RGB') "
                    "or convert('L') for grey)"
                )
            size = size or (image.size if fit is None else (fit.size, fit.size))
            if fit is None and image.size != size:
                raise InputError(
                    f"{source}: images differ in size: {names[0]} is {size[0]}x{size[1]}, {name} "
                    f"is {image.size[0]}x{image.size[1]} (width x height); resize them to one "
                    "size, or declare --reference-fit center-crop and --reference-size"
                )
            channels = max(channels, 1 if image.mode in _GREY_MODES else 3)
    assert size is not None  # callers pass at least one image
    return size[1], size[0], channels


def _image_column(schema: pa.Schema, path: Path) -> str:
    import pyarrow.types as kinds

    def holds_bytes(kind: pa.DataType) -> bool:
        if kinds.is_struct(kind):
            return kind.get_field_index("bytes") >= 0 and holds_bytes(kind.field("bytes").type)
        return bool(kinds.is_binary(kind) or kinds.is_large_binary(kind))

    found = [field.name for field in schema if holds_bytes(field.type)]
    named = [name for name in ("image", "images", "img") if name in found]
    if named or len(found) == 1:
        return (named or found)[0]
    raise InputError(
        f"{path}: expected one column of encoded images (binary, or a struct with 'bytes') named "
        f"image; found columns {', '.join(schema.names)}"
    )


def _names_classes(schema: pa.Schema, name: str) -> bool:
    import pyarrow.types as kinds

    kind = schema.field(name).type
    return bool(kinds.is_integer(kind) or kinds.is_string(kind) or kinds.is_large_string(kind))


def _bytes_of(value: bytes | dict[str, bytes] | None) -> bytes:
    return (value.get("bytes") if isinstance(value, dict) else value) or b""
