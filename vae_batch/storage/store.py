"""A folder on any pyarrow filesystem, with writes that are whole or absent."""

from __future__ import annotations

import contextlib
import functools
import os
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pyarrow import ArrowInvalid
from pyarrow import fs as arrow_fs

from vae_batch.plan.errors import InputError
from vae_batch.storage.retry import Result, retrying, without_credentials


@dataclass(frozen=True)
class Store:
    """A folder or URI (``results/``, ``file:///...``, ``s3://bucket/run``); cheap to pickle.

    All paths given to its methods are relative to the root, with forward slashes. On object
    stores every method tries again after a transient error (``retry.is_transient``) before it
    raises; local file systems fail at once.

    Attributes:
      root: May hold credentials; messages show ``shown``.
    """

    root: str

    def __repr__(self) -> str:
        return f"Store({self.shown!r})"

    @property
    def shown(self) -> str:
        """The root as messages and records may show it: without credentials."""
        return without_credentials(self.root)

    @classmethod
    def open(cls, location: str) -> Store:
        """A store at a local path (made absolute) or a URI.

        Raises:
          InputError: The URI's scheme is not known to pyarrow.
        """
        root = location if "://" in location else str(Path(location).expanduser().resolve())
        path, mark, query = root.partition("?") if "://" in root else (root, "", "")
        store = cls((path.rstrip("/") or "/") + mark + query)
        store._filesystem()
        return store

    def folder(self, path: str) -> Store:
        """The store of a sub-folder; a URI's query (``?endpoint_override=...``) is kept."""
        root, mark, query = self.root.partition("?")
        return Store(f"{root}/{path}{mark}{query}")

    @property
    def is_local(self) -> bool:
        """Whether files lie on this machine's file system."""
        return isinstance(self._filesystem()[0], arrow_fs.LocalFileSystem)

    @property
    def local_folder(self) -> Path | None:
        """The root on this machine's file system; None on object stores."""
        return Path(self._filesystem()[1]) if self.is_local else None

    def write(self, path: str, content: bytes) -> None:
        """Write a whole file; readers see the old one or the new one, never a part.

        Locally: temporary file, fsync, rename. On object stores: one put of the final key
        (an exception inside an open stream would commit a truncated object).
        """
        filesystem, root = self._filesystem()
        target = f"{root}/{path}"
        if self.is_local:
            _write_local(Path(target), content)
            return

        def put() -> None:
            with filesystem.open_output_stream(target) as stream:
                stream.write(content)

        self._retrying(put, "writing", path)

    def read(self, path: str) -> bytes:
        """Content of a file.

        Of an object that is replaced by a shorter one just then, pyarrow's S3 client gives the
        shorter one with zeros after it; digests and checksums tell.

        Raises:
          FileNotFoundError: There is none.
          OSError: It cannot be read, also after retries.
        """
        filesystem, root = self._filesystem()

        def get() -> bytes:
            with filesystem.open_input_file(f"{root}/{path}") as file:
                return bytes(file.read())

        return self._retrying(get, "reading", path)

    def exists(self, path: str) -> bool:
        """Whether a file is there."""
        filesystem, root = self._filesystem()
        found = self._retrying(
            lambda: filesystem.get_file_info(f"{root}/{path}"), "looking for", path
        )
        return bool(found.type == arrow_fs.FileType.File)

    def sizes(self, path: str = "") -> dict[str, int]:
        """Name to size in bytes of the files right below a folder; empty where it is missing."""
        filesystem, root = self._filesystem()
        where = f"{root}/{path}" if path else root
        selector = arrow_fs.FileSelector(where, allow_not_found=True)
        found = self._retrying(lambda: filesystem.get_file_info(selector), "listing", path)
        return {entry.base_name: entry.size for entry in found if entry.is_file}

    def folders(self, path: str = "") -> list[str]:
        """Names of the folders right below a folder, in order; empty where it is missing."""
        filesystem, root = self._filesystem()
        selector = arrow_fs.FileSelector(f"{root}/{path}" if path else root, allow_not_found=True)
        found = self._retrying(lambda: filesystem.get_file_info(selector), "listing", path)
        return sorted(e.base_name for e in found if e.type == arrow_fs.FileType.Directory)

    def delete(self, path: str) -> None:
        """Remove a file; a missing one is no error."""
        filesystem, root = self._filesystem()

        def remove() -> None:
            # A repeated delete may find the file gone: its first answer was lost on the way.
            with contextlib.suppress(FileNotFoundError):
                filesystem.delete_file(f"{root}/{path}")

        self._retrying(remove, "deleting", path)

    def _retrying(self, operation: Callable[[], Result], doing: str, path: str) -> Result:
        if self.is_local:
            return operation()
        return retrying(operation, f"{doing} {path or 'the folder'} in {self.shown}")

    def _filesystem(self) -> tuple[arrow_fs.FileSystem, str]:
        return _resolve(self.root)


@functools.lru_cache(maxsize=64)
def _resolve(root: str) -> tuple[arrow_fs.FileSystem, str]:
    if "://" not in root:
        return arrow_fs.LocalFileSystem(), root
    try:
        # Opening a bucket of no given region asks its service for it.
        filesystem, path = retrying(lambda: arrow_fs.FileSystem.from_uri(root), f"opening {root}")
    except (ArrowInvalid, OSError) as error:
        raise InputError(
            without_credentials(
                f"{root} cannot be opened: {error}; expected a local path or a URI such as "
                "s3://bucket/folder, gs://bucket/folder or file:///folder"
            )
        ) from None
    return filesystem, path


def _write_local(target: Path, content: bytes) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.{secrets.token_hex(4)}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
