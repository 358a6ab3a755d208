"""Names in a zip archive, read from its table of contents in bounded memory."""

from __future__ import annotations

import os
import struct
import zipfile
from dataclasses import dataclass

_END = struct.Struct("<4s4H2LH")  # end of central directory, without its comment
_END_64 = struct.Struct("<4sQ2H2L4Q")  # the same of a zip64 archive, before it
_LOCATOR_64 = 20
_LONGEST_COMMENT = 1 << 16
_MOST_ENTRIES = 10_000
_LARGEST_TABLE = 16 << 20


@dataclass(frozen=True)
class ZipContents:
    """A zip archive's table of contents.

    Attributes:
      names: Of its members.
      problem: Why there are none: ``truncated``, ``oversized``, or None.
    """

    names: tuple[str, ...] = ()
    problem: str | None = None


def read_zip_contents(path: str) -> ZipContents:
    """The members' names; nothing is unpacked.

    An archive without its end is truncated: its table of contents is written last. A table of
    more than 10,000 members or 16 MiB is not read, since no model needs one.
    """
    try:
        entries, table = _table_size(path)
        if entries > _MOST_ENTRIES or table > _LARGEST_TABLE:
            return ZipContents(problem="oversized")
        with zipfile.ZipFile(path) as archive:
            return ZipContents(tuple(archive.namelist()))
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError):
        return ZipContents(problem="truncated")


def _table_size(path: str) -> tuple[int, int]:
    """Entries and bytes of the table of contents, as the archive's end states them."""
    with open(path, "rb") as stream:
        size = stream.seek(0, os.SEEK_END)
        longest = _LONGEST_COMMENT + _END.size + _LOCATOR_64 + _END_64.size
        stream.seek(max(0, size - longest))
        tail = stream.read()
    start = tail.rfind(b"PK\x05\x06")
    if start < 0 or len(tail) - start < _END.size:
        raise ValueError("no end of central directory")
    fields = _END.unpack_from(tail, start)
    entries, table = fields[4], fields[5]
    start_64 = start - _LOCATOR_64 - _END_64.size
    if start_64 >= 0 and tail.startswith(b"PK\x06\x06", start_64):
        fields = _END_64.unpack_from(tail, start_64)
        entries, table = max(entries, fields[7]), max(table, fields[8])
    return entries, table
