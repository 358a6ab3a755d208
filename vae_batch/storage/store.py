"""A folder on any pyarrow file system, with atomic writes."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import re
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pyarrow import fs as arrow_fs

from vae_batch.plan.credentials import without_credentials
from vae_batch.plan.errors import InputError
from vae_batch.plan.location import Location, is_uri, misspelt_uri
from vae_batch.storage.filesystems import open_filesystem, read_whole
from vae_batch.storage.retry import Result, StoreError, looks, retrying

#: Seconds for which an object store is not asked again whether an anchor is there.
_ANCHOR_SEEN_S = 2.0


class OtherContentError(OSError):
    """A file is not the one that was expected."""


class MovedError(OSError):
    """A folder is not the one that it was when a run began."""


@dataclass(frozen=True)
class Anchor:
    """A file without which nothing is written into a store.

    Writing creates folders, so one that was moved or deleted meanwhile would come to be again,
    with a part of its files.

    Attributes:
        root: Of the store that holds the file.
        path: Of the file.
        text: That the file holds; empty where it only has to be there.
    """

    root: str
    path: str
    text: str = ""

    def require(self) -> None:
        """See ``Store.require_anchors``."""
        store = Store(self.root)
        if time.monotonic() - _seen.get(self, -_ANCHOR_SEEN_S) < _ANCHOR_SEEN_S:
            return
        if self.text:
            content = store.find(self.path)
            found = "none" if content is None else "that of another run"
            is_there = content is not None and self.text.encode() in content
        else:
            found = "none"
            is_there = any(store.exists(self.path) for _ in looks(again=not store.is_local))
        if not is_there:
            raise MovedError(
                f"{store.shown} is no longer the folder of this run: expected its {self.path}, "
                f"found {found}. It was moved, deleted or replaced, so nothing more is written. "
                "Finished work is where the folder is now: move it back, and run the same command "
                "again"
            )
        if not store.is_local:
            _seen[self] = time.monotonic()


#: When anchors on object stores were last found.
_seen: dict[Anchor, float] = {}


@dataclass(frozen=True)
class Store:
    """A folder or URI (``results/``, ``file:///...``, ``s3://bucket/run``); cheap to pickle.

    Paths given to its methods are relative to the root, with forward slashes. On object stores
    every method retries after transient errors (``retry.is_transient``); local file systems fail
    at once.

    Attributes:
        root: May contain credentials; messages show ``shown``.
        anchors: Files without which nothing is written.
    """

    root: str
    anchors: tuple[Anchor, ...] = ()

    def __repr__(self) -> str:
        return f"Store({self.shown!r})"

    @property
    def shown(self) -> str:
        """The root without credentials, for messages and records."""
        return without_credentials(self.root)

    def shown_path(self, path: str) -> str:
        """The address of a file below the root without credentials, for messages."""
        return self.folder(path).shown

    @classmethod
    def open(cls, location: str) -> Store:
        """A store at a local path (made absolute) or a URI.

        Raises:
            InputError: The URI's scheme is not known to pyarrow.
        """
        wrong = misspelt_uri(location)
        if wrong is not None:
            raise InputError(f"the output folder's location is not usable: {wrong}")
        parsed = Location.parse(location)
        local = str(Path(location).expanduser().resolve())
        store = cls(parsed.address if parsed.scheme else local)
        store._filesystem()
        return store

    def folder(self, path: str) -> Store:
        """The store of a sub-folder; a URI's query (``?endpoint_override=...``) is kept."""
        return Store((Location.parse(self.root) / path).address, self.anchors)

    @property
    def is_local(self) -> bool:
        """Whether files are on this machine's file system."""
        return isinstance(self._filesystem()[0], arrow_fs.LocalFileSystem)

    @property
    def local_folder(self) -> Path | None:
        """The root on this machine's file system; None on object stores."""
        return Path(self._filesystem()[1]) if self.is_local else None

    def write(self, path: str, content: bytes) -> None:
        """Write a whole file; readers see the old one or the new one, never a part of it.

        Locally: temporary file, fsync, rename. On object stores: one put of the final key
        (an exception inside an open stream would commit a truncated object).

        Raises:
            MovedError: An anchor is missing; nothing is written.
            OSError: It cannot be written, even after retries.
        """
        self.require_anchors()
        filesystem, root = self._filesystem()
        target = f"{root}/{path}"
        if self.is_local:
            _write_local(Path(target), content)
            return

        def put() -> None:
            with filesystem.open_output_stream(target) as stream:
                stream.write(content)

        self._retrying(put, "writing", path)

    def require_anchors(self) -> None:
        """Raise an error where the folder is no longer the one that it was.

        Raises:
            MovedError: An anchor is missing, or another run's.
        """
        for anchor in self.anchors:
            anchor.require()

    def read(self, path: str) -> bytes:
        """Content of a whole file.

        Raises:
            FileNotFoundError: It does not exist.
            OSError: It cannot be read, even after retries.
        """
        filesystem, root = self._filesystem()
        if self.is_local:
            return Path(root, path).read_bytes()
        return self._retrying(lambda: read_whole(filesystem, f"{root}/{path}"), "reading", path)

    def find(self, path: str) -> bytes | None:
        """Content of a file; None where it does not exist.

        For files that are read, changed and written again: an object store that reports a file as
        missing may be wrong (a stale replica), and all of the file's content would be lost. So a
        missing file is looked for again.
        """
        for _ in looks(again=not self.is_local):
            with contextlib.suppress(FileNotFoundError):
                return self.read(path)
        return None

    def read_expected(self, path: str, sha256: str) -> bytes:
        """Content of a file whose digest is known; on object stores, read again where it differs.

        Raises:
            FileNotFoundError: It does not exist.
            OtherContentError: It has another digest.
            OSError: It cannot be read, even after retries.
        """
        for _ in looks(again=not self.is_local):
            content = None
            with contextlib.suppress(FileNotFoundError):
                content = self.read(path)
            if content is not None and hashlib.sha256(content).hexdigest() == sha256:
                return content
        if content is None:
            raise FileNotFoundError(f"{self.shown_path(path)} does not exist")
        raise OtherContentError(f"{self.shown_path(path)} has another digest than expected")

    def exists(self, path: str) -> bool:
        """Whether a file exists."""
        filesystem, root = self._filesystem()
        found = self._retrying(
            lambda: filesystem.get_file_info(f"{root}/{path}"), "looking for", path
        )
        return bool(found.type == arrow_fs.FileType.File)

    def modified(self, path: str) -> float | None:
        """When a file was written, in seconds since 1970 by the store's clock.

        None where it does not exist, or the store does not say.
        """
        filesystem, root = self._filesystem()
        found = self._retrying(
            lambda: filesystem.get_file_info(f"{root}/{path}"), "looking for", path
        )
        return None if found.mtime is None else float(found.mtime.timestamp())

    def sizes(self, path: str = "") -> dict[str, int]:
        """Sizes in bytes of the files directly below a folder; empty where it does not exist."""
        filesystem, root = self._filesystem()
        where = f"{root}/{path}" if path else root
        selector = arrow_fs.FileSelector(where, allow_not_found=True)
        found = self._retrying(lambda: filesystem.get_file_info(selector), "listing", path)
        return {entry.base_name: entry.size for entry in found if entry.is_file}

    def files(self) -> dict[str, int]:
        """Sizes in bytes of all files below the root, by their relative path."""
        filesystem, root = self._filesystem()
        selector = arrow_fs.FileSelector(root, allow_not_found=True, recursive=True)
        found = self._retrying(lambda: filesystem.get_file_info(selector), "listing", "")
        return {entry.path[len(root) + 1 :]: entry.size for entry in found if entry.is_file}

    def folders(self, path: str = "") -> list[str]:
        """Names of the folders directly below a folder, sorted; empty where it does not exist."""
        filesystem, root = self._filesystem()
        where = f"{root}/{path}" if path else root
        # On Google's store pyarrow lists only folders that were created explicitly.
        deep = filesystem.type_name == "gcs"
        selector = arrow_fs.FileSelector(where, allow_not_found=True, recursive=deep)
        found = self._retrying(lambda: filesystem.get_file_info(selector), "listing", path)
        if deep:
            below = (entry.path[len(where) + 1 :].split("/") for entry in found)
            return sorted({parts[0] for parts in below if len(parts) > 1})
        return sorted(e.base_name for e in found if e.type == arrow_fs.FileType.Directory)

    def delete(self, path: str) -> None:
        """Delete a file; it is no error where it does not exist."""
        filesystem, root = self._filesystem()

        def remove() -> None:
            # A retry may find the file gone, where the answer to the first request was lost.
            with contextlib.suppress(FileNotFoundError):
                filesystem.delete_file(f"{root}/{path}")

        self._retrying(remove, "deleting", path)

    def _retrying(self, operation: Callable[[], Result], doing: str, path: str) -> Result:
        """The result, on object stores after retries.

        Raises:
            StoreError: An object store refused, or failed in every attempt.
        """
        if self.is_local:
            return operation()
        what = f"{doing} {path or 'the folder'} in {self.shown}"
        try:
            return retrying(operation, what)
        except (FileNotFoundError, StoreError):
            raise
        except OSError as error:
            said = without_credentials(str(error))
            if "NO_SUCH_KEY" in said:  # deleted between pyarrow's lookup and its read
                raise FileNotFoundError(f"{what}: it does not exist") from None
            raise StoreError(f"{what}: {said}{_advice(said)}") from None

    def _filesystem(self) -> tuple[arrow_fs.FileSystem, str]:
        return _resolve(self.root)


def _advice(said: str) -> str:
    """What the user can do about a refusal."""
    if any(word in said for word in ("ACCESS_DENIED", "INVALID_ACCESS_KEY", "SIGNATURE", "403")):
        return "; check the credentials (of the URI, else of the environment) and what they may do"
    return "; check the name of the bucket" if "NO_SUCH_BUCKET" in said else ""


@functools.lru_cache(maxsize=64)
def _resolve(root: str) -> tuple[arrow_fs.FileSystem, str]:
    if is_uri(root) and re.search(r"\s", root):  # which hides where credentials end
        end = root.rpartition("@")[2]
        raise InputError(f"the URI that ends in {end!r} holds a space; write %20 for it")
    return open_filesystem(Location.parse(root))


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
