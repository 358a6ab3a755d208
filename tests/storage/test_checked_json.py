"""Every JSON file that the package keeps, with every kind of damage: an error or nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import pytest

from vae_batch.models.autoencoder.description import Description
from vae_batch.nightly.summary import read_summary, recorded_rows, write_summary
from vae_batch.plan import InputError, Unit, make_spec
from vae_batch.report.bundle import is_drawn, note_drawn, sources_digest
from vae_batch.results import Figures
from vae_batch.run.compare.best_checkpoint import (
    SELECTION,
    Selection,
    SelectionStep,
    read_selection,
    write_selection,
)
from vae_batch.run.output.lease import LEASE_FILE, Holder, holder_of
from vae_batch.run.output.prune import PRUNED, pruned_units
from vae_batch.run.output.run_record import RUN_FILE, RunRecord, read_record
from vae_batch.run.progress.progress_file import PROGRESS_FILE, read_progress, write_progress
from vae_batch.run.progress.snapshot import Part, Snapshot, Work
from vae_batch.run.race.record import RACE, Leaving, RaceOutcome, read_race, write_race
from vae_batch.storage import Store, read_receipt, write_with_receipt
from vae_batch.storage.checked_json import (
    CHECK,
    decode_as,
    encode_checked,
    parse_json,
)
from vae_batch.storage.receipts import receipt_path
from vae_batch.storage.unit_progress import GATHERED, finished_shards, gather_receipts

from support.runs.nightly_rows import MONDAY  # isort: skip

UNIT = Unit("losses/a", "losses", "print", samples=10, shard_size=2)
DEEP = b'{"check": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"


def _run(store: Store) -> None:
    rows = [{"checkpoint": "a", "extractor": "e", "fingerprint": "f", "units": {}}]
    rows[0]["units"] = {"losses": asdict(UNIT)}
    spec = make_spec({"checkpoints": ["a"], "reference": "digits"}).model_dump(mode="json")
    fields = {"identity": {}, "spec": spec, "rows": rows, "versions": {"python": "3"}}
    store.write(RUN_FILE, encode_checked(fields))


def _selection(store: Store) -> None:
    step = SelectionStep("elbo", None, "a", -1.5, 10, ("a", "b"))
    write_selection(store, Selection((step,), 2, None, "tied", ("KID",), 500))


def _race(store: Store) -> None:
    left = (Leaving("b", 5, "a", 1.0, 0.1, 0.001),)
    names: tuple[str, ...] = ("a",)
    outcome = RaceOutcome(
        "elbo", None, 0.05, 0.0, 0.01, (5, 10), left, "a", names, names, {}, (), 10, 20, "digest"
    )
    write_race(store, outcome)


def _progress(store: Store) -> None:
    work = (Work("losses", None, "cpu", 1, 10, 100, 0.5),)
    part = (Part("a", 1, 2, 0),)
    snapshot = Snapshot(1.0, "work", {"plan": 0.1}, 1, 2, 1, running=part, work=work)
    write_progress(store, snapshot, "finished")


def _receipts(store: Store) -> None:
    for shard in UNIT.shards():
        write_with_receipt(store, UNIT, shard.name, b"xx", rows=2)
    gather_receipts(store, UNIT)


def _description(store: Store) -> None:
    said = Description("keras", (2,), (8, 8, 1), "0..1", "bernoulli", "mean", "logvar", None, None)
    store.write("d.json", said.to_json())


def _described(store: Store) -> Description | None:
    try:
        return Description.from_json(store.read("d.json"))
    except ValueError:
        return None


def _refused(read: Callable[[Store], object], words: str) -> Callable[[Store], object]:
    """A reader that raises; its error names the file and the remedy."""

    def reader(store: Store) -> object:
        try:
            return read(store)
        except InputError as error:
            said = str(error)
        assert words in said
        assert store.shown in said
        assert len(said) < 800
        return None

    return reader


_MEND = "--mend` "
_NUMBERS = "figures/fid.json"
#: File, what writes it, what reads it.
KEPT: dict[str, tuple[Callable[[Store], None], Callable[[Store], object]]] = {
    RUN_FILE: (_run, _refused(read_record, _MEND)),
    SELECTION: (_selection, _refused(read_selection, _MEND)),
    RACE: (_race, _refused(read_race, _MEND)),
    PRUNED: (
        lambda store: store.write(PRUNED, encode_checked({"losses/a": "print"})),
        _refused(pruned_units, _MEND),
    ),
    PROGRESS_FILE: (_progress, read_progress),
    LEASE_FILE: (
        lambda store: store.write(
            LEASE_FILE, encode_checked(asdict(Holder("t", "h", 1, "u", "r", "s", 1.0, 15.0)))
        ),
        holder_of,
    ),
    f"{UNIT.path}/{GATHERED}": (_receipts, lambda store: finished_shards(store, UNIT)),
    receipt_path(UNIT, UNIT.shards()[0].name): (
        _receipts,
        lambda store: read_receipt(store, UNIT, UNIT.shards()[0].name),
    ),
    "d.json": (_description, _described),
    "figures/drawn.json": (
        lambda store: note_drawn(store, sources_digest(store), {}),
        is_drawn,
    ),
    _NUMBERS: (
        lambda store: [store.write(_NUMBERS, b'{"a": 1}'), store.write("figures/fid.png", b"")],
        _refused(lambda store: Figures(store.folder("figures")).numbers("fid"), "report"),
    ),
    f"nightly/{MONDAY}/summary.json": (
        lambda store: write_summary(store, MONDAY, {"exit_code": 0, "rows": []}, "page"),
        lambda store: (read_summary(store, MONDAY), recorded_rows(store)),
    ),
}


def _mutants(content: bytes) -> dict[str, bytes]:
    """The file damaged in each kind of way; every field in turn gets values of other types."""
    fields: dict[str, Any] = json.loads(content)
    found = {"nested": DEEP, "empty": b"", "text": b"half", "null": b"null", "bytes": b"\xff\xfe"}
    found |= {"list": b"[" * 200 + b"]" * 200, "cut": content[: len(content) // 2]}
    for name in fields:
        for value in (None, "x", -1, 1.5, float("nan"), [], {}, 10**400, [[[]]], True):
            changed = {key: fields[key] for key in fields if key != CHECK} | {name: value}
            text = json.dumps(changed).replace(str(10**400), "9" * 5000)
            found[f"{name}: {value!r:.20}"] = text.encode()
            if value != 10**400:
                found[f"{name}: {value!r:.20}, checked"] = encode_checked(changed)
    return found


@pytest.mark.parametrize("name", KEPT)
def test_no_damage_to_a_kept_file_raises_what_nobody_handles(name: str, tmp_path: Any) -> None:
    store = Store.open(str(tmp_path))
    write, read = KEPT[name]
    write(store)
    content = store.read(name)
    assert read(store)
    for kind, damaged in _mutants(content).items():
        store.write(name, damaged)
        try:
            read(store)
        except Exception as error:
            raise AssertionError(f"{name}, {kind}") from error


@pytest.mark.parametrize("name", [RUN_FILE, SELECTION, RACE, PRUNED])
def test_an_error_says_what_was_expected_and_found(name: str, tmp_path: Any) -> None:
    store = Store.open(str(tmp_path))
    store.write(name, DEEP)
    with pytest.raises(InputError, match="nested deeper than 100"):
        {RUN_FILE: read_record, SELECTION: read_selection, RACE: read_race}.get(name, pruned_units)(
            store
        )


@pytest.mark.parametrize(
    ("unit", "words"),
    [
        ({"path": "../elsewhere"}, "no path below an output folder"),
        ({"samples": 2**62, "shard_size": 1}, "shards, of which there may be 100,000"),
        ({"samples": "10"}, "rows.0.units.losses.samples: Input should be a valid integer, found"),
        ({"shard_size": 0}, "shard_size >= 1"),
    ],
)
def test_a_record_of_impossible_units_is_refused(unit: dict[str, Any], words: str) -> None:
    spec = make_spec({"checkpoints": ["a"], "reference": "digits"}).model_dump(mode="json")
    row = {"checkpoint": "a", "extractor": "e", "fingerprint": "f"}
    rows = [{**row, "units": {"losses": asdict(UNIT) | unit}}]
    content = encode_checked({"identity": {}, "spec": spec, "rows": rows})
    with pytest.raises(ValueError, match=words):
        decode_as(RunRecord, content)


def test_whole_numbers_are_bounded() -> None:
    assert parse_json(b"[18446744073709551615, 1e5, -3]") == [2**64 - 1, 1e5, -3]
    with pytest.raises(ValueError, match="21 digits"):
        parse_json(b"1" * 21)
