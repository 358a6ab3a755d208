"""Where something is stored: a local path, or a URI of a file system that pyarrow opens."""

from __future__ import annotations

import errno
import os
import re
import stat
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import quote, unquote

# "?" is a wildcard too: a query starts with key=value, has no wildcards (a host such as [::1] has
# none) and does not end like a model file.
_QUERY = re.compile(r"\?(?=[A-Za-z_]+=)(?:[^?*\[]|\[[0-9a-fA-F:.]+\])*$")
_MODEL_FILE = re.compile(r"\.(?:keras|h5|hdf5|onnx)$", re.IGNORECASE)
_PATH_CHARACTERS = "/:@!$&'()*+,;=~"  # RFC 3986: these stand for themselves in a path

#: ``key:secret@``; where a secret's / or ? was not written as %2F or %3F, up to the last @.
_USER = re.compile(r"(?<=://)[^\s/?#:]*:(?:[^\s/?#]*|(?:(?!://)\S)*)@")


def is_uri(location: str) -> bool:
    """Whether a location is a URI and not a local path."""
    return "://" in location


#: Schemes that pyarrow opens, and one or no slash behind them; a path of Windows has one letter.
_MISSPELT = re.compile(
    r"(?:s3a?|gs|gcs|abfss?|az|hdfs|viewfs|file|https?)(?::(?!//)|//|;//|:\\\\)", re.IGNORECASE
)


def misspelt_uri(text: str) -> str | None:
    """What is wrong with a location that was probably meant as a URI, without the location."""
    found = _MISSPELT.match(text)
    if found is None:
        return None
    scheme = re.match(r"[A-Za-z0-9]+", text)
    name = scheme[0].lower() if scheme else "s3"
    return (
        f"it begins with {found[0]!r}: write {name}://, with a colon and two slashes, for a URI, "
        f"or ./{name}... for a local path"
    )


def leads_out(path: str) -> bool:
    """Whether a path that is to be below a folder leads out of it."""
    return path.startswith("/") or ".." in path.split("/") or "\0" in path


#: What is not a file although it can be opened.
_NO_FILES = (
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)

#: Bytes of holes that a file may have: reading a hole takes as long as reading content.
_MOST_HOLES = 1 << 30


class IrregularFileError(OSError):
    """What a path leads to may have no end."""


def require_regular(path: str | os.PathLike[str]) -> None:
    """Refuse to read what is no file, and a file that is mostly holes; links are followed.

    Raises:
        IrregularFileError: It is a pipe, a socket or a device, or more than 1 GiB and nine tenths
            of it were never written.
        OSError: It does not exist, or may not be looked at.
    """
    status = os.stat(path)
    for is_kind, what in _NO_FILES:
        if is_kind(status.st_mode):
            link = f", a link to {os.path.realpath(path)}," if os.path.islink(path) else ""
            raise IrregularFileError(
                f"{path}{link} is {what}, not a file; name a regular file, or remove it"
            )
    if stat.S_ISREG(status.st_mode) and status.st_size > _MOST_HOLES:
        written = _written_bytes(path, status.st_size)
        if status.st_size - written > max(_MOST_HOLES, 9 * written):
            raise IrregularFileError(
                f"{path} has {status.st_size:,} bytes, of which only {written:,} were ever written "
                "(a sparse file): its writing or copy was interrupted; save or copy it again"
            )


def _written_bytes(path: str | os.PathLike[str], size: int) -> int:
    """Bytes of a file that are not in holes; all, where the file system does not tell."""
    if not hasattr(os, "SEEK_DATA"):
        return size
    with open(path, "rb") as file:
        written = end = 0
        while end < size:
            try:
                start = os.lseek(file.fileno(), end, os.SEEK_DATA)
                end = os.lseek(file.fileno(), start, os.SEEK_HOLE)
            except OSError as error:
                return written if error.errno == errno.ENXIO else size  # a hole up to the end
            written += end - start
    return written


def without_user(text: str) -> str:
    """A text whose URIs show no ``key:secret@``; ``?`` may be a wildcard in it."""
    return _USER.sub("", text)


@dataclass(frozen=True, repr=False)
class Location:
    """A local path, or a URI in its parts; ``location / "name"`` is a file below it.

    Attributes:
        scheme: Such as ``s3`` or ``file``; empty for a local path.
        authority: Bucket or host, perhaps with ``key:secret@``; empty for a local path.
        written_path: The path as it is written: of a URI, without its leading slash and perhaps
            with ``%20``. It may hold wildcards.
        query: Options such as ``endpoint_override=localhost:9000``, without ``?``.
    """

    scheme: str
    authority: str
    written_path: str
    query: str

    @classmethod
    def parse(cls, text: str) -> Location:
        """Split ``scheme://authority/path?query``; any text without ``://`` is a local path."""
        scheme, separator, rest = text.partition("://")
        if not separator:
            return cls("", "", text, "")
        found = None if _MODEL_FILE.search(rest) else _QUERY.search(rest)
        query = found[0] if found else ""
        authority, _, path = rest.removesuffix(query).partition("/")
        return cls(scheme, authority, path.rstrip("/"), query[1:])

    def __repr__(self) -> str:
        return f"Location({self.label!r})"

    @property
    def path(self) -> str:
        """The path in its file system: of a URI, decoded and without its leading slash."""
        return unquote(self.written_path) if self.scheme else self.written_path

    @property
    def user(self) -> str:
        """``key:secret`` of a URI; empty where there is none."""
        return self.authority.rpartition("@")[0]

    @property
    def address(self) -> str:
        """The location as pyarrow opens it, with query and credentials: not to be shown."""
        if not self.scheme:
            return self.written_path
        slash = "/" if self.written_path or not self.authority else ""
        query = f"?{self.query}" if self.query else ""
        return f"{self.scheme}://{self.authority}{slash}{self.written_path}{query}"

    @property
    def label(self) -> str:
        """The location as tables and messages show it: decoded, without query and credentials."""
        if not self.scheme:
            return self.written_path
        user, _, host = self.authority.rpartition("@")
        if user and self.scheme not in ("s3", "gs") and ":" not in user:
            host = self.authority
        if ":" in host:  # a secret with a / in it, so that its end has gone into the path
            return without_user(f"{self.scheme}://{self.authority}/{self.path}").removesuffix("/")
        return f"{self.scheme}://{host}/{self.path}".removesuffix("/")

    @property
    def local_path(self) -> Path | None:
        """Path on this machine, of a ``file:`` URI too; None for other URIs."""
        if not self.scheme:
            return Path(self.written_path).expanduser()
        return Path(f"/{self.path}") if self.scheme == "file" and not self.authority else None

    def at(self, path: str) -> Location:
        """Another path (decoded) in the same file system."""
        return replace(self, written_path=quote(path, safe=_PATH_CHARACTERS))

    def __truediv__(self, name: str) -> Location:
        written = quote(name, safe=_PATH_CHARACTERS) if self.scheme else name
        path = self.written_path.rstrip("/") + "/" + written if self.written_path else written
        return replace(self, written_path=path)
