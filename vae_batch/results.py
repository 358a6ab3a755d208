"""The Python interface: ``vae_batch.score(...)`` returns ``Results``, which a notebook shows."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import pandas as pd
import pyarrow as pa

from vae_batch.evaluation import evaluate
from vae_batch.plan import EvaluationSpec, InputError, make_spec, read_toml
from vae_batch.plan.quantities import plural
from vae_batch.python_objects import plain_settings
from vae_batch.report.comparable_rows import headlines_in
from vae_batch.report.finished_run import FinishedRun
from vae_batch.report.gallery import Gallery
from vae_batch.report.notebook_view import notebook_html
from vae_batch.run.compare.best_checkpoint import Selection
from vae_batch.run.output.layout import FIGURES, PAGE
from vae_batch.run.progress.events import EventSink
from vae_batch.run.race.record import RaceOutcome, read_race
from vae_batch.storage import Store
from vae_batch.storage.checked_json import parse_as
from vae_batch.storage.comparison_file import SCHEMA as COMPARISONS
from vae_batch.storage.score_rows import Conditions, Provenance
from vae_batch.storage.score_schema import SCHEMA as SCORES
from vae_batch.terminal.progress import TerminalProgress

#: Arrow types as pandas' nullable ones, so that a null never becomes NaN or a count a float.
_NULLABLE = {
    pa.int64(): pd.Int64Dtype(),
    pa.float64(): pd.Float64Dtype(),
    pa.bool_(): pd.BooleanDtype(),
    pa.string(): pd.StringDtype(),
}

Spec = EvaluationSpec | Mapping[str, Any] | str | os.PathLike[str]


def score(
    spec: Spec | None = None, *, progress: EventSink | None = None, **settings: object
) -> Results:
    """Score every checkpoint of a spec and open the results.

    ``score("nightly.toml", samples=2000)`` and ``score(checkpoints="runs/", reference="mnist")``
    take the keys of the TOML file; settings win over the spec. Running it again computes only
    what is missing. Beside what a TOML file can hold, paths may be ``pathlib.Path``, checkpoints
    may be Keras models in memory, ``custom_objects`` classes and functions (or Keras' dictionary
    of them), and ``builder`` a function.

    Args:
        spec: An ``EvaluationSpec``, its keys in a mapping, or the path of a TOML spec.
        progress: Called with every event of the run, see ``vae_batch.run.progress.events``; by
            default a bar or lines on stderr.
        settings: Keys of the spec.

    Raises:
        InputError: Something given cannot be used; nothing already done is lost.
    """
    settled = _spec(spec, settings)
    if progress is not None:
        evaluate(settled, progress)
    else:
        with TerminalProgress() as display:
            evaluate(settled, display)
    return Results.open(settled.out)


def _spec(spec: Spec | None, settings: Mapping[str, Any]) -> EvaluationSpec:
    if spec is None or isinstance(spec, EvaluationSpec | Mapping):
        given = spec.model_dump() if isinstance(spec, EvaluationSpec) else spec or {}
        return _make_spec({**given, **settings}, "score()")
    try:
        path = os.fspath(spec)
    except TypeError:
        raise InputError(
            f"score() was given a {type(spec).__name__}; expected the path of a .toml spec, an "
            "EvaluationSpec or a mapping; checkpoints are given as score(checkpoints=..., "
            "reference=...)"
        ) from None
    if not path.endswith(".toml"):
        raise InputError(
            f"score({path!r}): expected the path of a .toml spec, an EvaluationSpec or a mapping; "
            f"checkpoints are given as score(checkpoints={path!r}, reference=...)"
        )
    return _make_spec({**read_toml(path), **settings}, path)


def _make_spec(settings: Mapping[str, Any], source: str) -> EvaluationSpec:
    out = os.fspath(settings.get("out") or EvaluationSpec.model_fields["out"].default)
    return make_spec(plain_settings(settings, out), source=source)


@dataclass(frozen=True)
class Results:
    """A finished run: its table, its comparisons, its pictures and its page.

    Everything is read when it is first asked for, from a folder or an object store.

    Attributes:
        run: The run's rows as stored.
    """

    run: FinishedRun

    @classmethod
    def open(cls, out: str | os.PathLike[str]) -> Results:
        """The results of a run's output folder or URI.

        Raises:
            InputError: The folder holds no run, or nothing has been scored yet.
        """
        return cls(FinishedRun.open(os.fspath(out)))

    @property
    def out(self) -> str:
        """The output folder or URI, without credentials."""
        return self.run.store.shown

    @cached_property
    def table(self) -> pd.DataFrame:
        """The score table, one row per checkpoint and extractor, in nullable types.

        Checkpoint, step and the headline scores come first, the conditions last; the columns are
        those of ``scores.parquet``.
        """
        frame = _frame([row.to_record() for row in self.run.rows], SCORES)
        headlines = [metric.column for metric in headlines_in(self.run.rows)]
        first = ["checkpoint", "step", "extractor", *headlines, "status", "reason", "warnings"]
        conditions = {field.name for kind in (Conditions, Provenance) for field in fields(kind)}
        others = [name for name in frame if name not in first]
        others.sort(key=lambda name: name in conditions)
        return frame[[*first, *others]]

    @property
    def best(self) -> str | None:
        """Label of the best checkpoint; None where none is, or several are tied.

        ``selection`` says by which metric, and by how much.
        """
        return self.selection.best if self.selection else None

    @cached_property
    def comparisons(self) -> pd.DataFrame:
        """Each checkpoint against the best and the one before it; empty where none were made."""
        return _frame([each.to_record() for each in self.run.comparisons], COMPARISONS)

    @property
    def selection(self) -> Selection | None:
        """Which checkpoint is best, and which cannot be distinguished from it; None if none is."""
        return self.run.selection

    @cached_property
    def race(self) -> RaceOutcome | None:
        """How the race went, and who was dropped after how many samples; None without a race."""
        return read_race(self.run.store) if self.run.record.spec.race else None

    @property
    def figures(self) -> Figures:
        """The figures as PNG, by name."""
        return Figures(self.run.store.folder(FIGURES))

    def gallery(self, checkpoint: str) -> Gallery:
        """Stored pictures of a checkpoint as arrays, uint8 (..., H, W, C); empty where none are.

        Args:
            checkpoint: Its label, as in the table.

        Raises:
            InputError: The run has no such checkpoint.
        """
        if checkpoint not in self.run.checkpoints:
            known = ", ".join(self.run.checkpoints[:10])
            raise InputError(f"{self.out} has no checkpoint {checkpoint!r}; it has {known}")
        return self.run.gallery(checkpoint)

    @property
    def page(self) -> str:
        """The page, one self-contained HTML document.

        Raises:
            InputError: It has not been written.
        """
        try:
            return self.run.store.read(PAGE).decode()
        except FileNotFoundError:
            raise InputError(
                f"{self.out} has no {PAGE}; write it with `vae-batch report {self.out}`"
            ) from None

    def __repr__(self) -> str:
        labels = self.run.checkpoints
        failed = {row.checkpoint for row in self.run.rows if row.status == "failed"}
        said = f"; {self.selection.sentence}" if self.selection else ""
        checkpoints = plural(len(labels), "checkpoint")
        return f"<Results of {checkpoints}, {len(failed)} failed, in {self.out}{said}>"

    def _repr_html_(self) -> str:
        strip = self.figures.get("film-strip")
        return notebook_html(self.run.rows, self.selection, strip, self.out)


def _frame(rows: Iterable[Mapping[str, Any]], schema: pa.Schema) -> pd.DataFrame:
    return pa.Table.from_pylist([*rows], schema=schema).to_pandas(types_mapper=_NULLABLE.get)


class Picture(bytes):
    """The bytes of a PNG, which a notebook shows."""

    def _repr_png_(self) -> bytes:
        return bytes(self)


class Figures(Mapping[str, Picture]):
    """Figures as PNG by name without suffix, such as ``film-strip``; read when asked for."""

    def __init__(self, folder: Store) -> None:
        """Figures of ``folder``; it may be missing, and then holds none."""
        self._folder = folder

    @cached_property
    def _names(self) -> dict[str, str]:
        files = sorted(self._folder.sizes())
        return {name.removesuffix(".png"): name for name in files if name.endswith(".png")}

    def __getitem__(self, name: str) -> Picture:
        return Picture(self._folder.read(self._names[name]))

    def numbers(self, name: str) -> dict[str, Any]:
        """The numbers in a figure, with units and the columns that they come from.

        Raises:
            KeyError: There is no such figure.
            InputError: Its file is damaged.
        """
        try:
            return parse_as(dict[str, Any], self.file(name, "json"))
        except ValueError as error:
            path = self._folder.shown_path(f"{name}.json")
            raise InputError(
                f"{path} is damaged ({error}); `vae-batch report` of its folder draws it again"
            ) from None

    def file(self, name: str, suffix: str) -> bytes:
        """A figure's file: ``pdf``, ``png``, ``json``, or ``svg`` where it is made of lines.

        Raises:
            KeyError: There is no such figure, or none with this suffix.
        """
        try:
            return self._folder.read(f"{self._names[name].removesuffix('png')}{suffix}")
        except FileNotFoundError:
            raise KeyError(f"{name}.{suffix}") from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def __repr__(self) -> str:
        return f"Figures({', '.join(self)})"
