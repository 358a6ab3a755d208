"""A finished run by checkpoint, as trackers of experiments take it: numbers, words, pictures."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from vae_batch.metrics.catalogue import METRICS, Metric
from vae_batch.report.charts.curves import own_interval
from vae_batch.report.comparable_rows import failure_of, finite_value
from vae_batch.report.finished_run import FinishedRun
from vae_batch.report.gallery import Gallery
from vae_batch.report.image_grids import (
    Grid,
    encode_png,
    integer_upscale,
    pixels,
    reconstruction_grid,
    wrapped,
)
from vae_batch.report.labels import printable, slugs
from vae_batch.storage.score_rows import ScoreRow

_TILE = 64  # target side of an image, in pixels of a picture
_STRIP = 10  # images of a film strip's row


@dataclass(frozen=True)
class ScoredCheckpoint:
    """One checkpoint with its rows, one for each extractor.

    Attributes:
        label: As in the score table.
        step: Training step, or None.
        rows: By extractor's name, made safe for the tags of every tracker.
    """

    label: str
    step: int | None
    rows: Mapping[str, ScoreRow]

    @property
    def failures(self) -> list[str]:
        """Why rows of it failed, each reason once."""
        reasons = (failure_of(row) for row in self.rows.values())
        return list(dict.fromkeys(reason for reason in reasons if reason is not None))

    @property
    def warnings(self) -> list[str]:
        """What a reader of its scores should know, each sentence once."""
        found = [warning.text for row in self.rows.values() for warning in row.warnings]
        scores = [score for row in self.rows.values() for score in row.scores.values()]
        found += [score.warning for score in scores if score.warning is not None]
        return [printable(text) for text in dict.fromkeys(found)]

    def scalars(self) -> dict[str, float]:
        """Finite numbers by tag: ``metric/extractor``, or ``metric`` where it depends on none.

        An undefined score has no number: a gap is not a 0.
        """
        found: dict[str, float] = {}
        for extractor, row in self.rows.items():
            for column, metric in METRICS.items():
                value = finite_value(row, column)
                if value is not None:
                    found.setdefault(_tag(metric, column, extractor), value)
        return found

    def intervals(self) -> dict[str, float]:
        """Ends of 95 % intervals that are no metrics of their own: ``metric_low[/extractor]``."""
        found: dict[str, float] = {}
        for extractor, row in self.rows.items():
            for column, metric in METRICS.items():
                ends = own_interval(row, metric)
                if metric.interval is None and math.isfinite(sum(ends)):
                    for word, end in zip(("low", "high"), ends, strict=True):
                        found.setdefault(_tag(metric, f"{column}_{word}", extractor), end)
        return found


def _tag(metric: Metric, name: str, extractor: str) -> str:
    return f"{name}/{extractor}" if metric.per_extractor and extractor else name


def scored_checkpoints(run: FinishedRun) -> list[ScoredCheckpoint]:
    """Checkpoints of a run, in table order."""
    safe = slugs(row.conditions.extractor for row in run.rows)
    grouped: dict[str, dict[str, ScoreRow]] = {}
    for row in run.rows:
        grouped.setdefault(row.checkpoint, {})[safe[row.conditions.extractor]] = row
    return [
        ScoredCheckpoint(label, next(iter(own.values())).step, own)
        for label, own in grouped.items()
    ]


@dataclass(frozen=True)
class TrackedPicture:
    """A PNG and its sides in pixels."""

    width: int
    height: int
    png: bytes


def pictures(gallery: Gallery) -> Iterator[tuple[str, TrackedPicture]]:
    """Pictures of one checkpoint by tag: samples, its row of the film strip, reconstructions."""
    if "samples" in gallery:
        yield "samples", _drawn(wrapped(gallery["samples"]))
        yield "film_strip", _drawn(wrapped(gallery["samples"][:_STRIP], columns=_STRIP))
    if "originals" in gallery and "reconstructions" in gallery:
        yield "reconstructions", _drawn(reconstruction_grid(gallery))


def _drawn(grid: Grid) -> TrackedPicture:
    picture = pixels(grid, integer_upscale(grid, _TILE))
    return TrackedPicture(picture.shape[1], picture.shape[0], encode_png(picture))


def lines_of(checkpoints: Sequence[ScoredCheckpoint]) -> dict[str, str]:
    """Which line of a curve each checkpoint is a point of: "" is the one line that most runs are.

    Training runs that share steps get a line each, named by their folder; a checkpoint without a
    step, or with one that another of its folder has, too, is a line of its own.
    """
    steps = [checkpoint.step for checkpoint in checkpoints]
    folders = {c.label: c.label.rpartition("/")[0] for c in checkpoints}
    known = [step for step in steps if step is not None]
    if len(set(known)) == len(known):
        folders = dict.fromkeys(folders, "")
    places = [(folders[c.label], c.step) for c in checkpoints]
    named = slugs([*(c.label for c in checkpoints), *(f for f in folders.values() if f)])
    return {
        c.label: named[c.label]
        if c.step is None or places.count(place) > 1
        else named.get(place[0], "")
        for c, place in zip(checkpoints, places, strict=True)
    }
