from __future__ import annotations

from vae_batch.models.autoencoder.description import Decision, Description


def test_json_round_trip() -> None:
    description = Description(
        format="keras",
        latent_shape=(2, 2, 4),
        image_shape=(32, 32, 1),
        value_range="-1..1",
        likelihood="gaussian",
        output="mean",
        second_head="log_std",
        condition="one-hot labels, 10 classes",
        input_fit="pad",
        missing={"encoder": "the checkpoint holds a decoder alone: é"},
        decisions=(Decision("second head", "log-variance", "output 'z_log_var'"),),
        warnings=("one", "two"),
    )
    content = description.to_json()
    assert Description.from_json(content) == description
    assert Description.from_json(content).to_json() == content
    assert "é" in content.decode()


def test_an_encoder_alone_survives_the_round_trip() -> None:
    description = Description(
        "keras", (2,), (8, 8, 1), "0..1", None, None, "logvar", None, None, {"decoder": "none"}
    )
    assert Description.from_json(description.to_json().decode()) == description
