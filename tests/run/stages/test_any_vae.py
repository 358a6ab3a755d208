"""Every VAE that a user has: however it was saved and whatever its halves give, scored by a run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from models.autoencoder.saved_vaes import (
    OF_MEAN,
    SEED,
    SHAPES,
    SavedVae,
    logits_of_class,
    save_vae,
)
from models.formats.same_vae import KINDS, exact_heads, exact_logits
from models.formats.saved_kinds import saved_kinds
from support.models.toy_models import save_classifier
from support.runs.serial_runs import Row, rows_of, score, settings_of

from vae_batch.metrics import bernoulli_nll, gaussian_kl
from vae_batch.models.references.reference import open_reference
from vae_batch.models.sampling import standard_normals

LOSSES = ("reconstruction_nll", "kl", "elbo", "bits_per_dim", "reconstruction_nll_at_mean")
DIMENSIONS = 64


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("any")
    save_classifier(folder / "classifier.keras")
    return folder


@pytest.fixture(scope="module")
def rows_by_kind(folder: Path) -> dict[str, Row]:
    """The seeded VAE in every format, in one run."""
    saved = saved_kinds()
    settings = settings_of(
        [vae.path for vae in saved.values()],
        folder / "classifier.keras",
        folder / "kinds",
        trust=True,
        per_checkpoint={
            vae.path: vae.reading.declared for vae in saved.values() if vae.reading.declared
        },
    )
    rows = rows_of(score(settings))
    return {kind: rows[vae.path] for kind, vae in saved.items()}


@pytest.fixture(scope="module")
def saved_shapes(folder: Path) -> dict[str, SavedVae]:
    return {shape: save_vae(shape, folder / "shapes") for shape in SHAPES}


@pytest.fixture(scope="module")
def rows_by_shape(folder: Path, saved_shapes: dict[str, SavedVae]) -> dict[str, Row]:
    """The VAE of every shape, in one run."""
    settings = settings_of(
        [vae.path for vae in saved_shapes.values()],
        folder / "classifier.keras",
        folder / "shape-scores",
        per_checkpoint={
            vae.path: dict(vae.declared) for vae in saved_shapes.values() if vae.declared
        },
    )
    rows = rows_of(score(settings))
    return {shape: rows[vae.path] for shape, vae in saved_shapes.items()}


def digits() -> tuple[np.ndarray, np.ndarray]:
    """The run's reference images in 0..1, float64, and their labels."""
    images = open_reference("digits", "test")
    assert images.labels is not None
    return images.read(0, 100).astype(np.float64) / 255, images.labels[:100]


def noise() -> np.ndarray:
    return standard_normals(0, "posterior_noise", 0, 100, (3,)).astype(np.float64)


@pytest.mark.parametrize("kind", KINDS)
def test_losses_are_equal_however_a_vae_was_saved(rows_by_kind: dict[str, Row], kind: str) -> None:
    row = rows_by_kind[kind]
    assert (row["status"], row["reason"]) == ("scored", None)
    assert row["model_format"] == saved_kinds()[kind].format
    for name in (*LOSSES, "fid"):
        np.testing.assert_allclose(row[name], rows_by_kind["keras_pair"][name], rtol=1e-6)


def test_losses_are_those_of_the_formulas(rows_by_kind: dict[str, Row]) -> None:
    images, _ = digits()
    mean, logvar = exact_heads(images, SEED)
    kl = gaussian_kl(mean, logvar)
    nll = bernoulli_nll(exact_logits(mean + np.exp(logvar / 2) * noise(), SEED), images)
    row = rows_by_kind["keras_pair"]
    np.testing.assert_allclose(row["kl"], kl.mean(), rtol=1e-6)
    np.testing.assert_allclose(row["reconstruction_nll"], nll.mean(), rtol=1e-6)
    np.testing.assert_allclose(row["elbo"], -(kl + nll).mean(), rtol=1e-6)


def test_every_shape_is_scored(rows_by_shape: dict[str, Row]) -> None:
    assert {shape: row["reason"] for shape, row in rows_by_shape.items()} == dict.fromkeys(SHAPES)
    assert {row["model_format"] for row in rows_by_shape.values()} == {"keras"}


#: Shape to the columns that it shares with the pair, and the reasons of those it lacks.
PARTS = {
    "decoder_alone": (["fid"], dict.fromkeys(LOSSES, "holds a decoder alone")),
    "encoder_alone": (
        ["kl"],
        {name: "holds an encoder alone" for name in (*LOSSES, "fid") if name != "kl"},
    ),
    "plain": (
        ["reconstruction_nll_at_mean"],
        {
            "kl": "there is no posterior",
            "elbo": "there is no posterior",
            "bits_per_dim": "there is no posterior",
            "fid": "has no prior to sample its code from; --prior normal",
        },
    ),
    "plain_with_prior": (
        ["reconstruction_nll_at_mean", "fid"],
        dict.fromkeys(("kl", "elbo", "bits_per_dim"), "there is no posterior"),
    ),
    "plain_in_one": (
        ["reconstruction_nll_at_mean"],
        dict.fromkeys(("kl", "elbo", "bits_per_dim", "fid"), "whose code is out of reach"),
    ),
}


