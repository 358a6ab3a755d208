"""A checkpoint that was saved twice is computed once, tonight or on a later night."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from support.models.toy_models import save_classifier, save_pair
from support.runs.serial_runs import Row, files_of, score, settings_of
from support.stores import score_rows

from vae_batch.plan import make_spec
from vae_batch.run.compare.pairwise import compare_run
from vae_batch.run.execute.executor import SerialExecutor
from vae_batch.run.output.prune import prune
from vae_batch.run.output.verify import verify_output
from vae_batch.run.planning.open_run import open_run, prepare
from vae_batch.run.progress.events import ignore
from vae_batch.run.race.rounds import run_race
from vae_batch.storage import ScoreRow

_OF_THE_NAME = ("checkpoint", "step", "fingerprint", "scored_at")


@pytest.fixture
def settings(tmp_path: Path) -> dict[str, Any]:
    """Two checkpoints, and a copy of the first under another name."""
    for number in (1, 2):
        save_pair(tmp_path / f"runs/step-{number}", seed=number)
    save_classifier(tmp_path / "classifier.keras")
    shutil.copytree(tmp_path / "runs/step-1", tmp_path / "best")
    first = [str(tmp_path / "runs/step-1")]
    return settings_of(first, tmp_path / "classifier.keras", tmp_path / "out")


def numbers(row: ScoreRow) -> Row:
    return score_rows.numbers([row], *_OF_THE_NAME)[0]


def both(settings: dict[str, Any], tmp_path: Path) -> dict[str, Any]:
    return settings | {"checkpoints": [*settings["checkpoints"], str(tmp_path / "best")]}


def test_a_copy_costs_nothing_and_has_the_same_numbers(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    alone = score(settings | {"out": str(tmp_path / "alone")})
    summary = score(both(settings, tmp_path))
    assert summary.shards_computed == alone.shards_computed
    assert len(summary.rows) == 2
    assert numbers(summary.rows[0]) == numbers(summary.rows[1]) == numbers(alone.rows[0])
    assert verify_output(settings["out"]).bad == ()
    compared = [row for row in compare_run(settings["out"]) if row.metric == "fid_corrected"]
    assert all(row.level_with_best for row in compared)


def test_a_later_copy_costs_nothing_even_where_the_first_is_gone(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    first = score(settings)
    shutil.rmtree(tmp_path / "runs/step-1")
    before = files_of(tmp_path / "out/activations")
    later = score(settings | {"checkpoints": [str(tmp_path / "best")]})
    assert later.shards_computed == 0
    assert numbers(later.rows[0]) == numbers(first.rows[0])
    shards = {name: when for name, when in before.items() if "part-0" in name}
    assert {name: files_of(tmp_path / "out/activations")[name] for name in shards} == shards


def test_another_reading_of_the_same_bytes_is_another_checkpoint(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    declared = {"*best*": {"second_head": "log_std"}}
    plan = prepare(make_spec(both(settings, tmp_path) | {"per_checkpoint": declared}), ignore)
    assert len({row.job.identifier for row in plan.rows}) == 2


def test_both_fail_with_one_reason(settings: dict[str, Any], tmp_path: Path) -> None:
    for folder in ("runs/step-1", "best"):
        file = tmp_path / folder / "decoder.keras"
        file.write_bytes(file.read_bytes()[:500])
    rows = score(both(settings, tmp_path)).rows
    assert [row.status for row in rows] == ["failed", "failed"]
    assert rows[0].reason == rows[1].reason


def test_files_that_another_row_needs_are_not_pruned(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    score(settings)
    open_run(
        prepare(make_spec(both(settings, tmp_path)), ignore), ignore
    )  # planned, and not scored yet
    assert prune(settings["out"], "none").files == 0


def test_in_a_race_a_copy_leaves_with_its_twin(settings: dict[str, Any], tmp_path: Path) -> None:
    names = [tmp_path / "runs/step-1", tmp_path / "runs/step-2", tmp_path / "best"]
    more = {"checkpoints": [str(name) for name in names], "reference_samples": 200}
    spec = make_spec(settings | more | {"race": {"metric": "elbo", "first": 64, "rare": 0}})
    summary, outcome = run_race(open_run(prepare(spec, ignore), ignore), SerialExecutor())
    rows = {row.checkpoint: row for row in summary.rows}
    twins = [rows[str(tmp_path / "runs/step-1")], rows[str(tmp_path / "best")]]
    assert numbers(twins[0]) == numbers(twins[1])
    assert outcome.images_in_full == 400
