"""``nightly/<date>/summary.json`` and ``summary.md``: a night for programs and for people."""

from __future__ import annotations

import dataclasses
import datetime
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vae_batch.metrics.catalogue import METRICS
from vae_batch.nightly.comparisons import Comparison
from vae_batch.nightly.history import Row
from vae_batch.nightly.regression import Judgement
from vae_batch.nightly.stable_checkpoints import Unfinished
from vae_batch.storage import Store

FOLDER = "nightly"


@dataclass(frozen=True)
class NightSummary:
    """What a night found.

    Attributes:
        date: Of the night.
        exit_code: 4 for a regression, else 3 where a checkpoint failed, else 0. A regression goes
            before a failure, which is named beside it: neither hides the other.
        out: The output folder, without credentials.
        shown: Columns of the score table that the page shows.
        tolerance: Metric to how much worse it may be.
        rows: The history's rows of this night.
        judgements: What each tolerance says.
        comparisons: Every new checkpoint against the best and the latest before.
        left: Checkpoints left for the next night.
        given_up: Rows of the score table that failed on several nights and have not changed.
        selection: The sentence on the best of all checkpoints, or None.
        shards_computed: Tonight.
        shards_before: Of tonight's rows, finished before.
        seconds: Wall time.
        finished_at: UTC.
    """

    date: datetime.date
    exit_code: int
    out: str
    shown: tuple[str, ...]
    tolerance: Mapping[str, float]
    rows: Sequence[Row]
    judgements: Sequence[Judgement]
    comparisons: Sequence[Comparison]
    left: Sequence[Unfinished]
    given_up: Sequence[Row]
    selection: str | None
    shards_computed: int
    shards_before: int
    seconds: float
    finished_at: str

    @property
    def failed(self) -> list[Row]:
        """Rows that failed tonight."""
        return [row for row in self.rows if row["status"] == "failed"]

    @property
    def scored(self) -> list[Row]:
        """Rows that were scored tonight."""
        return [row for row in self.rows if row["status"] == "scored"]

    @property
    def regressions(self) -> list[Judgement]:
        """Tolerances that were exceeded."""
        return [judgement for judgement in self.judgements if judgement.status == "regressed"]

    @property
    def headline(self) -> str:
        """The night in a line."""
        parts = []
        if self.regressions:
            parts.append(f"regression by {', '.join(dict.fromkeys(names(self.regressions)))}")
        new = _count(self.scored)
        parts.append(f"{new} new checkpoint{'s' * (new != 1)} scored" if new else "nothing new")
        if self.failed:
            parts.append(f"{_count(self.failed)} failed")
        if self.left:
            parts.append(f"{len(self.left)} left for the next night")
        return "; ".join(parts)

    def to_json(self) -> dict[str, Any]:
        """The summary as JSON values."""
        values = dataclasses.asdict(self) | {"headline": self.headline}
        named = ("checkpoint", "extractor", "reason")
        values["given_up"] = [{name: row[name] for name in named} for row in self.given_up]
        plain: dict[str, Any] = json.loads(json.dumps(values, default=str))
        return plain


def names(judgements: Sequence[Judgement]) -> list[str]:
    """The metrics of some judgements, as they are called in tables."""
    return [METRICS[judgement.metric].short for judgement in judgements]


def write_summary(store: Store, date: datetime.date, summary: Mapping[str, Any], page: str) -> None:
    """Write JSON and Markdown of a night, and the same as the latest; the night's JSON last.

    A night counts as done when its JSON is there, so a crash in between does it again.
    """
    content = (json.dumps(summary, indent=1) + "\n").encode()
    store.write(f"{FOLDER}/latest.md", page.encode())
    store.write(f"{FOLDER}/latest.json", content)
    store.write(f"{FOLDER}/{date}/summary.md", page.encode())
    store.write(f"{FOLDER}/{date}/summary.json", content)


def read_summary(store: Store, date: datetime.date) -> tuple[dict[str, Any], str] | None:
    """JSON and Markdown of a night; None where it is not done."""
    summary = store.find(f"{FOLDER}/{date}/summary.json")
    page = store.find(f"{FOLDER}/{date}/summary.md")
    if summary is None or page is None:
        return None
    try:
        return json.loads(summary), page.decode()
    except ValueError:  # damaged; the history has what it takes to write it again
        return None


def _count(rows: Sequence[Row]) -> int:
    return len({row["checkpoint"] for row in rows})
