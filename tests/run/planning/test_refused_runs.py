"""A run that is refused writes nothing: no file, no folder, wherever it was started."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from support.runs.serial_runs import score

from vae_batch.evaluation import evaluate
from vae_batch.plan import InputError, make_spec
from vae_batch.run.output.lease import output_lease
from vae_batch.run.output.run_record import RUN_FILE
from vae_batch.run.progress.events import ignore
from vae_batch.storage import Store

#: What each refused run changes in its settings, and a word of the refusal.
REFUSALS: dict[str, tuple[dict[str, Any], str]] = {
    "a reference that is unknown": ({"reference": "mnits"}, "mnits"),
    "too few reference images": ({"reference_samples": 10**6}, "1000000"),
    "no checkpoints": ({"checkpoints": ["nowhere/*.keras"]}, "no checkpoint matches"),
    "an extractor that is unknown": ({"extractors": ["inception-keras2"]}, "did you mean"),
    "extractor weights that are missing": ({"extractors": ["missing.keras"]}, "cannot be read"),
    "a glob for no checkpoint": ({"per_checkpoint": {"*/stpe*": {"beta": 2.0}}}, "stpe"),
    "a module without source": ({"custom_objects": ["no_such_module"]}, "no_such_module"),
    "training images that are missing": (
        {"training": "missing.npy", "metrics": "losses,memorisation"}, "missing.npy",
    ),
}  # fmt: skip


def tree(folder: Path) -> dict[str, bytes]:
    """Everything below a folder."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else b""
        for path in folder.rglob("*")
    }


def refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        evaluate(make_spec(settings), ignore)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that commands are started in."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.mark.parametrize("refusal", REFUSALS)
@pytest.mark.parametrize("cache", [None, "cache"])
def test_refused_input_leaves_no_trace(
    toy_settings: dict[str, Any], here: Path, refusal: str, cache: str | None
) -> None:
    change, words = REFUSALS[refusal]
    refused(toy_settings | {"out": "results", "reference_cache": cache} | change, words)
    assert tree(here) == {}


def test_refused_input_changes_nothing_in_a_folder_that_is_there(
    toy_settings: dict[str, Any], here: Path
) -> None:
    settings = toy_settings | {"out": "results", "metrics": "losses"}
    settings["checkpoints"] = [settings["checkpoints"][0] + "/step-0001"]
    score(settings)
    before = tree(here)
    for change, words in REFUSALS.values():
        refused(settings | {"reference_samples": 90} | change, words)
    refused(settings | {"seed": 1}, "belongs to another run")
    refused(settings | {"reference_samples": 90}, "belongs to another run")
    assert tree(here) == before


def test_a_damaged_record_is_left_as_it_is(toy_settings: dict[str, Any], here: Path) -> None:
    out = here / "results"
    out.mkdir()
    (out / RUN_FILE).write_bytes(b"half")
    refused(toy_settings | {"out": "results"}, "is damaged")
    assert tree(here) == {"results": b"", f"results/{RUN_FILE}": b"half"}


def test_a_folder_in_use_is_left_as_it_is(toy_settings: dict[str, Any], here: Path) -> None:
    store = Store.open("results")
    with output_lease(store) as lease:
        before = tree(here)
        refused(toy_settings | {"out": "results"}, "is in use by")
        assert dataclasses.asdict(lease._holder)["token"].encode() in before["results/lease.json"]
        assert tree(here) == before
