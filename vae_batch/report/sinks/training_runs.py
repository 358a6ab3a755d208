"""Training runs of a finished run, as MLflow and Weights & Biases keep them: steps as a series."""

from __future__ import annotations

import datetime
import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vae_batch.plan.quantities import plural
from vae_batch.report.finished_run import FinishedRun
from vae_batch.report.labels import slugs, without_shared_folder
from vae_batch.report.sinks.scored_checkpoints import (
    ScoredCheckpoint,
    lines_of,
    scored_checkpoints,
)
from vae_batch.storage import Store
from vae_batch.storage.score_rows import ScoreRow

#: Conditions that all rows of a checkpoint share, and those that each extractor has its own of.
_SHARED = (
    "reference",
    "reference_split",
    "reference_sha256",
    "reference_is",
    "n_generated",
    "n_reference",
    "seed",
    "model_format",
    "model_range",
    "input_fit",
    "condition",
    "second_head",
    "likelihood",
    "sigma",
    "beta",
)
_OWN = ("protocol", "weights_sha256", "feature_dim")

_CHECKPOINT = "vae_batch.checkpoint."  # and the step
_EDITION = 2  # of what is logged of the same rows


@dataclass(frozen=True)
class Logged:
    """Numbers of a tracker's runs that one export created, replaced or kept."""

    created: int = 0
    replaced: int = 0
    kept: int = 0

    @classmethod
    def count(cls, words: Sequence[str]) -> Logged:
        """From one word for each run."""
        return cls(*(words.count(word) for word in ("created", "replaced", "kept")))

    def __str__(self) -> str:
        runs = plural(self.created, "run")
        return f"{runs} created, {self.replaced} replaced, {self.kept} kept"


@dataclass(frozen=True)
class TrainingRun:
    """What one run of a tracker is made of.

    Attributes:
        name: The folder of its checkpoints, or the label of a single one.
        checkpoints: By step.
        identity: 32 hexadecimal digits that stay where later checkpoints are added.
        digest: SHA-256 that changes whenever the content does.
        figures: Names of its checkpoints' PNG files in ``folder``.
        folder: The figures of the run.
    """

    name: str
    checkpoints: Sequence[ScoredCheckpoint]
    identity: str
    digest: str
    figures: Sequence[str]
    folder: Store

    @property
    def rows(self) -> list[ScoreRow]:
        """Of all checkpoints and extractors."""
        return [row for each in self.checkpoints for row in each.rows.values()]

    @property
    def records(self) -> list[dict[str, Any]]:
        """The rows as JSON takes them, which has no word for infinity."""
        return [
            {
                name: str(value) if isinstance(value, float) and not math.isfinite(value) else value
                for name, value in row.to_record().items()
            }
            for row in self.rows
        ]

    @property
    def failed(self) -> bool:
        """Whether every checkpoint failed."""
        return all(each.failures for each in self.checkpoints)

    def conditions(self) -> dict[str, str]:
        """Conditions, with all values where they differ; those of an extractor end so."""
        return dict(_conditions(self.checkpoints))

    def said(self) -> dict[str, str]:
        """The checkpoint of each step, failures and warnings."""
        said = {f"{_CHECKPOINT}{each.step or 0}": each.label for each in self.checkpoints}
        failed = [f"{each.label}: {why}" for each in self.checkpoints for why in each.failures]
        warned = [f"{each.label}: {why}" for each in self.checkpoints for why in each.warnings]
        count = sum(1 for each in self.checkpoints if each.failures)
        said["status"] = f"{count} of {len(self.checkpoints)} failed"
        more = {"reasons": "; ".join(failed), "warnings": "; ".join(warned)}
        return said | {name: text for name, text in more.items() if text}


def training_runs(run: FinishedRun) -> Iterator[TrainingRun]:
    """The lines of the curves; a checkpoint without a step is a training run of its own."""
    folder = run.store.folder("figures")
    figures = _figures_by_checkpoint(run, folder.sizes())
    checkpoints = scored_checkpoints(run)
    lines: dict[str, list[ScoredCheckpoint]] = {}
    names = lines_of(checkpoints)
    for checkpoint in sorted(checkpoints, key=lambda c: c.step or 0):
        lines.setdefault(names[checkpoint.label], []).append(checkpoint)
    for line, found in lines.items():
        own = {name: size for c in found for name, size in figures.get(c.label, {}).items()}
        rows = [row.to_record() for c in found for row in c.rows.values()]
        first = next(iter(found[0].rows.values()))
        # The first checkpoint of a training run stays where later ones are added.
        identity = [line, first.conditions.checkpoint_sha256, *_conditions(found[:1])]
        untimed = [{k: v for k, v in row.items() if k != "scored_at"} for row in rows]
        yield TrainingRun(
            found[0].label if len(found) == 1 else _folder(found) or run.store.shown,
            found,
            identity=_sha256(identity)[:32],
            digest=_sha256([_EDITION, untimed, own]),
            figures=[*own],
            folder=folder,
        )


def _folder(checkpoints: Sequence[ScoredCheckpoint]) -> str:
    """The folder that checkpoints share."""
    labels = [each.label for each in checkpoints]
    shorts = without_shared_folder(labels)
    return labels[0][: len(labels[0]) - len(shorts[0])].rstrip("/")


def _sha256(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _figures_by_checkpoint(run: FinishedRun, sizes: Mapping[str, int]) -> dict[str, dict[str, int]]:
    """PNG files named ``<kind>-<slug>.png``; the longest slug that fits owns one."""
    owners = {slug: label for label, slug in slugs(run.checkpoints).items()}
    found: dict[str, dict[str, int]] = {}
    for name, size in sizes.items():
        ends = [slug for slug in owners if name.endswith(f"-{slug}.png")]
        if ends:
            found.setdefault(owners[max(ends, key=len)], {})[name] = size
    return found


def _conditions(checkpoints: Sequence[ScoredCheckpoint]) -> Iterator[tuple[str, str]]:
    found: dict[str, dict[str, None]] = {}
    for each in checkpoints:
        for extractor, row in each.rows.items():
            held = {name: getattr(row.conditions, name) for name in _SHARED}
            held |= {f"{name}/{extractor}": getattr(row.conditions, name) for name in _OWN}
            for name, value in {**held, "version": row.provenance.version}.items():
                if value is not None:
                    found.setdefault(name, {})[str(value)] = None
    for name, values in found.items():
        yield name, ", ".join(values)


def milliseconds(row: ScoreRow) -> int:
    """When the row was scored, since 1970."""
    return int(datetime.datetime.fromisoformat(row.provenance.scored_at).timestamp() * 1000)
