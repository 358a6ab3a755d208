"""URIs of checkpoints: a pyarrow filesystem, a path in it that may hold wildcards, and a query."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeVar
from urllib.parse import quote, unquote

from pyarrow import ArrowInvalid
from pyarrow import fs as arrow_fs

from vae_batch.plan.credentials import without_user
from vae_batch.plan.errors import InputError
from vae_batch.storage.retry import looks, retrying

_Result = TypeVar("_Result")

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
        user, _, host = self.authority.rpartition("@")
        if user and self.scheme not in ("s3", "gs") and ":" not in user:
            host = self.authority
        if ":" in host:  # a secret with a / in it, so that its end has gone into the path
            return without_user(f"{self.scheme}://{self.authority}/{self.path}").removesuffix("/")
        return f"{self.scheme}://{host}/{self.path}".removesuffix("/")

    @property
    def local_path(self) -> str | None:
        """Path on this machine of a ``file:`` URI, else None."""
        return f"/{self.path}" if self.scheme == "file" and not self.authority else None

    def at(self, path: str) -> Uri:
        """Another path in the same filesystem."""
        return replace(self, path=path)

    def ask(self, question: Callable[[Any, str], _Result]) -> _Result:
        """The answer of the filesystem, given with the path in it; asked again as `retrying` does.

        Raises:
          InputError: As `open`.
          OutageError: It failed every time.
          OSError: It cannot be answered.
        """
        filesystem, inner = self.open()
        if self.local_path is not None:
            return question(filesystem, inner)
        return retrying(lambda: question(filesystem, inner), f"asking for {self.label}")

    def ask_of_file(self, question: Callable[[Any, str], _Result]) -> _Result:
        """As `ask`, of a file that a listing named: that it is missing must be said twice.

        Raises:
          FileNotFoundError: It is missing.
        """
        for _ in looks(again=self.local_path is None):
            try:
                return self.ask(question)
            except OSError as error:
                if not (isinstance(error, FileNotFoundError) or "NO_SUCH_KEY" in str(error)):
                    raise
        raise FileNotFoundError(f"{self.label} is not there")

    def names_below(self, *, recursive: bool = True) -> list[str]:
        """Relative paths of all files below this folder; none where it is missing."""

        def listed(filesystem: Any, root: str) -> list[str]:  # noqa: ANN401
            selector = arrow_fs.FileSelector(root, recursive=recursive, allow_not_found=True)
            found = filesystem.get_file_info(selector)
            return [entry.path[len(root) :].strip("/") for entry in found if entry.is_file]

        return self.ask(listed)

    def open(self) -> tuple[Any, str]:
        """The pyarrow filesystem, and the path in it.

        Raises:
          InputError: The scheme is unknown, or the store cannot be reached.
        """
        root = self.at("")
        if self.scheme == "s3" and ":" in self.authority.rpartition("@")[2]:
            raise InputError(
                f"{self.label}: a key or secret in a URI is written with %2F for /, %3F for ? and "
                "%40 for @; or leave it out, and set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
            )
        if _WILDCARD.search(self.authority):
            raise InputError(f"{self.label}: a bucket or host is named in full, without wildcards")
        try:
            # Opening a bucket of no given region asks its service for it.
            filesystem, prefix = retrying(lambda: _open_root(root.address), f"opening {self.label}")
        except (ArrowInvalid, OSError) as error:
            raise InputError(
                f"{self.label} cannot be opened: {error}; expected a local path or a URI such as "
                "s3://bucket/folder, gs://bucket/folder or file:///folder"
            ) from None
        return filesystem, f"{prefix.rstrip('/')}/{self.path}".rstrip("/") or "/"


@functools.lru_cache(maxsize=64)
def _open_root(address: str) -> tuple[Any, str]:
    """Filesystem of a bucket or host; one is opened once, since that may ask the network."""
    filesystem, root = arrow_fs.FileSystem.from_uri(address)
    return filesystem, root
