"""What a weights file is, by its content: format, size and hashes. No TensorFlow."""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from vae_batch.models.extractors.weights.keras_h5 import keras_class_count
from vae_batch.models.extractors.weights.published import (
    FORMAT_EXTRACTORS,
    GRAPHDEF_MEMBER,
    PublishedWeights,
    published_by_hash,
)
from vae_batch.models.inputs.file_kind import FileKind, kind_of, read_zip_contents
from vae_batch.models.inputs.files import HEAD_BYTES
from vae_batch.plan.credentials import without_credentials
from vae_batch.plan.errors import InputError
from vae_batch.plan.location import require_regular

_CHUNK = 1 << 20
# Pickle protocol 2 of torch.save's magic number 0x1950a86a20f9469cfc6c.
TORCH_LEGACY_MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."

_FORMATS_OF_KINDS: dict[FileKind, str] = {
    "hdf5": "keras-h5",
    "truncated_hdf5": "keras-h5",  # refused by its hash, or when it is read
    "keras": "keras-archive",
    "zip": "zip",
    "npz": "zip",
    "truncated_zip": "zip-damaged",
    "pickle": "pickle",
    "html": "html",
    "lfs_pointer": "git-lfs",
    "empty": "empty",
}

# Formats that are recognised only to say why a file is refused.
_FOREIGN_WORDS = {
    "torchscript": "a TorchScript archive (it holds code), not a state dict",
    "keras-archive": "a .keras archive, not a weights file",
    "zip": "a zip archive without a PyTorch state dict",
    "zip-damaged": "a zip archive whose end is missing: it is truncated",
    "gzip": f"a gzip archive that cannot be read or has no {GRAPHDEF_MEMBER}",
    "pickle": "a pickle but not a PyTorch state dict; pickles can run code, so it is not opened",
    "html": "a web page, probably of an error or a login",
    "git-lfs": "a Git LFS pointer, not the file it points to",
    "empty": "empty",
    "unknown": "of no known weights format",
}


@dataclass(frozen=True)
class WeightFile:
    """One file and what it holds.

    Attributes:
        path: The file.
        format: A key of ``FORMAT_EXTRACTORS``, or the name of a format that is refused.
        bytes: Size of the file.
        sha256: Of the file; for a ``graphdef-tgz``, of the GraphDef inside.
        published: The published file with this hash, or None.
        class_count: Classes of the classifier, as far as the format or the file says.
        source: The URI that ``path`` is a copy of, or an empty string.
    """

    path: Path
    format: str
    bytes: int
    sha256: str
    published: PublishedWeights | None
    class_count: int
    source: str = ""

    @property
    def shown(self) -> str:
        """Its name in messages: the URI or path, without credentials."""
        return without_credentials(self.source) or str(self.path)

    @property
    def extractor(self) -> str | None:
        """The extractor that reads this format, or None."""
        return FORMAT_EXTRACTORS.get(self.format)

    @property
    def foreign_words(self) -> str | None:
        """What the file is if it is not a weights file, else None."""
        return _FOREIGN_WORDS.get(self.format)


#: The published one has 91 MiB.
_LARGEST_GRAPHDEF = 1 << 30


def _looks_like_graphdef(head: bytes) -> bool:
    """A GraphDef begins with a node (field 1), which begins with its name (field 1)."""
    if head[:1] != b"\x0a":
        return False
    name = 1
    while name < len(head) and head[name] & 0x80:
        name += 1
    name += 1
    return head[name : name + 1] == b"\x0a" and head[name + 2 : name + 4].isascii()


def sniff_format(path: Path) -> str:
    """Format of a file by its content; its name is ignored."""
    with path.open("rb") as stream:
        head = stream.read(HEAD_BYTES)
    if head.startswith(TORCH_LEGACY_MAGIC):
        return "torch-state-dict"
    if head.startswith(b"\x1f\x8b"):
        return "graphdef-tgz" if _graphdef_bytes(path) is not None else "gzip"
    if _looks_like_graphdef(head):
        return "graphdef"
    kind = kind_of(str(path), head)
    if kind == "pickle" and head.startswith(b"PK"):
        names = read_zip_contents(str(path)).names
        return "torchscript" if any("/code/" in name for name in names) else "torch-state-dict"
    return _FORMATS_OF_KINDS.get(kind, "unknown")


def _graphdef_bytes(path: Path) -> bytes | None:
    """Content of the GraphDef inside the published archive, or None."""
    try:
        with tarfile.open(path, "r:gz") as archive:
            for member in archive:
                if member.size > _LARGEST_GRAPHDEF:
                    return None
                if Path(member.name).name == GRAPHDEF_MEMBER and member.isfile():
                    stream = archive.extractfile(member)
                    return None if stream is None else stream.read()
    except (tarfile.TarError, EOFError, OSError, ValueError):
        return None
    return None


@contextmanager
def open_content(path: Path, format: str) -> Iterator[BinaryIO]:
    """Open the bytes that hold the weights: the file, or the GraphDef inside the archive."""
    if format == "graphdef-tgz":
        content = _graphdef_bytes(path)
        if content is None:
            raise InputError(f"{path}: the archive cannot be read; download it again.")
        yield io.BytesIO(content)
        return
    with path.open("rb") as stream:
        yield stream


def hash_content(path: Path, format: str) -> tuple[str, str]:
    """Hex SHA-256 and MD5 of the bytes that ``open_content`` opens."""
    sha256, md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
    with open_content(path, format) as stream:
        while chunk := stream.read(_CHUNK):
            sha256.update(chunk)
            md5.update(chunk)
    return sha256.hexdigest(), md5.hexdigest()


def _class_count(path: Path, format: str, published: PublishedWeights | None) -> int:
    if published is not None:
        return published.class_count
    if format == "keras-h5":
        return keras_class_count(path)
    return 1008 if format in FORMAT_EXTRACTORS else 0


def inspect_weight_file(path: Path) -> WeightFile:
    """Read format, size and hashes of a file.

    Raises:
        InputError: The file does not exist or cannot be read.
    """
    if path.is_dir() or not path.exists():
        found = "a folder" if path.is_dir() else "nothing"
        raise InputError(f"weights: expected a file at {path}, found {found}.")
    try:
        require_regular(path)
        format = sniff_format(path)
        sha256, md5 = hash_content(path, format)
        size = path.stat().st_size
    except OSError as error:
        raise InputError(f"weights: {path} cannot be read: {error}.") from error
    published = published_by_hash(sha256, md5, format)
    classes = _class_count(path, format, published)
    return WeightFile(path, format, size, sha256, published, classes)
