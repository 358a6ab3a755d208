"""``keep_activations``: what is not kept goes at the end, and is missed by nobody."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.models.toy_models import save_pair
from support.runs.serial_runs import files_of

from vae_batch.evaluation import Evaluation, evaluate
from vae_batch.plan import make_spec
from vae_batch.run.compare.best_checkpoint import read_selection
from vae_batch.run.output.verify import verify_output
from vae_batch.run.progress.events import Event, Message
from vae_batch.storage import Store

#: Shards of activations kept of 3 checkpoints (3 generated each) and of the reference (2).
KEPT = {"all": (9, 2), "reference": (0, 2), "none": (0, 0)}


class Told:
    def __init__(self) -> None:
        self.lines: list[str] = []

    def __call__(self, event: Event) -> None:
        if isinstance(event, Message):
            self.lines.append(event.text)


@pytest.fixture
def settings(toy_settings: dict[str, Any], no_report: None) -> dict[str, Any]:
    return toy_settings | {"metrics": "losses,fid,kid"}


def run(settings: dict[str, Any], keep: str) -> tuple[Evaluation, Told]:
    told = Told()
    return evaluate(make_spec(settings | {"keep_activations": keep}), told), told


def activations(settings: dict[str, Any]) -> tuple[int, int]:
    """Shards of generated and of reference images."""
    out = Path(settings["out"])
    generated = out.glob("activations/checkpoint=*/extractor=*/part-0*.parquet")
    return len(list(generated)), len(list(out.glob("reference/*/activations/*/part-0*.parquet")))


@pytest.mark.slow
@pytest.mark.parametrize("keep", KEPT)
def test_a_second_run_misses_nothing_and_a_new_checkpoint_costs_its_own(
    settings: dict[str, Any], tmp_path: Path, keep: str
) -> None:
    first, told = run(settings, keep)
    assert activations(settings) == KEPT[keep]
    gone = sum(KEPT["all"]) - sum(KEPT[keep])
    said = [line for line in told.lines if line.startswith("activations kept")]
    assert [line.split(",")[0] for line in said] == (
        [f"activations kept: {keep}; {gone} files deleted"] if gone else []
    )
    out = Path(settings["out"])
    scored = files_of(out)
    again, _ = run(settings, keep)
    assert again.summary.shards_computed == again.summary.shards_total == 0
    assert again.summary.rows == first.summary.rows
    now = files_of(out)
    stored = [name for name in scored if "/part-" in name or name.startswith("scores.")]
    assert {name: now[name] for name in stored} == {name: scored[name] for name in stored}
    assert verify_output(str(out)).bad == ()

    save_pair(tmp_path / "new/step-0009", seed=9)
    more = settings | {"checkpoints": [*settings["checkpoints"], str(tmp_path / "new")]}
    grown, _ = run(more, keep)
    # Description, gallery, 2 of losses, 3 generated; and the reference's 2 where none are kept.
    assert grown.summary.shards_computed == 7 + (2 if keep == "none" else 0)
    assert [row for row in grown.summary.rows if row.step != 9] == list(first.summary.rows)
    generated = 12 if keep == "all" else 0
    assert activations(more) == (generated, KEPT[keep][1])


def test_the_best_and_those_level_with_it_keep_theirs(settings: dict[str, Any]) -> None:
    found, _ = run(settings, "best")
    assert found.selection is not None
    assert found.selection == read_selection(Store.open(settings["out"]))
    assert activations(settings) == (3 * len(found.selection.level), 2)
    again, _ = run(settings, "best")
    assert again.summary.shards_computed == 0


def test_without_a_best_all_are_kept_and_it_is_said(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "bad.keras").write_bytes(b"no zip")
    bad = settings | {"checkpoints": [str(tmp_path / "bad.keras")]}
    found, told = run(bad, "best")
    assert found.selection is None
    assert "no checkpoint could be selected as best, so all activations are kept" in told.lines
    assert activations(bad) == (0, 2)


@pytest.mark.slow
def test_a_confirmation_is_pruned_too(settings: dict[str, Any]) -> None:
    two = [f"{settings['checkpoints'][0]}/step-000{n}" for n in (1, 2)]
    found, _ = run(settings | {"checkpoints": two, "confirm": True}, "reference")
    assert found.selection is not None
    assert found.selection.confirmation is not None
    assert activations(settings) == (0, 2)
    below = settings | {"out": f"{settings['out']}/confirmation"}
    assert Path(below["out"], "scores.parquet").exists()
    assert activations(below)[0] == 0
