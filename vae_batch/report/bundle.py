"""The report of an output folder: figures and page from the score table and stored pictures.

``figures/drawn.json`` notes what a report was drawn from, so that a run which changes nothing
draws nothing, and the digests of its files, for ``vae-batch verify``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping

from vae_batch.report.figures import replace_figures
from vae_batch.report.finished_run import FinishedRun, StoredGalleries
from vae_batch.report.page import render_page
from vae_batch.run.output.layout import DRAWN_NOTE, FIGURES, PAGE, DrawnNote
from vae_batch.run.race.record import read_race
from vae_batch.storage import Store
from vae_batch.storage.checked_json import decode_as, encode_checked

#: Raised with every change of templates or code that changes a figure or the page, so that reports
#: of earlier versions are drawn again.
REPORT_VERSION = 8

#: All that the report shows, or that changes with what it shows: a row that is scored again, and
#: with it the pictures that are stored then, has another time in the table.
_SOURCES = ("run.json", "scores.parquet", "comparisons.parquet", "selection.json", "race.json")


def write_report(out: Store) -> list[str]:
    """Write ``figures/`` and ``report.html`` again; needs no cluster and no model.

    Returns:
        Paths written, relative to the output folder.

    Raises:
        InputError: The folder holds no run, or nothing has been scored yet.
    """
    sources = sources_digest(out)
    out.delete(DRAWN_NOTE)
    run = FinishedRun.of(out)
    galleries = StoredGalleries(out, run.record)
    figures = out.folder(FIGURES)
    digests = replace_figures(figures, run.rows, galleries, run.comparisons, run.selection)
    provenance = {
        "output": out.shown,
        "versions": run.record.versions,
        **run.record.identity,
        "spec": run.record.spec.model_dump(mode="json"),
    }
    race = read_race(out) if run.record.spec.race else None
    page = render_page(
        run.rows, galleries, provenance, run.comparisons, run.selection, race, digests.keys()
    )
    out.write(PAGE, page.encode())
    written = {f"{FIGURES}/{name}": digest for name, digest in digests.items()}
    written[PAGE] = hashlib.sha256(page.encode()).hexdigest()
    note_drawn(out, sources, written)
    return list(written)


def sources_digest(out: Store) -> str:
    """Digest of what a report would be drawn from now, and of the report's version."""
    digest = hashlib.sha256(f"report {REPORT_VERSION}".encode())
    for name in _SOURCES:
        content = out.find(name)
        digest.update(b"-" if content is None else hashlib.sha256(content).digest())
    return digest.hexdigest()


def note_drawn(out: Store, sources: str, written: Mapping[str, str]) -> None:
    """Note that a report was drawn, when all of its files are there.

    Args:
        out: The output folder.
        sources: Of ``sources_digest``, before the drawing began.
        written: Path and SHA-256 of each of its files.
    """
    noted = {"sources": sources, "files": _sizes(out, written), "digests": dict(written)}
    out.write(DRAWN_NOTE, encode_checked(noted))


def is_drawn(out: Store) -> bool:
    """Whether all files of the report exist and are drawn from the present sources."""
    try:
        noted = decode_as(DrawnNote, out.read(DRAWN_NOTE))
    except (FileNotFoundError, ValueError):
        return False
    return _sizes(out, noted.files) == noted.files and noted.sources == sources_digest(out)


def _sizes(out: Store, paths: Iterable[str]) -> dict[str, int | None]:
    """Size of each file, from one listing per folder."""
    folders = {path.rpartition("/")[0] for path in paths}
    listed = {
        f"{folder}/{name}".lstrip("/"): size
        for folder in folders
        for name, size in out.sizes(folder).items()
    }
    return {path: listed.get(path) for path in sorted(paths)}
