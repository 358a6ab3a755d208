"""What is kept for the report beside a row's numbers, computed anew from files and networks."""

from __future__ import annotations

import itertools
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from support.models.toy_models import make_decoder, make_encoder
from support.runs.serial_runs import score
from support.stores.stored_rows import folders_of, stored

from vae_batch.metrics.images.diagnostics import radial_power_spectrum
from vae_batch.models.references.reference import open_reference
from vae_batch.models.sampling import standard_normals
from vae_batch.run.compare.rescore import rescore
from vae_batch.run.output.run_record import open_record
from vae_batch.run.scoring.report_arrays import read_shown
from vae_batch.storage import Store, decode_arrays

Array = NDArray[Any]
Arrays = dict[str, Array]

COUNT, DRAWN, TRAINED, SEED = 100, 150, 120, 3
DIMENSIONS = 3


@pytest.fixture(scope="module")
def settings(toy_folder: Path) -> dict[str, Any]:
    """All that the report shows, on two or three shards of everything."""
    return {
        "checkpoints": [str(toy_folder / "runs/step-0001")],
        "reference": "digits",
        "reference_samples": COUNT,
        "reference_subset": "first",
        "training": "train",
        "training_samples": TRAINED,
        "extractors": [str(toy_folder / "classifier.keras")],
        "samples": DRAWN,
        "shard_size": 64,
        "batch_size": 16,
        "splits": 5,
        "seed": SEED,
        "metrics": "latents,reconstruction,diagnostics,memorisation",
        "workers": 0,
    }


