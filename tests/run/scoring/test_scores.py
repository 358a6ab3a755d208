"""Every column of the table, computed anew from the stored files by plain formulas."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import support.runs.plain_scores as plain_scores
from numpy.typing import NDArray
from scipy.special import ndtri
from support.runs.serial_runs import Row, files_of, rows_of, score
from support.stores.stored_rows import assert_value_or_reason, folders_of, shards, stored

from vae_batch.metrics import METRICS
from vae_batch.metrics.likelihood.importance import pareto_k

SPLITS, BETA, SEED = 5, 2.5, 3
SIDE_REASON = "pixels a side"


@pytest.fixture(scope="module")
def settings(toy_folder: Path) -> dict[str, Any]:
    """Every group of metrics, on several shards of everything."""
    return {
        "checkpoints": [str(toy_folder / "runs")],
        "reference": "digits",
        "reference_samples": 100,
        "reference_subset": "first",
        "training": "train",
        "training_samples": 120,
        "extractors": [str(toy_folder / "classifier.keras")],
        "samples": 150,
        "shard_size": 64,
        "batch_size": 16,
        "splits": SPLITS,
        "seed": SEED,
        "beta": BETA,
        "iwae_draws": 25,
        "iwae_images": 60,
        "metrics": "all",
        "workers": 0,
    }


@pytest.fixture(scope="module")
def finished(
    settings: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, Row]]:
    """Output folder and rows of a run with every group."""
    out = tmp_path_factory.mktemp("scores") / "out"
    return out, rows_of(score(settings | {"out": str(out)}))


def posterior_draws(mean: NDArray[Any], logvar: NDArray[Any]) -> NDArray[Any]:
    """One draw an image: 3 of the 4 words of the image's own counter of stream 2."""
    count = len(mean)
    random = np.random.Philox(key=[SEED, 2], counter=[0, 0, 0, 0])
    words = random.random_raw(4 * count).reshape(count, 4)[:, :3]
    noise = ndtri(((words >> np.uint64(11)) + 0.5) * 2.0**-53).astype(np.float32)
    return mean + np.exp(logvar.astype(np.float64) / 2) * noise


def expected_of(folders: dict[str, Path]) -> dict[str, float]:
    """Every number of a row."""
    losses, weights = stored(folders["losses"]), stored(folders["importance"])
    log_weights = weights["log_ratio"] - weights["reconstruction_nll"]
    mean, logvar = losses["mean"], losses["logvar"]
    generated = stored(folders["generated"])
    x, y = generated["features"], stored(folders["reference"])["features"]
    assert (x.shape, y.shape, log_weights.shape) == ((150, 16), (100, 16), (60, 25))
    means = [plain_scores.mean_and_error(name, losses[name]) for name in ("mse", "mae", "psnr")]
    drawn, real = stored(folders["pictures"]), stored(folders["reference_pictures"])
    return {
        **plain_scores.losses(losses, BETA, 64),
        **plain_scores.importance(log_weights),
        "iwae_pareto_k": (pareto_k(log_weights) > 1 - 1 / np.log10(25)).mean(),
        **plain_scores.latents(mean, logvar, posterior_draws(mean, logvar), SEED),
        **means[0] | means[1] | means[2],
        "perfect_reconstructions": 0.0,
        **plain_scores.frechet_scores(x, y),
        "reconstruction_fid": plain_scores.frechet(stored(folders["reconstructed"])["features"], y),
        **plain_scores.inception(generated["probabilities"], SPLITS),
        **plain_scores.kernel_scores(x, y),
        **plain_scores.manifold(x, y),
        **plain_scores.sets(x, y),
        **plain_scores.memorisation(x, y, stored(folders["training"])["features"]),
        **plain_scores.pictures(drawn, real, losses["reconstruction_sharpness"]),
        "pixel_diversity_ratio": diversity(folders["pictures"], 150)
        / diversity(folders["reference_pictures"], 100),
    }


def diversity(folder: Path, count: int) -> float:
    """From the pixels' sums: the root of twice the variance of a pixel over images."""
    parts = shards(folder)
    assert sum(part["count"] for part in parts) == count
    total = sum(part["pixel_sum"] for part in parts)
    scatter = sum(part["pixel_square_sum"] for part in parts) - (total**2).sum() / count
    return float(np.sqrt(2 * scatter / (count - 1) / total.size))


