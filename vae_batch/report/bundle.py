"""The report of an output folder: figures and page from the score table and stored pictures."""

from __future__ import annotations

from vae_batch.plan import InputError, Unit
from vae_batch.report.figures import write_figures
from vae_batch.report.gallery import Gallery
from vae_batch.report.page import render_page
from vae_batch.run.record import RunRecord, read_record
from vae_batch.run.selecting import read_selection
from vae_batch.storage import (
    DamagedFileError,
    Store,
    decode_arrays,
    read_comparisons,
    read_scores,
    read_verified,
)

PAGE = "report.html"
FIGURES = "figures"


def write_report(out: Store) -> list[str]:
    """Write ``figures/`` and ``report.html`` anew; needs no cluster and no model.

    Returns:
      Paths written, relative to the output folder.

    Raises:
      InputError: The folder holds no run, or nothing has been scored yet.
    """
    record = read_record(out)
    scores = read_scores(out)
    if record is None or scores.empty:
        raise InputError(
            f"{out.shown} holds no scored rows; give the --out folder of a `vae-batch score` that "
            "has scored at least one checkpoint"
        )
    galleries = _galleries(out, record)
    figures = out.folder(FIGURES)
    names = write_figures(scores, galleries, figures.write)
    provenance = {
        "output": out.shown,
        **record.identity,
        "spec": record.spec.model_dump(mode="json"),
    }
    page = render_page(scores, galleries, provenance, read_comparisons(out), read_selection(out))
    out.write(PAGE, page.encode())
    return [*(f"{FIGURES}/{name}" for name in names), PAGE]


def _galleries(out: Store, record: RunRecord) -> dict[str, Gallery]:
    """Stored pictures by checkpoint; one that is missing or damaged is left out."""
    units = {row.checkpoint: row.units["gallery"] for row in record.rows}
    galleries = {}
    for checkpoint, unit in units.items():
        try:
            galleries[checkpoint] = _read_gallery(out, unit)
        except DamagedFileError:
            continue
    return galleries


def _read_gallery(out: Store, unit: Unit) -> Gallery:
    return decode_arrays(read_verified(out, unit, unit.shards()[0].name))
