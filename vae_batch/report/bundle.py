"""The report of an output folder: figures and page from the score table and stored pictures."""

from __future__ import annotations

from vae_batch.plan import InputError
from vae_batch.report.drawn import NOTE, note_drawn, sources_digest
from vae_batch.report.figures import replace_figures
from vae_batch.report.page import render_page
from vae_batch.report.stored_galleries import StoredGalleries
from vae_batch.run.compare.selection import read_selection
from vae_batch.run.output.run_record import read_record
from vae_batch.run.race.record import read_race
from vae_batch.storage import Store, read_comparisons, read_scores

PAGE = "report.html"
FIGURES = "figures"


def write_report(out: Store) -> list[str]:
    """Write ``figures/`` and ``report.html`` anew; needs no cluster and no model.

    Returns:
      Paths written, relative to the output folder.

    Raises:
      InputError: The folder holds no run, or nothing has been scored yet.
    """
    sources = sources_digest(out)
    out.delete(NOTE)
    record = read_record(out)
    scores = read_scores(out)
    if record is None or scores.empty:
        raise InputError(
            f"{out.shown} holds no scored rows; give the --out folder of a `vae-batch score` that "
            "has scored at least one checkpoint"
        )
    galleries = StoredGalleries(out, record)
    comparisons, selection = read_comparisons(out), read_selection(out)
    names = replace_figures(out.folder(FIGURES), scores, galleries, comparisons, selection)
    provenance = {
        "output": out.shown,
        "versions": record.versions,
        **record.identity,
        "spec": record.spec.model_dump(mode="json"),
    }
    race = read_race(out) if record.spec.race else None
    page = render_page(scores, galleries, provenance, comparisons, selection, race)
    out.write(PAGE, page.encode())
    written = [*(f"{FIGURES}/{name}" for name in names), PAGE]
    note_drawn(out, sources, written)
    return written
