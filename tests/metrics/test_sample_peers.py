"""Our scores of given features beside torch-fidelity's.

It runs in its own environment: set VAE_BATCH_PEERS_PYTHON to a Python that has torch,
torchvision and torch-fidelity.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import softmax

from vae_batch.metrics import frechet_distance, inception_score
from vae_batch.metrics.samples.kernel import KernelReference, KernelSubsets, kernel_influence
from vae_batch.metrics.samples.precision_recall import PRECISION_RECALL, manifold_scores

PYTHON = os.environ.get("VAE_BATCH_PEERS_PYTHON", "")

pytestmark = [
    pytest.mark.peers,
    pytest.mark.skipif(not PYTHON, reason="VAE_BATCH_PEERS_PYTHON is not set"),
]

Array = NDArray[Any]


def _features() -> dict[str, Array]:
    """Rectified features of a 12-dimensional code, as networks give them."""
    rng = np.random.default_rng(0)
    weights = rng.normal(size=(12, 64)) / 3
    generated = np.maximum(rng.normal(size=(1500, 12)) @ weights + 0.1, 0)
    reference = np.maximum(1.05 * rng.normal(size=(1300, 12)) @ weights, 0)
    generated += 0.05 * rng.normal(size=generated.shape)
    reference += 0.05 * rng.normal(size=reference.shape)
    return {
        "generated": generated,
        "reference": reference,
        "logits": 3 * rng.normal(size=(1500, 20)),
    }


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Array], dict[str, float]]:
    folder = tmp_path_factory.mktemp("peers")
    features = _features()
    np.savez(folder / "features.npz", **features)
    script = Path(__file__).with_name("sample_peer_outputs.py")
    command = [PYTHON, str(script), str(folder / "features.npz"), str(folder / "out.npz")]
    subprocess.run(command, check=True)
    with np.load(folder / "out.npz") as found:
        return features, {name: float(value) for name, value in found.items()}


Outputs = tuple[dict[str, Array], dict[str, float]]


def test_fid(outputs: Outputs) -> None:
    features, peer = outputs
    found = frechet_distance(features["generated"], features["reference"])
    assert found == pytest.approx(peer["frechet_inception_distance"], rel=1e-6)


def test_inception_score(outputs: Outputs) -> None:
    features, peer = outputs
    found = inception_score(softmax(features["logits"], axis=1))
    assert found.mean == pytest.approx(peer["inception_score_mean"], rel=1e-9)
    assert found.std == pytest.approx(peer["inception_score_std"], rel=1e-9)


def test_kid(outputs: Outputs) -> None:
    features, peer = outputs
    generated, reference = features["generated"], features["reference"]
    subsets = KernelSubsets.draw(len(generated), len(reference))
    found = kernel_influence(
        generated, KernelReference.from_activations(reference, subsets)
    ).subsets
    assert found.mean == pytest.approx(peer["kernel_inception_distance_mean"], rel=1e-9)
    assert found.std == pytest.approx(peer["kernel_inception_distance_std"], rel=1e-9)


@pytest.mark.parametrize("way", ["", "part/"])
def test_precision_and_recall(outputs: Outputs, way: str) -> None:
    features, peer = outputs
    (found,) = manifold_scores(features["reference"], features["generated"], [PRECISION_RECALL])
    # Their shares are means in float32.
    assert found.precision == pytest.approx(peer[f"{way}precision"], rel=1e-6)
    assert found.recall == pytest.approx(peer[f"{way}recall"], rel=1e-6)
    assert 0.05 < found.precision < 0.95
    assert 0.05 < found.recall < 0.95
