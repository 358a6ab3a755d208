"""Reads of remote files that are whole, or fail.

pyarrow's S3 client asks for a range of a length it has looked up before. Of an answer that is
shorter, and says so itself, it gives the full length nevertheless, with whatever its memory held
before after the end, and no error. So each read goes into a buffer that ends in a random mark: a
mark that is still there afterwards was never written over.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from typing import Any

_MARK_BYTES = 16
_PIECE = 64 << 20


class ShortReadError(ConnectionError):
    """The answer ended before the file did; asking again may help."""


def read_whole(filesystem: Any, path: str) -> bytes:  # noqa: ANN401 - pyarrow has no types
    """Content of a file.

    Args:
        filesystem: Of pyarrow.
        path: In it.

    Raises:
        FileNotFoundError: There is none.
        ShortReadError: Less than the whole was received.
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
    """Fill a part of a buffer; a mark of few bytes may be met by chance, and is then read again."""
    mark = secrets.token_bytes(min(_MARK_BYTES, len(target)))
    target[-len(mark) :] = mark
    received = stream.readinto(target)
    if received != len(target) or target[-len(mark) :] == mark:
        raise ShortReadError(f"{path}: the answer ended before the file did")
