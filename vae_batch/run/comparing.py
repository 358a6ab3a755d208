"""Which checkpoint is better: paired differences between the rows of one output folder."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from vae_batch.metrics import METRICS, ComparisonRow, PairedDifference, PairedScore
from vae_batch.metrics.comparison.ranking import comparison_table, require_same_conditions
from vae_batch.plan import InputError
from vae_batch.run.recorded import ScoredRow, open_record, scored_rows
from vae_batch.run.scoring.influences import read_influences
from vae_batch.run.scoring.losses import importance_per_image, losses_per_image
from vae_batch.storage import COMPARISON_COLUMNS, DamagedFileError, write_comparisons

Row = dict[str, Any]
Scores = dict[str, PairedScore]

#: Losses that are compared image by image, the same under every extractor.
_LOSSES = ("elbo", "reconstruction_nll", "iwae", "mse", "ssim")

#: Scores that are compared sample by sample through their influences.
_DISTANCES = ("fid", "kid", "inception_score")

#: What two rows must share before their difference means anything.
_SAME_IMAGES = ("reference_sha256", "n_reference", "seed")
_SAME_PIXELS = (*_SAME_IMAGES, "model_range", "input_fit")
_SAME_LIKELIHOOD = (*_SAME_PIXELS, "likelihood", "sigma")
_SAME_PROTOCOL = (*_SAME_IMAGES, "extractor", "weights_sha256", "protocol", "n_generated")


def compare_run(location: str) -> list[Row]:
    """Compare all scored rows of an output folder and write ``comparisons.parquet``.

    Rows are compared only with rows of the same conditions. A Fréchet distance is compared only
    where its bias does not dominate it; there the kernel distance decides.

    Raises:
      InputError: No run has begun there.
    """
    rows = scored_rows(location, open_record(location))
    compared = compare_rows(rows)
    if rows:
        write_comparisons(rows[0].parts.stores.out, compared)
    return compared


def compare_runs(location_a: str, location_b: str) -> list[Row]:
    """Compare the rows of two output folders with each other; nothing is written.

    A checkpoint that both have is told apart by its folder.

    Raises:
      InputError: A folder holds no scored row, or no extractor of the one was used for the other
        under the same conditions; names what differs.
    """
    runs = {name: scored_rows(name, open_record(name)) for name in (location_a, location_b)}
    for name, rows in runs.items():
        if not rows:
            raise InputError(f"{name} holds no scored rows; run `vae-batch score` first")
    _require_common_conditions(*runs.values())
    labels = [row.fields["checkpoint"] for rows in runs.values() for row in _one_each(rows)]
    both = {label for label in labels if labels.count(label) > 1}
    named = [_named(row, name, both) for name, rows in runs.items() for row in rows]
    return compare_rows(named)


def compare_rows(rows: Sequence[ScoredRow]) -> list[Row]:
    """Comparisons of rows, each with those of the same conditions."""
    nothing = dict.fromkeys(COMPARISON_COLUMNS)
    return [{**nothing, **row} for group in _groups(rows) for row in group]


def _require_common_conditions(a: Sequence[ScoredRow], b: Sequence[ScoredRow]) -> None:
    """Refuse two runs that share the conditions of no extractor."""
    refusal: ValueError | None = None
    for left in a:
        for right in b:
            try:
                require_same_conditions(_conditions_of(left), _conditions_of(right))
            except ValueError as error:
                same_extractor = left.fields["extractor"] == right.fields["extractor"]
                refusal = error if refusal is None or same_extractor else refusal
            else:
                return
    raise InputError(str(refusal))


def _conditions_of(row: ScoredRow) -> Row:
    return {name: row.fields[name] for name in _SAME_PROTOCOL}


def _one_each(rows: Sequence[ScoredRow]) -> list[ScoredRow]:
    return list({row.fields["checkpoint"]: row for row in rows}.values())


def _named(row: ScoredRow, folder: str, both: Collection[str]) -> ScoredRow:
    """The row under a label that no row of the other run has."""
    label = row.fields["checkpoint"]
    if label in both:
        label = f"{folder}: {label}"
    return replace(row, fields={**row.fields, "checkpoint": label})


def _groups(rows: Sequence[ScoredRow]) -> Iterator[list[Row]]:
    one_each = _one_each(rows)
    losses = {str(row.fields["checkpoint"]): _losses(row) for row in one_each}
    for metric in _LOSSES:
        same = _SAME_LIKELIHOOD if METRICS[metric].within_likelihood else _SAME_PIXELS
        yield from _compared(one_each, metric, same, losses, lambda row: row["checkpoint"])
    distances = {_key(row.fields): _distances(row) for row in rows}
    for metric in _DISTANCES:
        yield from _compared(rows, metric, _SAME_PROTOCOL, distances, _key)


def _key(fields: Mapping[str, Any]) -> Any:  # noqa: ANN401
    return fields["checkpoint"], fields["extractor"]


def _compared(
    rows: Sequence[ScoredRow],
    metric: str,
    conditions: Sequence[str],
    scores: Mapping[Any, Scores],
    key: Callable[[Mapping[str, Any]], Any],
) -> Iterator[list[Row]]:
    """Comparison tables of one metric, one for each set of conditions."""
    groups: dict[tuple[Any, ...], dict[str, tuple[ScoredRow, PairedScore]]] = {}
    for row in rows:
        score = scores[key(row.fields)].get(metric)
        if score is not None:
            same = (*(_condition(row, name) for name in conditions), len(score.influence))
            groups.setdefault(same, {})[row.fields["checkpoint"]] = (row, score)
    for group in groups.values():
        yield _lines(metric, group, with_extractor="extractor" in conditions)


def _condition(row: ScoredRow, name: str) -> object:
    """A condition as declared: each checkpoint's own best sigma is one setting, not many."""
    return row.parts.reading.sigma if name == "sigma" else row.fields[name]


