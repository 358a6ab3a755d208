"""Activations are deleted; tables, comparisons, the report and a later score do not change."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest
import typer
from support.models.toy_models import save_pair
from support.runs.serial_runs import files_of, score
from support.stores.score_rows import changed, numbers
from typer.testing import CliRunner

from vae_batch.commands.prune import Kept
from vae_batch.commands.prune import prune as prune_command
from vae_batch.plan import InputError, make_spec
from vae_batch.run.compare.best_checkpoint import (
    Selection,
    read_selection,
    select_again,
    write_selection,
)
from vae_batch.run.compare.pairwise import compare_run
from vae_batch.run.compare.rescore import rescore
from vae_batch.run.output.prune import Keep, prune, pruned_reason
from vae_batch.run.output.run_record import open_record
from vae_batch.run.output.verify import verify_output
from vae_batch.storage import Store, read_comparisons, read_score_rows
from vae_batch.storage.checked_json import decode_checked, encode_checked


@pytest.fixture(scope="module")
def finished(toy_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Settings of a run with training images over three checkpoints."""
    settings = {
        "checkpoints": [str(toy_folder / "runs")],
        "reference": "digits",
        "reference_samples": 100,
        "training": "train",
        "training_samples": 100,
        "extractors": [str(toy_folder / "classifier.keras")],
        "samples": 150,
        "shard_size": 64,
        "batch_size": 16,
        "splits": 5,
        "metrics": "losses,fid,kid,reconstruction_fid,memorisation",
        "workers": 0,
        "out": str(tmp_path_factory.mktemp("finished") / "out"),
    }
    score(settings)
    selection = select_again(settings["out"], make_spec(settings))
    assert selection is not None
    write_selection(Store.open(settings["out"]), selection)
    return settings


@pytest.fixture
def copy(finished: dict[str, Any], tmp_path: Path) -> dict[str, Any]:
    shutil.copytree(finished["out"], tmp_path / "out")
    return finished | {"out": str(tmp_path / "out")}


def shards(out: str, pattern: str) -> int:
    return len(list(Path(out).glob(f"{pattern}/part-0*.parquet")))


GENERATED = "activations/checkpoint=*/extractor=*"
RECONSTRUCTED = "activations/checkpoint=*/extractor=*/reconstructed"
REFERENCE = "reference/images-*/activations/*"

#: Shards kept: 3 checkpoints of 3 generated and 2 reconstructed shards; 2 of the reference and 2
#: of the training images. The best one alone is selected in these tests.
KEPT = {"all": (9, 6, 4), "reference": (0, 0, 2), "best": (3, 2, 4), "none": (0, 0, 0)}


def select_alone(settings: dict[str, Any]) -> Selection:
    store = Store.open(settings["out"])
    chosen = read_selection(store)
    assert chosen is not None
    alone = narrowed(chosen, chosen.steps[0].leader)
    write_selection(store, alone)
    return alone


def narrowed(selection: Selection, *left: str) -> Selection:
    """The selection with another group that its first metric leaves."""
    return replace(selection, steps=(replace(selection.steps[0], left=left),))


@pytest.mark.parametrize("keep", KEPT)
def test_only_activations_go_and_nothing_is_computed_again(
    copy: dict[str, Any], keep: Keep
) -> None:
    out = copy["out"]
    select_alone(copy)
    before, rows = files_of(Path(out)), read_score_rows(Store.open(out))
    compared = read_comparisons(Store.open(out))
    done = prune(out, keep)
    assert (shards(out, GENERATED), shards(out, RECONSTRUCTED), shards(out, REFERENCE)) == (
        KEPT[keep]
    )
    assert done.files == 19 - sum(KEPT[keep])
    assert (done.size > 0) == (keep != "all")
    gone = set(before) - set(files_of(Path(out)))
    assert len(gone) == 2 * done.files  # each with its receipt
    assert all("activations/" in name and "/part-0" in name for name in gone)
    assert score(copy).shards_computed == 0
    assert read_score_rows(Store.open(out)) == rows
    assert compare_run(out) == compared
    found = verify_output(out)
    # The selection was narrowed by hand, which is found; nothing else is wrong.
    assert [Path(file.path).name for file in found.bad] in ([], ["selection.json"])
    assert (found.unfinished, found.pruned) == (0, done.files)
    assert prune(out, keep).files == 0


