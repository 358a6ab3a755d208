"""Files that Keras itself writes, in each of its HDF5 layouts, and its own network beside ours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.models.published_layouts import RawInception, sample_images
from write_golden import keras_application

from vae_batch.models.extractors.inception.extractor import InceptionExtractor, identify_inception
from vae_batch.models.extractors.weights.readers import read_weights
from vae_batch.models.extractors.weights.weight_file import inspect_weight_file


@pytest.fixture(scope="module")
def application(raw_keras: RawInception) -> Any:
    return keras_application(raw_keras)


def save_published(model: Any, path: Path) -> None:
    """The layout of the published files, by Keras' own writer."""
    import h5py
    from keras.src.legacy.saving import legacy_h5_format

    with h5py.File(path, "w") as file:
        legacy_h5_format.save_weights_to_hdf5_group(file, model)


@pytest.mark.parametrize("layout", ["published", "model.h5", "keras3.weights.h5"])
def test_every_layout_reads_the_same(
    layout: str, application: Any, keras_file: Path, tmp_path: Path
) -> None:
    path = tmp_path / layout
    if layout == "published":
        save_published(application, path)
    elif layout == "model.h5":
        application.save(path)
    else:
        application.save_weights(path)
    found = read_weights(inspect_weight_file(path))
    expected = read_weights(inspect_weight_file(keras_file))
    for name, unit in expected.units.items():
        np.testing.assert_array_equal(found.units[name].kernel, unit.kernel)
        np.testing.assert_array_equal(found.units[name].bias, unit.bias)
    np.testing.assert_array_equal(found.classifier_kernel, expected.classifier_kernel)
    np.testing.assert_array_equal(found.classifier_bias, expected.classifier_bias)


@pytest.mark.slow
def test_features_and_softmax_of_keras_own_network(application: Any, keras_file: Path) -> None:
    import keras
    import tensorflow as tf

    images = np.concatenate([sample_images(6, 64, 48), 255 - sample_images(6, 64, 48)])
    pixels = tf.image.resize(images, (299, 299))
    inputs = keras.applications.inception_v3.preprocess_input(pixels)
    expected = [np.asarray(output) for output in application(inputs, training=False)]
    identity = identify_inception("inception-keras", [str(keras_file)], allow_unverified=True)
    extractor = InceptionExtractor(identity, batch_size=len(images))
    features, probabilities = extractor.extract(images)
    np.testing.assert_allclose(features, expected[0], rtol=0, atol=1e-5 * expected[0].max())
    np.testing.assert_allclose(probabilities, expected[1], rtol=0, atol=1e-5)