def _lines(
    metric: str, group: Mapping[str, tuple[ScoredRow, PairedScore]], *, with_extractor: bool
) -> list[Row]:
    """Every checkpoint against the best of all, and against the one before it in its folder."""
    scores = {name: score for name, (_, score) in group.items()}
    table = _table(scores, metric)
    best = next((line.checkpoint for line in table if line.is_best), None)
    folders: dict[str, dict[str, PairedScore]] = {}
    for name, score in scores.items():
        folders.setdefault(name.rpartition("/")[0], {})[name] = score
    steps = {
        line.checkpoint: (line, previous)
        for folder in folders.values()
        for line, previous in zip(_table(folder, metric), [None, *folder], strict=False)
    }
    lines = []
    for line in table:
        fields, step = group[line.checkpoint][0].fields, steps.get(line.checkpoint)
        lines.append(
            {
                "metric": metric,
                "extractor": fields["extractor"] if with_extractor else None,
                "checkpoint": line.checkpoint,
                "step": fields["step"],
                "value": line.value,
                "n": len(scores[line.checkpoint].influence),
                "is_best": line.is_best,
                "level_with_best": line.level_with_best,
                "best": best,
                **_against_best(line),
                **(_against_previous(*step) if step else {}),
            }
        )
    return lines


def _table(scores: Mapping[str, PairedScore], metric: str) -> list[ComparisonRow]:
    try:
        return comparison_table(scores, METRICS[metric].direction)
    except ValueError:  # scores that differ although no sample tells them apart
        return []


def _against_best(line: ComparisonRow) -> Row:
    found = line.against_best
    if found is None:
        return {}
    unpaired = {"from_best_unpaired_se": found.unpaired_standard_error}
    return {**_difference("from_best", found, line.best_p), **unpaired}


def _against_previous(line: ComparisonRow, previous: str | None) -> Row:
    if line.against_previous is None:
        return {}
    difference = _difference("from_previous", line.against_previous, line.previous_p)
    return {"previous": previous, **difference, "verdict": line.verdict}


def _difference(name: str, found: PairedDifference, p: float) -> Row:
    return {
        name: found.difference,
        f"{name}_se": found.standard_error,
        f"{name}_low": found.low,
        f"{name}_high": found.high,
        f"{name}_p": p,
    }


def _losses(row: ScoredRow) -> Scores:
    """Losses with one value an image, as far as the row has them."""
    parts = row.parts
    try:
        description = parts.description()
        values = dict(losses_per_image(parts, description))
        values |= parts.columns("losses", ["mse", "ssim"])
        if "importance" in parts.units and row.fields["iwae"] is not None:
            values |= importance_per_image(parts, description)
    except DamagedFileError:
        return {}
    wanted = {name: values[name] for name in _LOSSES if name in values}
    return {
        name: PairedScore.from_values(found)
        for name, found in wanted.items()
        if row.fields[name] is not None
    }


def _distances(row: ScoredRow) -> Scores:
    """Distances with the influence of each sample, but for a Fréchet distance that is all bias."""
    generated = row.parts.units.get("generated")
    if generated is None:
        return {}
    try:
        scores = read_influences(row.parts.stores.out, generated)
    except DamagedFileError:
        return {}
    if row.fields["fid_warning"]:
        scores.pop("fid", None)
    return {name: score for name, score in scores.items() if row.fields[name] is not None}