def test_every_number_is_what_the_stored_files_say(
    finished: tuple[Path, dict[str, Row]], toy_folder: Path
) -> None:
    out, rows = finished
    assert len(rows) == 3
    for checkpoint, row in rows.items():
        found = {name: row[name] for name in numbers_of(row)}
        for name, value in expected_of(folders_of(out, checkpoint)).items():
            # A jackknife takes differences 20 times as large as what they leave.
            tolerance = 1e-7 if name.startswith("fid") else 1e-9
            assert found.pop(name) == pytest.approx(value, rel=tolerance, abs=1e-12), name
        assert not found  # no number without its formula


def numbers_of(row: Row) -> list[str]:
    """Columns of metrics and of their errors that hold a number."""
    columns = [*METRICS, *(f"{name}_se" for name, m in METRICS.items() if m.standard_error)]
    return [name for name in columns if row[name] is not None]


def test_what_is_undefined_says_why(finished: tuple[Path, dict[str, Row]]) -> None:
    for row in finished[1].values():
        assert_value_or_reason(row)
        reasons = {name: row[f"{name}_reason"] for name in METRICS if row[name] is None}
        assert set(reasons) == {"ssim", "ms_ssim", "kid_subsets", "kid_subsets_std"}
        assert reasons["ssim"] == f"needs images of at least 11 {SIDE_REASON}"
        assert reasons["ms_ssim"] == f"needs images of at least 161 {SIDE_REASON}"
        assert reasons["kid_subsets"] == "needs 1000 generated and reference images, found 100"
        assert row["fid_warning"] is None
        assert (row["feature_dim"], row["device"], row["beta"]) == (16, "cpu", BETA)


@pytest.mark.parametrize(
    ("group", "kinds"),
    [
        ("losses", ["losses"]),
        ("latents", ["losses"]),
        ("iwae", ["importance", "losses"]),
        ("reconstruction", ["losses"]),
        ("reconstruction_fid", ["reconstructed", "reference"]),
        ("fid", ["generated", "reference"]),
        ("fid_infinity", ["generated", "reference"]),
        ("inception_score", ["generated"]),
        ("kid", ["generated", "reference"]),
        ("precision", ["generated", "reference"]),
        ("memorisation", ["generated", "reference", "training"]),
        ("diagnostics", ["generated", "losses", "pictures", "reference", "reference_pictures"]),
    ],
)
def test_a_group_computes_what_it_reads_and_no_more(
    settings: dict[str, Any],
    finished: tuple[Path, dict[str, Row]],
    tmp_path: Path,
    toy_folder: Path,
    group: str,
    kinds: Sequence[str],
) -> None:
    """And its columns are, bit for bit, those of a run with every group."""
    checkpoint = str(toy_folder / "runs/step-0001")
    change = {"metrics": group, "out": str(tmp_path), "checkpoints": [checkpoint]}
    (row,) = rows_of(score(settings | change)).values()
    assert sorted(folders_of(tmp_path, checkpoint)) == sorted([*kinds, "description", "gallery"])
    assert_value_or_reason(row)
    for name, metric in METRICS.items():
        if metric.group == group:
            assert row[name] == finished[1][checkpoint][name]
        else:
            assert row[f"{name}_reason"] == f"not requested; add --metrics {metric.group}"


def test_groups_are_added_one_after_another(
    settings: dict[str, Any], finished: tuple[Path, dict[str, Row]], tmp_path: Path
) -> None:
    """Each addition computes new units only and moves no other number."""
    checkpoints = settings["checkpoints"][0] + "/step-0002"
    own = settings | {"out": str(tmp_path), "checkpoints": [checkpoints]}
    before: dict[str, int] = {}
    for groups, new in [
        ("losses", {"losses", "description", "gallery", "uint8"}),
        ("losses,kid", {"activations"}),
        ("losses,kid,iwae", {"importance"}),
        ("all", {"pictures", "activations", "uint8"}),
    ]:
        (row,) = rows_of(score(own | {"metrics": groups})).values()
        files = {name: time for name, time in files_of(tmp_path).items() if "/part-0" in name}
        assert {name: files[name] for name in before} == before
        added = set(files) - set(before)
        assert {kind for kind in new if any(kind in name for name in added)} == new
        assert all(any(kind in name for kind in new) for name in added)
        assert_value_or_reason(row)
        expected = finished[1][checkpoints]
        assert all(row[name] == expected[name] for name in numbers_of(row))
        before = files
    assert numbers_of(row) == numbers_of(expected)