@pytest.mark.parametrize("shape", PARTS)
def test_parts_have_their_columns_and_reasons(rows_by_shape: dict[str, Row], shape: str) -> None:
    row, pair = rows_by_shape[shape], rows_by_shape["pair"]
    shared, reasons = PARTS[shape]
    for name in shared:
        np.testing.assert_allclose(row[name], pair[name], rtol=1e-6)
        assert row[f"{name}_reason"] is None
    for name, reason in reasons.items():
        assert row[name] is None
        assert reason in row[f"{name}_reason"]
    # Whatever is not shared and not lacking is the reconstruction of a code that is not drawn.
    rest = {name for name in (*LOSSES, "fid") if row[name] is not None} - set(shared)
    for name in rest:
        assert name == "reconstruction_nll"
        np.testing.assert_allclose(row[name], pair["reconstruction_nll_at_mean"], rtol=1e-6)


@pytest.mark.parametrize(
    ("shape", "second_head"), [("packed", "logvar"), ("log_std", "log_std"), ("std", "std")]
)
def test_second_heads_mean_the_same_posterior(
    rows_by_shape: dict[str, Row], shape: str, second_head: str
) -> None:
    row = rows_by_shape[shape]
    assert row["second_head"] == second_head
    for name in (*LOSSES, "fid"):
        np.testing.assert_allclose(row[name], rows_by_shape["pair"][name], rtol=1e-6)


@pytest.mark.parametrize("form", ["one-hot", "integer"])
def test_conditional_vaes_get_labels(rows_by_shape: dict[str, Row], form: str) -> None:
    row = rows_by_shape[f"conditional_{form.replace('-', '_')}"]
    assert row["condition"] == f"{form} labels, 10 classes"
    images, labels = digits()
    mean, logvar = exact_heads(images, SEED)
    mean = mean + OF_MEAN[labels]
    np.testing.assert_allclose(row["kl"], gaussian_kl(mean, logvar).mean(), rtol=1e-6)
    logits = logits_of_class(mean + np.exp(logvar / 2) * noise(), labels)
    nll = bernoulli_nll(logits, images)
    np.testing.assert_allclose(row["reconstruction_nll"], nll.mean(), rtol=1e-6)
    # Both forms draw the same labels by sample index, and labels do move the samples.
    np.testing.assert_allclose(row["fid"], rows_by_shape["conditional_one_hot"]["fid"], rtol=1e-6)
    assert abs(row["fid"] / rows_by_shape["pair"]["fid"] - 1) > 0.01


def test_padded_images(rows_by_shape: dict[str, Row]) -> None:
    """12x12 pixels for 8x8 digits: 80 more, black, each of probability 1/2 and ln 2 nats."""
    row, pair = rows_by_shape["padded"], rows_by_shape["pair"]
    assert row["input_fit"] == "pad"
    np.testing.assert_allclose(row["kl"], pair["kl"], rtol=1e-6)
    np.testing.assert_allclose(row["fid"], pair["fid"], rtol=1e-6)
    expected = pair["reconstruction_nll"] + 80 * np.log(2)
    np.testing.assert_allclose(row["reconstruction_nll"], expected, rtol=1e-6)


def test_pixels_from_minus_one_to_one(rows_by_shape: dict[str, Row]) -> None:
    """In 0..1 the decoder's mean is p, in -1..1 it is 2p - 1: squared errors are four times."""
    row, pair = rows_by_shape["minus_one_to_one"], rows_by_shape["pair"]
    assert (row["model_range"], row["likelihood"], row["sigma"]) == ("-1..1", "gaussian", 0.5)
    images, _ = digits()
    mean, logvar = exact_heads(images, SEED)
    p = 1 / (1 + np.exp(-exact_logits(mean + np.exp(logvar / 2) * noise(), SEED)))
    error = 4 * ((images - p) ** 2).sum(axis=(1, 2, 3))
    nll = DIMENSIONS * np.log(0.5 * np.sqrt(2 * np.pi)) + error / (2 * 0.5**2)
    np.testing.assert_allclose(row["reconstruction_nll"], nll.mean(), rtol=1e-6)
    np.testing.assert_allclose(row["kl"], pair["kl"], rtol=1e-6)
    # A grey level is 2/256 wide, that is 2^-7.
    bits = -row["elbo"] / (DIMENSIONS * np.log(2)) + np.log2(255 / 2)
    np.testing.assert_allclose(row["bits_per_dim"], bits, rtol=1e-12)
    np.testing.assert_allclose(row["fid"], pair["fid"], rtol=1e-3)  # tanh rounds otherwise


def test_pixels_from_0_to_255(rows_by_shape: dict[str, Row]) -> None:
    """The decoder's mean is 127.5 (1 + l / 5), and grey levels are 1 apart."""
    row, pair = rows_by_shape["bytes"], rows_by_shape["pair"]
    assert (row["model_range"], row["likelihood"], row["sigma"]) == ("0..255", "gaussian", 50.0)
    images, _ = digits()
    mean, logvar = exact_heads(images, SEED)
    logits = exact_logits(mean + np.exp(logvar / 2) * noise(), SEED)
    error = ((255 * images - 127.5 * (1 + logits / 5)) ** 2).sum(axis=(1, 2, 3))
    nll = DIMENSIONS * np.log(50 * np.sqrt(2 * np.pi)) + error / (2 * 50**2)
    np.testing.assert_allclose(row["reconstruction_nll"], nll.mean(), rtol=1e-6)
    np.testing.assert_allclose(row["kl"], pair["kl"], rtol=1e-6)
    bits = -row["elbo"] / (DIMENSIONS * np.log(2))
    np.testing.assert_allclose(row["bits_per_dim"], bits, rtol=1e-12)
