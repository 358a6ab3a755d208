from __future__ import annotations

import math
import tracemalloc

import numpy as np
import pytest
from numpy.typing import NDArray

from vae_batch.metrics.samples import kernel as module
from vae_batch.metrics.samples.kernel import (
    KernelReference,
    KernelSubsets,
    SubsetKernelDistance,
    kernel_distance,
    kernel_influence,
)

Array = NDArray[np.float64]

# k(x, y) = (x y + 1)^3 in one dimension.
# X = {0, 1, 2}: k(0,1) = k(0,2) = 1, k(1,2) = 27; the 6 ordered pairs average 29/3.
# Y = {1, 3, 4}: k(1,3) = 64, k(1,4) = 125, k(3,4) = 2197; average 2386/3.
# Between: 0 -> 1, 1, 1; 1 -> 8, 64, 125; 2 -> 27, 343, 729; the 9 average 433/3.
X = np.array([[0.0], [1.0], [2.0]])
Y = np.array([[1.0], [3.0], [4.0]])


def _of_subsets(x: Array, y: Array, **drawn: int) -> SubsetKernelDistance:
    subsets = KernelSubsets.draw(len(x), len(y), **drawn)
    return kernel_influence(x, KernelReference.from_activations(y, subsets)).subsets


def test_three_rows_against_three_by_hand() -> None:
    # 29/3 + 2386/3 - 2 * 433/3 = 1549/3.
    assert kernel_distance(X, Y).value == pytest.approx(1549 / 3, rel=1e-14)
    assert kernel_distance(Y, X).value == pytest.approx(1549 / 3, rel=1e-14)


def test_the_standard_error_by_hand() -> None:
    # Row sums within X: 2, 28, 28; within Y: 189, 2261, 2322. Means between: of X 1, 197/3,
    # 1099/3; of Y 12, 136, 285. h = sum within / (n - 2) - mean between:
    # X: 1, -113/3, -1015/3, squares about their mean -125 sum to 621128/9;
    # Y: 177, 2125, 2037, squares about 4339/3 sum to 21786144/9.
    # SE^2 = 4 / (n (n - 1)) of both = 4/6 * 22407272/9.
    expected = math.sqrt(4 / 6 * 22407272 / 9)
    assert kernel_distance(X, Y).standard_error == pytest.approx(expected, rel=1e-14)


def test_the_inner_product_is_divided_by_the_dimension() -> None:
    # Rows of d copies of x / y: x.y / d is the product of the numbers, whatever d is.
    wide = kernel_distance(np.tile(X, 5), np.tile(Y, 5))
    assert wide == pytest.approx(kernel_distance(X, Y), rel=1e-14)


def test_a_set_against_itself_is_not_zero_but_unbiased() -> None:
    # 2 * 29/3 - 2 * mean over all 9 pairs of X, with k(x, x) = 1, 8, 125:
    # 58/3 - 2 (58 + 134) / 9 = (174 - 384) / 9 = -70/3.
    assert kernel_distance(X, X).value == pytest.approx(-70 / 3, rel=1e-14)


def test_equal_rows_have_no_error() -> None:
    # k = (0 + 1)^3 within the origin's copies, (1 + 1)^3 within those of 1, 1 between.
    distance = kernel_distance(np.zeros((5, 2)), np.ones((4, 2)))
    assert distance == pytest.approx((1 + 8 - 2, 0.0), abs=1e-14)


def _leave_one_out(x: Array, y: Array) -> tuple[float, float]:
    """The definition: the mean over pairs, and the jackknife over the rows of each set."""

    def value(x: Array, y: Array) -> float:
        kernel = lambda a, b: (a @ b.T / a.shape[1] + 1) ** 3  # noqa: E731
        n, m = len(x), len(y)
        within_x = (kernel(x, x).sum() - np.trace(kernel(x, x))) / (n * (n - 1))
        within_y = (kernel(y, y).sum() - np.trace(kernel(y, y))) / (m * (m - 1))
        return within_x + within_y - 2 * kernel(x, y).mean()

    variance = 0.0
    without_x = [value(np.delete(x, i, axis=0), y) for i in range(len(x))]
    without_y = [value(x, np.delete(y, i, axis=0)) for i in range(len(y))]
    for values in (without_x, without_y):
        variance += (len(values) - 1) * np.var(values)
    return value(x, y), math.sqrt(variance)


