"""Under which conditions the numbers were made: one line, and the whole spec."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from vae_batch.report.charts.curves import runs_of
from vae_batch.report.comparable_rows import is_dropped
from vae_batch.report.labels import count, printable
from vae_batch.storage.score_rows import ScoreRow

_HASH = 12
_MOST_WORDS = 3
_PROTOCOL_HEADS = ("Extractor", "Protocol", "Weights, SHA-256", "Generated", "Real",
                   "Reference, SHA-256")  # fmt: skip


@dataclass(frozen=True)
class Provenance:
    """What made the scores.

    Attributes:
        line: (name, value) pairs, short enough for one line.
        protocol_heads: Of the columns of ``protocols`` with a value in some row.
        protocols: For each extractor its name, protocol, weights' hash in full and counts.
        everything: Dotted names and values of all that was recorded.
    """

    line: tuple[tuple[str, str], ...]
    protocol_heads: tuple[str, ...]
    protocols: tuple[tuple[str, ...], ...]
    everything: tuple[tuple[str, str], ...]


def provenance_of(rows: Sequence[ScoreRow], recorded: Mapping[str, object]) -> Provenance:
    """Provenance of a run: what its rows say, and the identity and spec that it recorded."""
    scored = [row for row in rows if row.status == "scored"] or list(rows)
    firsts: dict[tuple[str, ...], ScoreRow] = {}
    for row in scored:
        firsts.setdefault(_protocol(row), row)
    columns = zip(_PROTOCOL_HEADS, *firsts, strict=True)
    filled = [(head, words) for head, *words in columns if {*words} - {"-"}]
    return Provenance(
        line=(*_line(scored, list(firsts.values())), *_libraries(recorded)),
        protocol_heads=tuple(head for head, _ in filled),
        protocols=tuple(zip(*(words for _, words in filled), strict=True)),
        everything=tuple(flat(recorded)),
    )


@dataclass(frozen=True)
class Headline:
    """What a run is about, for its title and the line below.

    Attributes:
        reference: Name and split of the reference, or how many there are, or "".
        facts: Of images, extractors, days and training runs, each in a few words.
    """

    reference: str
    facts: tuple[str, ...]


def headline_of(rows: Sequence[ScoreRow]) -> Headline:
    """The headline of a run."""
    scored = [row for row in rows if row.status == "scored"] or list(rows)
    whole = [row for row in scored if not is_dropped(row)] or scored
    references = _named("", (_reference(row) for row in scored))
    words = (
        *_named("", (_compared(row) for row in whole)),
        *_named("", (row.conditions.extractor for row in scored)),
        *_named("", _days(rows)),
    )
    runs = len({*runs_of(rows).values()})
    return Headline(
        reference=next((value for _, value in references), ""),
        facts=(*([f"{runs} training runs"] if runs > 1 else []), *(value for _, value in words)),
    )


def _compared(row: ScoreRow) -> str:
    held = row.conditions
    return f"{count(held.n_generated)} generated against {_real(held.n_reference)} images"


def _line(rows: Sequence[ScoreRow], firsts: Sequence[ScoreRow]) -> Iterator[tuple[str, str]]:
    yield from _named("extractor", (_extractor(row) for row in firsts))
    yield from _named("protocol", (row.conditions.protocol for row in firsts))
    yield from _named("n", (_counts(row) for row in firsts))
    yield from _named("reference", (_reference(row) for row in firsts))
    yield from _named("seed", (row.conditions.seed for row in firsts))
    families = (row.conditions.family for row in rows if row.conditions.likelihood)
    yield from _named("likelihood", families)
    yield from _named("version", (row.provenance.version for row in rows))
    yield from _named("device", (row.provenance.device for row in rows))
    yield from _named("scored", _days(rows))


def _libraries(recorded: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    """The two that readers ask for; all are below."""
    versions = recorded.get("versions")
    if isinstance(versions, Mapping):
        for name in ("tensorflow", "keras"):
            yield from _named(name, iter([versions.get(name)]))


def _named(name: str, values: Iterator[object]) -> Iterator[tuple[str, str]]:
    """One pair where there is a value; of many values only how many there are."""
    distinct = list(dict.fromkeys(str(value) for value in values if value not in (None, "")))
    if len(distinct) > _MOST_WORDS:
        distinct = [f"{len(distinct)} different"]
    if distinct:
        yield name, printable(", ".join(distinct))


def _extractor(row: ScoreRow) -> str:
    held = row.conditions
    weights = f" (weights {held.weights_sha256[:_HASH]})" if held.weights_sha256 else ""
    return f"{held.extractor}{weights}"


def _counts(row: ScoreRow) -> str:
    held = row.conditions
    return f"{count(held.n_generated)} generated, {_real(held.n_reference)}"


def _real(number: int | None) -> str:
    return "an unknown number of real" if number is None else f"{count(number)} real"


def _reference(row: ScoreRow) -> str:
    held = row.conditions
    name, fit = held.reference or "", f", {held.reference_fit}" if held.reference_fit else ""
    return f"{name.rstrip('/').rpartition('/')[2] or name} ({held.reference_split}{fit})"


def _days(rows: Sequence[ScoreRow]) -> Iterator[str]:
    """The day of scoring, or the first and the last."""
    days = sorted({row.provenance.scored_at[:10] for row in rows})
    if days:
        yield days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"


def _protocol(row: ScoreRow) -> tuple[str, ...]:
    held = row.conditions
    words = (
        held.extractor,
        held.protocol,
        held.weights_sha256,
        count(held.n_generated),
        None if held.n_reference is None else count(held.n_reference),
        held.reference_sha256,
    )
    return tuple(printable("-" if word is None else word) for word in words)


def flat(values: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Nested mappings as dotted names and text; a sequence becomes one comma-separated line."""
    for name, value in values.items():
        path = printable(f"{prefix}{name}")
        if isinstance(value, Mapping):
            yield from flat(value, f"{path}.")
        elif isinstance(value, list | tuple):
            yield path, printable(", ".join(str(item) for item in value))
        else:
            yield path, printable("-" if value is None else value)
