"""Our numbers beside those of pytorch-fid and torch-fidelity, and of other Keras backends.

The other tools run in their own environment: set VAE_BATCH_PEERS_PYTHON to a Python that has
torch, torchvision, pytorch-fid, torch-fidelity, keras and jax.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
from support.models.published_layouts import sample_images
from write_golden import GOLDEN_IMAGES, peer_outputs

from vae_batch.metrics import frechet_distance, inception_score
from vae_batch.models.extractors.inception.extractor import InceptionExtractor, identify_inception
from vae_batch.models.extractors.inception.resize import RESIZES
from vae_batch.models.extractors.weights.readers import read_state_dict

PYTHON = os.environ.get("VAE_BATCH_PEERS_PYTHON", "")

pytestmark = [
    pytest.mark.peers,
    pytest.mark.skipif(not PYTHON, reason="VAE_BATCH_PEERS_PYTHON is not set"),
]

BATCH = 16
PROTOCOLS = {
    "torch-fidelity": {},
    "pytorch-fid": {"resize": "tf2-bilinear", "normalisation": "x/127.5-1"},
}


def our_outputs(
    weights: Path, images: np.ndarray, protocol: dict[str, str], name: str = "inception-2015"
) -> tuple[np.ndarray, np.ndarray]:
    identity = identify_inception(name, [str(weights)], allow_unverified=True, **protocol)
    extractor = InceptionExtractor(identity, BATCH)
    batches = [extractor.extract(images[i : i + BATCH]) for i in range(0, len(images), BATCH)]
    features, probabilities = zip(*batches, strict=True)
    return np.concatenate(features), np.concatenate(probabilities)


@pytest.mark.parametrize("tool", PROTOCOLS)
def test_features_and_probabilities(tool: str, state_dict_file: Path) -> None:
    images = sample_images(8, 33, 47)
    features, probabilities = our_outputs(state_dict_file, images, PROTOCOLS[tool])
    peer = peer_outputs(tool, state_dict_file, images)
    atol = 1e-4 * peer["features"].max()
    np.testing.assert_allclose(features, peer["features"], rtol=0, atol=atol)
    np.testing.assert_allclose(probabilities, peer["probabilities"], rtol=0, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("tool", PROTOCOLS)
def test_scores_of_512_images(tool: str, state_dict_file: Path) -> None:
    images = sample_images(512, 32, 32)
    features, probabilities = our_outputs(state_dict_file, images, PROTOCOLS[tool])
    peer = peer_outputs(tool, state_dict_file, images)
    fid = frechet_distance(features[:256], features[256:])
    # Our formula on their features, then their own formula.
    theirs = frechet_distance(peer["features"][:256], peer["features"][256:])
    np.testing.assert_allclose(fid, theirs, rtol=1e-5)
    np.testing.assert_allclose(fid, peer["fid"], rtol=1e-5)
    score = inception_score(probabilities)
    np.testing.assert_allclose(score.mean, inception_score(peer["probabilities"]).mean, rtol=1e-5)
    if "is" in peer:
        np.testing.assert_allclose(score.mean, peer["is"], rtol=1e-5)


@pytest.mark.parametrize("zipped", [False, True])
def test_files_of_torch_save(zipped: bool, tmp_path: Path) -> None:
    path = tmp_path / "saved.pth"
    script = (
        "import sys, torch; from collections import OrderedDict as O; t = torch.arange(24.); "
        "d = O(a=t.reshape(2, 3, 4), b=t.reshape(4, 6).T, c=t[5:9], n=torch.tensor(3)); "
        f"torch.save(d, sys.argv[1], _use_new_zipfile_serialization={zipped})"
    )
    subprocess.run([PYTHON, "-c", script, str(path)], check=True)
    found = read_state_dict(path)
    numbers = np.arange(24, dtype=np.float32)
    np.testing.assert_array_equal(found["a"], numbers.reshape(2, 3, 4))
    np.testing.assert_array_equal(found["b"], numbers.reshape(4, 6).T)
    np.testing.assert_array_equal(found["c"], [5, 6, 7, 8])
    assert found["n"] == 3


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.parametrize("backend", ["jax", "torch"])
@pytest.mark.parametrize("extractor", ["inception-2015", "inception-keras"])
def test_other_backends(
    backend: str, extractor: str, state_dict_file: Path, keras_file: Path, tmp_path: Path
) -> None:
    images = sample_images(*GOLDEN_IMAGES)
    weights = state_dict_file if extractor == "inception-2015" else keras_file
    np.save(tmp_path / "images.npy", images)
    script = Path(__file__).with_name("backend_outputs.py")
    command = [PYTHON, script, weights, tmp_path / "images.npy", tmp_path / "out.npz", *RESIZES]
    root = str(Path(__file__).parents[3])
    environment = os.environ | {"KERAS_BACKEND": backend, "PYTHONPATH": root}
    subprocess.run([str(part) for part in command], check=True, env=environment)
    with np.load(tmp_path / "out.npz") as outputs:
        for resize in RESIZES:
            ours = our_outputs(weights, images, {"resize": resize}, extractor)
            atol = 2e-5 * ours[0].max()
            np.testing.assert_allclose(outputs[f"{resize}/features"], ours[0], rtol=0, atol=atol)
            np.testing.assert_allclose(outputs[f"{resize}/probabilities"], ours[1], atol=1e-5)
