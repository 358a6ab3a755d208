"""Nights on toy checkpoints: what is computed, what is remembered, what is said."""

from __future__ import annotations

import datetime
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.runs.nightly_rows import MONDAY, TUESDAY, WEDNESDAY
from support.runs.serial_runs import files_of, score

from vae_batch.nightly import night as night_module
from vae_batch.nightly.history import ADOPTED, read_history
from vae_batch.nightly.night import Night, run_night
from vae_batch.plan import InputError, make_spec
from vae_batch.run.output.lease import output_lease
from vae_batch.run.output.repair import mend
from vae_batch.run.output.verify import verify_output
from vae_batch.run.progress.events import ignore
from vae_batch.storage import Store, read_score_rows


@pytest.fixture
def runs(tmp_path: Path, toy_folder: Path) -> Path:
    """A folder of the first two checkpoints, old enough to be finished."""
    for name in ("step-0001", "step-0002"):
        add(toy_folder / "runs" / name, tmp_path / "runs" / name)
    return tmp_path / "runs"


def add(source: Path, target: Path, ago: float = 300) -> None:
    """A copy that was written a while ago."""
    if source.is_dir():
        shutil.copytree(source, target, dirs_exist_ok=True)
    else:
        shutil.copy(source, target)
    when = time.time() - ago
    for path in [target, *target.rglob("*")]:
        os.utime(path, (when, when))


@pytest.fixture
def do(
    runs: Path, toy_settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Night]:
    """Does a night, without drawing the run's figures and page: other tests look at those."""
    monkeypatch.setattr("vae_batch.report.bundle.write_report", lambda _: [])

    def run(date: datetime.date, **settings: Any) -> Night:
        few = {"metrics": "losses,fid", "samples": 90, "reference_samples": 90}
        values = toy_settings | few | {"checkpoints": [str(runs)]} | settings
        return run_night(make_spec(values), date, ignore)

    return run


def out_of(toy_settings: dict[str, Any]) -> Path:
    return Path(toy_settings["out"])


def receipts(out: Path) -> dict[str, int]:
    return {path: at for path, at in files_of(out).items() if path.endswith(".receipt.json")}


def history(out: Path) -> list[dict[str, Any]]:
    return [row.to_record() for row in read_history(Store.open(str(out)))]


def test_a_second_night_computes_the_new_checkpoint_alone(
    do: Callable[..., Night], runs: Path, toy_folder: Path, toy_settings: dict[str, Any]
) -> None:
    """Receipts are told apart by path and time: none of the first night's is written again."""
    out = out_of(toy_settings)
    first = do(MONDAY)
    assert (first.exit_code, len(first.summary["rows"])) == (0, 2)
    before, reference = receipts(out), files_of(out / "reference")
    assert first.summary["shards_computed"] > 0

    add(toy_folder / "runs/step-0003.keras", runs / "step-0003.keras")
    second = do(TUESDAY, tolerance={"fid_corrected": 1.0})
    after = receipts(out)
    assert {path: after[path] for path in before} == before, "a finished shard was written again"
    assert files_of(out / "reference") == reference, "the reference was touched"
    new = set(after) - set(before)
    assert new
    assert all("step-0003-keras" in path for path in new), new
    shards = [path for path in new if "/part-0" in path]
    assert second.summary["shards_computed"] == len(shards)

    rows = history(out)
    assert [(row["date"], row["step"]) for row in rows] == [(MONDAY, 1), (MONDAY, 2), (TUESDAY, 3)]
    scores = {row.checkpoint: row for row in read_score_rows(Store.open(str(out)))}
    for row in rows:
        assert row["fid_corrected"] == scores[row["checkpoint"]].value("fid_corrected")
    newest = rows[-1]
    assert newest["best_before"] in scores
    assert newest["latest_before"].endswith("step-0002")
    assert newest["verdict"] in ("better", "level", "worse", "regressed")
    assert newest["from_best_low"] < newest["from_best"] < newest["from_best_high"]
    best = min(rows[:2], key=lambda row: row["fid_corrected"])
    assert newest["best_before"] == best["checkpoint"]
    difference = newest["fid_corrected"] - best["fid_corrected"]
    assert newest["from_best"] == pytest.approx(difference)
    for found in second.summary["judgements"]:
        sure = found["comparison"]["worse_by_at_least"]
        assert (found["status"] == "regressed") == (sure > 1.0)
    assert (second.exit_code == 4) == (newest["verdict"] == "regressed")


