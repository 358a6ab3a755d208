"""A run as those who show it need it: rows, comparisons, selection and pictures of one folder."""

from __future__ import annotations

from dataclasses import dataclass

from vae_batch.plan import InputError
from vae_batch.report.gallery import Gallery
from vae_batch.report.stored_galleries import read_gallery
from vae_batch.run.compare.best_checkpoint import Selection, read_selection
from vae_batch.run.output.run_record import RunRecord, read_record
from vae_batch.storage import Store, read_comparisons, read_score_rows
from vae_batch.storage.comparison_file import Comparison
from vae_batch.storage.score_rows import ScoreRow


@dataclass(frozen=True)
class FinishedRun:
    """What an output folder holds of a run that has scored something.

    Attributes:
        store: The output folder.
        record: Which units its rows are made of.
        rows: Of the score table.
        comparisons: Paired differences, as ``read_comparisons`` gives them.
        selection: Which checkpoint was found best; None where none was.
    """

    store: Store
    record: RunRecord
    rows: list[ScoreRow]
    comparisons: list[Comparison]
    selection: Selection | None

    @classmethod
    def open(cls, out: str) -> FinishedRun:
        """The run of an output folder or URI.

        Raises:
            InputError: The folder holds no run, or nothing has been scored yet.
        """
        return cls.of(Store.open(out))

    @classmethod
    def of(cls, store: Store) -> FinishedRun:
        """The run of an output folder that is open already.

        Raises:
            InputError: The folder holds no run, or nothing has been scored yet.
        """
        record, rows = read_record(store), read_score_rows(store)
        if record is None or not rows:
            raise InputError(
                f"{store.shown} holds no scored rows; give the --out folder of a `vae-batch score` "
                "that has scored at least one checkpoint"
            )
        return cls(store, record, rows, read_comparisons(store), read_selection(store))

    @property
    def checkpoints(self) -> list[str]:
        """Labels of all checkpoints, in table order."""
        return list(dict.fromkeys(row.checkpoint for row in self.rows))

    def gallery(self, checkpoint: str) -> Gallery:
        """Stored pictures of a checkpoint; none where they are missing or damaged."""
        rows = [row for row in self.record.rows if row.checkpoint == checkpoint]
        return read_gallery(self.store, rows)
