"""What a run did, for those who started it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from vae_batch.run.planning.run_plan import RunPlan
from vae_batch.run.progress.snapshot import faults_in_words
from vae_batch.storage import ScoreRow, read_score_rows


@dataclass(frozen=True)
class RunSummary:
    """What a run did.

    Attributes:
      rows: Rows of this run's checkpoints and extractors, in the score table's order.
      shards_total: Shards of the rows that were not scored before.
      shards_before: Of those, finished before this run.
      shards_computed: Finished by this run.
      seconds: Wall time.
      faults: Faults that the run survived, counted by their kind.
    """

    rows: tuple[ScoreRow, ...]
    shards_total: int
    shards_before: int
    shards_computed: int
    seconds: float
    faults: Mapping[str, int] = field(default_factory=dict)

    @property
    def failed(self) -> int:
        """Number of failed rows."""
        return sum(row.status == "failed" for row in self.rows)

    @property
    def faults_survived(self) -> str:
        """The faults in words, such as ``2 workers lost``; empty where there were none."""
        return faults_in_words(self.faults)


def rows_of(plan: RunPlan) -> tuple[ScoreRow, ...]:
    """The rows of a plan, as the score table holds them."""
    planned = {row.key for row in plan.rows}
    return tuple(row for row in read_score_rows(plan.stores.out) if row.key in planned)


def row_sentence(row: ScoreRow) -> str:
    """A row's main scores in a sentence; undefined ones are omitted."""
    if row.reason is not None:
        return f"{row.checkpoint}: failed: {row.reason.text}"
    found = {
        "ELBO {:.2f} nats": row.value("elbo"),
        f"FID[{row.conditions.extractor}] {{:.4g}}": row.value("fid"),
        "IS {:.3f}": row.value("inception_score"),
    }
    scores = [text.format(value) for text, value in found.items() if value is not None]
    return f"{row.checkpoint}: {', '.join(scores) or 'scored'}"
