"""Checkpoints as files: finding them, naming them, reading their steps, hashing their bytes.

Nothing here loads a model, so a driver can plan without TensorFlow.
"""

from __future__ import annotations

import glob
import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pyarrow import fs as arrow_fs

from vae_batch.plan.errors import InputError
from vae_batch.storage.store import Store

_PART = re.compile(r"^(?P<stem>.*?)[-_.]?(?P<role>encoder|decoder)\.keras$")
_NAMED_STEP = re.compile(r"(?:step|epoch|iter(?:ation)?|ckpt|checkpoint)[-_=]?(\d+)", re.IGNORECASE)
_WILDCARD = re.compile(r"[*?\[]")


@dataclass(frozen=True)
class Checkpoint:
    """A VAE's saved state.

    Attributes:
      label: Path as the user knows it; the ``checkpoint`` column.
      step: Training step read from the name, or None.
      files: Role to path: ``{"model": ...}`` for one model with layers named ``encoder`` and
        ``decoder``, or ``{"encoder": ..., "decoder": ...}`` for a pair (a half may be missing).
      sha256: Of the files' content; moving or renaming them does not change it.
    """

    label: str
    step: int | None
    files: tuple[tuple[str, str], ...]
    sha256: str

    @property
    def identifier(self) -> str:
        """File-safe name in stored paths: the label's end and the content's hash."""
        slug = re.sub(r"[^A-Za-z0-9]+", "-", self.label.rsplit("/", 1)[-1]).strip("-")
        return f"{slug[-40:] or 'checkpoint'}-{self.sha256[:12]}"


def find_checkpoints(patterns: Sequence[str]) -> list[Checkpoint]:
    """Checkpoints named by paths, folders, globs or URIs; ordered by step, then label.

    A ``.keras`` file is one model; a folder or stem with ``encoder.keras`` and
    ``decoder.keras`` is a pair; any other folder stands for the checkpoints in it.

    Raises:
      InputError: A pattern matches nothing; the message lists what is there instead.
    """
    found: dict[str, dict[str, str]] = {}
    for pattern in patterns:
        matches = _group(_matching_files(pattern))
        if not matches:
            raise InputError(_nothing_found(pattern))
        for label, files in matches.items():
            found.setdefault(label, {}).update(files)
    checkpoints = [_describe(label, files) for label, files in found.items()]
    return sorted(checkpoints, key=lambda c: (c.step is None, c.step or 0, c.label))


def read_step(label: str) -> int | None:
    """Training step in a path: ``step-0030``, ``epoch=3``, else the name's last number.

    Of the folders above, only a named step or a bare number counts.
    """
    *folders, name = label.removesuffix(".keras").split("/")
    numbers = _NAMED_STEP.findall(name) or re.findall(r"\d+", name)
    if numbers:
        return int(numbers[-1])
    for folder in reversed(folders):
        numbers = _NAMED_STEP.findall(folder) or re.findall(r"^\d+$", folder)
        if numbers:
            return int(numbers[-1])
    return None


def _describe(label: str, files: dict[str, str]) -> Checkpoint:
    digest = hashlib.sha256()
    for role, path in sorted(files.items()):
        digest.update(f"{role}:{_file_sha256(path)};".encode())
    return Checkpoint(label, read_step(label), tuple(sorted(files.items())), digest.hexdigest())


def _group(paths: Iterable[str]) -> dict[str, dict[str, str]]:
    """Label to files by role; halves of a pair come together under their folder or stem."""
    groups: dict[str, dict[str, str]] = {}
    for path in sorted(paths):
        folder, _, name = path.rpartition("/")
        part = _PART.match(name)
        if part is None:
            groups[path] = {"model": path}
            continue
        label = "/".join(piece for piece in (folder, part["stem"]) if piece) or "."
        groups.setdefault(label, {})[part["role"]] = path
    return groups


def _matching_files(pattern: str) -> list[str]:
    if "://" in pattern:
        return _matching_uris(pattern)
    pattern = str(Path(pattern).expanduser())
    if _WILDCARD.search(pattern):
        names = glob.glob(pattern, recursive=True)
        return [file for name in names for file in _keras_files(Path(name))]
    return _keras_files(Path(pattern))


def _keras_files(path: Path) -> list[str]:
    if path.is_file():
        return [path.as_posix()]
    if path.is_dir():
        return sorted(file.as_posix() for file in path.rglob("*.keras"))
    halves = path.parent.glob(f"{glob.escape(path.name)}[-_.]*coder.keras")
    return sorted(half.as_posix() for half in halves)


def _matching_uris(pattern: str) -> list[str]:
    scheme = pattern.split("://", 1)[0]
    fixed = _WILDCARD.split(pattern, maxsplit=1)[0]
    folder = fixed if fixed == pattern else fixed.rpartition("/")[0]
    filesystem, root = arrow_fs.FileSystem.from_uri(folder)
    if filesystem.get_file_info(root).type == arrow_fs.FileType.File:
        return [pattern]
    selector = arrow_fs.FileSelector(root, recursive=True, allow_not_found=True)
    uris = [f"{scheme}://{info.path}" for info in filesystem.get_file_info(selector)]
    below = [uri for uri in uris if uri.endswith(".keras")]
    if fixed == pattern:
        return below
    expression = re.compile(_translate(pattern))
    return [uri for uri in below if expression.match(uri) or expression.match(_parent(uri))]


def _translate(pattern: str) -> str:
    """Regular expression of a glob: ``**`` crosses folders, ``*`` and ``?`` do not."""
    pieces = re.split(r"(\*\*/|\*\*|\*|\?)", pattern)
    known = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    return "".join(known.get(piece, re.escape(piece)) for piece in pieces) + r"\Z"


def _parent(uri: str) -> str:
    return uri.rpartition("/")[0]


def _file_sha256(path: str) -> str:
    return hashlib.sha256(read_file(path)).hexdigest()


def read_file(path: str) -> bytes:
    """Content of a local file or URI."""
    folder, _, name = path.rpartition("/")
    return Store.open(folder or ".").read(name)


def _nothing_found(pattern: str) -> str:
    message = (
        f"no checkpoint matches {pattern}; expected a .keras file, a folder or stem with "
        "encoder.keras and decoder.keras, or a glob of them (quote it)"
    )
    if "://" in pattern:
        return message
    folder = Path(_WILDCARD.split(pattern, maxsplit=1)[0].rpartition("/")[0] or ".")
    names = sorted(entry.name for entry in folder.iterdir())[:8] if folder.is_dir() else []
    return f"{message}; {folder}/ holds {', '.join(names) if names else 'nothing'}"