def test_the_best_and_what_is_level_with_it_keep_theirs(copy: dict[str, Any]) -> None:
    names = sorted(row.checkpoint for row in read_score_rows(Store.open(copy["out"])))
    alone = select_alone(copy)
    second = next(name for name in names if name != alone.best)
    level = (alone.best, second)
    write_selection(Store.open(copy["out"]), narrowed(alone, *level))
    prune(copy["out"], "best")
    for row in open_record(copy["out"]).rows:
        unit = row.units["generated"]
        assert shards(copy["out"], unit.path) == (3 if row.checkpoint in level else 0)
        assert (pruned_reason(Store.open(copy["out"]), unit) is None) == (row.checkpoint in level)


def test_metrics_of_losses_and_moments_are_rescored_the_others_refused(
    copy: dict[str, Any],
) -> None:
    out = copy["out"]
    rows = read_score_rows(Store.open(out))
    prune(out, "none")
    again = {row.checkpoint: row for row in rescore(out, ("losses", "reconstruction_fid"))}
    for row in rows:
        new = again[row.checkpoint]
        assert numbers([new]) == numbers([row])
        assert new.value("reconstruction_fid") is not None
    with pytest.raises(InputError, match="activations"):
        list(rescore(out, ("kid",)))
    assert numbers(read_score_rows(Store.open(out))) == numbers(rows)
    unit = open_record(out).rows[0].units["generated"]
    reason = pruned_reason(Store.open(out), unit)
    assert reason is not None
    assert f"the generated activations in {unit.path} were pruned" in reason


def test_a_new_checkpoint_computes_its_own_shards_and_pruned_rows_stay(
    copy: dict[str, Any], tmp_path: Path
) -> None:
    prune(copy["out"], "reference")
    rows = read_score_rows(Store.open(copy["out"]))
    save_pair(tmp_path / "new/step-0009", seed=9)
    more = copy | {"checkpoints": [*copy["checkpoints"], str(tmp_path / "new")]}
    summary = score(more | {"metrics": copy["metrics"]})
    # Description, gallery, 2 of losses, 3 generated, 2 reconstructed; and the 2 training shards
    # that `reference` does not spare, for memorisation.
    assert summary.shards_computed == 11
    assert [row for row in summary.rows if row.step != 9] == rows
    assert shards(copy["out"], GENERATED) == 3


def test_rows_that_wait_keep_what_they_have(copy: dict[str, Any]) -> None:
    """A row whose score is of another fingerprint is still to be scored."""
    from vae_batch.storage import upsert_scores

    store = Store.open(copy["out"])
    waiting = read_score_rows(store)[0]
    upsert_scores(store, [changed(waiting, fingerprint=None)])
    prune(copy["out"], "none")
    # Its 3 + 2 shards, and those of the reference and of the training images, which it reads.
    assert (shards(copy["out"], GENERATED), shards(copy["out"], RECONSTRUCTED)) == (3, 2)
    assert shards(copy["out"], REFERENCE) == 4


def test_best_needs_a_selection(copy: dict[str, Any]) -> None:
    (Path(copy["out"]) / "selection.json").unlink()
    with pytest.raises(InputError, match=r"no selection\.json.*--keep reference"):
        prune(copy["out"], "best")


def test_a_shared_cache_is_not_touched(copy: dict[str, Any], tmp_path: Path) -> None:
    shutil.move(Path(copy["out"]) / "reference", tmp_path / "cache")
    record = Path(copy["out"]) / "run.json"
    content = decode_checked(record.read_bytes())
    content["spec"]["reference_cache"] = str(tmp_path / "cache")
    record.write_bytes(encode_checked(content))
    prune(copy["out"], "none")
    assert shards(copy["out"], GENERATED) == 0
    assert shards(str(tmp_path), "cache/images-*/activations/*") == 4


def test_the_command_knows_every_word() -> None:
    assert [word.value for word in Kept] == list(get_args(Keep))


def test_the_command_says_what_it_deleted(copy: dict[str, Any]) -> None:
    app = typer.Typer()
    app.command()(prune_command)
    done = CliRunner().invoke(app, [copy["out"], "--keep", "reference"])
    assert done.exit_code == 0, done.stderr
    assert "deleted 17 files of 7 units" in done.stderr
    assert not (Path(copy["out"]) / "lease.json").exists()
    assert CliRunner().invoke(app, [copy["out"], "--keep", "some"]).exit_code == 2
    assert CliRunner().invoke(app, [f"{copy['out']}/none", "--keep", "none"]).exit_code == 2
