from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from vae_batch.models.batching import map_batches
from vae_batch.models.gallery import interpolate, traverse
from vae_batch.models.sampling import draw_labels, standard_normals, standard_uniforms


@pytest.mark.parametrize("shape", [(1,), (3,), (4,), (2, 2, 3)])
@pytest.mark.parametrize(("start", "stop"), [(0, 1), (5, 9), (63, 65), (0, 100)])
def test_a_sample_depends_on_its_index_alone(shape: tuple[int, ...], start: int, stop: int) -> None:
    whole = standard_normals(7, "latents", 0, 100, shape)
    np.testing.assert_array_equal(
        standard_normals(7, "latents", start, stop, shape), whole[start:stop]
    )


def test_seeds_and_streams_differ() -> None:
    first = standard_normals(0, "latents", 0, 50, (4,))
    assert not np.isin(first, standard_normals(1, "latents", 0, 50, (4,))).any()
    assert not np.isin(first, standard_normals(0, "posterior_noise", 0, 50, (4,))).any()


def test_values_are_standard_normal() -> None:
    """Kolmogorov-Smirnov on 200,000 values; independent coordinates."""
    values = standard_normals(3, "latents", 0, 50_000, (4,))
    assert stats.kstest(values.ravel(), "norm").pvalue > 1e-3
    assert np.abs(np.corrcoef(values.T) - np.eye(4)).max() < 0.02


def test_values_are_frozen() -> None:
    """A golden: if it moves, every stored score of every user changes; see SCORING_VERSION.

    The first raw word of Philox(key=(0, 1)) is w; the value is ndtri((w >> 11 + 1/2) / 2^53).
    """
    word = int(np.random.Philox(key=[0, 1]).random_raw(1)[0])
    expected = stats.norm.ppf(((word >> 11) + 0.5) * 2.0**-53)
    value = standard_normals(0, "latents", 0, 1, (1,))[0, 0]
    np.testing.assert_allclose(value, expected, rtol=1e-6)
    assert value == np.float32(0.8903241157531738)


def test_batches_have_one_shape_and_padding_is_dropped() -> None:
    seen = []

    def double(batch: np.ndarray) -> tuple[np.ndarray]:
        seen.append(batch.shape)
        return (batch * 2,)

    rows = np.arange(14).reshape(7, 2)
    (doubled,) = map_batches(double, 3, rows)
    np.testing.assert_array_equal(doubled, rows * 2)
    assert seen == [(3, 2)] * 3


def test_interpolation_stays_on_the_prior() -> None:
    """Every point of a path between two standard normals is standard normal: E|z|^2 = d."""
    d = 20_000
    paths = interpolate(standard_normals(0, "latents", 0, 10, (d,)))
    assert paths.shape == (5, 9, d)
    np.testing.assert_allclose((paths**2).mean(axis=-1), 1, atol=0.05)
    latents = standard_normals(0, "latents", 0, 10, (d,))
    np.testing.assert_array_equal(paths[:, 0], latents[0::2])
    np.testing.assert_array_equal(paths[:, -1], latents[1::2])


def test_traversal_moves_one_coordinate() -> None:
    centre = np.arange(6, dtype=np.float32).reshape(2, 3)
    swept = traverse(centre, np.array([4, 0]), np.array([-3.0, 3.0], np.float32))
    assert swept.shape == (2, 2, 2, 3)
    difference = (swept - centre).reshape(2, 2, 6)
    np.testing.assert_array_equal(np.flatnonzero(difference[0].any(axis=0)), [4])
    np.testing.assert_array_equal(swept.reshape(2, 2, 6)[1, :, 0], [-3, 3])


def test_labels_depend_on_their_index_alone() -> None:
    whole = draw_labels(7, 0, 100, [3, 0, 5, 2])
    assert whole.dtype == np.int64
    np.testing.assert_array_equal(draw_labels(7, 40, 60, [3, 0, 5, 2]), whole[40:60])
    assert (draw_labels(8, 0, 100, [3, 0, 5, 2]) != whole).any()


def test_labels_follow_the_references_distribution() -> None:
    """Chi-squared of 100,000 draws; a class without images is never drawn."""
    counts = np.array([30, 0, 50, 20])
    drawn = np.bincount(draw_labels(0, 0, 100_000, counts), minlength=4)
    assert drawn[1] == 0
    present = [0, 2, 3]
    assert stats.chisquare(drawn[present], 1000.0 * counts[present]).pvalue > 1e-3


def test_labels_are_frozen_and_inverse() -> None:
    """Uniform u belongs to the first class whose cumulated share is above u.

    Sample i's uniform is the first raw word of counter i of Philox(key=(seed, 3)).
    """
    uniforms = standard_uniforms(3, "labels", 0, 50)
    word = int(np.random.Philox(key=[3, 3], counter=[7, 0, 0, 0]).random_raw(1)[0])
    assert uniforms[7] == ((word >> 11) + 0.5) * 2.0**-53
    labels = draw_labels(3, 0, 50, [1, 3])
    np.testing.assert_array_equal(labels, np.where(uniforms < 0.25, 0, 1))
    assert labels[:12].tolist() == [1, 1, 1, 1, 1, 1, 1, 0, 1, 1, 1, 0]


@pytest.mark.parametrize("counts", [[], [0, 0], [3, -1]])
def test_counts_that_are_none(counts: list[int]) -> None:
    with pytest.raises(ValueError, match="expected images of each class"):
        draw_labels(0, 0, 5, counts)
