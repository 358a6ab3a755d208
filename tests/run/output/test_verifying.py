"""A flipped bit in any stored file is found, named, and costs one shard to mend."""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.runs.nightly_rows import MONDAY
from support.runs.serial_runs import files_of, score
from support.stores import score_rows

from vae_batch.nightly.history import HistoryRow, upsert_history
from vae_batch.nightly.summary import write_summary
from vae_batch.plan import InputError, make_spec
from vae_batch.report.bundle import is_drawn, note_drawn, sources_digest
from vae_batch.run.compare.best_checkpoint import select_again, write_selection
from vae_batch.run.execute.failures import write_traceback
from vae_batch.run.output.layout import DAMAGED_RECORD
from vae_batch.run.output.lease import output_lease
from vae_batch.run.output.repair import mend
from vae_batch.run.output.verify import verify_output
from vae_batch.run.progress.progress_file import write_progress
from vae_batch.run.progress.snapshot import Snapshot
from vae_batch.run.race.record import RaceOutcome, write_race
from vae_batch.storage import Receipt, Store, read_score_rows
from vae_batch.storage.checked_json import decode_checked, encode_checked

#: A file of each kind that holds shards, and how many shards are computed again to mend it.
SHARDS = {
    "reference/images-*/activations/*/part-0*.parquet": 1,
    "reference/images-*/activations/*/part-reduction.npz": 0,
    "reference/images-*/pictures-*/part-0*.npz": 1,
    "reference/images-*/uint8-*/part-0*.parquet": 0,  # written while the run is prepared
    "reference/images-*/uint8-*/part-digests.npz": 0,
    "description/*/part-0*[0-9].json": 1,
    "losses/*/part-0*.parquet": 1,
    "losses/*/part-0*-pictures.npz": 1,
    "losses/*/part-shown.npz": 0,
    "importance/*/part-0*.parquet": 1,
    "gallery/*/part-0*.npz": 1,
    "pictures/*/part-0*.npz": 1,
    "pictures/*/part-shown.npz": 0,
    "activations/*/extractor=*/part-0*.parquet": 1,
    "activations/*/extractor=*/part-reduction.npz": 0,
    "activations/*/extractor=*/part-influences.npz": 0,
    "activations/*/extractor=*/part-shown.npz": 0,
    "activations/*/extractor=*/reconstructed/part-0*.parquet": 1,
    "activations/*/extractor=*/reconstructed/part-reduction.npz": 0,
}
TABLES = (
    "scores.parquet", "scores.csv", "comparisons.parquet", "comparisons.csv", "selection.json"
)  # fmt: skip


@pytest.fixture(scope="module")
def finished(toy_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Settings of a run with every kind of file that has been scored."""
    settings = {
        "checkpoints": [str(toy_folder / "runs/step-0001"), str(toy_folder / "runs/step-0002")],
        "reference": "digits",
        "reference_samples": 100,
        "extractors": [str(toy_folder / "classifier.keras")],
        "samples": 150,
        "shard_size": 32,
        "batch_size": 16,
        "splits": 5,
        "iwae_draws": 4,
        "iwae_images": 16,
        "workers": 0,
        "out": str(tmp_path_factory.mktemp("finished") / "out"),
    }
    score_and_compare(settings)
    return settings


def score_and_compare(settings: dict[str, Any]) -> int:
    """Shards computed; the report, whose pictures take most of a small run's time, is left out."""
    computed = score(settings).shards_computed
    selection = select_again(settings["out"], make_spec(settings))
    assert selection is not None
    write_selection(Store.open(settings["out"]), selection)
    return computed


@pytest.fixture
def copy(finished: dict[str, Any], tmp_path: Path) -> dict[str, Any]:
    """The same run in a folder of its own."""
    shutil.copytree(finished["out"], tmp_path / "out")
    return finished | {"out": str(tmp_path / "out")}


def flip(path: Path, bit: int) -> None:
    content = bytearray(path.read_bytes())
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)


def one_of(out: str, pattern: str) -> Path:
    return sorted(Path(out).glob(pattern))[-1]


def shard_of(path: Path) -> str:
    """The shard's name, of its file, pictures or receipt."""
    return path.name.removeprefix("part-").split(".")[0].removesuffix("-pictures")


