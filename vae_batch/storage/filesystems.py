"""Opens the file system of a location, and reads files of it whole or not at all.

pyarrow's S3 client asks for a range of bytes whose length it has looked up before. Where the answer
is shorter, it returns the full length nevertheless, without an error: the end holds whatever was in
memory before. So each read goes into a buffer that ends in a random mark; a mark that is still
there afterwards has not been overwritten.
"""

from __future__ import annotations

import functools
import re
import secrets
from collections.abc import Iterator
from typing import Any

from pyarrow import ArrowInvalid
from pyarrow import fs as arrow_fs

from vae_batch.plan.errors import InputError
from vae_batch.plan.location import Location
from vae_batch.storage.retry import retrying

_MARK_BYTES = 16
_PIECE = 64 << 20

_WILDCARD = re.compile(r"[*?{]|\[(?![0-9a-fA-F:.]+\])")  # a host may be [::1]


def open_filesystem(location: Location) -> tuple[arrow_fs.FileSystem, str]:
    """Open the pyarrow file system of a location, and name the path in it.

    Args:
        location: Local path or URI. Its path may hold wildcards.

    Returns:
        The file system and the location's path in it.

    Raises:
        InputError: The scheme is unknown, the URI is not well formed, or the store cannot be
            reached.
    """
    if not location.scheme:
        return arrow_fs.LocalFileSystem(), str(location.local_path)
    host = location.authority.rpartition("@")[2]
    if location.scheme == "s3" and (":" in host or "?" in location.user):
        raise InputError(
            f"{location.label}: write a key or secret in a URI with %2F for /, %3F for ? and %40 "
            "for @; or leave it out and set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        )
    if _WILDCARD.search(host):
        raise InputError(f"{location.label}: write the bucket or host in full, without wildcards")
    query = f"?{location.query}" if location.query else ""
    try:
        filesystem, root = _open_root(f"{location.scheme}://{location.authority}/{query}")
    except (ArrowInvalid, OSError) as error:
        raise InputError(
            f"{location.label} cannot be opened: {error}; expected a local path or a URI such as "
            "s3://bucket/folder, gs://bucket/folder or file:///folder"
        ) from None
    path = f"{root.rstrip('/')}/{location.path}".rstrip("/") if root else location.path
    return filesystem, path or "/"


@functools.lru_cache(maxsize=64)
def _open_root(address: str) -> tuple[arrow_fs.FileSystem, str]:
    """Open a bucket or host once: without a region in the URI, pyarrow asks the service for it."""
    if address.startswith("s3://") and "allow_delayed_open" not in address:
        # Small files are then written by one request; pyarrow's multipart upload takes three.
        address += f"{'&' if '?' in address else '?'}allow_delayed_open=true"
    filesystem, root = retrying(lambda: arrow_fs.FileSystem.from_uri(address), f"opening {address}")
    return filesystem, root


class ShortReadError(ConnectionError):
    """The answer ended before the file did; a retry may help."""


def read_whole(filesystem: Any, path: str) -> bytes:  # noqa: ANN401 - pyarrow has no types
    """Content of a whole file.

    Args:
        filesystem: A pyarrow file system.
        path: Path in it.

    Raises:
        FileNotFoundError: It does not exist.
        ShortReadError: Only a part of it was received.
        OSError: It cannot be read.
    """
    with filesystem.open_input_file(path) as stream:
        content = bytearray(stream.size())
        for start in range(0, len(content), _PIECE):
            _fill(stream, memoryview(content)[start : start + _PIECE], path)
    return bytes(content)


def read_start(filesystem: Any, path: str, size: int) -> bytes:  # noqa: ANN401
    """The first ``size`` bytes of a file, or all of a shorter one; errors as above."""
    with filesystem.open_input_file(path) as stream:
        content = bytearray(min(size, stream.size()))
        if content:
            _fill(stream, memoryview(content), path)
    return bytes(content)


def read_pieces(filesystem: Any, path: str, size: int) -> Iterator[bytes]:  # noqa: ANN401
    """Content of a file in pieces of ``size`` bytes, the last one shorter; errors as above."""
    with filesystem.open_input_file(path) as stream:
        left = stream.size()
        while left:
            piece = bytearray(min(size, left))
            _fill(stream, memoryview(piece), path)
            left -= len(piece)
            yield bytes(piece)


def _fill(stream: Any, target: memoryview, path: str) -> None:  # noqa: ANN401
    """Fill a buffer; a short file may equal its mark by chance, and is then read again."""
    mark = secrets.token_bytes(min(_MARK_BYTES, len(target)))
    target[-len(mark) :] = mark
    received = stream.readinto(target)
    if received != len(target) or target[-len(mark) :] == mark:
        raise ShortReadError(f"{path}: the answer ended before the file did")
