"""A run as those who show it need it: rows, comparisons, selection and pictures of one folder."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vae_batch.metrics.samples.nearest import closest_pairs
from vae_batch.plan import InputError
from vae_batch.report.gallery import Gallery, Images
from vae_batch.run.compare.best_checkpoint import Selection, read_selection
from vae_batch.run.output.run_record import RecordedRow, RunRecord, read_record
from vae_batch.run.scoring.report_arrays import PAIRS, read_shown
from vae_batch.storage import (
    DamagedFileError,
    Store,
    decode_arrays,
    read_comparisons,
    read_score_rows,
    read_verified,
)
from vae_batch.storage.comparison_file import Comparison
from vae_batch.storage.score_rows import ScoreRow

#: Bytes of galleries that are kept in memory.
_KEPT_BYTES = 2**28
#: Galleries read at a time, at first: object stores answer slowly.
_READERS = 4

Arrays = dict[str, NDArray[Any]]


class StoredGalleries(Mapping[str, Gallery]):
    """Galleries by checkpoint label; a checkpoint of which nothing is stored is not there."""

    def __init__(self, out: Store, record: RunRecord, kept_bytes: int = _KEPT_BYTES) -> None:
        """Read all galleries once, to know which there are.

        Args:
            out: The output folder.
            record: Its rows and their units.
            kept_bytes: Of galleries kept in memory, the first ones; others are read again, since
                drawing a report reads all of them in turn.
        """
        self._out, self._kept_bytes = out, kept_bytes
        self._rows: dict[str, list[RecordedRow]] = {}
        for row in record.rows:
            self._rows.setdefault(row.checkpoint, []).append(row)
        self._kept: dict[str, Gallery] = {}
        self._last: tuple[str, Gallery] = ("", {})
        self._lock = threading.Lock()
        with ThreadPoolExecutor(_READERS) as pool:
            found = list(pool.map(lambda name: bool(self._read(name)), self._rows))
        self._names = [name for name, any_there in zip(self._rows, found, strict=True) if any_there]

    def __getitem__(self, checkpoint: str) -> Gallery:
        if checkpoint not in self._rows:
            raise KeyError(checkpoint)
        return self._read(checkpoint)

    def __contains__(self, checkpoint: object) -> bool:
        return checkpoint in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def _read(self, checkpoint: str) -> Gallery:
        with self._lock:
            if checkpoint in self._kept:
                return self._kept[checkpoint]
            if checkpoint == self._last[0]:
                return self._last[1]
        gallery = read_gallery(self._out, self._rows[checkpoint])
        with self._lock:
            size = sum(map(_bytes_of, self._kept.values())) + _bytes_of(gallery)
            if size <= self._kept_bytes:
                self._kept[checkpoint] = gallery
            else:
                self._last = (checkpoint, gallery)
        return gallery


def read_gallery(out: Store, rows: Sequence[RecordedRow]) -> Gallery:
    """All pictures stored of one checkpoint; what is missing or damaged is left out.

    Args:
        out: The output folder.
        rows: Of the checkpoint, one an extractor; pictures chosen by activations are those of the
            first that has some.
    """
    gallery: Arrays = {}
    for row in rows[:1]:
        gallery |= _drawn_pictures(out, row)
        for kind in ("losses", "pictures"):
            if kind in row.units:
                gallery |= read_shown(out, row.units[kind])
    samples = gallery.get("samples")
    chosen = [_chosen_by_activations(out, row) for row in rows]
    if samples is not None:
        gallery |= _nearest(chosen, samples) | _duplicates(chosen, samples)
    return gallery


def _drawn_pictures(out: Store, row: RecordedRow) -> Arrays:
    unit = row.units.get("gallery")
    try:
        return decode_arrays(read_verified(out, unit, unit.shards()[0].name)) if unit else {}
    except DamagedFileError:
        return {}


def _chosen_by_activations(out: Store, row: RecordedRow) -> Arrays:
    """What an extractor chose, with its name."""
    if "generated" not in row.units:
        return {}
    shown = read_shown(out, row.units["generated"])
    if "training" not in row.units:  # of an earlier run with other training images
        shown = {name: array for name, array in shown.items() if not name.startswith("nearest_")}
    return shown | {"extractor": np.array(row.extractor)}


def _nearest(chosen: Sequence[Arrays], samples: Images) -> Arrays:
    """The first samples beside the training image nearest to each."""
    for arrays in chosen:
        if "nearest_training" in arrays:
            found = {name: array for name, array in arrays.items() if name.startswith("nearest_")}
            generated = samples[: len(arrays["nearest_training"])]
            return found | {
                "nearest_generated": generated,
                "nearest_extractor": arrays["extractor"],
            }
    return {}


def _duplicates(chosen: Sequence[Arrays], samples: Images) -> Arrays:
    """The most alike pairs of samples, by activations where a run has compared those."""
    found = next((arrays for arrays in chosen if "duplicate_ids" in arrays), None)
    if found is not None:
        ids, distances = found["duplicate_ids"], found["duplicate_distances"]
        measure = found["extractor"]
    elif len(samples) < 2:
        return {}
    else:
        pixels = samples.reshape(len(samples), -1)
        ids, distances = closest_pairs(pixels, PAIRS)
        distances, measure = distances / (255.0 * math.sqrt(pixels.shape[1])), np.array("pixels")
    return {
        "duplicate_ids": ids,
        "duplicate_distances": distances,
        "duplicate_measure": measure,
        "duplicate_first": samples[ids[:, 0]],
        "duplicate_second": samples[ids[:, 1]],
    }


def _bytes_of(gallery: Gallery) -> int:
    return sum(array.nbytes for array in gallery.values())


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
