"""Label inputs of conditional VAEs: found, fed, and refused with a sentence."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from fake_networks import (
    CLASSES,
    LATENT,
    SHAPE,
    decisions,
    images_like,
    mean_of,
    network,
    pair,
    pixels_of,
    ports,
    put_together,
    second_of,
)
from scipy.special import expit

from vae_batch.models.autoencoder.labels import LabelInfo, LabelInput, checked_labels, split_inputs
from vae_batch.models.formats.format import Network, Port
from vae_batch.plan import CheckpointError

HEADS = {"z_mean": (LATENT,), "z_log_var": (LATENT,)}
LABELS = np.array([0, 4, 2, 2, 1, 3])


def shifted(values: np.ndarray, label: np.ndarray) -> np.ndarray:
    """Adds the class to a result, so that a test sees which label arrived."""
    return values + label.reshape(len(values), *(1 for _ in values.shape[1:]))


def class_of(one_hot: np.ndarray) -> np.ndarray:
    assert one_hot.dtype == np.float32
    np.testing.assert_array_equal(one_hot.sum(axis=-1), 1)
    return one_hot.argmax(axis=-1).astype(np.float32)


def conditional_encoder(how: str) -> Network:
    def two(images: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, ...]:
        number = class_of(labels) if how == "one-hot" else labels.reshape(-1)
        return shifted(mean_of(images), number), second_of(images)

    if how == "concatenated":
        return network(
            {"x": (16 + CLASSES,)},
            HEADS,
            lambda x: two(x[:, :16], class_of(x[:, 16:])),
        )
    port = {"one-hot": ("labels", (CLASSES,)), "integer": ("labels:int32", (1,))}[how]
    return network({"images": SHAPE, port[0]: port[1]}, HEADS, two)


def conditional_decoder(how: str) -> Network:
    def two(latents: np.ndarray, labels: np.ndarray) -> np.ndarray:
        number = class_of(labels) if how == "one-hot" else labels.reshape(-1)
        return expit(shifted(pixels_of(latents), number)).reshape(-1, *SHAPE)

    known = {"activation": "sigmoid"}
    if how == "concatenated":
        return network(
            {"zy": (LATENT + CLASSES,)},
            {"pixels": SHAPE},
            lambda zy: two(zy[:, :LATENT], class_of(zy[:, LATENT:])),
            **known,
        )
    port = {"one-hot": ("c", (CLASSES,)), "integer": ("digit:int64", ())}[how]
    return network({port[0]: port[1], "z": (LATENT,)}, {"pixels": SHAPE},
                   lambda y, z: two(z, y), **known)  # fmt: skip


@pytest.mark.parametrize("encoder_labels", ["one-hot", "integer", "concatenated", None])
@pytest.mark.parametrize("decoder_labels", ["one-hot", "integer", "concatenated"])
def test_labels_reach_both_halves(encoder_labels: str | None, decoder_labels: str) -> None:
    plain = network({"x": SHAPE}, HEADS, lambda x: (mean_of(x), second_of(x)))
    half = conditional_encoder(encoder_labels) if encoder_labels else plain
    if encoder_labels == "concatenated":

        def number_first(x: np.ndarray) -> tuple[np.ndarray, ...]:
            return shifted(mean_of(x[:, :16]), x[:, 16:].argmax(axis=1)), second_of(x[:, :16])

        half = network({"x": (16 + CLASSES,)}, HEADS, number_first)
    decoder = conditional_decoder(decoder_labels)
    if decoder_labels == "concatenated":

        def number_last(zy: np.ndarray) -> np.ndarray:
            shift = zy[:, LATENT:].argmax(axis=1)
            return expit(shifted(pixels_of(zy[:, :LATENT]), shift)).reshape(-1, *SHAPE)

        decoder = network({"zy": (LATENT + CLASSES,)}, {"pixels": SHAPE}, number_last,
                          activation="sigmoid")  # fmt: skip
    vae = put_together(pair(half, decoder), classes=CLASSES)
    assert vae.takes_labels
    pixels = images_like(len(LABELS))
    images = vae.to_model(pixels)
    expected = mean_of(images)
    mean, _ = vae.encode(images, LABELS)
    np.testing.assert_allclose(
        mean, shifted(expected, LABELS) if encoder_labels else expected, rtol=1e-5
    )
    latents = np.random.default_rng(2).normal(size=(len(LABELS), LATENT)).astype(np.float32)
    decoded = vae.decode(latents, LABELS)
    np.testing.assert_allclose(
        vae.to_means(decoded).reshape(len(LABELS), -1),
        expit(shifted(pixels_of(latents), LABELS)),
        rtol=1e-5,
    )
    assert f"{decoder_labels} labels, {CLASSES} classes" in str(vae.description.condition)
    if encoder_labels == decoder_labels:
        assert vae.description.condition == f"{decoder_labels} labels, {CLASSES} classes"
    if encoder_labels is None:
        assert str(vae.description.condition).startswith("decoder: ")


def test_a_conditional_part_without_labels_is_an_error() -> None:
    plain = network({"x": SHAPE}, HEADS, lambda x: (mean_of(x), second_of(x)))
    vae = put_together(pair(plain, conditional_decoder("integer")), classes=CLASSES)
    latents = np.zeros((2, LATENT), np.float32)
    with pytest.raises(CheckpointError, match=r"decoder takes integer labels.*none are given"):
        vae.decode(latents)
    with pytest.raises(CheckpointError, match="found labels from 0 to 5"):
        vae.decode(latents, np.array([0, 5]))
    with pytest.raises(CheckpointError, match=r"expected shape \(2,\), found \(3,\)"):
        vae.decode(latents, np.array([0, 1, 2]))


def test_label_maps_behind_an_images_channels() -> None:
    def run(x: np.ndarray) -> tuple[np.ndarray, ...]:
        maps = x[..., 1:]
        np.testing.assert_array_equal(maps, maps[:, :1, :1].repeat(4, 1).repeat(4, 2))
        return shifted(mean_of(x[..., :1]), maps[:, 0, 0].argmax(axis=1)), second_of(x[..., :1])

    half = network({"x": (4, 4, 1 + CLASSES)}, HEADS, run)
    vae = put_together(pair(half, None), classes=CLASSES)
    images = vae.to_model(images_like(len(LABELS)))
    mean, _ = vae.encode(images, LABELS)
    np.testing.assert_allclose(mean, shifted(mean_of(images), LABELS), rtol=1e-5)


def test_a_conditional_decoder_alone_needs_a_declaration() -> None:
    """(8,) may be 8 latents, or 3 latents and 5 classes: only a declaration tells."""

    def run(zy: np.ndarray) -> np.ndarray:
        return expit(zy @ np.ones((8, 16), np.float32)).reshape(-1, *SHAPE)

    decoder = network({"zy": (8,)}, {"pixels": SHAPE}, run, activation="sigmoid")
    assert put_together(pair(None, decoder), classes=CLASSES).latent_shape == (8,)
    declared = put_together(pair(None, decoder), classes=CLASSES, labels="concatenated")
    assert declared.latent_shape == (3,)
    assert declared.description.condition == "concatenated labels, 5 classes"


def test_names_distinguish_latents_and_labels_of_one_size() -> None:
    first = split_inputs(
        ports({"y": (5,), "z": (5,)}), lambda s: True, LabelInfo(5, None), "decoder", "latents"
    )
    assert (first[0].name, first[1] and first[1].index) == ("z", 0)
    nameless = split_inputs(
        ports({"a": (5,), "b": (5,)}), lambda s: True, LabelInfo(5, None), "decoder", "latents"
    )
    assert (nameless[0].name, nameless[1] and nameless[1].index) == ("a", 1)


@pytest.mark.parametrize(
    ("shapes", "classes", "declared", "sentence"),
    [
        ({"x": SHAPE, "y": (5,)}, None, None, "the reference images have none"),
        ({"x": SHAPE, "y": (7,)}, 5, None, "one-hot labels of 7 classes, but the reference has 5"),
        ({"x": SHAPE, "y": (2, 3)}, 5, None, "neither one-hot labels"),
        ({"x": SHAPE, "y": (5,)}, 5, "integer", "--labels integer is declared; declare --labels"),
        ({"x": SHAPE, "y": (5,), "t": (1,)}, 5, None, "save it without the others"),
    ],
)
def test_labels_that_cannot_be_given(
    shapes: dict[str, Any], classes: int | None, declared: Any, sentence: str
) -> None:
    half = network(shapes, HEADS, lambda *arrays: (mean_of(arrays[0]), second_of(arrays[0])))
    with pytest.raises(CheckpointError, match=sentence):
        put_together(pair(half, None), classes=classes, labels=declared)


def test_an_embedding_that_is_too_small_is_met_by_the_probe() -> None:
    def run(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, ...]:
        table = np.zeros((1, LATENT), np.float32)
        return mean_of(x) + table[y.reshape(-1)], second_of(x)

    half = network({"x": SHAPE, "y:int32": (1,)}, HEADS, run)
    with pytest.raises(CheckpointError, match=r"the encoder cannot be run: index 1 is out of"):
        put_together(pair(half, None), classes=CLASSES)


def test_integer_labels_are_fed_in_their_own_dtype() -> None:
    label = LabelInput("integer", 5, Port("y", (1,), "int32"), 1)
    main, fed = label.join(np.zeros((3, 2), np.float32), np.array([0, 4, 1]))
    assert (fed.shape, fed.dtype, main.shape) == ((3, 1), np.int32, (3, 2))
    assert checked_labels(np.array([4.0, 0.0]), 2, label, "encoder").dtype == np.int64


def test_an_unconditional_vae_ignores_labels() -> None:
    from fake_networks import decoder, encoder

    vae = put_together(pair(encoder(), decoder()), classes=CLASSES)
    images = vae.to_model(images_like(len(LABELS)))
    np.testing.assert_array_equal(vae.encode(images, LABELS)[0], vae.encode(images)[0])
    assert not vae.takes_labels
    assert vae.description.condition is None
    assert "labels" not in decisions(vae)
