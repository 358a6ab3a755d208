"""Numbers of named protocols, against the formulas of the tools written out."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
from scipy import linalg, stats
from scipy.spatial.distance import cdist

from vae_batch.metrics.catalogue import GROUPS, METRICS
from vae_batch.metrics.samples import protocols
from vae_batch.metrics.samples.frechet import FrechetReference, frechet_distance
from vae_batch.metrics.samples.moments import Moments
from vae_batch.metrics.samples.protocols import PROTOCOLS, GaussianPair, TooFewError
from vae_batch.models.extractors.inception.resize import NORMALISATIONS, RESIZES
from vae_batch.plan.spec import TOOL_GROUPS, Tool

DIMENSIONS = 16


@pytest.fixture(scope="module")
def sets() -> tuple[np.ndarray, np.ndarray]:
    """1,030 generated and 1,010 reference features."""
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(DIMENSIONS, DIMENSIONS))
    generated = np.abs(rng.normal(size=(1030, DIMENSIONS)) @ mixing + 0.3)
    reference = np.abs(rng.normal(size=(1010, DIMENSIONS)) @ mixing)
    return generated.astype(np.float32), reference.astype(np.float32)


@pytest.fixture(scope="module")
def probabilities() -> np.ndarray:
    rows = np.random.default_rng(1).dirichlet(np.full(12, 0.3), 1037) + 1e-6
    return (rows / rows.sum(axis=1, keepdims=True)).astype(np.float32)


def fid(tool: str, generated: np.ndarray, reference: np.ndarray) -> float:
    protocol = PROTOCOLS[tool]
    fake, real = (rows[: protocol.kept(len(rows))] for rows in (generated, reference))
    pair = GaussianPair.of(Moments.from_activations(fake), FrechetReference.from_activations(real))
    return protocol.frechet_distance(fake, real, pair)


def textbook_fid(x: np.ndarray, y: np.ndarray) -> float:
    """As pytorch-fid has it, of features in whatever precision."""
    sigma_x, sigma_y = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    shift = x.mean(axis=0) - y.mean(axis=0)
    root = linalg.sqrtm(sigma_x @ sigma_y)
    return float(shift @ shift + np.trace(sigma_x) + np.trace(sigma_y) - 2 * np.trace(root.real))


def test_every_tool_is_known_to_the_spec_and_prints_columns_of_the_table() -> None:
    assert set(PROTOCOLS) == set(get_args(Tool))
    assert set(GROUPS) >= TOOL_GROUPS
    for protocol in PROTOCOLS.values():
        assert protocol.resize in RESIZES
        assert protocol.normalisation in NORMALISATIONS
        assert {METRICS[column].group for column in protocol.columns} <= TOOL_GROUPS
        of_kind = {"inception_score": protocol.inception_score, "kid_subsets": protocol.kernel}
        of_kind["precision"] = protocol.neighbours
        for column, function in of_kind.items():
            assert (column in protocol.columns) == (function is not None)


@pytest.mark.parametrize("tool", PROTOCOLS)
def test_fid_of_means_in_the_precision_of_the_tool(
    tool: str, sets: tuple[np.ndarray, np.ndarray]
) -> None:
    x, y = (rows.astype(PROTOCOLS[tool].precision) for rows in sets)
    if tool == "ttur":  # whole batches of 50 only
        x, y = x[:1000], y[:1000]
    np.testing.assert_allclose(fid(tool, *sets), textbook_fid(x, y), rtol=1e-11)


def test_single_precision_moves_a_small_distance(sets: tuple[np.ndarray, np.ndarray]) -> None:
    far = sets[0] + np.float32(4096.0)
    near = far + np.float32(0.25)
    exact = frechet_distance(far, near)
    np.testing.assert_allclose(fid("pytorch-fid", far, near), exact, rtol=1e-6)
    assert abs(fid("torch-fidelity", far, near) / exact - 1) > 1e-5


def test_fewer_images_than_dimensions_keep_the_rounding_of_the_tool() -> None:
    rng = np.random.default_rng(2)
    x, y = (rng.normal(size=(20, 64)).astype(np.float32) for _ in range(2))
    np.testing.assert_allclose(fid("pytorch-fid", x, y), textbook_fid(x, y), rtol=1e-6)


def test_shuffled_splits(probabilities: np.ndarray) -> None:
    rows = probabilities.astype(float)[np.random.RandomState(2020).permutation(1037)]
    for tool, bounds in (
        ("torch-fidelity", [(i * 1037 // 10, (i + 1) * 1037 // 10) for i in range(10)]),
        ("dgm-eval", [(i * 103, (i + 1) * 103) for i in range(10)]),
    ):
        parts = [rows[start:stop] for start, stop in bounds]
        scores = [np.exp(np.mean(stats.entropy(p, p.mean(axis=0)[None], axis=1))) for p in parts]
        score = PROTOCOLS[tool].inception_score
        assert score is not None
        np.testing.assert_allclose(score(probabilities), (np.mean(scores), np.std(scores)), 1e-7)
        with pytest.raises(TooFewError, match="9 images cannot fill 10 splits"):
            score(probabilities[:9])


def test_chunks_of_5000_in_order() -> None:
    classes = np.repeat(np.eye(2, dtype=np.float32), 4000, axis=0) * 0.98 + 0.01
    score = PROTOCOLS["adm"].inception_score
    assert score is not None
    parts = [classes[:5000].astype(float), classes[5000:].astype(float)]
    expected = [np.exp(np.mean(stats.entropy(p, p.mean(axis=0)[None], axis=1))) for p in parts]
    np.testing.assert_allclose(score(classes).mean, np.mean(expected), rtol=1e-5)
    assert np.isnan(score(np.eye(2, dtype=np.float32)).mean)  # 0 log 0, as the tool has it


@pytest.mark.parametrize("tool", ["clean-fid", "torch-fidelity", "dgm-eval"])
def test_kernel_distances_of_the_same_subsets(
    tool: str, sets: tuple[np.ndarray, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (protocols.SUBSETS, protocols.SUBSET_SIZE) == (100, 1000)
    monkeypatch.setattr(protocols, "SUBSETS", 5)
    ordered = sets if tool == "torch-fidelity" else sets[::-1]
    rng, values = np.random.RandomState(2020), []
    for _ in range(5):
        x, y = (s[rng.choice(len(s), 1000, replace=False)].astype(float) for s in ordered)
        xx, yy, xy = ((a @ b.T / DIMENSIONS + 1) ** 3 for a, b in ((x, x), (y, y), (x, y)))
        within = xx.sum() - np.trace(xx) + yy.sum() - np.trace(yy)
        values.append(within / (1000 * 999) - 2 * xy.mean())
    kernel = PROTOCOLS[tool].kernel
    assert kernel is not None
    expected = np.mean(values), np.std(values)
    np.testing.assert_allclose(kernel(*sets), expected, rtol=1e-4 if tool != "dgm-eval" else 1e-9)


def test_small_sets_are_refused_or_give_smaller_subsets(
    sets: tuple[np.ndarray, np.ndarray],
) -> None:
    small = sets[0][:30], sets[1][:40]
    strict, lenient = PROTOCOLS["torch-fidelity"].kernel, PROTOCOLS["clean-fid"].kernel
    assert strict is not None
    assert lenient is not None
    with pytest.raises(TooFewError, match="needs 1000 generated and reference images, found 30"):
        strict(*small)
    assert np.isfinite(lenient(*small).mean)


@pytest.mark.parametrize(
    ("tool", "k", "rim"), [("torch-fidelity", 3, True), ("dgm-eval", 5, False), ("adm", 3, True)]
)
def test_precision_and_recall(
    tool: str, k: int, rim: bool, sets: tuple[np.ndarray, np.ndarray]
) -> None:
    x, y = sets[0][:200], sets[1][:150]
    within = np.less_equal if rim else np.less
    across = cdist(x, y)
    reach_x, reach_y = (np.sort(cdist(s, s), axis=1)[:, k] for s in (x, y))
    precision = within(across, reach_y).any(axis=1).mean()
    recall = within(across, reach_x[:, None]).any(axis=0).mean()
    neighbours = PROTOCOLS[tool].neighbours
    assert neighbours is not None
    found = neighbours(x, y)
    if tool == "dgm-eval":  # of as many rows of either set
        assert 0 < found.precision < 1
        found = neighbours(x[:150], y)
        across, reach_x = across[:150], np.sort(cdist(x[:150], x[:150]), axis=1)[:, k]
        precision = within(across, reach_y).any(axis=1).mean()
        recall = within(across, reach_x[:, None]).any(axis=0).mean()
    tolerance = 0.03 if tool == "adm" else 1e-12  # half precision moves rims
    np.testing.assert_allclose(found[:2], (precision, recall), atol=tolerance)


def test_half_precision_overflows_to_single() -> None:
    rows = np.random.default_rng(3).normal(scale=300.0, size=(50, 16)).astype(np.float32)
    neighbours = PROTOCOLS["adm"].neighbours
    assert neighbours is not None
    assert neighbours(rows, rows)[:2] == (1.0, 1.0)
