"""No number and no fingerprint of a golden run moves unless SCORING_VERSION does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.runs.golden_run import GOLDEN, golden_values

from vae_batch.metrics.catalogue import METRICS
from vae_batch.plan import SCORING_VERSION

WHAT_TO_DO = (
    "a stored number or fingerprint moved: if that is meant, raise SCORING_VERSION, and run "
    "`python -m support.runs.golden_run` in tests/"
)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("golden"))
        return golden_values()


@pytest.fixture(scope="module")
def golden() -> dict[str, Any]:
    return json.loads(Path(GOLDEN).read_text())


def test_the_golden_file_is_of_this_scoring_version(golden: dict[str, Any]) -> None:
    assert golden["scoring_version"] == SCORING_VERSION, WHAT_TO_DO


def test_fingerprints(found: dict[str, Any], golden: dict[str, Any]) -> None:
    assert found["fingerprints"] == golden["fingerprints"], WHAT_TO_DO


@pytest.mark.parametrize("column", METRICS)
def test_scores(column: str, found: dict[str, Any], golden: dict[str, Any]) -> None:
    """Up to what BLAS kernels of different CPUs differ in: jackknives magnify that."""
    expected, score = golden["scores"][column], found["scores"][column]
    if isinstance(expected, str) or isinstance(score, str):
        assert score == expected, WHAT_TO_DO
        return
    tolerance = 1e-8 if METRICS[column].group.startswith("fid") else 1e-11
    for part, wanted in zip(score, expected, strict=True):
        assert part == (None if wanted is None else pytest.approx(wanted, rel=tolerance)), (
            WHAT_TO_DO
        )


def test_most_metrics_have_a_number(golden: dict[str, Any]) -> None:
    undefined = {name for name, score in golden["scores"].items() if isinstance(score, str)}
    assert undefined == {"ssim", "ms_ssim", "kid_subsets", "kid_subsets_std"}
