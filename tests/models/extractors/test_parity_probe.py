"""The parity probe: fixed bits, a stored float64 truth, and a figure that tells float32 apart."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from write_parity_probe import features_in_float64

from vae_batch.models.extractors.inception import parity_probe as parity_probe
from vae_batch.models.extractors.inception.folded_weights import random_weights
from vae_batch.models.extractors.inception.layout import IMAGE_SIZE, KERAS_ORDER
from vae_batch.models.extractors.inception.parity_probe import (
    STORED,
    measure_parity,
    probe_images,
    read_stored_probe,
    relative_deviation,
)
from vae_batch.models.extractors.inception.resize import NUMPY_OPS, normalise, resize
from vae_batch.plan import InputError


def test_images_run_from_smooth_to_noise() -> None:
    images = probe_images()
    assert images.shape == (16, 32, 32, 3)
    assert images.dtype == np.uint8
    steps = np.abs(np.diff(images.astype(int), axis=2)).mean(axis=(1, 2, 3))
    # A smooth image moves at most 255 / 31 = 8.2 a pixel, rounding one more; two independent
    # bytes differ by (256 - 1/256) / 3 = 85.3 on average, 2976 pairs: 3 sigma is 3.3.
    assert np.abs(np.diff(images[0].astype(int), axis=1)).max() <= 9
    assert steps[15] == pytest.approx(85.3, abs=3.3)
    assert (np.diff(steps) > 0).all()


def test_stored_features_are_small_and_say_where_they_come_from() -> None:
    probe = read_stored_probe()
    assert STORED.stat().st_size < 300_000
    assert probe.features.shape == (16, 2048)
    assert probe.features.dtype == np.float64
    assert np.abs(probe.features - probe.features.astype(np.float32)).max() > 0
    assert probe.provenance["command"] == "python tests/models/extractors/write_parity_probe.py"
    assert set(probe.provenance["versions"]) >= {"tensorflow", "keras", "numpy", "python"}


def test_deviation_by_hand() -> None:
    # Differences 0.5 and 0.25, largest reference 4: 0.5 / 4.
    reference = np.array([[1.0, -4.0]])
    assert relative_deviation(np.array([[1.5, -3.75]], np.float32), reference) == 0.125
    assert relative_deviation(np.array([[np.nan, -4.0]]), reference) == float("inf")
    with pytest.raises(ValueError, match=r"expected shape \(1, 2\)"):
        relative_deviation(np.zeros((2, 2)), reference)


def test_this_device_computes_in_float32() -> None:
    parity = measure_parity()
    # Measured 3.0e-6; about 50 layers of roundings of 6e-8 each.
    assert 1e-8 < parity.float32 < 3e-5
    assert parity.as_scored == parity.float32
    assert not parity.tf32


class _FakeExtractor:
    """Stored features, off by one part in a thousand of their scale where TF32 is on."""

    def __init__(self, identity: Any, batch_size: int) -> None:
        self._features = read_stored_probe().features

    def extract(self, images: np.ndarray) -> tuple[np.ndarray, None]:
        import tensorflow as tf

        coarse = tf.config.experimental.tensor_float_32_execution_enabled()
        rows = [np.flatnonzero((probe_images() == one).all(axis=(1, 2, 3)))[0] for one in images]
        return self._features[rows] + coarse * 2e-3 * self._features.max(), None


def test_tf32_is_switched_off_for_the_float32_figure_only(monkeypatch: pytest.MonkeyPatch) -> None:
    import tensorflow as tf

    monkeypatch.setattr(parity_probe, "InceptionExtractor", _FakeExtractor)
    monkeypatch.setattr(parity_probe, "_takes_tf32", lambda: True)
    assert tf.config.experimental.tensor_float_32_execution_enabled()
    parity = measure_parity()
    assert parity.float32 == 0.0
    assert parity.as_scored == pytest.approx(2e-3)
    assert parity.tf32
    assert tf.config.experimental.tensor_float_32_execution_enabled()


@pytest.mark.parametrize("change", ["weights_sha256", "images_sha256", "protocol"])
def test_a_file_for_other_images_or_weights_is_refused(
    change: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    probe = read_stored_probe()
    provenance = np.array(json.dumps({**probe.provenance, change: "other"}))
    np.savez_compressed(tmp_path / "p.npz", features=probe.features, provenance=provenance)
    monkeypatch.setattr(parity_probe, "STORED", tmp_path / "p.npz")
    with pytest.raises(InputError, match=f"another version of vae_batch \\({change}\\)"):
        read_stored_probe()


@pytest.mark.parametrize("content", [None, b"", b"PK\x03\x04 damaged"])
def test_a_missing_or_damaged_file_is_refused(
    content: bytes | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if content is not None:
        (tmp_path / "p.npz").write_bytes(content)
    monkeypatch.setattr(parity_probe, "STORED", tmp_path / "p.npz")
    with pytest.raises(InputError, match="cannot be read"):
        read_stored_probe()


@pytest.mark.slow
def test_stored_features_are_those_of_the_job() -> None:
    np.testing.assert_allclose(
        features_in_float64(probe_images()[3:5]), read_stored_probe().features[3:5], rtol=1e-9
    )


@pytest.mark.slow
def test_stored_features_are_those_of_kerass_own_network() -> None:
    """``keras.applications.InceptionV3`` in float64 with the same kernels."""
    import keras

    keras.config.set_dtype_policy("float64")
    try:
        inputs = keras.Input((IMAGE_SIZE, IMAGE_SIZE, 3), dtype="float64")
        network = keras.applications.InceptionV3(
            weights=None, pooling="avg", include_top=False, input_tensor=inputs
        )
    finally:
        keras.config.set_dtype_policy("float32")
    units = random_weights().units
    convolutions = [x for x in network.layers if isinstance(x, keras.layers.Conv2D)]
    norms = [x for x in network.layers if isinstance(x, keras.layers.BatchNormalization)]
    for name, convolution, norm in zip(KERAS_ORDER, convolutions, norms, strict=True):
        convolution.set_weights([units[name].kernel])
        # beta, mean, variance; variance + epsilon = 1 makes batch norm the identity.
        zero = np.zeros(units[name].bias.shape)
        norm.set_weights([zero, zero, zero + 1.0 - norm.epsilon])
    pixels = resize(probe_images()[[0, 9]].astype(float), "tf2-bilinear", IMAGE_SIZE, ops=NUMPY_OPS)
    features = np.asarray(network([normalise(pixels, "x/127.5-1")], training=False))
    stored = read_stored_probe().features[[0, 9]]
    assert features.dtype == np.float64
    assert relative_deviation(features, stored) < 1e-12