@pytest.fixture(scope="module")
def out(settings: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run."""
    folder = tmp_path_factory.mktemp("shown") / "out"
    score(settings | {"out": str(folder)})
    return folder


@pytest.fixture(scope="module")
def files(out: Path, settings: dict[str, Any]) -> dict[str, Arrays]:
    """Stored columns by kind of unit."""
    folders = folders_of(out, settings["checkpoints"][0])
    return {kind: stored(folders[kind]) for kind in ("losses", "generated", "training")}


@pytest.fixture(scope="module")
def real() -> Array:
    return open_reference("digits", "test").read(0, COUNT)


def shown_of(out: Path) -> dict[str, Arrays]:
    """Arrays kept for the report, by kind of unit."""
    (row,) = open_record(str(out)).rows
    store = Store.open(str(out))
    return {
        kind: read_shown(store, row.units[kind]) for kind in ("losses", "generated", "pictures")
    }


def damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def decoded(latents: Array) -> Array:
    """8-bit pictures of latents."""
    means = np.asarray(make_decoder(1)(latents.astype(np.float32)))
    return np.rint(means * 255.0).astype(np.uint8)


def test_the_worst_reconstructions_are_those_of_all_shards(
    out: Path, files: dict[str, Arrays], real: Array
) -> None:
    shown, errors = shown_of(out)["losses"], files["losses"]["mse"]
    worst = sorted(range(COUNT), key=lambda i: (-errors[i], i))[:16]
    assert any(i < 64 for i in worst)
    assert any(i >= 64 for i in worst)  # of both shards
    np.testing.assert_array_equal(shown["worst_ids"], worst)
    np.testing.assert_array_equal(shown["worst_errors"], errors[worst])
    np.testing.assert_array_equal(shown["worst_originals"], real[worst])
    mean = np.asarray(make_encoder(1)((real[worst] / 255).astype(np.float32))[0])
    difference = shown["worst_reconstructions"].astype(int) - decoded(mean)
    assert np.abs(difference).max() <= 1  # a level where float32 rounds otherwise


def test_nearest_training_images_are_those_of_brute_force(
    out: Path, files: dict[str, Arrays]
) -> None:
    shown = shown_of(out)["generated"]
    ours, trained = (files[kind]["features"].astype(float) for kind in ("generated", "training"))
    distances = np.linalg.norm(ours[:8, None] - trained[None], axis=2)
    np.testing.assert_array_equal(shown["nearest_ids"], distances.argmin(axis=1))
    np.testing.assert_allclose(shown["nearest_distances"], distances.min(axis=1), rtol=1e-12)
    images = open_reference("digits", "train").read(0, TRAINED)
    np.testing.assert_array_equal(shown["nearest_training"], images[shown["nearest_ids"]])


def test_alike_pairs_are_the_closest_of_the_first_64_samples(
    out: Path, files: dict[str, Arrays]
) -> None:
    shown, features = shown_of(out)["generated"], files["generated"]["features"].astype(float)
    pairs = {
        (i, j): float(np.linalg.norm(features[i] - features[j]))
        for i, j in itertools.combinations(range(64), 2)
    }
    closest = sorted(pairs, key=lambda pair: (pairs[pair], pair))[:8]
    assert [tuple(pair) for pair in shown["duplicate_ids"]] == closest
    expected = [pairs[pair] for pair in closest]
    np.testing.assert_allclose(shown["duplicate_distances"], expected, rtol=1e-12)


def test_latents_are_summed_up_from_stored_posteriors(out: Path, files: dict[str, Arrays]) -> None:
    shown = shown_of(out)["losses"]
    mean = files["losses"]["mean"].astype(float)
    logvar = files["losses"]["logvar"].astype(float)
    kl = 0.5 * (mean**2 + np.exp(logvar) - 1.0 - logvar)
    np.testing.assert_allclose(shown["kl_per_dimension"], kl.mean(axis=0), rtol=1e-12)
    np.testing.assert_array_equal(shown["kl_collapsed"], (kl < 0.01).mean(axis=0) >= 0.99)
    # E z = E mu and E z^2 = E (mu^2 + sigma^2), of the equal mixture of all posteriors.
    first, second = mean.mean(axis=0), (mean**2 + np.exp(logvar)).mean(axis=0)
    np.testing.assert_allclose(shown["aggregate_mean"], first, rtol=1e-12)
    np.testing.assert_allclose(shown["aggregate_std"], np.sqrt(second - first**2), rtol=1e-12)


def test_histograms_are_of_the_posterior_draws_that_are_scored(
    out: Path, files: dict[str, Arrays]
) -> None:
    shown = shown_of(out)["losses"]
    noise = standard_normals(SEED, "posterior_noise", 0, COUNT, (DIMENSIONS,))
    deviation = np.exp(files["losses"]["logvar"].astype(float) / 2)
    draws = files["losses"]["mean"] + deviation * noise
    order = np.argsort(-shown["kl_per_dimension"])
    np.testing.assert_array_equal(shown["aggregate_dimensions"], order)
    edges = shown["aggregate_edges"]
    assert edges[-1] == -edges[0] == max(4.0, np.ceil(np.quantile(np.abs(draws), 0.999)))
    width = edges[1] - edges[0]
    for density, dimension in zip(shown["aggregate_density"], order, strict=True):
        places = np.floor((draws[:, dimension] - edges[0]) / width).astype(int)
        counts = [(places == place).sum() for place in range(len(edges) - 1)]
        np.testing.assert_allclose(density, np.array(counts) / COUNT / width, rtol=1e-9)


def test_spectra_are_those_of_all_images_at_once(out: Path, real: Array) -> None:
    shown = shown_of(out)["pictures"]
    expected = radial_power_spectrum(real)
    np.testing.assert_array_equal(shown["spectrum_frequencies"], expected.frequencies)
    np.testing.assert_allclose(shown["spectrum_power_reference"], expected.power, rtol=1e-12)
    samples = decoded(standard_normals(SEED, "latents", 0, DRAWN, (DIMENSIONS,)))
    power = radial_power_spectrum(samples).power
    # A pixel in some thousands is rounded otherwise, by one level.
    np.testing.assert_allclose(shown["spectrum_power"], power, rtol=1e-3)


def test_shards_of_another_size_show_the_same(
    out: Path, settings: dict[str, Any], tmp_path: Path
) -> None:
    score(settings | {"out": str(tmp_path / "out"), "shard_size": 48})
    for kind, arrays in shown_of(tmp_path / "out").items():
        expected = shown_of(out)[kind]
        assert set(arrays) == set(expected)
        for name, array in arrays.items():
            np.testing.assert_allclose(array, expected[name], rtol=1e-9, err_msg=name)


def test_what_is_damaged_costs_its_picture_and_no_score(
    out: Path, settings: dict[str, Any], tmp_path: Path
) -> None:
    copy = tmp_path / "out"
    shutil.copytree(out, copy)
    folders = folders_of(copy, settings["checkpoints"][0])
    for file in folders["losses"].glob("part-shown.*"):
        file.unlink()
    damage(folders["losses"] / "part-00000064-00000100-pictures.npz")
    (row,) = rescore(str(copy), ["latents", "reconstruction"])
    assert row.value("mse") is not None
    shown = shown_of(copy)["losses"]
    assert not any(name.startswith("worst_") for name in shown)
    assert len(shown["kl_per_dimension"]) == DIMENSIONS
    damage(folders["losses"] / "part-shown.npz")
    assert shown_of(copy)["losses"] == {}


def test_rescoring_adds_what_its_groups_show_and_keeps_the_rest(
    out: Path, settings: dict[str, Any], tmp_path: Path
) -> None:
    copy = tmp_path / "out"
    shutil.copytree(out, copy)
    before = shown_of(copy)
    for kind in ("generated", "pictures"):
        for file in folders_of(copy, settings["checkpoints"][0])[kind].glob("part-shown.*"):
            file.unlink()
    list(rescore(str(copy), ["diagnostics"]))
    after = shown_of(copy)
    assert set(after["generated"]) == {"duplicate_ids", "duplicate_distances"}
    assert set(after["pictures"]) == set(before["pictures"])
    assert set(after["losses"]) == set(before["losses"])


def test_a_group_that_is_not_asked_for_stores_no_pictures(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    asked = {"metrics": "losses,fid", "training": None, "training_samples": None}
    score(settings | asked | {"out": str(tmp_path)})
    assert not list(tmp_path.rglob("*-pictures.npz"))
    assert not list(tmp_path.rglob("part-shown.npz"))


def test_a_decoder_alone_shows_what_needs_no_encoder(
    toy_folder: Path, settings: dict[str, Any], tmp_path: Path
) -> None:
    folder = tmp_path / "half"
    folder.mkdir()
    shutil.copy(toy_folder / "runs/step-0001/decoder.keras", folder)
    more = {"checkpoints": [], "decoder": str(folder / "decoder.keras"), "prior": "normal"}
    score(settings | more | {"out": str(tmp_path / "out")})
    shown = shown_of(tmp_path / "out")
    assert shown["losses"] == {}
    assert {"nearest_ids", "duplicate_ids"} < set(shown["generated"])
    assert "spectrum_power" in shown["pictures"]


def test_the_gallery_says_which_traversed_dimensions_are_collapsed(
    out: Path, settings: dict[str, Any], files: dict[str, Arrays]
) -> None:
    (file,) = folders_of(out, settings["checkpoints"][0])["gallery"].glob("part-0*.npz")
    gallery = decode_arrays(file.read_bytes())
    mean, logvar = (files["losses"][name].astype(float) for name in ("mean", "logvar"))
    low = 0.5 * (mean**2 + np.exp(logvar) - 1.0 - logvar) < 0.01
    expected = (low.mean(axis=0) >= 0.99)[gallery["traversal_dimensions"]]
    np.testing.assert_array_equal(gallery["traversal_collapsed"], expected)
