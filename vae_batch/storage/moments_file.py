"""Moments and label distributions of a unit as one small file, equal in bits when read back."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vae_batch.metrics.samples.inception import LabelDistribution
from vae_batch.metrics.samples.moments import Moments
from vae_batch.storage.columns import decode_arrays


@dataclass(frozen=True)
class Reduction:
    """A unit of activations, reduced.

    Attributes:
        moments: Of the pooled features; None where the unit has no activations.
        labels: One label distribution for each Inception Score split; empty where the extractor
            has no class probabilities.
    """

    moments: Moments | None
    labels: tuple[LabelDistribution, ...]


def encode_reduction(moments: Moments | None, labels: Sequence[LabelDistribution]) -> bytes:
    """An uncompressed ``.npz`` (17 MB at d = 2048: the scatter's upper triangle only)."""
    upper = np.triu_indices(moments.dimension if moments else 0)
    buffer = io.BytesIO()
    np.savez(
        buffer,
        count=np.int64(moments.count if moments else 0),
        mean=moments.mean if moments else np.empty(0),
        scatter_upper=moments.scatter[upper] if moments else np.empty(0),
        label_count=np.array([label.count for label in labels], np.int64),
        label_sum_p=np.array([label.sum_p for label in labels], np.float64),
        label_sum_p_log_p=np.array([label.sum_p_log_p for label in labels], np.float64),
    )
    return buffer.getvalue()


def decode_reduction(content: bytes) -> Reduction:
    """The reduction that :func:`encode_reduction` wrote.

    Raises:
        OSError: The content is damaged.
    """
    try:
        arrays = decode_arrays(content)
        mean = np.asarray(arrays["mean"], np.float64)
        scatter = np.zeros((len(mean), len(mean)))
        scatter[np.triu_indices(len(mean))] = arrays["scatter_upper"]
        scatter += np.triu(scatter, 1).T
        labels = zip(
            arrays["label_count"],
            arrays["label_sum_p"],
            arrays["label_sum_p_log_p"],
            strict=True,
        )
        return Reduction(
            Moments(int(arrays["count"]), mean, scatter) if len(mean) else None,
            tuple(LabelDistribution(int(n), p, float(plogp)) for n, p, plogp in labels),
        )
    except (KeyError, ValueError, EOFError) as error:
        raise OSError(f"damaged moments file: {error}") from error
