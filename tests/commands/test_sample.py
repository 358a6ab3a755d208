"""``vae-batch sample``: files of the very images that a run scores."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.runs.serial_runs import score, settings_of
from support.stores.stored_rows import folders_of, stored
from typer.testing import CliRunner, Result

from vae_batch.cli import app
from vae_batch.models.batching import map_batches
from vae_batch.models.extractors.registry import load_extractor
from vae_batch.models.image_range import to_three_channels
from vae_batch.plan import make_spec
from vae_batch.run.planning.run_plan import identify_extractors


def call(*words: str) -> Result:
    return CliRunner().invoke(app, ["sample", *words])


def words_of(settings: dict[str, Any]) -> list[str]:
    names = ("reference", "reference_samples", "reference_subset", "shard_size", "batch_size")
    flags = [(f"--{name.replace('_', '-')}", str(settings[name])) for name in (*names, "seed")]
    return [*settings["checkpoints"], *(word for flag in flags for word in flag)]


@pytest.mark.parametrize("batch_size", [16, 24])
def test_files_hold_the_images_that_a_run_scores(
    toy_folder: Path, tmp_path: Path, batch_size: int
) -> None:
    """Activations of the files equal the stored ones, and the run's digests the files' pixels."""
    checkpoint = str(toy_folder / "runs/step-0002")
    settings = settings_of(
        [checkpoint],
        toy_folder / "classifier.keras",
        tmp_path / "out",
        batch_size=batch_size,
        seed=7,
        metrics="fid",
    )
    score(settings)
    files, array = tmp_path / "files", tmp_path / "images.npz"
    for target in (files, array):
        result = call(*words_of(settings), "--n", "150", "--out", str(target))
        assert result.exit_code == 0, result.stderr
    assert "150 images of" in result.stderr
    names = sorted(path.name for path in files.iterdir())
    assert (len(names), names[0], names[-1]) == (150, "000000.png", "000149.png")
    pixels = np.stack([np.asarray(Image.open(files / name)) for name in names])[..., None]
    with np.load(array) as held:
        assert list(held) == ["arr_0"]
        np.testing.assert_array_equal(held["arr_0"], pixels, strict=True)
    (identity,) = identify_extractors(make_spec(settings))
    extractor = load_extractor(identity, batch_size)
    features, _ = map_batches(extractor.extract, batch_size, to_three_channels(pixels))
    kept = stored(folders_of(tmp_path / "out", checkpoint)["generated"])
    np.testing.assert_array_equal(features, kept["features"], strict=True)


def test_what_cannot_be_written_is_refused(toy_folder: Path, tmp_path: Path) -> None:
    runs, one = str(toy_folder / "runs"), str(toy_folder / "runs/step-0001")
    words = ("--reference", "digits", "--n", "4", "--out")
    several = call(runs, *words, str(tmp_path / "a"))
    assert several.exit_code == 2
    assert "expected one checkpoint, found 3" in several.stderr
    assert "step-0003" in several.stderr
    assert not (tmp_path / "a").exists()
    (tmp_path / "images.npz").write_bytes(b"mine")
    (tmp_path / "b").mkdir()
    assert call(one, *words, str(tmp_path / "b")).exit_code == 0
    for target, found in (("images.npz", "a file"), ("b", "a folder that is not empty")):
        refused = call(one, *words, str(tmp_path / target))
        assert refused.exit_code == 2
        assert f"is {found}, and nothing is overwritten" in " ".join(refused.stderr.split())
    assert (tmp_path / "images.npz").read_bytes() == b"mine"
    assert len(list((tmp_path / "b").iterdir())) == 4


def test_an_interrupted_call_leaves_no_files(
    toy_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import vae_batch.sampled_images as sampled

    generate, calls = sampled.generated_pictures, []

    def breaks(*arguments: Any) -> Any:
        calls.append(None)
        if len(calls) == 2:
            raise OSError("no space left")
        return generate(*arguments)

    monkeypatch.setattr(sampled, "generated_pictures", breaks)
    words = (str(toy_folder / "runs/step-0001"), "--reference", "digits", "--shard-size", "2")
    for target in ("files", "images.npz"):
        calls.clear()
        failed = call(*words, "--n", "4", "--out", str(tmp_path / target))
        assert failed.exit_code == 2
        assert "no space left" in failed.stderr
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
