"""Files of an output folder that have no receipt: their names, and who reads or writes them."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from vae_batch.run.compare.best_checkpoint import CONFIRMATION
from vae_batch.run.execute.failures import TRACEBACKS
from vae_batch.run.output.lease import LEASE_FILE, LOCK_FILE
from vae_batch.run.progress.log import LOG_FILE
from vae_batch.storage.checked_json import PathBelow

#: The report: its page, its figures, and a note of their digests and of what they show.
PAGE = "report.html"
FIGURES = "figures"
DRAWN_NOTE = f"{FIGURES}/drawn.json"

#: Summaries of nights, each in the folder of its date, and copies of the latest. The JSON holds the
#: SHA-256 of the page beside it.
NIGHTS = "nightly"
SUMMARY, SUMMARY_PAGE = "summary.json", "summary.md"
PAGE_DIGEST = "page_sha256"
LATEST = (f"{NIGHTS}/latest.json", f"{NIGHTS}/latest.md")

#: A damaged ``run.json`` is kept under this name.
DAMAGED_RECORD = "run.damaged.json"

#: What ``Store.write`` renames and what a run asks other machines for, if it was killed meanwhile.
_TEMPORARY = re.compile(
    r"(?:.*/)?\.(?:[^/]+\.[0-9]+\.[0-9a-f]{8}\.tmp|seen-[0-9a-f]{16})", re.DOTALL
)

#: Locks, logs, what was put aside, and a page that an interrupted report left without a note.
_NOTES = frozenset(
    {LOCK_FILE, f"{NIGHTS}/{LOCK_FILE}", LOG_FILE, f"{LOG_FILE}.1", DAMAGED_RECORD, PAGE}
)
_NOTE_FOLDERS = (f"{TRACEBACKS}/", f"{FIGURES}/")

#: Leases, which name the run that holds a folder; another run takes over a damaged one.
LEASES = (LEASE_FILE, f"{NIGHTS}/{LEASE_FILE}")

_OF_UNIT = re.compile(r".+/part-[^/]+\.(?:parquet|npz|json)", re.DOTALL)


@dataclass(frozen=True)
class DrawnNote:
    """Content of ``figures/drawn.json``.

    Attributes:
        sources: Digest of what the report was drawn from.
        files: Sizes of its files in bytes; None for a file that was missing.
        digests: Their SHA-256; version 0.1 noted sizes alone.
    """

    sources: str
    files: dict[PathBelow, int | None]
    digests: dict[PathBelow, str] = field(default_factory=dict)


def is_temporary(path: str) -> bool:
    """Whether a file is a temporary one, which only a killed process leaves behind."""
    return _TEMPORARY.fullmatch(path) is not None


def is_expected(path: str) -> bool:
    """Whether the package writes such a file, whose content nothing depends on.

    They include files of shards without a receipt, which are computed again, and those of a report
    without a note, which is drawn again.
    """
    path = path.removeprefix(f"{CONFIRMATION}/")
    return path in _NOTES or path.startswith(_NOTE_FOLDERS) or _OF_UNIT.fullmatch(path) is not None