def test_the_same_night_again_changes_nothing_and_an_idle_night_scores_nothing(
    do: Callable[..., Night], toy_settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = do(MONDAY)
    before = files_of(out_of(toy_settings))
    again = do(MONDAY)
    assert again.already_done
    assert (again.summary, again.page) == (first.summary, first.page)
    unchanged = {p: t for p, t in files_of(out_of(toy_settings)).items() if "lease" not in p}
    assert unchanged == {p: t for p, t in before.items() if "lease" not in p}

    monkeypatch.setattr("vae_batch.evaluation.evaluate_plan", None)  # calling it would fail
    idle = do(TUESDAY)
    assert (idle.exit_code, idle.already_done, idle.summary["rows"]) == (0, False, [])
    assert idle.summary["headline"] == "nothing new"
    assert len(history(out_of(toy_settings))) == 2
    assert (out_of(toy_settings) / "nightly/2026-08-04/summary.md").read_text() == idle.page


def test_what_comes_later_on_the_date_joins_its_summary(
    do: Callable[..., Night], runs: Path, toy_folder: Path
) -> None:
    do(MONDAY)
    first = do(TUESDAY)
    assert first.summary["headline"] == "nothing new"
    add(toy_folder / "runs/step-0003.keras", runs / "step-0003.keras")
    joined = do(TUESDAY)
    assert not joined.already_done
    assert [row["step"] for row in joined.summary["rows"]] == [3]
    assert do(TUESDAY).already_done


def test_a_checkpoint_that_is_still_written_is_left_and_comes_the_next_night(
    do: Callable[..., Night], runs: Path, toy_folder: Path
) -> None:
    add(toy_folder / "runs/step-0003.keras", runs / "step-0003.keras", ago=5)
    first = do(MONDAY, stable_for=60)
    assert first.exit_code == 0
    assert [row["step"] for row in first.summary["rows"]] == [1, 2]
    (left,) = first.summary["left"]
    assert left["checkpoint"].endswith("step-0003.keras")
    assert "## Left for the next night" in first.page
    os.utime(runs / "step-0003.keras", (time.time() - 90, time.time() - 90))
    assert [row["step"] for row in do(TUESDAY, stable_for=60).summary["rows"]] == [3]


def test_a_broken_checkpoint_fails_on_three_nights_and_is_then_left_alone(
    do: Callable[..., Night], runs: Path
) -> None:
    (runs / "step-0009.keras").write_bytes(b"PK\x03\x04 cut short")
    os.utime(runs / "step-0009.keras", (0, 0))
    days = [MONDAY + datetime.timedelta(days=n) for n in range(4)]
    nights = [do(day) for day in days]
    assert [night.exit_code for night in nights] == [3, 3, 3, 0]
    assert [len(night.summary["rows"]) for night in nights] == [3, 1, 1, 0]
    assert "truncated" in nights[0].page
    assert "left alone" in nights[3].page
    again = do(days[2])
    assert (again.already_done, again.exit_code) == (True, 3)


def test_an_overwritten_checkpoint_is_compared_with_what_it_was(
    do: Callable[..., Night], runs: Path, toy_folder: Path
) -> None:
    for folder in list(runs.iterdir()):
        shutil.rmtree(folder)
    add(toy_folder / "runs/step-0001", runs / "latest")
    do(MONDAY)
    add(toy_folder / "runs/step-0002", runs / "latest")
    second = do(TUESDAY, tolerance={"elbo": 0.0})
    best = [c for c in second.summary["comparisons"] if c["relation"] == "best"]
    assert {c["other"] for c in best} == {str(runs / "latest")}
    assert all(c["low"] is not None for c in best), "it is paired with its earlier content"
    (judgement,) = second.summary["judgements"]
    assert judgement["status"] != "not judged"
    assert [row["date"] for row in history(Path(second.summary["out"]))] == [MONDAY, TUESDAY]


def test_a_night_that_was_killed_after_scoring_is_made_up_for(
    do: Callable[..., Night], runs: Path, toy_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    do(MONDAY)
    add(toy_folder / "runs/step-0003.keras", runs / "step-0003.keras")

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(night_module, "compare_new", killed)
        with pytest.raises(KeyboardInterrupt):
            do(TUESDAY)
    monkeypatch.setattr("vae_batch.evaluation.evaluate_plan", None)  # nothing is scored again
    night = do(WEDNESDAY, tolerance={"elbo": 0.0})
    assert [row["step"] for row in night.summary["rows"]] == [3]
    assert night.summary["judgements"][0]["status"] in ("regressed", "tolerated")


def test_an_unknown_tolerance_is_refused_before_anything_is_written(
    do: Callable[..., Night], toy_settings: dict[str, Any]
) -> None:
    with pytest.raises(InputError, match="elbow is no metric; expected one of "):
        do(MONDAY, tolerance={"elbow": 1.0})
    assert not out_of(toy_settings).exists()


def test_a_race_is_refused_before_anything_is_written(
    do: Callable[..., Night], toy_settings: dict[str, Any]
) -> None:
    with pytest.raises(InputError, match="race = elbo has no place in it; take race out"):
        do(MONDAY, race="elbo")
    assert not out_of(toy_settings).exists()


def test_a_night_waits_for_another_only_as_long_as_the_spec_says(
    do: Callable[..., Night], toy_settings: dict[str, Any]
) -> None:
    nights = Store.open(toy_settings["out"]).folder("nightly")
    with (
        output_lease(nights, run="night of 2026-08-03"),
        pytest.raises(InputError, match=r"in use by run night of 2026-08-03"),
    ):
        do(MONDAY, wait=0.1)


def test_a_damaged_history_stops_a_night_and_its_remedy_brings_every_row_back(
    do: Callable[..., Night], runs: Path, toy_folder: Path, toy_settings: dict[str, Any]
) -> None:
    """What was scored before the first night, and rows and verdicts of two nights."""
    out, path = toy_settings["out"], out_of(toy_settings) / "history.parquet"
    few = {"metrics": "losses,fid", "samples": 90, "reference_samples": 90}
    score(toy_settings | few | {"checkpoints": [str(runs / "step-0001")]})
    do(MONDAY)
    add(toy_folder / "runs/step-0003.keras", runs / "step-0003.keras")
    do(TUESDAY)
    before = history(out_of(toy_settings))
    assert [row["verdict"] == ADOPTED for row in before].count(True) == 1
    assert verify_output(out).bad == ()

    content = bytearray(path.read_bytes())
    content[1000:1100] = bytes(100)
    path.write_bytes(content)
    with pytest.raises(OSError, match=r"verify .* --mend` removes it, and the next night writes"):
        do(WEDNESDAY)
    found = verify_output(out)
    assert [Path(bad.path).name for bad in found.bad] == ["history.parquet"]
    mend(out, found)
    assert verify_output(out).bad == ()
    assert do(WEDNESDAY).exit_code == 0
    assert history(out_of(toy_settings)) == before
    found = verify_output(out)
    assert (found.bad, found.unknown) == ((), ())


def test_a_damaged_summary_is_found_and_its_night_can_be_done_again(
    do: Callable[..., Night], toy_settings: dict[str, Any]
) -> None:
    out, folder = toy_settings["out"], out_of(toy_settings) / "nightly"
    first = do(MONDAY)
    before = history(out_of(toy_settings))
    for name in ("2026-08-03/summary.md", "2026-08-03/summary.json", "latest.md", "latest.json"):
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[:60] + bytes([content[60] ^ 1]) + content[61:])
        found = verify_output(out)
        assert [bad.name for bad in found.bad] == [f"nightly/{name}"]
        mend(out, found)
    assert verify_output(out).bad == ()
    again = do(MONDAY)
    assert (again.exit_code, again.page.splitlines()[0]) == (0, first.page.splitlines()[0])
    assert history(out_of(toy_settings)) == before
    assert {path.name for path in folder.iterdir()} >= {"latest.json", "latest.md"}
