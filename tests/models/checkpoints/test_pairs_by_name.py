"""Which files are halves of one VAE, by their names, and under which label."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.models.checkpoint_files import labels, roles, touch, touch_all

from vae_batch.models.checkpoints import find_checkpoints


@pytest.mark.parametrize(
    ("encoder", "decoder", "label"),
    [
        ("encoder.keras", "decoder.keras", "."),
        ("encoder_10.keras", "decoder_10.keras", "10"),
        ("vae-encoder-epoch3.h5", "vae-decoder-epoch3.h5", "vae-epoch3"),
        ("step-3_encoder.weights.h5", "step-3_decoder.weights.h5", "step-3"),
        ("vae.encoder.v2.hdf5", "vae.decoder.v2.hdf5", "vae.v2"),
        ("vaeEncoder.keras", "vaeDecoder.keras", "vae"),
        ("VAE_ENCODER.H5", "VAE_DECODER.H5", "VAE"),
        ("encoder=3.keras", "decoder=3.keras", "3"),
        ("enc-7.keras", "dec-7.keras", "7"),
        ("vae_enc_7.keras", "vae_dec_7.keras", "vae_7"),
        ("enc7.keras", "dec7.keras", "7"),
        ("autoencoder-encoder.keras", "autoencoder-decoder.keras", "autoencoder"),
        ("encoder.keras", "decoder.h5", "."),  # saved in two formats
        ("vae_enc.keras", "vae_decoder.keras", "vae"),
        ("step-4/encoder/saved_model.pb", "step-4/decoder/saved_model.pb", "step-4"),
        ("vae_encoder_5/saved_model.pb", "vae_decoder_5/saved_model.pb", "vae_5"),
    ],
)
def test_halves_pair_by_name(tmp_path: Path, encoder: str, decoder: str, label: str) -> None:
    touch_all(tmp_path / "runs", f"{encoder} {decoder}")
    runs = tmp_path / "runs"
    expected = {
        "encoder": f"runs/{encoder.removesuffix('/saved_model.pb')}",
        "decoder": f"runs/{decoder.removesuffix('/saved_model.pb')}",
    }
    expected_label = "runs" if label == "." else f"runs/{label}"
    assert roles(tmp_path, "runs") == {expected_label: expected}
    assert roles(runs.parent, expected_label) == {expected_label: expected}  # a label is a pattern


@pytest.mark.parametrize(
    "name",
    [
        "vae.keras",
        "autoencoder.keras",
        "auto_encoder-3.h5",
        "encoder_decoder.keras",
        "vae-2023-dec-10.keras",  # a month
        "fence.keras",
        "classifier.keras",  # not guessed away
        "optimizer.h5",
    ],
)
def test_other_names_are_whole_models(tmp_path: Path, name: str) -> None:
    touch(tmp_path / name)
    assert roles(tmp_path, "") == {name: {"model": name}}


def test_halves_do_not_pair_across_folders(tmp_path: Path) -> None:
    touch_all(tmp_path, "a/encoder.keras b/decoder.keras encoder/m.keras decoder/m.keras")
    assert roles(tmp_path, "") == {
        "a": {"encoder": "a/encoder.keras"},
        "b": {"decoder": "b/decoder.keras"},
        "decoder/m.keras": {"model": "decoder/m.keras"},
        "encoder/m.keras": {"model": "encoder/m.keras"},
    }


def test_equal_labels_become_full_ones(tmp_path: Path) -> None:
    touch_all(tmp_path, "c/vae-encoder.keras c/vae-decoder.keras c/vae-encoder.h5 c/vae-decoder.h5")
    touch_all(tmp_path, "c/vae/saved_model.pb c/vae.keras c/encoder_x.keras")
    touch_all(tmp_path, "c/x_encoder.keras c/decoder_x.keras")
    assert roles(tmp_path, "c") == {
        "c/vae": {"model": "c/vae"},
        "c/vae.keras": {"model": "c/vae.keras"},
        "c/vae-{encoder,decoder}.h5": {
            "encoder": "c/vae-encoder.h5",
            "decoder": "c/vae-decoder.h5",
        },
        "c/vae-{encoder,decoder}.keras": {
            "encoder": "c/vae-encoder.keras",
            "decoder": "c/vae-decoder.keras",
        },
        "c/x": {"encoder": "c/encoder_x.keras", "decoder": "c/decoder_x.keras"},
    }  # c/x_encoder.keras lies beside a complete pair of its label
    full = "c/vae-{encoder,decoder}.h5"
    assert labels(tmp_path, full) == ["c/vae"]  # alone, it is known by its short name
    assert len(labels(tmp_path, full, "c/vae")) == 2


def test_what_training_saved_beside_a_complete_pair_is_a_note(tmp_path: Path) -> None:
    """Weights and older copies of one half are no checkpoints of their own, unless named."""
    names = "encoder.keras decoder.keras encoder.weights.h5 decoder.weights.h5 vae.weights.h5"
    for name in names.split():
        (tmp_path / "run").mkdir(exist_ok=True)
        (tmp_path / "run" / name).write_bytes(name.encode())
    (found,) = find_checkpoints([str(tmp_path / "run")])
    assert [Path(path).name for _, path in found.files] == ["decoder.keras", "encoder.keras"]
    assert found.beside == ("decoder.weights.h5", "encoder.weights.h5", "vae.weights.h5")
    named = [str(tmp_path / "run"), str(tmp_path / "run/vae.weights.h5")]
    assert len(find_checkpoints(named)) == 2
    (tmp_path / "run/encoder.keras").unlink()  # then the weights are the pair
    found_again = {c.label: dict(c.files) for c in find_checkpoints([str(tmp_path / "run")])}
    assert any(len(files) == 2 for files in found_again.values())