def shard_path(path: Path) -> Path:
    """The path of a shard, whether of its file or its receipt; of other files their own."""
    return path.parent / path.name.split(".")[0] if path.name.startswith("part-") else path


def numbers(out: str) -> list[dict[str, Any]]:
    return score_rows.numbers(read_score_rows(Store.open(out)))


def test_a_sound_run_has_no_bad_file(finished: dict[str, Any]) -> None:
    found = verify_output(finished["out"])
    assert (found.bad, found.unfinished, found.pruned) == ((), 0, 0)
    out = Path(finished["out"])
    receipts = len([*out.rglob("*.receipt.json"), *out.rglob("receipts.json")])
    assert found.checked == receipts + len(TABLES) + 1  # and run.json
    assert {p for pattern in SHARDS for p in Path(finished["out"]).glob(pattern)} == {
        p for p in Path(finished["out"]).rglob("part-*") if "receipt" not in p.name
    }


@pytest.mark.parametrize(("pattern", "recomputed"), SHARDS.items())
def test_mending_redoes_that_shard_alone(
    finished: dict[str, Any], copy: dict[str, Any], pattern: str, recomputed: int
) -> None:
    path = one_of(copy["out"], pattern)
    flip(path, 4 * path.stat().st_size)
    written = files_of(Path(copy["out"]))
    mend(copy["out"], verify_output(copy["out"]))
    again = verify_output(copy["out"])
    assert again.bad == ()
    assert again.unfinished == (path.stem not in ("part-influences", "part-shown", "part-digests"))
    summary = score(copy)
    assert summary.shards_computed == recomputed
    assert numbers(copy["out"]) == numbers(finished["out"])
    assert verify_output(copy["out"]).unfinished == 0
    assert path.read_bytes() == one_of(finished["out"], pattern).read_bytes()
    now = files_of(Path(copy["out"]))
    data = {name for name in written if "/part-0" in name and now[name] != written[name]}
    assert {shard_of(Path(name)) for name in data} == (
        {shard_of(path)} if "part-0" in pattern else set()
    )


@pytest.fixture
def whole(copy: dict[str, Any]) -> dict[str, Any]:
    """The copy with a night, a report, a race and all else that runs leave behind."""
    out = Store.open(copy["out"])
    rows = [HistoryRow(MONDAY, row, verdict="first") for row in read_score_rows(out)]
    upsert_history(out, rows)
    write_summary(out, MONDAY, {"rows": [row.to_record() | {"date": str(MONDAY)} for row in rows]},
                  "# Night\n")  # fmt: skip
    figures = {"figures/index.json": b"{}", "figures/a.png": b"a figure", "report.html": b"a page"}
    for name, content in figures.items():
        out.write(name, content)
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in figures.items()}
    write_race(out, RaceOutcome("elbo", None, 0.05, 0.0, 0.05, (64,), (), None, (), (), {}, (), 1,
                                1, ""))  # fmt: skip
    write_progress(out, Snapshot(), "finished")
    out.write("pruned.json", encode_checked({}))
    write_traceback(out, "a", "Traceback")
    log = out.local_folder
    assert log is not None
    (log / "log.txt").write_text("a log")
    note_drawn(out, sources_digest(out), digests)
    return copy


#: Files whose content nothing depends on.
NOTES = {"lease.lock", "log.txt"}


def test_every_file_of_a_finished_folder_is_accounted_for(whole: dict[str, Any]) -> None:
    """Each is found when damaged and mended, or nothing depends on it."""
    out = Path(whole["out"])
    found = verify_output(whole["out"])
    assert (found.bad, found.unknown) == ((), ())
    kinds = {
        re.sub(r"[0-9]{8}-[0-9]{8}|=[^/]*|-[0-9a-f-]{8,}", "", str(path.relative_to(out))): path
        for path in sorted(out.rglob("*"))
        if path.is_file()
    }
    assert len(kinds) > 60
    notes = {path for path in kinds.values() if path.name in NOTES or "tracebacks" in path.parts}
    parts = {path for path in kinds.values() if path.name.startswith("part-")}
    # Records are a standard for one another, so that each is damaged alone.
    for group in [parts, notes, *({path} for path in {*kinds.values()} - parts - notes)]:
        intact = {path: path.read_bytes() for path in group}
        for path, content in intact.items():
            half = len(content) // 2
            path.write_bytes(content[:half] + bytes([content[half] ^ 1]) + content[half + 1 :])
        named = {shard_path(Path(bad.path)) for bad in verify_output(whole["out"]).bad}
        assert named == {shard_path(path) for path in group - notes}
        for path, content in intact.items():
            path.write_bytes(content)