@pytest.mark.parametrize("shape", [(3, 3, 1), (30, 17, 4), (9, 40, 20)])
def test_blocks_agree_with_the_definition(
    shape: tuple[int, int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    n, m, d = shape
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(n, d)), rng.gamma(2.0, size=(m, d))
    expected = _leave_one_out(x, y)
    whole = kernel_distance(x, y)
    assert whole == pytest.approx(expected, rel=1e-11)
    for size in (1, 4, 16):
        monkeypatch.setattr(module, "BLOCK", size)
        assert kernel_distance(x, y) == pytest.approx(whole, rel=1e-12)


def test_a_prepared_reference_gives_the_same_bits() -> None:
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(20, 4)), rng.normal(size=(30, 4))
    assert kernel_distance(x, KernelReference.from_activations(y)) == kernel_distance(x, y)


def test_memory_does_not_grow_with_the_number_of_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BLOCK", 256)
    x = np.random.default_rng(2).normal(size=(3000, 2)).astype(np.float32)
    tracemalloc.start()
    kernel_distance(x, x)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # All pairs would take 3000^2 * 8 B = 72 MB; a block's kernel takes 0.5 MB.
    assert peak < 4e6


def test_unbiased_and_its_error_true_where_distributions_differ() -> None:
    # N(1, 1) against N(0, 1) in one dimension: E (xy + 1)^3 over independent pairs is
    # 1 + 3 E x E y + 3 E x^2 E y^2 + E x^3 E y^3. N(1, 1) has moments 1, 2, 4: with itself
    # 1 + 3 + 12 + 16 = 32; N(0, 1) has 0, 1, 0: 1 + 3 = 4; between: 1 + 3 * 2 = 7.
    # 32 + 4 - 14 = 22.
    found = []
    for seed in range(300):
        rng = np.random.default_rng(seed)
        found.append(kernel_distance(rng.normal(1.0, size=(200, 1)), rng.normal(size=(150, 1))))
    values, errors = np.array(found).T
    spread = values.std(ddof=1)
    assert values.mean() == pytest.approx(22.0, abs=4 * spread / math.sqrt(300))
    assert errors.mean() == pytest.approx(spread, rel=0.15)


def test_the_error_is_cautious_where_distributions_are_equal() -> None:
    # To first order the distance does not vary there; a jackknife counts its second order
    # about twice, and so errs on the safe side by up to sqrt 2 or a little more.
    found = []
    for seed in range(300):
        rng = np.random.default_rng(seed)
        found.append(kernel_distance(rng.normal(size=(100, 4)), rng.normal(size=(100, 4))))
    values, errors = np.array(found).T
    assert values.mean() == pytest.approx(0.0, abs=4 * values.std() / math.sqrt(300))
    assert 1.0 < np.sqrt((errors**2).mean()) / values.std() < 1.8


# Subsets, as papers report them.


def test_one_subset_of_all_rows_is_the_whole() -> None:
    # A subset of as many rows as there are is a permutation of the set.
    whole = kernel_distance(X, Y).value
    found = _of_subsets(X, Y, subsets=4, subset_size=3)
    assert found.mean == pytest.approx(whole, rel=1e-14)
    assert found.std == pytest.approx(0.0, abs=1e-10)


def test_subsets_are_drawn_generated_first_from_one_random_state(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "BLOCK", 16)  # several blocks, so that pairs cross them
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(40, 3)), rng.normal(size=(30, 3))
    draw = np.random.RandomState(7)
    values = []
    for _ in range(5):
        a, b = draw.choice(40, 10, replace=False), draw.choice(30, 10, replace=False)
        values.append(kernel_distance(x[a], y[b]).value)
    found = _of_subsets(x, y, subsets=5, subset_size=10, seed=7)
    assert found == pytest.approx((np.mean(values), np.std(values)), rel=1e-12)


