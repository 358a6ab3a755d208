"""The message for a pattern that matches no checkpoint: what was expected, and what is there."""

from __future__ import annotations

import os
from pathlib import Path

from pyarrow import fs as arrow_fs

from vae_batch.models.checkpoints.names import known_suffixes
from vae_batch.models.checkpoints.patterns import compile_pattern
from vae_batch.models.inputs.file_kind import kind_of
from vae_batch.models.inputs.files import ask, file_type, is_hidden, read_head
from vae_batch.models.inputs.unreadable import why_unreadable
from vae_batch.plan.location import Location, is_uri

_MOST_NAMES = 8
_MOST_FILES_READ = 50
_MISTAKEN_FOR_CHECKPOINTS = ("pickle", "tf_checkpoint", "lfs_pointer", "html", "safetensors")


def nothing_found(pattern: str, what: str = "checkpoint") -> str:
    """Say what was expected and list what is there instead.

    Args:
        pattern: Path, glob or URI.
        what: What it should have matched.
    """
    return (
        f"no {what} matches {Location.parse(pattern).label}; expected a file "
        f"({', '.join(known_suffixes())}, or any name given in full), a SavedModel folder, a "
        "folder or stem of encoder and decoder files, a set of generated images (a folder, .npz, "
        ".npy, .parquet or .zip of them), or a glob of these (in quotes); "
        f"{_what_is_there(pattern)}"
    )


def _what_is_there(pattern: str) -> str:
    if is_uri(pattern):
        return _what_is_in_store(Location.parse(pattern))
    wanted = Path(compile_pattern(f"{Path(pattern).expanduser()}/*").fixed_folder or "/")
    folder = wanted
    while not folder.is_dir():
        folder = folder.parent
    try:
        names = sorted(name for name in os.listdir(folder) if not is_hidden(name))
    except OSError:  # no permission
        names = []
    missing = "" if wanted in (folder, folder / wanted.name) else f"{wanted} does not exist; "
    return missing + _holds(str(folder), names) + _first_reason([folder / name for name in names])


def _what_is_in_store(location: Location) -> str:
    place = location.at(compile_pattern(f"{location.path}/*").fixed_folder)
    if file_type(place) != arrow_fs.FileType.Directory:
        place = place.at(place.path.rpartition("/")[0])
    entries = ask(
        place,
        lambda filesystem, path: filesystem.get_file_info(
            arrow_fs.FileSelector(path, allow_not_found=True)
        ),
    )
    return _holds(place.label, sorted(entry.base_name for entry in entries))


def _holds(folder: str, names: list[str]) -> str:
    shown = ", ".join(names[:_MOST_NAMES]) if names else "nothing"
    more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    return f"{folder.rstrip('/')}/ holds {shown}{more}"


def _first_reason(paths: list[Path]) -> str:
    """Why the first file of a kind that is often mistaken for a checkpoint is not one."""
    for path in paths[:_MOST_FILES_READ]:
        try:
            head = read_head(str(path)) if path.is_file() else b""
        except OSError:
            continue
        if head and kind_of(str(path), head) in _MISTAKEN_FOR_CHECKPOINTS:
            return f"; {why_unreadable(str(path), head)}"
    return ""