@pytest.mark.parametrize("name", ["report.html", "figures/a.png", "figures/index.json"])
def test_a_damaged_drawing_is_removed_and_drawn_again(whole: dict[str, Any], name: str) -> None:
    flip(Path(whole["out"], name), 8)
    found = verify_output(whole["out"])
    assert [(bad.name, "vae-batch report" in bad.fault) for bad in found.bad] == [(name, True)]
    assert is_drawn(Store.open(whole["out"]))  # which looks at sizes alone
    mend(whole["out"], found)
    assert not is_drawn(Store.open(whole["out"]))


def test_a_users_own_file_is_left_alone(whole: dict[str, Any]) -> None:
    path = Path(whole["out"], "notes of mine.txt")
    path.write_text("mine")
    found = verify_output(whole["out"])
    assert (found.bad, [Path(each).name for each in found.unknown]) == ((), [path.name])
    mend(whole["out"], found)
    assert path.read_text() == "mine"


def test_files_that_no_run_plans_any_more_are_checked_by_their_receipts(
    copy: dict[str, Any],
) -> None:
    """Those of a checkpoint that was overwritten; it may come back, and they would be used."""
    out = Path(copy["out"])
    (old,) = [path for path in (out / "losses").iterdir() if path.is_dir()][:1]
    shutil.copytree(old, out / "losses/checkpoint=old-0123456789ab")
    found = verify_output(copy["out"])
    assert (found.bad, found.unknown) == ((), ())
    path = one_of(copy["out"], "losses/checkpoint=old-*/part-0*.parquet")
    flip(path, 4 * path.stat().st_size)
    found = verify_output(copy["out"])
    receipt = path.with_suffix(".receipt.json")
    assert [bad.path for bad in found.bad] == [str(receipt)]
    mend(copy["out"], found)
    assert not receipt.exists()
    assert verify_output(copy["out"]).bad == ()


WRITER = """
import os, sys
from vae_batch.storage import Store
os.fsync = lambda _: os.kill(os.getpid(), 9)
Store.open(sys.argv[1]).write(sys.argv[2], b"half")
"""


@pytest.mark.parametrize("name", ["scores.parquet", "losses/checkpoint=a/part-0-1.parquet"])
def test_what_a_killed_writer_left_is_found_and_removed(copy: dict[str, Any], name: str) -> None:
    before = files_of(Path(copy["out"]))
    done = subprocess.run([sys.executable, "-c", WRITER, copy["out"], name], check=False)
    assert done.returncode == -signal.SIGKILL
    (left,) = {*files_of(Path(copy["out"]))} - {*before}
    with output_lease(Store.open(copy["out"])):  # a run is writing: it may be its file
        assert verify_output(copy["out"]).bad == ()
    found = verify_output(copy["out"])
    assert [bad.name for bad in found.bad] == [left]
    mend(copy["out"], found)
    assert files_of(Path(copy["out"])).keys() - {"lease.lock"} == before.keys() - {"lease.lock"}


