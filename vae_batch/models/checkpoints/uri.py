"""URIs of checkpoints: a pyarrow filesystem, a path in it that may hold wildcards, and a query."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote, unquote

from pyarrow import ArrowInvalid
from pyarrow import fs as arrow_fs

from vae_batch.plan.errors import InputError

# "?" is a wildcard too: a query starts with key=value and does not end like a model file.
_QUERY = re.compile(r"\?(?=[A-Za-z_]+=)[^?*\[]*$")
_MODEL_FILE = re.compile(r"\.(?:keras|h5|hdf5)$", re.IGNORECASE)
_WILDCARD = re.compile(r"[*?\[{]")
_PATH_CHARACTERS = "/:@!$&'()*+,;=~"  # RFC 3986: these stand for themselves in a path


def is_uri(location: str) -> bool:
    """Whether a location is a URI and not a local path."""
    return "://" in location


@dataclass(frozen=True)
class Uri:
    """A URI in its parts.

    Attributes:
      scheme: Such as ``s3`` or ``file``.
      authority: A bucket or host; perhaps with ``user:password@``.
      path: Decoded (no ``%20``), without a leading slash.
      query: Such as ``endpoint_override=localhost:9000``, without ``?``.
    """

    scheme: str
    authority: str
    path: str
    query: str

    @classmethod
    def parse(cls, text: str) -> Uri:
        """The parts of ``scheme://authority/path?query``."""
        scheme, _, rest = text.partition("://")
        query = "" if _MODEL_FILE.search(rest) else "".join(_QUERY.findall(rest)[:1])
        authority, _, path = rest.removesuffix(query).partition("/")
        return cls(scheme, authority, unquote(path).rstrip("/"), query[1:])

    @property
    def address(self) -> str:
        """The URI as pyarrow takes it, query and all."""
        query = f"?{self.query}" if self.query else ""
        path = quote(self.path, safe=_PATH_CHARACTERS)
        return f"{self.scheme}://{self.authority}/{path}{query}"

    @property
    def label(self) -> str:
        """The URI as a table shows it: decoded, without query and credentials."""
        host = self.authority.rpartition("@")[2] if self.scheme in ("s3", "gs") else self.authority
        return f"{self.scheme}://{host}/{self.path}".removesuffix("/")

    @property
    def local_path(self) -> str | None:
        """Path on this machine of a ``file:`` URI, else None."""
        return f"/{self.path}" if self.scheme == "file" and not self.authority else None

    def at(self, path: str) -> Uri:
        """Another path in the same filesystem."""
        return replace(self, path=path)

    def open(self) -> tuple[Any, str]:
        """The pyarrow filesystem, and the path in it.

        Raises:
          InputError: The scheme is unknown, or the store cannot be reached.
        """
        root = self.at("")
        if _WILDCARD.search(self.authority):
            raise InputError(f"{self.label}: a bucket or host is named in full, without wildcards")
        try:
            filesystem, prefix = _open_root(root.address)
        except (ArrowInvalid, OSError) as error:
            raise InputError(
                f"{root.label} cannot be opened: {error}; expected a local path or a URI such as "
                "s3://bucket/folder, gs://bucket/folder or file:///folder"
            ) from None
        return filesystem, f"{prefix.rstrip('/')}/{self.path}".rstrip("/") or "/"


@functools.lru_cache(maxsize=64)
def _open_root(address: str) -> tuple[Any, str]:
    """Filesystem of a bucket or host; one is opened once, since that may ask the network."""
    filesystem, root = arrow_fs.FileSystem.from_uri(address)
    return filesystem, root
