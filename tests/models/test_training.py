from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from vae_batch.models.references.reference import open_reference
from vae_batch.models.training.classifier import train_classifier
from vae_batch.models.training.vae import build_vae, elbo_terms, train_vae
from vae_batch.plan.errors import InputError

# Keras 3 converts TensorFlow variables in a way that NumPy 2 deprecates; ours to live with.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@pytest.fixture(scope="module")
def digits():
    train = open_reference("digits", "train")
    return train.read(0, len(train)), train.labels


@pytest.fixture(scope="module")
def trained(digits, tmp_path_factory):
    """(paths, (epoch, nll, kl) by epoch) of a short training on digits."""
    history = []
    paths = train_vae(
        digits[0],
        str(tmp_path_factory.mktemp("runs")),
        epochs=[12, 1, 4],
        batch_size=32,
        width=16,
        on_epoch=lambda *terms: history.append(terms),
    )
    return paths, history


def sha256(path):
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def test_checkpoints_are_written_in_order_whole_and_named(trained):
    paths, history = trained
    assert [Path(path).name for path in paths] == ["step-0001", "step-0004", "step-0012"]
    for path in paths:
        assert sorted(file.name for file in Path(path).iterdir()) == [
            "decoder.keras",
            "encoder.keras",
        ]
    assert [epoch for epoch, _, _ in history] == list(range(1, 13))


def test_training_improves_the_elbo(trained):
    _, history = trained
    elbos = {epoch: -(nll + kl) for epoch, nll, kl in history}
    # Epoch 1 starts near 64 pixels x ln 2 = 44.4 nats; the digits' shape is learnt by epoch 4.
    assert -44.4 < elbos[1] < elbos[4] < elbos[12]
    assert elbos[12] - elbos[1] > 8
    assert all(kl >= 0 for _, _, kl in history)


def test_pair_reconstructs_what_it_has_seen(trained, digits):
    import keras

    images = digits[0][:200].astype(np.float32) / 255
    errors = []
    for path in (trained[0][0], trained[0][-1]):
        encoder = keras.saving.load_model(f"{path}/encoder.keras", compile=False)
        decoder = keras.saving.load_model(f"{path}/decoder.keras", compile=False)
        mean, logvar = encoder(images)
        assert mean.shape == logvar.shape == (200, 8)
        assert decoder.layers[-1].activation is keras.activations.sigmoid
        decoded = np.asarray(decoder(mean))
        assert decoded.shape == images.shape
        errors.append(float(np.mean((decoded - images) ** 2)))
    of_mean_image = float(np.mean((images - images.mean(axis=0)) ** 2))
    assert errors[1] < 0.8 * of_mean_image
    assert errors[1] < 0.8 * errors[0]


@pytest.mark.parametrize("layout", ["pair", "single"])
def test_the_same_seed_writes_the_same_bytes(digits, tmp_path, layout):
    def files(name, seed):
        out = tmp_path / name
        paths = train_vae(digits[0][:64], str(out), epochs=[2], width=4, seed=seed, layout=layout)
        assert [Path(path) for path in paths] == [
            out / ("step-0002" if layout == "pair" else "step-0002.keras")
        ]
        return [sha256(file) for file in sorted(out.rglob("*.keras"))]

    written = files("one", 3)
    assert written == files("two", 3)
    if layout == "pair":
        assert not set(written) & set(files("three", 4))


def test_single_file_opens_in_a_fresh_process_with_the_layer_imported(digits, tmp_path):
    (path,) = train_vae(digits[0][:64], str(tmp_path), epochs=[1], width=4, layout="single")
    code = (
        "import sys, numpy as np, keras, vae_batch.models.layers\n"
        "model = keras.saving.load_model(sys.argv[1], compile=False, safe_mode=True)\n"
        "x = np.random.default_rng(0).random((3, 8, 8, 1), np.float32)\n"
        "mean, logvar, z = model.get_layer('encoder')(x)\n"
        "assert mean.shape == logvar.shape == z.shape == (3, 8)\n"
        "assert not np.allclose(mean, z)\n"
        "probabilities = np.asarray(model.get_layer('decoder')(z))\n"
        "assert probabilities.shape == x.shape and 0 < probabilities.min() < 1\n"
        "assert model(x).shape == x.shape"
    )
    subprocess.run([sys.executable, "-c", code, path], check=True, timeout=120)


