"""What the report was last drawn from, so that a run which changes nothing draws nothing."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from vae_batch import __version__
from vae_batch.storage import Store
from vae_batch.storage.checked_json import decode_checked, encode_checked

#: Beside the figures; written when all of them and the page are there.
NOTE = "figures/drawn.json"

#: All that the report shows, or that changes with what it shows: a row that is scored anew, and
#: with it the pictures that were stored then, has another time in the table.
_SOURCES = ("run.json", "scores.parquet", "comparisons.parquet", "selection.json", "race.json")


def sources_digest(out: Store) -> str:
    """Digest of what a report would be drawn from now, and of the version that would draw it."""
    digest = hashlib.sha256(__version__.encode())
    for name in _SOURCES:
        content = out.find(name)
        digest.update(b"-" if content is None else hashlib.sha256(content).digest())
    return digest.hexdigest()


def note_drawn(out: Store, sources: str, written: Sequence[str]) -> None:
    """Note that a report was drawn.

    Args:
      out: The output folder.
      sources: Of `sources_digest`, before the drawing began.
      written: Paths of its files.
    """
    sizes = _sizes(out, written)
    out.write(NOTE, encode_checked({"sources": sources, "files": sizes}))


def is_drawn(out: Store) -> bool:
    """Whether the report's files lie there, drawn from what there is now."""
    try:
        noted = decode_checked(out.read(NOTE))
        files: dict[str, int] = noted["files"]
        unchanged = _sizes(out, list(files)) == files
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return False
    return unchanged and noted["sources"] == sources_digest(out)


def _sizes(out: Store, paths: Sequence[str]) -> dict[str, int | None]:
    """Size of each file; one listing a folder tells them."""
    folders = {path.rpartition("/")[0] for path in paths}
    listed = {
        f"{folder}/{name}".lstrip("/"): size
        for folder in folders
        for name, size in out.sizes(folder).items()
    }
    return {path: listed.get(path) for path in sorted(paths)}