def test_the_spread_over_subsets_is_no_standard_error() -> None:
    rng = np.random.default_rng(4)
    x, y = rng.normal(0.5, size=(2000, 4)), rng.normal(size=(2000, 4))
    subsets = _of_subsets(x, y, subsets=50, subset_size=100)
    whole = kernel_distance(x, y)
    # 20 times fewer rows: about sqrt 20 = 4.5 times the error.
    assert 3.0 < subsets.std / whole.standard_error < 6.0
    assert subsets.mean == pytest.approx(whole.value, abs=4 * subsets.std / math.sqrt(50))


# Input.


def test_bad_input_is_named() -> None:
    rng = np.random.default_rng(5)
    x = rng.normal(size=(5, 3))
    broken = x.copy()
    broken[3, 1] = np.nan
    with pytest.raises(ValueError, match=r"generated: .*nan in row 3"):
        kernel_distance(broken, x)
    with pytest.raises(ValueError, match=r"reference: .*row 3"):
        kernel_distance(x, broken)
    with pytest.raises(ValueError, match="generated: expected at least 3 samples, got 2"):
        kernel_distance(x[:2], x)
    with pytest.raises(ValueError, match="reference: expected at least 3 samples, got 2"):
        KernelReference.from_activations(x[:2])
    with pytest.raises(ValueError, match="expected one dimension, got 2 and 3"):
        kernel_distance(x[:, :2], x)
    with pytest.raises(ValueError, match="2-D"):
        kernel_distance(x[0], x)


def test_subsets_that_cannot_be_drawn_are_refused() -> None:
    x = np.random.default_rng(6).normal(size=(50, 3))
    with pytest.raises(ValueError, match="generated: expected at least 1000 samples, got 50"):
        _of_subsets(x, x)
    with pytest.raises(ValueError, match="reference: expected at least 50 samples, got 20"):
        _of_subsets(x, x[:20], subset_size=50)
    with pytest.raises(ValueError, match="at least 2 samples, got 3 of 1"):
        _of_subsets(x, x, subsets=3, subset_size=1)
    with pytest.raises(ValueError, match=r"at least 1 subset .* got 0 of 10"):
        _of_subsets(x, x, subsets=0, subset_size=10)


def test_influence_is_the_effect_of_leaving_one_sample_out() -> None:
    """Without row i the U-statistic moves by -influence_i / n to first order in 1/n."""
    rng = np.random.default_rng(3)
    generated, reference = rng.normal(size=(400, 3)) + 0.5, rng.normal(size=(300, 3))
    found = kernel_influence(generated, reference)
    assert found.distance == kernel_distance(generated, reference)
    assert abs(found.influence.mean()) < 1e-12
    moved = [
        found.distance.value - kernel_distance(np.delete(generated, i, axis=0), reference).value
        for i in range(0, 400, 25)
    ]
    # Exactly, the sums within are divided by n - 2 and not n - 1: a share of 1/399 of a part that
    # is up to ten times the smallest influences here, whose spread is about 8.
    np.testing.assert_allclose(np.array(moved) * 399, found.influence[::25], rtol=0.01, atol=0.02)


def test_subsets_leave_the_distance_over_all_pairs_as_it_is() -> None:
    rng = np.random.default_rng(8)
    x, y = rng.normal(size=(70, 5)), rng.normal(0.3, size=(50, 5))
    subsets = KernelSubsets.draw(70, 50, subsets=6, subset_size=20, seed=3)
    found = kernel_influence(x, KernelReference.from_activations(y, subsets))
    plain = kernel_influence(x, y)
    assert plain.subsets is None
    assert found.distance == plain.distance
    np.testing.assert_array_equal(found.influence, plain.influence)


def test_subsets_of_other_numbers_of_rows_are_refused() -> None:
    x = np.random.default_rng(9).normal(size=(30, 2))
    subsets = KernelSubsets.draw(30, 20, subsets=2, subset_size=5)
    with pytest.raises(ValueError, match="reference: subsets were drawn from 20 samples, got 30"):
        KernelReference.from_activations(x, subsets)
    reference = KernelReference.from_activations(x[:20], subsets)
    with pytest.raises(ValueError, match="generated: subsets were drawn from 30 samples, got 25"):
        kernel_influence(x[:25], reference)