@pytest.mark.parametrize("shape", [(28, 28, 1), (7, 10, 3), (5, 3, 1)])
def test_any_size_is_padded_inside_and_cropped_back(shape):
    network = build_vae(shape, latent_dim=2, width=4, seed=0)
    mean, _ = network.encoder(np.zeros((2, *shape), np.float32))
    assert mean.shape == (2, 2)
    assert network.decoder(np.zeros((2, 2), np.float32)).shape == (2, *shape)


def test_elbo_terms_agree_with_their_definition():
    """NLL and KL of one batch against float64 formulas applied to the networks' outputs."""
    import tensorflow as tf

    network = build_vae((8, 8, 1), latent_dim=3, width=4, seed=1)
    batch = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 1), np.uint8)
    loss, nll, kl = elbo_terms(network, tf.constant(batch), 2.0, tf.constant([7, 9]))
    x = batch / 255.0
    mean, logvar = (np.asarray(head, np.float64) for head in network.encoder(np.float32(x)))
    noise = tf.random.stateless_normal((5, 3), [7, 9]).numpy()
    p = np.asarray(network.decoder(np.float32(mean + np.exp(logvar / 2) * noise)), np.float64)
    expected_nll = -(x * np.log(p) + (1 - x) * np.log(1 - p)).sum(axis=(1, 2, 3)).mean()
    expected_kl = 0.5 * (mean**2 + np.exp(logvar) - 1 - logvar).sum(axis=1).mean()
    assert float(nll) == pytest.approx(expected_nll, rel=1e-5)
    assert float(kl) == pytest.approx(expected_kl, rel=1e-4)
    assert float(loss) == pytest.approx(expected_nll + 2 * expected_kl, rel=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": np.zeros((4, 8, 8), np.float32)}, r"must be uint8.*got float32"),
        ({"images": np.zeros((0, 8, 8), np.uint8)}, r"n at least 1; got uint8 of shape \(0, 8"),
        ({"epochs": [0, 1]}, r"from 1 up; got \[0, 1\]"),
        ({"epochs": []}, "one or more numbers"),
        ({"layout": "zip"}, "'pair' or 'single'"),
        ({"width": 0}, "at least 1.*size of 0"),
        ({"beta": float("nan")}, "beta nan"),
    ],
)
def test_settings_that_are_refused(tmp_path, change, message):
    settings = {"images": np.zeros((4, 8, 8), np.uint8), "out": str(tmp_path), "epochs": [1]}
    with pytest.raises(InputError, match=message):
        train_vae(**{**settings, **change})
    assert list(tmp_path.iterdir()) == []


def test_classifier_of_digits_is_a_fair_judge(digits, tmp_path):
    import keras

    path = tmp_path / "digits.keras"
    accuracy = train_classifier(*digits, str(path), epochs=12)
    assert 0.93 < accuracy <= 1
    model = keras.saving.load_model(path, compile=False)
    assert model.input_shape == (None, 8, 8, 3)
    features = model.get_layer("features")
    assert model.layers[-2] is features
    assert features.units == 64
    test = open_reference("digits", "test")
    pixels = np.repeat(test.read(0, len(test)), 3, axis=-1).astype(np.float32)
    probabilities = np.asarray(model(pixels))
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)
    assert np.mean(probabilities.argmax(axis=1) == test.labels) > 0.9


def test_classifier_refuses_what_it_cannot_learn_from(digits, tmp_path):
    images, labels = digits
    path = str(tmp_path / "c.keras")
    with pytest.raises(InputError, match=r"labels must be 1000 integers.*\(999,\)"):
        train_classifier(images, labels[1:], path)
    with pytest.raises(InputError, match="integers from 0 up"):
        train_classifier(images, labels - 1, path)
    with pytest.raises(InputError, match=r"saved as a \.keras file"):
        train_classifier(images, labels, str(tmp_path / "c.h5"))