def test_a_shared_cache_keeps_what_another_run_may_be_writing(
    finished: dict[str, Any], tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    settings = finished | {"reference_cache": str(cache), "out": str(tmp_path / "out")}
    score(settings | {"metrics": "losses"})
    left = cache / ".part-0-1.parquet.123.0123abcd.tmp"
    left.write_bytes(b"half")
    assert verify_output(settings["out"]).bad == ()
    os.utime(left, (time.time() - 7200,) * 2)
    found = verify_output(settings["out"])
    assert [bad.path for bad in found.bad] == [str(left)]
    mend(settings["out"], found)
    assert not left.exists()


def test_nothing_is_mended_while_a_run_uses_the_folder(copy: dict[str, Any]) -> None:
    flip(Path(copy["out"]) / "scores.csv", 800)
    found = verify_output(copy["out"])
    with (
        output_lease(Store.open(copy["out"]), run="another"),
        pytest.raises(InputError, match="is in use by run another"),
    ):
        mend(copy["out"], found)
    assert verify_output(copy["out"]).bad == found.bad


def test_each_of_fifty_flipped_bits_is_found(copy: dict[str, Any]) -> None:
    """Any bit of any stored file: records, tables, receipts and data, but not what is drawn."""
    out = Path(copy["out"])
    kinds: dict[str, list[Path]] = {}
    for path in sorted(path for path in out.rglob("*") if path.is_file()):
        if not path.name.startswith("lease"):
            kind = re.sub(r"[0-9]{8}-[0-9]{8}", "N", path.name)
            kinds.setdefault(f"{path.relative_to(out).parts[:1]} {kind}", []).append(path)
    draw = np.random.default_rng(6)
    # One of each kind, and as many more of all as make fifty.
    chosen = [paths[draw.integers(len(paths))] for paths in kinds.values()]
    every = [path for paths in kinds.values() for path in paths if path not in chosen]
    chosen += [every[i] for i in draw.choice(len(every), 50 - len(chosen), replace=False)]
    assert len(set(chosen)) == 50
    assert {path.name for path in chosen} >= {"run.json", "receipts.json", "part-shown.npz"}
    # Tables and records alone, as others are checked by them; eight of the others at a time.
    alone = [path for path in chosen if path.parent == out or path.name == "receipts.json"]
    others = [path for path in chosen if path not in alone]
    groups = [[path] for path in alone] + [others[i : i + 8] for i in range(0, len(others), 8)]
    for group in groups:
        bits = {path: int(draw.integers(8 * path.stat().st_size)) for path in group}
        for path, bit in bits.items():
            flip(path, bit)
        named = {file.path for file in verify_output(copy["out"]).bad}
        for path, bit in bits.items():
            data = str(path).replace(".receipt.json", "")
            assert any(name.startswith(data) for name in named), f"{path}, bit {bit}"
            flip(path, bit)
    assert verify_output(copy["out"]).bad == ()


def test_fifty_bits_flipped_at_once_cost_their_shards_alone(
    finished: dict[str, Any], copy: dict[str, Any]
) -> None:
    """In half of the shards' files and in receipts of others; what is sound is not redone."""
    out = Path(copy["out"])
    shards = [p for p in sorted(out.rglob("part-0*")) if not p.match("*/uint8-*/*")]
    files = [p for p in shards if "receipt" not in p.name and "pictures" not in p.name]
    receipts = [p for p in shards if p.name.endswith(".receipt.json") and "-pictures" not in p.name]
    draw = np.random.default_rng(7)
    chosen = [files[i] for i in draw.choice(len(files), 25, replace=False)]
    chosen += [receipts[i] for i in draw.choice(len(receipts), 25, replace=False)]
    for path in chosen:
        flip(path, int(draw.integers(8 * path.stat().st_size)))
    bad = verify_output(copy["out"])
    hit = {path.parent / shard_of(path) for path in chosen}
    assert {Path(file.path).parent / shard_of(Path(file.path)) for file in bad.bad} == hit
    mend(copy["out"], bad)
    assert score_and_compare(copy) == len(hit)
    assert numbers(copy["out"]) == numbers(finished["out"])
    assert verify_output(copy["out"]).bad == ()


def test_a_damaged_record_is_set_aside_and_costs_no_shard(
    finished: dict[str, Any], copy: dict[str, Any]
) -> None:
    record = Path(copy["out"]) / "run.json"
    flip(record, 8 * 2000)
    with pytest.raises(InputError, match=r"verify \S+ --mend"):
        score(copy)
    found = verify_output(copy["out"])
    assert [Path(bad.path).name for bad in found.bad] == ["run.json"]
    mend(copy["out"], found)
    assert record.with_name(DAMAGED_RECORD).exists()
    with pytest.raises(InputError, match="holds no run"):
        verify_output(copy["out"])
    assert score_and_compare(copy) == 0
    assert verify_output(copy["out"]).bad == ()
    assert numbers(copy["out"]) == numbers(finished["out"])


def test_a_record_of_an_earlier_scoring_version_is_sound(
    copy: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    # The package has a function of the same name.
    fingerprint_module = importlib.import_module("vae_batch.plan.fingerprint")
    later = fingerprint_module.SCORING_VERSION + 1
    monkeypatch.setattr(fingerprint_module, "SCORING_VERSION", later)
    assert verify_output(copy["out"]).bad == ()
    record = Path(copy["out"]) / "run.json"
    fields = decode_checked(record.read_bytes())
    # Of a version that did not know this part.
    identity = fields["identity"]
    del identity["iwae_draws"], identity["fingerprint"]
    identity["fingerprint"] = fingerprint_module.fingerprint(**identity)
    record.write_bytes(encode_checked(fields))
    assert verify_output(copy["out"]).bad == ()
    fields["identity"]["seed"] += 1
    record.write_bytes(encode_checked(fields))
    assert [Path(bad.path).name for bad in verify_output(copy["out"]).bad] == ["run.json"]


def test_a_record_without_a_check_is_sound_as_version_0_1_wrote_it(copy: dict[str, Any]) -> None:
    """It had no versions either; with one field more, the name of a check may be damaged."""
    record = Path(copy["out"]) / "run.json"
    fields = decode_checked(record.read_bytes())
    record.write_text(json.dumps(fields | {"chekc": "0"}, indent=1))
    assert [Path(bad.path).name for bad in verify_output(copy["out"]).bad] == ["run.json"]
    del fields["versions"], fields["device"]
    record.write_text(json.dumps(fields, indent=1))
    assert verify_output(copy["out"]).bad == ()


@pytest.mark.parametrize("name", TABLES)
def test_a_damaged_table_is_written_again_from_stored_files(
    finished: dict[str, Any], copy: dict[str, Any], name: str
) -> None:
    flip(Path(copy["out"]) / name, 800)
    mend(copy["out"], verify_output(copy["out"]))
    assert verify_output(copy["out"]).bad == ()
    assert score_and_compare(copy) == 0
    assert numbers(copy["out"]) == numbers(finished["out"])
    assert (Path(copy["out"]) / "comparisons.csv").exists()
    assert verify_output(copy["out"]).bad == ()


def test_faults_are_told_apart(copy: dict[str, Any]) -> None:
    out = Path(copy["out"])
    losses = one_of(copy["out"], "losses/*/part-0*.parquet")
    losses.write_bytes(losses.read_bytes()[:-100])
    one_of(copy["out"], "gallery/*/part-0*.npz").unlink()
    receipt = one_of(copy["out"], "pictures/*/part-0*.receipt.json")
    receipt.write_bytes(receipt.read_bytes()[:-3])
    forgotten = one_of(copy["out"], "importance/*/part-0*.receipt.json")
    forgotten.unlink()
    description = one_of(copy["out"], "description/*/part-0*.receipt.json")
    fields = json.loads(description.read_bytes())
    other = {name: value for name, value in fields.items() if name != "check"}
    of_another = Receipt(**(other | {"fingerprint": "0" * 32})).checked()
    description.write_bytes(of_another.to_json())
    found = verify_output(copy["out"])
    faults = {Path(file.path).relative_to(out).parts[0]: file.fault for file in found.bad}
    size = losses.stat().st_size
    assert f"is {size} bytes long, its receipt says {size + 100}" in faults["losses"]
    assert faults["gallery"] == "is missing"
    assert faults["pictures"].startswith("has an unreadable receipt (Invalid JSON: EOF")
    assert faults["description"] == "has a receipt of another fingerprint"
    assert len(faults) == 4
    assert found.unfinished == 1  # the forgotten receipt


def test_a_file_that_was_wrong_when_its_receipt_was_written(copy: dict[str, Any]) -> None:
    """Digest and size are right, what is inside is not: rows are missing, or it is no Parquet."""
    from vae_batch.storage import decode_columns, encode_columns

    losses = one_of(copy["out"], "losses/*/part-0*.parquet")
    columns = decode_columns(losses.read_bytes())
    short = encode_columns({name: column[:-1] for name, column in columns.items()})
    rows = len(next(iter(columns.values())))
    receipt = losses.with_name(losses.stem + ".receipt.json")
    for content, said in ((short, f"holds [{rows - 1}] rows, planned are {rows}"),
                          (b"PAR1 no PAR1", "cannot be read (OSError")):  # fmt: skip
        losses.write_bytes(content)
        fields = json.loads(receipt.read_bytes()) | {
            "size": len(content), "sha256": hashlib.sha256(content).hexdigest()
        }  # fmt: skip
        receipt.write_bytes(Receipt(**(fields | {"check": ""})).checked().to_json())
        (bad,) = verify_output(copy["out"]).bad
        assert said in bad.fault


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no run"):
        verify_output(str(tmp_path))
