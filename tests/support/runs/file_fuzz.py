"""Damages every JSON and Parquet file of a finished run, and lets the commands read it.

    python -m support.runs.file_fuzz --seed 1 --mutations 200

Each mutation damages one file of a copy: flipped bits, truncation, zeros, values of other types,
nesting without end, huge numbers. Then come ``verify`` and, in turn, ``status``, ``export``,
``compare`` with the sound run, the reading of a report and a race, or of nights; and at every
``--every``-th mutation ``verify --mend``, ``score`` with the same settings in this process, and
``report``. None may raise what nobody handles, take longer than five minutes, or leave a wrong
number: rows and exported tables that can be read are those of the sound run, or ``verify`` names a
file; and after ``score``, preceded by ``verify --mend`` where it is refused, all rows are those of
the sound run. Records whose check fits their changed fields are not held to that, since nothing can
tell them from sound ones.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import io
import json
import shutil
import signal
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import typer.main
import typer.testing
from support.models.toy_models import save_classifier, save_pair
from support.runs.nightly_rows import MONDAY
from support.stores import score_rows
from typer.testing import CliRunner

from vae_batch.cli import app
from vae_batch.nightly.history import HistoryRow, read_history, upsert_history
from vae_batch.nightly.summary import read_summary, recorded_rows, write_summary
from vae_batch.plan import InputError
from vae_batch.report.finished_run import FinishedRun, StoredGalleries
from vae_batch.run.race.record import read_race
from vae_batch.storage import Store, read_score_rows
from vae_batch.storage.checked_json import CHECK, encode_checked

_SPEC = """
checkpoints = ["FOLDER/runs"]
reference = "digits"
reference_samples = 100
extractors = ["FOLDER/classifier.keras"]
samples = 150
shard_size = 32
batch_size = 16
splits = 5
workers = 0
metrics = "losses,fid,inception_score"
race = { metric = "elbo", first = 32, rare = 0 }
"""

# The command is built once, which takes longer than most of its calls.
vars(typer.testing)["_get_command"] = functools.cache(typer.main.get_command)

#: Seconds that a command may take.
_LONGEST = 300

_VALUES: tuple[Any, ...] = (
    None, True, -1, 0, 1.5, 2**63, 10**19, 1e308, "", "x", "../../x", [], {}, [[]], {"a": 1},
)  # fmt: skip


@dataclass
class Account:
    """What happened, by outcome; and what must not have."""

    outcomes: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)


def fuzzed_files(out: Path) -> list[Path]:
    """Every kind of JSON and Parquet file: of files of one name but for digits and hashes, one."""
    kinds: dict[str, Path] = {}
    for path in sorted([*out.rglob("*.json"), *out.rglob("*.parquet")]):
        parts = path.relative_to(out).parts
        suffix = "receipt.json" if path.name.endswith("receipt.json") else path.suffix
        kind = f"{parts[0]}/{path.name.partition('-')[0]}{suffix}" if parts[1:] else path.name
        kinds.setdefault(kind, path)
    return list(kinds.values())


def mutants(content: bytes, suffix: str, draw: np.random.Generator) -> Iterator[tuple[str, bytes]]:
    """Endless damaged versions of a file, each with the kind of its damage."""
    kinds = _JSON if suffix == ".json" else _PARQUET
    names = list(kinds)
    while True:
        name = names[int(draw.integers(len(names)))]
        with contextlib.suppress(ValueError, KeyError, TypeError, pa.ArrowException, OSError):
            damaged = kinds[name](content, draw)
            if damaged != content:
                yield name, damaged


def _flip(content: bytes, draw: np.random.Generator) -> bytes:
    changed = bytearray(content)
    for _ in range(int(draw.integers(1, 4))):
        changed[int(draw.integers(len(changed)))] ^= 1 << int(draw.integers(8))
    return bytes(changed)


def _cut(content: bytes, draw: np.random.Generator) -> bytes:
    return content[: int(draw.integers(len(content)))]


def _zeros(content: bytes, draw: np.random.Generator) -> bytes:
    at = int(draw.integers(len(content)))
    return content[:at] + bytes(min(64, len(content) - at)) + content[at + 64 :]


def _footer(content: bytes, draw: np.random.Generator) -> bytes:
    start = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    return content[:start] + _flip(content[start:], draw)


def _places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in items:
        yield (*path, key)
        if isinstance(inner, dict | list):
            yield from _places(inner, (*path, key))


def _swapped(content: bytes, draw: np.random.Generator) -> dict[str, Any]:
    """The fields with one value, however deep, replaced or removed."""
    fields: dict[str, Any] = json.loads(content)
    places = [place for place in _places(fields) if place != (CHECK,)]
    *above, last = places[int(draw.integers(len(places)))]
    parent: Any = fields
    for key in above:
        parent = parent[key]
    number = int(draw.integers(len(_VALUES) + 1))
    if number < len(_VALUES):
        parent[last] = _VALUES[number]
    else:
        del parent[last]
    return fields


def _unchecked(content: bytes, draw: np.random.Generator) -> bytes:
    fields = _swapped(content, draw)
    fields.pop(CHECK, None)
    return json.dumps(fields, indent=1).encode()


def _checked(content: bytes, draw: np.random.Generator) -> bytes:
    fields = _swapped(content, draw)
    fields.pop(CHECK, None)
    return encode_checked(fields)


def _nested(content: bytes, draw: np.random.Generator) -> bytes:
    """One value nested 100 to 100,000 deep."""
    depth = 10 ** int(draw.integers(2, 6))
    mark = json.dumps({**_swapped(content, draw), "mark": "@@"})
    brackets = (b"[", b"]") if draw.integers(2) else (b'{"a":', b"}")
    inner = brackets[0] * depth + b"1" + brackets[1] * depth
    return mark.encode().replace(b'"@@"', inner)


def _huge(content: bytes, draw: np.random.Generator) -> bytes:
    fields = json.dumps(_swapped(content, draw) | {"mark": "@@"}).encode()
    return fields.replace(b'"@@"', b"9" * int(10 ** draw.integers(2, 6)))


def _table(content: bytes, draw: np.random.Generator) -> bytes:
    """A sound Parquet file of another table: a column cast, emptied, renamed or dropped."""
    table = pq.read_table(pa.BufferReader(content))
    number = int(draw.integers(table.num_columns))
    name, column = table.column_names[number], table[number]
    way = int(draw.integers(5))
    if way == 0:
        table = table.set_column(number, name, column.cast(pa.string()))
    elif way == 1:
        table = table.set_column(number, name, pa.nulls(len(column), column.type))
    elif way == 2:
        table = table.rename_columns([n if n != name else "x" for n in table.column_names])
    elif way == 3:
        table = table.drop_columns([name])
    else:
        table = table.slice(0, 0)
    metadata = dict(table.schema.metadata or {})
    if draw.integers(2):
        metadata.pop(b"vae_batch.check", None)
    buffer = io.BytesIO()
    pq.write_table(table.replace_schema_metadata(metadata), buffer)
    return buffer.getvalue()


_Mutation = Callable[[bytes, np.random.Generator], bytes]
_BYTES: dict[str, _Mutation] = {"bits": _flip, "truncated": _cut, "zeros": _zeros}
_JSON: dict[str, _Mutation] = _BYTES | {
    "type swapped": lambda content, draw: json.dumps(_swapped(content, draw)).encode(),
    "type swapped, unchecked": _unchecked, "type swapped, checked": _checked, "nested": _nested,
    "huge number": _huge,
}  # fmt: skip
_PARQUET: dict[str, _Mutation] = _BYTES | {"footer": _footer, "another table": _table}

#: Mutations that leave a record which nothing can tell from a sound one.
_FORGED = ("type swapped, unchecked", "type swapped, checked", "another table")


def finished_run(folder: Path) -> Path:
    """The spec of a run; ``out`` beside it has every kind of JSON and Parquet file."""
    for step in (1, 2):
        save_pair(folder / f"runs/step-000{step}", seed=step)
    save_classifier(folder / "classifier.keras")
    spec = folder / "spec.toml"
    spec.write_text(_SPEC.replace("FOLDER", str(folder)))
    scored = _score(spec, folder / "out")
    assert scored.exit_code == 0, scored.stderr
    out = Store.open(str(folder / "out"))
    rows = [HistoryRow(MONDAY, row, verdict="first") for row in read_score_rows(out)]
    upsert_history(out, rows)
    records = [row.to_record() | {"date": str(MONDAY)} for row in rows]
    write_summary(out, MONDAY, {"exit_code": 0, "rows": records}, "# Night")
    out.write("pruned.json", encode_checked({"losses/elsewhere": "0" * 32}))
    holder = {"token": "t", "host": "elsewhere", "pid": 1, "user": "ann", "run": "r"}
    holder |= {"since": "2027-01-15T03:00:00+00:00", "heartbeat": 100.0, "period": 1e-3}
    out.write("lease.json", encode_checked(holder))
    return spec


def fuzz(spec: Path, seed: int, mutations: int, only: str = "", every: int = 1) -> Account:
    """Damage each kind of file so many times; all randomness follows from the seed.

    ``score``, which takes seconds, comes after every ``every``-th mutation.
    """
    account, sound = Account(), spec.with_name("out")
    expected = _numbers(sound)
    work = sound.with_name("damaged")
    shutil.copytree(sound, work)
    for path in fuzzed_files(sound):
        name = path.relative_to(sound)
        if only not in str(name):
            continue
        draw = np.random.default_rng([seed, *name.as_posix().encode()])
        damaged = mutants(path.read_bytes(), path.suffix, draw)
        for number in range(mutations):
            kind, content = next(damaged)
            (work / name).write_bytes(content)
            case = f"{name} #{number} {kind}"
            try:
                outcome = _read(work, sound, number, expected, is_forged=kind in _FORGED)
                if number % every == every - 1:
                    is_named = outcome == "named"
                    outcome += _redone(spec, work, expected, is_named, is_forged=kind in _FORGED)
            except Exception as error:
                account.faults.append(f"{case}: {type(error).__name__}: {error}")
                print(f"FAULT  {account.faults[-1]}", flush=True)
                traceback.print_exc(limit=-3)
            else:
                account.outcomes[f"{name.name.split('-')[0]}: {outcome}"] += 1
            if number % every == every - 1:
                shutil.rmtree(work)
                shutil.copytree(sound, work)
        (work / name).write_bytes(path.read_bytes())
    shutil.rmtree(work)
    return account


def _read(out: Path, sound: Path, number: int, expected: list[Any], *, is_forged: bool) -> str:
    """What commands that only read make of a damaged file: ``verify``, and one of the others.

    Raises:
        AssertionError: One broke its promise.
    """
    is_named = _call("verify", str(out)).exit_code != 0
    sure, wrong = is_named or is_forged, "a wrong number, and no file is named"
    match number % 5:
        case 0:
            _call("status", str(out))
        case 1:
            _call("compare", str(sound), str(out), "--json")
        case 2:
            printed = _exported(out)
            assert sure or printed in ("", _exported(sound)), wrong
        case 3:
            store = Store.open(str(out))
            with contextlib.suppress(OSError):
                read_history(store)
            recorded_rows(store)
            read_summary(store, MONDAY)
        case _:
            with contextlib.suppress(OSError, InputError):
                run = FinishedRun.open(str(out))
                galleries = StoredGalleries(run.store, run.record)
                for label in run.checkpoints:
                    galleries.get(label)
                read_race(run.store)
    found = expected
    with contextlib.suppress(OSError, InputError):
        found = _numbers(out)
    assert sure or found == expected, wrong
    return "named" if is_named else "harmless"


def _redone(spec: Path, out: Path, expected: list[Any], is_named: bool, *, is_forged: bool) -> str:
    """What ``score`` makes of it.

    Raises:
        AssertionError: It broke its promise.
    """
    if is_named:
        _call("report", str(out))
    scored = _score(spec, out)
    said = ", then scored"
    if scored.exit_code != 0:
        assert is_named, f"score refuses what verify finds sound: {scored.stderr[-300:]}"
        _call("verify", str(out), "--mend")
        scored = _score(spec, out)
        said = ", then mended and scored"
    assert scored.exit_code == 0, f"score after its remedy: {scored.stderr[-300:]}"
    if not is_forged:
        assert _numbers(out) == expected, "other numbers after score"
    return said


def _score(spec: Path, out: Path) -> Any:
    return _call("score", str(spec), "--out", str(out))


def _call(*words: str) -> Any:
    def stop(number: int, frame: object) -> None:
        raise AssertionError(f"{words[0]} takes more than {_LONGEST} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(_LONGEST)
    try:
        found = CliRunner().invoke(app, list(words))
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    last = " ".join(found.stderr.split())[-400:]
    assert found.exit_code in (0, 2, 3), f"{words[0]} ends with {found.exit_code}: {last}"
    return found


def _exported(out: Path) -> str:
    """The score table as ``export`` prints it; empty where it refuses."""
    printed = _call("export", str(out), "--markdown")
    return str(printed.stdout) if printed.exit_code == 0 else ""


def _numbers(out: Path) -> list[Any]:
    return score_rows.numbers(read_score_rows(Store.open(str(out))), "version")


def main() -> None:
    """Fuzz, print the account, and fail where a promise was broken."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--mutations", type=int, default=200, help="per kind of file")
    parser.add_argument("--every", type=int, default=10, help="mutations per run of `score`")
    parser.add_argument("--only", default="", help="files whose path contains this")
    given = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        spec = finished_run(Path(folder))
        account = fuzz(spec, given.seed, given.mutations, given.only, given.every)
    for outcome, count in sorted(account.outcomes.items()):
        print(f"{count:6,}  {outcome}")
    total = sum(account.outcomes.values()) + len(account.faults)
    print(f"{total:,} mutations, {len(account.faults)} faults, {time.monotonic() - began:.0f} s")
    raise SystemExit(bool(account.faults))


if __name__ == "__main__":
    main()
