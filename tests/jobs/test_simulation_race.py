"""Races replayed over a finished run: what they find and spend, against plain counting."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from race import main
from support.runs.serial_runs import score, settings_of


@pytest.fixture(scope="module")
def simulation(toy_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("race")
    sizes = {"reference_samples": 160, "samples": 160, "metrics": "losses,fid,kid"}
    runs, classifier = [str(toy_folder / "runs")], toy_folder / "classifier.keras"
    score(settings_of(runs, classifier, folder / "out", **sizes))
    main(str(folder / "out"), first=40, repeats=5, json_path=folder / "races.json")
    return json.loads((folder / "races.json").read_text())


def test_every_metric_is_raced(simulation: dict[str, Any]) -> None:
    assert list(simulation["races"]) == ["elbo", "fid_corrected", "kid"]


def test_images_are_those_of_leavers_and_survivors(simulation: dict[str, Any]) -> None:
    """Three checkpoints of 160: a race in which k survive spends at least 160 k, 40 for others."""
    for races in simulation["races"].values():
        for race in races:
            stayed = race["survivors"]
            assert 160 * stayed + 40 * (3 - stayed) <= race["images"] <= 160 * 3
            assert race["share"] == pytest.approx(race["images"] / 480)


def test_summaries_are_those_of_the_races(simulation: dict[str, Any]) -> None:
    for line in simulation["summary"]:
        races = simulation["races"][line["metric"]]
        assert line["repeats"] == len(races) == 5
        assert line["found_level"] == np.mean([race["found_level"] for race in races])
        assert line["share_median"] == np.median([race["share"] for race in races])
        assert line["looks"][-1] == 160


def test_a_frechet_race_begins_where_its_bias_allows(simulation: dict[str, Any]) -> None:
    """The toy classifier has 16 features; 4.88 images of each are 78, so 40 are doubled once."""
    looks = {line["metric"]: line["looks"][0] for line in simulation["summary"]}
    assert looks == {"elbo": 40, "kid": 40, "fid_corrected": 80}
