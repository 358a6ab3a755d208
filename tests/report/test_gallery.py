"""What a gallery may hold, and how one that is wrong is refused."""

from __future__ import annotations

import numpy as np
import pytest
from report.examples import colour_gallery, gallery_of, grey_gallery

from vae_batch.report.gallery import check_gallery


@pytest.mark.parametrize("gallery", [grey_gallery(), colour_gallery(), gallery_of(9), {}])
def test_whole_and_partial_galleries_pass(gallery: dict[str, np.ndarray]) -> None:
    check_gallery("runs/x", gallery)
    for name in ("samples", "kl_collapsed", "traversal_collapsed", "duplicate_measure"):
        check_gallery("runs/x", {key: array for key, array in gallery.items() if key != name})


@pytest.mark.parametrize(
    ("entry", "value", "message"),
    [
        ("worst_originals", np.zeros((16, 28, 28, 1)), "expected uint8 images of 4 axes"),
        ("nearest_training", np.zeros((8, 28, 28, 3), np.uint8), "differ in shape"),
        ("duplicate_second", np.zeros((7, 28, 28, 1), np.uint8), "differ in shape"),
        ("worst_ids", np.zeros(16), r"worst_ids: expected integer of shape \(16,\)"),
        ("worst_errors", np.zeros(15), r"worst_errors: .* found float64 of shape \(15,\)"),
        ("nearest_extractor", np.array(3), "nearest_extractor: expected text"),
        ("duplicate_ids", np.zeros((8, 3), int), r"duplicate_ids: .* shape \(8, 2\)"),
        ("kl_per_dimension", np.zeros((4, 4)), "expected floats of 1 axes"),
        ("kl_per_dimension", np.array([1.0, np.inf]), "expected finite values, found .*inf"),
        ("aggregate_std", np.ones(15), r"aggregate_std: expected float of shape \(16,\)"),
        ("aggregate_edges", np.zeros(64), r"aggregate_edges: expected float of shape \(65,\)"),
        ("spectrum_power_reference", np.ones(3), r"expected float of shape \(14,\)"),
        ("traversal_collapsed", np.zeros(6), "traversal_collapsed: expected bool"),
    ],
)
def test_an_entry_that_is_wrong_is_named(entry: str, value: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        check_gallery("runs/x", grey_gallery() | {entry: value})
    assert "gallery of 'runs/x'" in str(caught.value)


@pytest.mark.parametrize("companion", ["worst_ids", "nearest_distances", "aggregate_dimensions"])
def test_what_belongs_to_an_entry_must_be_there(companion: str) -> None:
    gallery = grey_gallery()
    del gallery[companion]
    with pytest.raises(ValueError, match=f"{companion}: .* found nothing"):
        check_gallery("runs/x", gallery)
