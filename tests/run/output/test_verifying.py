"""A flipped bit in any stored file is found, named, and costs one shard to mend."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.runs.serial_runs import files_of, score
from support.stores import score_rows

from vae_batch.plan import InputError, make_spec
from vae_batch.run.compare.best_checkpoint import select_again, write_selection
from vae_batch.run.output.repair import DAMAGED_RECORD, mend
from vae_batch.run.output.verify import verify_output
from vae_batch.storage import Receipt, Store, read_score_rows

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
    with pytest.raises(InputError, match="verify --mend"):
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
    assert faults["pictures"].startswith("has an unreadable receipt (JSONDecodeError: ")
    assert faults["description"] == "has a receipt of another fingerprint"
    assert len(faults) == 4
    assert found.unfinished == 1  # the forgotten receipt


def test_a_file_that_was_wrong_when_its_receipt_was_written(copy: dict[str, Any]) -> None:
    """Digest and size are right, what is inside is not: rows are missing, or it is no Parquet."""
    import hashlib

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
