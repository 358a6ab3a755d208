"""Our network against numbers that other tools' own code gave for the same weights and images."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from support.models.published_layouts import sample_images, write_keras_h5
from write_golden import GOLDEN, GOLDEN_IMAGES, RawInception

from vae_batch.models.extractors.inception.extractor import (
    ExtractorIdentity,
    InceptionExtractor,
    identify_inception,
)

IMAGES = sample_images(*GOLDEN_IMAGES)


@cache
def outputs(identity: ExtractorIdentity) -> tuple[np.ndarray, np.ndarray]:
    """Features and probabilities; several tests look at those of one file."""
    return InceptionExtractor(identity, batch_size=4).extract(IMAGES)


def assert_golden(found: tuple[np.ndarray, np.ndarray], tool: str) -> None:
    golden = json.loads((GOLDEN / f"{tool}.json").read_text())
    features, probabilities = found
    scale = 2e-5 * float(features.max())
    expected = np.array(golden["features"])
    np.testing.assert_allclose(features[:, :8], expected, rtol=0, atol=scale)
    np.testing.assert_allclose(features.mean(axis=1), golden["feature_mean"], rtol=0, atol=scale)
    np.testing.assert_allclose(features.std(axis=1), golden["feature_std"], rtol=0, atol=scale)
    assert probabilities.argmax(axis=1).tolist() == golden["class"]
    np.testing.assert_allclose(probabilities.max(axis=1), golden["probability"], atol=1e-5)
    np.testing.assert_allclose(probabilities[:, :4], golden["first_probabilities"], atol=1e-5)


def identify(file: Path, **protocol: str) -> ExtractorIdentity:
    name = "inception-keras" if file.suffix == ".h5" else "inception-2015"
    return identify_inception(name, [str(file)], allow_unverified=True, **protocol)


def test_2015_is_torch_fidelity(state_dict_file: Path) -> None:
    assert_golden(outputs(identify(state_dict_file)), "torch-fidelity")


def test_2015_with_their_resize_is_pytorch_fid(state_dict_file: Path) -> None:
    protocol = {"resize": "tf2-bilinear", "normalisation": "x/127.5-1"}
    assert_golden(outputs(identify(state_dict_file, **protocol)), "pytorch-fid")


def test_the_resize_matters(state_dict_file: Path) -> None:
    identity = identify(state_dict_file, resize="tf2-bilinear", normalisation="x/127.5-1")
    with pytest.raises(AssertionError):
        assert_golden(outputs(identity), "torch-fidelity")


def test_keras_is_keras_applications(keras_file: Path) -> None:
    assert_golden(outputs(identify(keras_file)), "keras")


def test_a_file_without_top_gives_the_same_features(
    keras_file: Path, raw_keras: RawInception, tmp_path: Path
) -> None:
    identity = identify(write_keras_h5(tmp_path / "notop.h5", raw_keras, top=False))
    assert identity.class_count == 0
    assert "no classification layer" in str(identity.inception_score_reason)
    features, probabilities = outputs(identity)
    assert probabilities.shape == (len(IMAGES), 0)
    np.testing.assert_array_equal(features, outputs(identify(keras_file))[0])


def test_graphdef_and_state_dict_give_the_same_bits(
    state_dict_file: Path, graphdef_file: Path
) -> None:
    ours = outputs(identify(state_dict_file))
    graph = outputs(identify(graphdef_file))
    np.testing.assert_array_equal(graph[0], ours[0])
    np.testing.assert_array_equal(graph[1], ours[1])
