from __future__ import annotations

import pytest

from vae_batch.models.checkpoints import read_step
from vae_batch.models.checkpoints.names import read_steps


@pytest.mark.parametrize(
    ("label", "step"),
    [
        ("runs/a/step-0030", 30),
        ("runs/vae2/epoch=3.keras", 3),
        ("runs/vae2/ckpt_12_loss_0.5.keras", 12),
        ("runs/17/model.keras", 17),
        ("model-00100.keras", 100),
        ("runs/final.keras", None),
        ("cp-0007.weights.h5", 7),
        ("runs/vae.h5", None),  # the 5 of .h5 is no step
        ("runs/VAE.Weights.H5", None),
        ("runs/9/vae.hdf5", 9),
        ("vae-global_step_500.keras", 500),
        ("epoch=3-step=500.keras", 500),  # a step is finer than an epoch
        ("step=500-epoch=3.keras", 500),
        ("myepoch4.keras", 4),
        ("weights.10-0.23.hdf5", 10),  # Keras' own pattern {epoch:02d}-{val_loss:.2f}
        ("vae_10_loss0.23.keras", 10),
        ("vae_7_lr1e-4.keras", 7),
        ("vae_10_28x28.keras", 10),
        ("vae_10_z16.keras", 10),  # a number alone goes before one within a word
        ("vae16.keras", 16),
        ("vae-0.5.keras", None),
        ("runs/vae-20240131235959123456789.keras", None),  # no 64-bit number
        ("runs/step-12/vae/1", 1),
        ("runs/step-12/vae", 12),
        ("s3://bucket/runs/12/encoder", 12),
        (".", None),
        ("weights.05.0.23.h5", 5),  # Keras' own pattern {epoch:02d}.{val_loss:.2f}
        ("weights.05.0.23.0.31.h5", 5),  # two losses
        ("weights.12.1.2e-3.keras", 12),
        ("model.0.23.epoch07.h5", 7),
        ("runs/nancy_h5", None),
        ("runs/int8", None),
        ("runs/rgb32/vae", None),
        ("runs/f64", None),
        ("runs/vae_fp16.keras", None),
        ("runs/float32/encoder", None),
        ("vae_v1.2.3.keras", None),
        ("vae_z16.keras", None),
        ("vae_beta4.keras", None),
        ("vae_seed=3_lr0.001.keras", None),
        ("vae_seed=3_0040.keras", 40),
    ],
)
def test_steps_are_read_from_names(label: str, step: int | None) -> None:
    assert read_step(label) == step


def test_numbers_of_siblings_that_are_no_steps() -> None:
    """A sweep is no training run: each name has words of its own."""
    sweep = ["runs/nancy_5/vae", "runs/tom_64/vae", "runs/a_5", "runs/b_64", "runs/best-7"]
    assert read_steps(sweep) == [None] * 5
    saved = ["r/m-1-0.5.h5", "r/m-2-0.4.h5", "r/best-2.h5", "r/epoch9.h5", "other/x-3.h5", "r/7"]
    assert read_steps(saved) == [1, 2, None, 9, 3, 7]
