"""Score tables and galleries small enough to read, made from arithmetic alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from vae_batch.storage.score_rows import Score, ScoreRow


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
        "checkpoint_sha256": "ef" * 32,
        "seed": 0,
        "scored_at": "2026-01-02T03:04:05+00:00",
        "version": "1",
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


Scores = list[ScoreRow]


def score_table(*rows: dict[str, object]) -> Scores:
    return [ScoreRow.from_record(row) for row in rows]


def two_metrics(scores: Scores) -> Scores:
    """`scores` with the metrics ELBO and FID only: each metric costs figures, which take time."""
    kept = ("elbo", "fid", "fid_corrected")
    return [
        replace(row, scores={name: row.scores[name] for name in kept if name in row.scores})
        for row in scores
    ]


def with_values(scores: Scores, column: str, *values: float | None) -> Scores:
    """`scores` with other values of a metric, without standard errors: one for each row."""
    return [
        replace(row, scores={**row.scores, column: Score(value)})
        for row, value in zip(scores, values, strict=True)
    ]


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


def grey_gallery(seed: int = 0) -> dict[str, np.ndarray]:
    """A gallery with every entry, of greyscale 28 x 28 images."""
    return full_gallery(28, 1, seed)


def colour_gallery(seed: int = 0) -> dict[str, np.ndarray]:
    """A gallery with every entry, of colour 32 x 32 images."""
    return full_gallery(32, 3, seed)


def full_gallery(side: int, channels: int, seed: int = 0) -> dict[str, np.ndarray]:
    """A gallery with every entry: images of soft discs, numbers as a trained VAE has them."""
    draw = np.random.default_rng(seed)
    real_places, places = draw.uniform(size=(2, 64, 4))
    real = discs(real_places, side, channels, softness=0.02)
    samples = discs(places, side, channels, softness=0.12)
    blurred = discs(real_places[:16] * 0.9, side, channels, softness=0.06)
    errors = np.square((real[:16].astype(float) - blurred) / 255).mean(axis=(1, 2, 3))
    worst = np.argsort(-errors)
    return {
        "samples": samples,
        "originals": real[:16],
        "reconstructions": blurred,
        "reference_samples": real,
        "interpolation": discs(
            np.linspace(places[:5], places[5:10], 9, axis=1), side, channels, softness=0.12
        ),
        **_traversal(places[0], side, channels),
        "worst_originals": real[:16][worst],
        "worst_reconstructions": blurred[worst],
        "worst_ids": 9000 + worst,
        "worst_errors": errors[worst],
        "nearest_generated": samples[:8],
        "nearest_training": real[8:16],
        "nearest_ids": np.arange(59_000, 59_008),
        "nearest_distances": np.linspace(7.5, 2.25, 8),
        "nearest_extractor": np.array("mnist-classifier@20ae33fb"),
        "duplicate_first": samples[:8],
        "duplicate_second": samples[8:16],
        "duplicate_ids": np.stack([np.arange(8), np.arange(8, 16)], axis=1),
        "duplicate_distances": np.linspace(0.0, 3.5, 8),
        "duplicate_measure": np.array("mnist-classifier@20ae33fb"),
        **_latents(draw),
        **_spectra(side),
    }


def discs(places: np.ndarray, side: int, channels: int, softness: float) -> np.ndarray:
    """(..., side, side, channels) uint8: a disc for each of (..., 4) row, column, radius, hue."""
    row, column, radius, hue = np.moveaxis(places, -1, 0)[..., None, None]
    axis = np.linspace(0, 1, side)
    distance = np.hypot(axis[:, None] - 0.25 - row / 2, axis[None, :] - 0.25 - column / 2)
    level = 1 / (1 + np.exp((distance - 0.1 - radius / 5) / softness))
    turns = hue[..., None] + np.arange(channels) / channels
    tint = 0.6 + 0.4 * np.cos(2 * np.pi * turns) if channels > 1 else np.ones_like(turns)
    return np.rint(255 * level[..., None] * tint).astype(np.uint8)


def _traversal(place: np.ndarray, side: int, channels: int) -> dict[str, np.ndarray]:
    """Six dimensions, the last two collapsed: four move the disc, two do nothing."""
    values = np.linspace(-3, 3, 9).astype(np.float32)
    swept = np.tile(place, (6, 9, 1))
    for dimension in range(4):
        swept[dimension, :, dimension] = (values + 3) / 6
    return {
        "traversal": discs(swept, side, channels, softness=0.12),
        "traversal_dimensions": np.array([7, 1, 0, 3, 12, 5]),
        "traversal_kl": np.array([2.5, 1.75, 1.0, 0.25, 0.004, 0.001]),
        "traversal_values": values,
        "traversal_collapsed": np.array([False, False, False, False, True, True]),
    }


def _latents(draw: np.random.Generator) -> dict[str, np.ndarray]:
    """Sixteen dimensions: four used, twelve collapsed onto the prior."""
    kl = draw.uniform(0.0005, 0.004, 16)
    kl[[7, 1, 0, 3]] = 2.5, 1.75, 1.0, 0.25
    dimensions = np.argsort(-kl)[:8]
    edges = np.linspace(-4, 4, 65)
    middles = (edges[:-1] + edges[1:]) / 2
    mean, std = np.zeros(16), np.ones(16)
    mean[[7, 1]], std[[7, 1, 0]] = (0.4, -0.25), (0.8, 1.2, 0.9)
    scaled = (middles - mean[dimensions, None]) / std[dimensions, None]
    return {
        "kl_per_dimension": kl,
        "kl_collapsed": kl < 0.01,
        "aggregate_mean": mean,
        "aggregate_std": std,
        "aggregate_dimensions": dimensions,
        "aggregate_edges": edges,
        "aggregate_density": np.exp(-(scaled**2) / 2) / std[dimensions, None] / 2.5066,
    }


def _spectra(side: int) -> dict[str, np.ndarray]:
    """Natural images fall as 1 / f^2, those of a VAE steeper."""
    frequencies = np.arange(1, side // 2 + 1) / side
    return {
        "spectrum_frequencies": frequencies,
        "spectrum_power": 3.0 * frequencies**-2.8,
        "spectrum_power_reference": 10.0 * frequencies**-2.0,
    }
