"""Score tables and galleries small enough to read, made from arithmetic alone."""

from __future__ import annotations

import numpy as np
import pandas as pd


def score_row(checkpoint: str, step: int | None = None, **columns: object) -> dict[str, object]:
    row: dict[str, object] = {
        "checkpoint": checkpoint,
        "step": step,
        "status": "scored",
        "reason": None,
        "extractor": "inception-2015",
        "weights_sha256": "ab" * 32,
        "protocol": "inception-2015/tf1",
        "feature_dim": 2048,
        "n_generated": 10_000,
        "n_reference": 10_000,
        "reference": "digits",
        "reference_split": "test",
        "reference_sha256": "cd" * 32,
        "seed": 0,
        "likelihood": "bernoulli",
        "reconstruction_nll": 90.0,
        "reconstruction_nll_se": 0.5,
        "kl": 20.0,
        "kl_se": 0.2,
        "elbo": -110.0,
        "elbo_se": 0.6,
        "bits_per_dim": 0.2,
        "fid": 30.0,
        "fid_reason": None,
        "fid_warning": None,
        "inception_score": 2.0,
        "inception_score_std": 0.1,
        "inception_score_reason": None,
    }
    return row | columns


def failed_row(checkpoint: str, step: int | None, reason: str) -> dict[str, object]:
    metrics = ("reconstruction_nll", "kl", "elbo", "bits_per_dim", "fid", "inception_score")
    nulls = {name: None for metric in metrics for name in (metric, f"{metric}_se")}
    nulls |= {"inception_score_std": None}
    return score_row(checkpoint, step, status="failed", reason=reason) | nulls


def score_table(*rows: dict[str, object]) -> pd.DataFrame:
    return pd.DataFrame(list(rows)).astype({"step": "Int64"})


def two_metrics(scores: pd.DataFrame) -> pd.DataFrame:
    """`scores` with the metrics ELBO and FID only: each metric costs figures, which take time."""
    others = ("reconstruction_nll", "kl", "bits_per_dim", "inception_score", "inception_score_std")
    return scores.drop(columns=[name for name in others if name in scores])


def gallery_of(value: int, side: int = 8, channels: int = 1) -> dict[str, np.ndarray]:
    """A gallery whose generated images all have the level `value`; real images are ramps."""
    shape = (side, side, channels)
    ramp = np.linspace(0, 255, side * side * channels).astype(np.uint8).reshape(shape)
    return {
        "samples": np.full((64, *shape), value, np.uint8),
        "originals": np.tile(ramp, (16, 1, 1, 1)),
        "reconstructions": np.full((16, *shape), value, np.uint8),
        "interpolation": np.full((3, 5, *shape), value, np.uint8),
        "traversal": np.full((4, 5, *shape), value, np.uint8),
        "traversal_dimensions": np.array([7, 1, 0, 3]),
        "traversal_kl": np.array([2.5, 1.0, 0.5, 0.001]),
        "traversal_values": np.array([-2.0, -1.0, 0.0, 1.0, 2.0]),
        "reference_samples": np.tile(ramp, (64, 1, 1, 1)),
    }
