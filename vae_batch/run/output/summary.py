"""What a run did, for those who started it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from vae_batch.run.planning.run_plan import RunPlan
from vae_batch.run.progress.snapshot import faults_in_words
from vae_batch.storage import read_score_rows


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

    rows: tuple[dict[str, Any], ...]
    shards_total: int
    shards_before: int
    shards_computed: int
    seconds: float
    faults: Mapping[str, int] = field(default_factory=dict)

    @property
    def failed(self) -> int:
        """Number of failed rows."""
        return sum(row["status"] == "failed" for row in self.rows)

    @property
    def faults_survived(self) -> str:
        """The faults in words, such as ``2 workers lost``; empty where there were none."""
        return faults_in_words(self.faults)


def rows_of(plan: RunPlan) -> tuple[dict[str, Any], ...]:
    """The score table's rows of a plan."""
    planned = {row.key for row in plan.rows}
    rows = read_score_rows(plan.stores.out)
    return tuple(row for row in rows if (row["checkpoint"], row["extractor"]) in planned)


def row_sentence(row: Mapping[str, Any]) -> str:
    """A row's main numbers, in a sentence; what is undefined is left out."""
    if row["status"] == "failed":
        return f"{row['checkpoint']}: failed: {row['reason']}"
    found = {
        "ELBO {:.2f} nats": row.get("elbo"),
        f"FID[{row['extractor']}] {{:.4g}}": row.get("fid"),
        "IS {:.3f}": row.get("inception_score"),
    }
    scores = [text.format(value) for text, value in found.items() if value is not None]
    return f"{row['checkpoint']}: {', '.join(scores) or 'scored'}"
