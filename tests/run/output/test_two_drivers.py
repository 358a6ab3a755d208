"""Two drivers started at once on one output: one result, no interleaving."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from support.runs.driver_processes import finish, numbers, receipts, start, write_spec

from vae_batch.run.output.recorded_rows import open_record

pytestmark = pytest.mark.slow


@pytest.fixture
def settings(toy_settings: dict[str, Any]) -> dict[str, Any]:
    """Long enough that two drivers meet."""
    return toy_settings | {"samples": 400, "shard_size": 8, "metrics": "losses,fid"}


def computed(said: str) -> int:
    """Shards that a driver says it computed."""
    found = re.search(r"(\d+) shards? computed", said)
    assert found, said
    return int(found[1])


def test_one_proceeds_and_the_other_is_told_who_it_is(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    spec = write_spec(tmp_path / "spec.toml", settings)
    drivers = [start(spec), start(spec)]
    ended = [(*finish(driver), driver.pid) for driver in drivers]
    (_, said, winner), (code, refusal, _) = sorted(ended)
    assert [found[0] for found in sorted(ended)] == [0, 2]
    assert code == 2
    assert re.search(rf"is in use by run \w+ of .* on .* \(process {winner}\) since", refusal)
    assert "Traceback" not in refusal
    assert computed(said) == len(receipts(Path(settings["out"]))) - reference_images(settings)


def test_the_other_waits_and_adds_its_own(settings: dict[str, Any], tmp_path: Path) -> None:
    """Of two runs over other checkpoints neither loses a row of the table or of the record."""
    (folder,) = settings["checkpoints"]
    names = [f"{folder}/step-0001", f"{folder}/step-0002"]
    both = settings | {"checkpoints": names, "out": str(tmp_path / "both")}
    code, said = finish(start(write_spec(tmp_path / "both.toml", both)))
    assert code == 0, said
    drivers = [
        start(write_spec(tmp_path / f"{i}.toml", settings | {"checkpoints": [name], "wait": 200.0}))
        for i, name in enumerate(names)
    ]
    ended = [finish(driver) for driver in drivers]
    assert [code for code, _ in ended] == [0, 0], ended
    assert sum("waiting up to 200 s for it" in said for _, said in ended) == 1
    out = Path(settings["out"])
    # The one that came second found the reference's shards done.
    shards = sorted(computed(said) for _, said in ended)
    assert sum(shards) == len(receipts(out)) - reference_images(settings)
    assert [row.checkpoint for row in sorted(open_record(str(out)).rows, key=str)] == names
    assert numbers(out) == numbers(tmp_path / "both")


def reference_images(settings: dict[str, Any]) -> int:
    """Files of reference images, which are written while a run is prepared."""
    return -(-settings["reference_samples"] // settings["shard_size"])
