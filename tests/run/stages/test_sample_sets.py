"""Sets of generated images are scored like checkpoints that would generate these images."""

from __future__ import annotations

import io
import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from support.runs.serial_runs import Row, rows_of, score, settings_of
from typer.testing import CliRunner

from vae_batch.cli import app
from vae_batch.metrics.catalogue import METRICS
from vae_batch.models.checkpoints import find_checkpoints
from vae_batch.models.references.subset import subset_positions
from vae_batch.models.sample_sets import Samples
from vae_batch.plan import InputError, make_spec
from vae_batch.run.compare.pairwise import compare_run
from vae_batch.run.execute.executor import SerialExecutor
from vae_batch.run.execute.score_run import RunSummary
from vae_batch.run.planning.open_run import open_run, prepare
from vae_batch.run.progress.events import ignore
from vae_batch.run.race.record import RaceOutcome
from vae_batch.run.race.rounds import run_race
from vae_batch.sampled_images import write_sampled_images

SAMPLES = 150
_SETS = ("folder", "set.npz", "set.npy", "set.zip", "set.parquet")


def save_pngs(folder: Path, pixels: np.ndarray) -> Path:
    folder.mkdir(parents=True)
    for i, image in enumerate(pixels):
        Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(
            folder / f"{i:06d}.png"
        )
    return folder


def save_every_way(folder: Path, pixels: np.ndarray) -> None:
    save_pngs(folder / "folder", pixels)
    np.savez(folder / "set.npz", arr_0=pixels)
    np.save(folder / "set.npy", pixels.astype(np.float32) / 255)
    names = sorted((folder / "folder").iterdir())
    with zipfile.ZipFile(folder / "set.zip", "w") as archive:
        for path in names:
            archive.write(path, f"images/{path.name}")
        archive.writestr("images/readme.txt", "not an image")
    pq.write_table(
        pa.table({"image": [path.read_bytes() for path in names]}), folder / "set.parquet"
    )


def race(settings: dict[str, Any]) -> tuple[RunSummary, RaceOutcome]:
    plan = prepare(make_spec(settings), ignore)
    return run_race(open_run(plan, ignore), SerialExecutor())


def noise(count: int, *shape: int, low: int = 0, high: int = 256) -> np.ndarray:
    return np.random.default_rng(count).integers(low, high, (count, *shape), np.uint8)


