"""Galleries as they are put together from stored files."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from report.examples import full_gallery
from report.gallery_contract import check_gallery

from vae_batch.plan import Unit, make_spec
from vae_batch.report.finished_run import StoredGalleries, read_gallery
from vae_batch.run.output.run_record import RecordedRow, RunRecord
from vae_batch.storage import (
    SHOWN,
    Store,
    encode_arrays,
    file_path,
    read_receipt,
    write_with_receipt,
)

DRAWN = (
    *("samples", "originals", "reconstructions", "reference_samples", "interpolation"),
    *("traversal", "traversal_dimensions", "traversal_kl", "traversal_values"),
)
KEPT = {
    "losses": ("worst_", "kl_", "aggregate_"),
    "pictures": ("spectrum_",),
    "generated": ("nearest_ids", "nearest_distances", "nearest_training", "duplicate_ids"),
}
DISTANCES = np.linspace(0.5, 4.0, 8)


def unit_of(checkpoint: str, kind: Any, extractor: str = "") -> Unit:
    count = 1 if kind == "gallery" else 100
    return Unit(f"{kind}/{checkpoint}/{extractor}", kind, "mark", count, count, checkpoint)


def store_checkpoint(out: Store, name: str, extractors: tuple[str, ...]) -> list[RecordedRow]:
    """Rows of a checkpoint whose files hold an example's arrays."""
    gallery = full_gallery(16, 3, seed=len(name))
    rows = []
    for extractor in extractors:
        units = {kind: unit_of(name, kind) for kind in ("gallery", "losses", "pictures")}
        units |= {"generated": unit_of(name, "generated", extractor)}
        rows.append(
            RecordedRow(f"runs/{name}", extractor, "row", {**units, "training": units["losses"]})
        )
    drawn = {key: gallery[key] for key in DRAWN}
    content = encode_arrays(drawn)
    write_with_receipt(out, units["gallery"], "00000000-00000001", content, rows=1)
    for row in rows:
        for kind, names in KEPT.items():
            kept = {key: array for key, array in gallery.items() if key.startswith(names)}
            if kind == "generated":
                kept["duplicate_distances"] = DISTANCES
            write_with_receipt(out, row.units[kind], SHOWN, encode_arrays(kept), rows=100)
    return rows


def record_of(rows: list[RecordedRow]) -> RunRecord:
    spec = make_spec({"checkpoints": ["runs"], "reference": "digits"})
    return RunRecord({}, spec, tuple(rows))


@pytest.fixture
def out(tmp_path: Path) -> Store:
    return Store.open(str(tmp_path))


def damage(out: Store, unit: Unit, name: str) -> None:
    content = bytearray(out.read(file_path(unit, name)))
    content[len(content) // 2] ^= 1
    out.write(file_path(unit, name), bytes(content))


def test_all_that_is_stored_makes_a_gallery_that_can_be_drawn(out: Store) -> None:
    gallery = read_gallery(out, store_checkpoint(out, "one", ("cnn",)))
    expected = full_gallery(16, 3, seed=3)
    check_gallery("runs/one", gallery)
    assert set(gallery) == set(expected) - {"traversal_collapsed"}  # a run of before it was stored
    np.testing.assert_array_equal(gallery["worst_ids"], expected["worst_ids"])
    np.testing.assert_array_equal(gallery["nearest_generated"], expected["samples"][:8])
    np.testing.assert_array_equal(gallery["duplicate_second"], expected["samples"][8:16])
    assert str(gallery["nearest_extractor"]) == str(gallery["duplicate_measure"]) == "cnn"


def test_the_first_extractor_that_chose_pictures_is_shown(out: Store) -> None:
    rows = store_checkpoint(out, "one", ("first", "second"))
    damage(out, rows[0].units["generated"], SHOWN)
    gallery = read_gallery(out, rows)
    assert str(gallery["nearest_extractor"]) == str(gallery["duplicate_measure"]) == "second"


def test_without_activations_alike_pairs_are_those_of_pixels(out: Store) -> None:
    (row,) = store_checkpoint(out, "one", ("cnn",))
    out.delete(file_path(row.units["generated"], SHOWN))
    gallery = read_gallery(out, [row])
    check_gallery("runs/one", gallery)
    assert not any(name.startswith("nearest_") for name in gallery)
    assert str(gallery["duplicate_measure"]) == "pixels"
    levels = gallery["samples"].reshape(64, -1) / 255.0
    first, second = gallery["duplicate_ids"][0]
    distances = np.sqrt(np.square(levels[:, None] - levels[None]).mean(axis=2))
    np.fill_diagonal(distances, np.inf)
    assert distances[first, second] == distances.min()
    assert gallery["duplicate_distances"][0] == pytest.approx(distances.min(), rel=1e-12)


def test_training_images_of_an_earlier_run_are_not_shown(out: Store) -> None:
    (row,) = store_checkpoint(out, "one", ("cnn",))
    units = {kind: unit for kind, unit in row.units.items() if kind != "training"}
    gallery = read_gallery(out, [dataclasses.replace(row, units=units)])
    assert not any(name.startswith("nearest_") for name in gallery)
    assert str(gallery["duplicate_measure"]) == "cnn"


@pytest.mark.parametrize("kind", ["gallery", "losses", "pictures", "generated"])
def test_a_damaged_file_costs_its_own_pictures(out: Store, kind: str) -> None:
    (row,) = store_checkpoint(out, "one", ("cnn",))
    whole = read_gallery(out, [row])
    name = "00000000-00000001" if kind == "gallery" else SHOWN
    damage(out, row.units[kind], name)
    gallery = read_gallery(out, [row])
    check_gallery("runs/one", gallery)
    lost = set(whole) - set(gallery)
    assert read_receipt(out, row.units[kind], name) is not None
    if kind == "gallery":  # and what is chosen among its samples
        assert lost == {key for key in whole if key.startswith((*DRAWN, "nearest_", "duplicate_"))}
    else:
        prefixes = KEPT[kind] if kind != "generated" else ("nearest_",)
        assert lost == {key for key in whole if key.startswith(prefixes)}


def test_galleries_are_those_of_checkpoints_that_have_any(out: Store) -> None:
    rows = [*store_checkpoint(out, "one", ("cnn",)), *store_checkpoint(out, "three", ("cnn",))]
    nothing = RecordedRow("runs/failed", "cnn", "row", {"losses": unit_of("failed", "losses")})
    galleries = StoredGalleries(out, record_of([*rows, nothing]))
    assert list(galleries) == ["runs/one", "runs/three"]
    assert "runs/failed" not in galleries
    assert galleries.get("runs/elsewhere") is None
    expected = full_gallery(16, 3, seed=len("three"))
    np.testing.assert_array_equal(galleries["runs/three"]["samples"], expected["samples"])


def test_galleries_beyond_the_bytes_to_keep_are_read_again(out: Store) -> None:
    names = ["a", "bb", "ccc"]
    rows = [row for name in names for row in store_checkpoint(out, name, ("cnn",))]
    size = sum(array.nbytes for array in read_gallery(out, rows[:1]).values())
    galleries = StoredGalleries(out, record_of(rows), kept_bytes=2 * size)
    for _ in range(2):
        for name in names:
            expected = full_gallery(16, 3, seed=len(name))["samples"]
            np.testing.assert_array_equal(galleries[f"runs/{name}"]["samples"], expected)
            assert sum(map(size_of, galleries._kept.values())) <= 2 * size
    assert galleries["runs/ccc"] is galleries["runs/ccc"]


def size_of(gallery: Any) -> int:
    return sum(array.nbytes for array in gallery.values())
