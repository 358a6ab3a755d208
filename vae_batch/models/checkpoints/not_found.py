"""What to say where a pattern matches no checkpoint: what was expected, and what is there."""

from __future__ import annotations

import os
from pathlib import Path

from pyarrow import fs as arrow_fs

from vae_batch.models.checkpoints.suffixes import known_suffixes
from vae_batch.models.checkpoints.wildcards import compile_pattern
from vae_batch.models.inputs.file_kind import kind_of
from vae_batch.models.inputs.files import file_type, is_hidden, read_head
from vae_batch.models.inputs.unreadable import why_unreadable
from vae_batch.plan.location import Location, is_uri
from vae_batch.storage.filesystems import open_filesystem

_SHOWN = 8
_LOOKED_AT = 50
_TELLING = ("pickle", "tf_checkpoint", "lfs_pointer", "html", "safetensors")


def nothing_found(pattern: str, what: str = "checkpoint") -> str:
    """A message that says what was expected and lists what is there instead.

    Args:
      pattern: Path, glob or URI.
      what: What it should have matched.
    """
    label = Location.parse(pattern).label
    return (
        f"no {what} matches {label}; expected a file ({', '.join(known_suffixes())}, or any name "
        "given in full), a SavedModel folder, a folder or stem of encoder and decoder files, or a "
        f"glob of them (quote it); {_what_is_there(pattern)}"
    )


def _what_is_there(pattern: str) -> str:
    if is_uri(pattern):
        uri = Location.parse(pattern)
        place = uri.at(compile_pattern(f"{uri.path}/*").fixed_folder)
        if file_type(place) != arrow_fs.FileType.Directory:
            place = uri.at(place.path.rpartition("/")[0])
        return _holds(place.label, _names_in_store(place))
    wanted = Path(compile_pattern(f"{Path(pattern).expanduser()}/*").fixed_folder or "/")
    folder = wanted
    while not folder.is_dir():
        folder = folder.parent
    names = _visible(folder)
    missing = "" if wanted in (folder, folder / wanted.name) else f"{wanted} does not exist; "
    return missing + _holds(str(folder), names) + _first_reason([folder / name for name in names])


def _visible(folder: Path) -> list[str]:
    try:
        return sorted(name for name in os.listdir(folder) if not is_hidden(name))
    except OSError:  # not ours to read
        return []


def _names_in_store(folder: Location) -> list[str]:
    filesystem, root = open_filesystem(folder)
    selector = arrow_fs.FileSelector(root, allow_not_found=True)
    return sorted(entry.base_name for entry in filesystem.get_file_info(selector))


def _holds(folder: str, names: list[str]) -> str:
    shown = ", ".join(names[:_SHOWN]) if names else "nothing"
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{folder.rstrip('/')}/ holds {shown}{more}"


def _first_reason(paths: list[Path]) -> str:
    """Why the first file of a kind that people take for a checkpoint is none."""
    for path in paths[:_LOOKED_AT]:
        try:
            head = b"" if not path.is_file() else read_head(str(path))
        except OSError:
            continue
        if head and kind_of(str(path), head) in _TELLING:
            return f"; {why_unreadable(str(path), head)}"
    return ""