@pytest.fixture(scope="module")
def toys(toy_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A checkpoint, the images that it generates saved in every way, and the rows of all."""
    folder = tmp_path_factory.mktemp("sets")
    checkpoint = str(toy_folder / "runs/step-0002")
    settings = settings_of(
        [checkpoint],
        toy_folder / "classifier.keras",
        folder / "out",
        samples=SAMPLES,
        metrics="all",
        training="train",
        training_samples=120,
    )
    write_sampled_images(make_spec(settings), str(folder / "images.npz"), lambda _: None)
    with np.load(folder / "images.npz") as held:
        pixels = held["arr_0"]
    save_every_way(folder / "sets", pixels)
    checkpoints = [checkpoint, *(str(folder / "sets" / name) for name in _SETS)]
    rows = rows_of(score({**settings, "checkpoints": checkpoints}))
    return {
        "folder": folder,
        "settings": settings,
        "pixels": pixels,
        "model": rows[checkpoint],
        "sets": {name: rows[str(folder / "sets" / name)] for name in _SETS},
    }


@pytest.mark.parametrize("name", _SETS)
def test_a_set_has_the_very_scores_of_the_checkpoint_that_made_it(
    toys: dict[str, Any], name: str
) -> None:
    model, found = toys["model"], toys["sets"][name]
    assert (found["status"], found["n_generated"]) == ("scored", SAMPLES)
    assert (found["generated_subset"], model["generated_subset"]) == ("all", None)
    assert found["model_format"] == "images"
    lacking = {"encoder", "posterior", "latents"}
    for column, metric in METRICS.items():
        if lacking & set(metric.needs):
            assert found[column] is None
            assert "set of generated images" in found[f"{column}_reason"]
        else:
            assert [found[c] for c in metric.columns] == [model[c] for c in metric.columns], column
    for column in ("fid", "kid", "inception_score", "recall", "vendi_score", "duplicate_rate"):
        assert found[column] is not None
    assert found["authentic_fraction"] == model["authentic_fraction"] is not None
    assert '"elbo": "missing_part"' in found["reason_codes"]


def test_sets_and_checkpoints_are_compared(toys: dict[str, Any]) -> None:
    found = [c for c in compare_run(toys["settings"]["out"]) if c.metric == "kid"]
    assert len(found) == 1 + len(_SETS)
    assert {c.value for c in found} == {toys["model"]["kid"]}
    differences = [c.from_best.value for c in found if c.from_best is not None]
    assert set(differences) == {0.0}


def test_deleted_shards_give_the_same_bits_again(toys: dict[str, Any], tmp_path: Path) -> None:
    source = toys["folder"] / "sets/set.zip"
    settings = {**toys["settings"], "checkpoints": [str(source)], "out": str(tmp_path / "out")}
    whole = rows_of(score(settings))[str(source)]
    for part in (tmp_path / "out").glob("activations/**/part-0000*.receipt.json"):
        part.unlink()
    (tmp_path / "out/scores.parquet").unlink()
    again = rows_of(score(settings))[str(source)]
    moving = ("scored_at",)
    assert {k: v for k, v in again.items() if k not in moving} == {
        k: v for k, v in whole.items() if k not in moving
    }
    assert whole["fid"] == toys["model"]["fid"]


def row_of(toys: dict[str, Any], path: Path, out: Path, **more: Any) -> Row:
    settings = {**toys["settings"], "checkpoints": [str(path)], "out": str(out), "metrics": "fid"}
    return rows_of(score({**settings, "training": None, **more}))[str(path)]


def test_of_a_larger_set_a_recorded_draw_is_scored(toys: dict[str, Any], tmp_path: Path) -> None:
    source = toys["folder"] / "sets/folder"
    drawing = {"samples": 60, "reference_subset": "random"}
    row = row_of(toys, source, tmp_path / "a", **drawing)
    assert (row["n_generated"], row["generated_subset"]) == (60, "random 60 of 150")
    drawn = toys["pixels"][subset_positions("random", 60, SAMPLES)]
    np.save(tmp_path / "drawn.npy", drawn)
    same = row_of(toys, tmp_path / "drawn.npy", tmp_path / "b", **drawing)
    assert same["fid"] == row["fid"]
    assert same["generated_subset"] == "all"
    first = row_of(toys, source, tmp_path / "c", samples=60)
    assert first["generated_subset"] == "first 60 of 150"


def test_the_identity_is_that_of_the_images(tmp_path: Path) -> None:
    folder = save_pngs(tmp_path / "gan-decoder-50000", noise(4, 8, 8, 1))
    (found,) = find_checkpoints([str(folder)])
    assert (found.samples, found.step) == (Samples("images", 4), None)
    assert dict(found.files) == {"samples": str(folder)}
    (folder / "notes.txt").write_text("of no image")
    assert find_checkpoints([str(folder)])[0].sha256 == found.sha256
    Image.fromarray(noise(1, 8, 8)[0]).save(folder / "000002.png")
    assert find_checkpoints([str(folder)])[0].sha256 != found.sha256
    shutil.copytree(folder, tmp_path / "step-0007")
    assert find_checkpoints([str(tmp_path / "step-*")])[0].step == 7


def test_models_in_a_folder_win_over_images(toy_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(toy_folder / "runs", tmp_path / "runs")
    save_pngs(tmp_path / "runs/pictures", noise(3, 8, 8, 1))
    assert [c.samples for c in find_checkpoints([str(tmp_path / "runs")])] == [None] * 3
    found = find_checkpoints([str(tmp_path / "runs/*")])
    assert [c.samples for c in found if c.samples] == [Samples("images", 3)]


@pytest.mark.parametrize("name", ["history.npz", "table.parquet", "code.zip", "weights.npy"])
def test_files_without_images_are_no_sets(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name.endswith(".npz"):
        np.savez(path, loss=np.ones(3))
    elif name.endswith(".npy"):
        np.save(path, np.ones(3))
    elif name.endswith(".zip"):
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("model.py", "")
    else:
        pq.write_table(pa.table({"loss": [1.0]}), path)
    assert find_checkpoints([str(path)])[0].samples is None


def test_colour_images_of_grey_ones_are_taken_as_grey(toys: dict[str, Any], tmp_path: Path) -> None:
    grey = save_pngs(tmp_path / "saved-in-colour", np.repeat(toys["pixels"], 3, axis=-1))
    assert row_of(toys, grey, tmp_path / "a")["fid"] == toys["model"]["fid"]
    colour = save_pngs(tmp_path / "colour", noise(20, 8, 8, 3))
    row = row_of(toys, colour, tmp_path / "b")
    assert row["status"] == "failed"
    assert "image 0 has unequal channels" in row["reason"]
    assert "score it against colour images" in row["reason"]
    words = ("reference", "digits", "reference_colours", "rgb")
    remedied = row_of(toys, colour, tmp_path / "c", **dict([words[:2], words[2:]]))
    assert remedied["fid"] is not None


def test_another_size_is_refused_until_its_fit_is_declared(
    toys: dict[str, Any], tmp_path: Path
) -> None:
    padded = np.pad(toys["pixels"], [(0, 0), (1, 1), (1, 1), (0, 0)])
    np.savez(tmp_path / "padded.npz", images=padded)
    row = row_of(toys, tmp_path / "padded.npz", tmp_path / "a")
    assert row["status"] == "failed"
    assert "(10, 10, 1), but the reference images are (8, 8, 1)" in row["reason"]
    assert "--input-fit pad" in row["reason"]
    assert "--input-fit resize" in row["reason"]
    fitted = row_of(toys, tmp_path / "padded.npz", tmp_path / "a", input_fit="pad")
    assert (fitted["fid"], fitted["input_fit"]) == (toys["model"]["fid"], "pad")
    resized = row_of(toys, tmp_path / "padded.npz", tmp_path / "a", input_fit="resize")
    assert resized["input_fit"] == "resize"
    assert resized["fid"] not in (None, fitted["fid"])


def test_ranges_are_those_of_references(toys: dict[str, Any], tmp_path: Path) -> None:
    signed = toys["pixels"].astype(np.float32) / 127.5 - 1
    np.save(tmp_path / "signed.npy", signed)
    assert row_of(toys, tmp_path / "signed.npy", tmp_path / "a")["fid"] == toys["model"]["fid"]
    np.save(tmp_path / "odd.npy", toys["pixels"].astype(np.float32) / 100)
    row = row_of(toys, tmp_path / "odd.npy", tmp_path / "b")
    assert row["status"] == "failed"
    assert "cannot be inferred" in row["reason"]
    assert "declare it with --model-range" in row["reason"]
    again = row_of(toys, tmp_path / "odd.npy", tmp_path / "b", model_range="0..255")
    assert again["fid"] is not None
    folder = toys["folder"] / "sets/folder"  # 8-bit files have a range of their own
    assert row_of(toys, folder, tmp_path / "c", model_range="-1..1")["fid"] == toys["model"]["fid"]


def test_a_damaged_image_costs_its_row(toys: dict[str, Any], tmp_path: Path) -> None:
    folder = save_pngs(tmp_path / "set", toys["pixels"][:40])
    content = (folder / "000007.png").read_bytes()
    (folder / "000007.png").write_bytes(content[: len(content) // 2])
    good = toys["folder"] / "sets/set.npy"
    settings = {**toys["settings"], "checkpoints": [str(folder), str(good)], "metrics": "fid"}
    rows = rows_of(score({**settings, "training": None, "out": str(tmp_path / "out")}))
    assert "000007.png is truncated or damaged" in rows[str(folder)]["reason"]
    assert rows[str(good)]["status"] == "scored"


def test_images_in_order_of_their_class_are_warned_of(toys: dict[str, Any], tmp_path: Path) -> None:
    dark, bright = noise(80, 8, 8, 1, high=90), noise(80, 8, 8, 1, low=80)
    np.save(tmp_path / "sorted.npy", np.concatenate([dark, bright]))
    row = row_of(toys, tmp_path / "sorted.npy", tmp_path / "a", samples=160)
    assert "the first half of these images differs from the second" in row["warnings"]
    mixed = np.stack([dark, bright], axis=1).reshape(160, 8, 8, 1)
    np.save(tmp_path / "mixed.npy", mixed)
    other = row_of(toys, tmp_path / "mixed.npy", tmp_path / "b", samples=160)
    assert "first half" not in (other["warnings"] or "")


def test_black_images_are_warned_of(toys: dict[str, Any], tmp_path: Path) -> None:
    row = row_of(toys, save_pngs(tmp_path / "dark", noise(30, 8, 8, 1, high=2)), tmp_path / "a")
    assert "black, or binarised: save binarised images as 0 and 255" in row["warnings"]
    pixels = noise(30, 8, 8, 1, high=2) * 255
    scaled = row_of(toys, save_pngs(tmp_path / "light", pixels), tmp_path / "b")
    np.save(tmp_path / "binary.npy", noise(30, 8, 8, 1, high=2))  # arrays of 0 and 1 are 0..1
    assert row_of(toys, tmp_path / "binary.npy", tmp_path / "c")["fid"] == scaled["fid"]


def test_a_race_is_run_without_sets_that_are_smaller(toys: dict[str, Any], tmp_path: Path) -> None:
    small = save_pngs(tmp_path / "small", toys["pixels"][:30])
    model = toys["settings"]["checkpoints"][0]
    settings = {
        **toys["settings"],
        "checkpoints": [model, str(toys["folder"] / "sets/set.npy"), str(small)],
        "metrics": "kid",
        "training": None,
        "race": {"metric": "kid", "first": 64, "rare": 0.0},
        "out": str(tmp_path / "out"),
    }
    summary, outcome = race(settings)
    rows = rows_of(summary)
    assert {row["status"] for row in rows.values()} == {"scored"}
    assert rows[str(small)]["n_generated"] == 30
    assert outcome.outside == {str(small): "it has 30 samples, fewer than the others"}
    settings |= {"checkpoints": [str(small)], "metrics": "losses", "out": str(tmp_path / "b")}
    settings["race"] = {"metric": "elbo", "rare": 0.0}
    with pytest.raises(InputError, match="race by elbo: sets of generated images have none"):
        race(settings)


def test_inspect_says_what_a_set_is(tmp_path: Path) -> None:
    np.savez(tmp_path / "fake.npz", images=noise(12, 8, 8, 3).astype(np.float32) / 255)
    result = CliRunner().invoke(app, ["inspect", str(tmp_path / "fake.npz")])
    said = " ".join(result.stdout.split())
    assert result.exit_code == 0, result.output
    assert "samples file" in said
    assert "images 12 of 8x8x3 by content" in said
    assert "value range 0..1 inferred from the values, and checked" in said
    assert "no encoder it is a set of generated images, which has no encoder" in said
    refused = CliRunner().invoke(
        app, ["inspect", str(tmp_path / "fake.npz"), "--reference", "digits"]
    )
    assert refused.exit_code == 3
    assert 'input_fit = "pad"' not in refused.stdout  # of equal size


def test_a_pickled_or_empty_archive_is_refused_by_name(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "images.zip", "w") as archive:
        archive.writestr("a.png", "no image")
        archive.writestr("b.png", io.BytesIO(b"").read())
    result = CliRunner().invoke(app, ["inspect", str(tmp_path / "images.zip")])
    assert result.exit_code == 3
    assert "images.zip/a.png cannot be read" in " ".join(result.stdout.split())
