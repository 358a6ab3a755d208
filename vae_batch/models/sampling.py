"""Random numbers by global sample index: sample i depends only on (seed, stream, i).

Philox is a counter-based generator (Salmon et al., "Parallel random numbers: as easy as 1, 2,
3", SC 2011). Every sample has its own block of counters, so any worker can draw any range of
samples. Normals are the inverse distribution function of uniforms, which needs exactly one uniform
per value: NumPy guarantees the raw stream of a bit generator across versions, but not the streams
of its distributions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

Stream = Literal["latents", "posterior_noise", "labels", "importance", "path_ends", "path_places",
                 "subset"]  # fmt: skip

_STREAMS: dict[Stream, int] = {
    "latents": 1,
    "posterior_noise": 2,
    "labels": 3,
    "importance": 4,
    "path_ends": 5,
    "path_places": 6,
    "subset": 7,
}
_WORDS_PER_COUNTER = 4


def standard_normals(
    seed: int, stream: Stream, start: int, stop: int, shape: Sequence[int]
) -> npt.NDArray[np.float32]:
    """Standard normal values of samples [start, stop).

    Args:
        seed: Seed of the run, 0 <= seed < 2**64.
        stream: What the values are for; streams are independent.
        start: First global sample index.
        stop: One past the last.
        shape: Shape of one sample, such as the latent shape.

    Returns:
        (stop - start, *shape) float32. Row k is the same for every range that holds start + k.
    """
    uniforms = standard_uniforms(seed, stream, start, stop, shape)
    normals: npt.NDArray[np.float32] = ndtri(uniforms).astype(np.float32)
    return normals


def standard_uniforms(
    seed: int, stream: Stream, start: int, stop: int, shape: Sequence[int] = ()
) -> npt.NDArray[np.float64]:
    """Uniform values in (0, 1] of samples [start, stop), multiples of 2^-54.

    Args:
        seed: Seed of the run, 0 <= seed < 2**64.
        stream: What the values are for; streams are independent.
        start: First global sample index.
        stop: One past the last.
        shape: Shape of one sample.

    Returns:
        (stop - start, *shape) float64. Row k is the same for every range that holds start + k.
    """
    values = int(np.prod(shape, dtype=np.int64))
    counters = -(-values // _WORDS_PER_COUNTER)
    bits = np.random.Philox(key=[seed, _STREAMS[stream]], counter=[start * counters, 0, 0, 0])
    words = bits.random_raw((stop - start) * counters * _WORDS_PER_COUNTER)
    words = words.reshape(stop - start, counters * _WORDS_PER_COUNTER)[:, :values]
    uniforms = ((words >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53
    return uniforms.reshape(stop - start, *shape)


def draw_labels(seed: int, start: int, stop: int, counts: Sequence[int]) -> npt.NDArray[np.int64]:
    """Draw labels of generated samples [start, stop) with the distribution of the reference's.

    Sample i's label is the inverse distribution function of the counts at i's own uniform, so it
    depends only on (seed, i) and the counts.

    Args:
        seed: Seed of the run.
        start: First global sample index.
        stop: One past the last.
        counts: Number of reference images of class 0, 1, ...; a class without images is never
            drawn.

    Returns:
        (stop - start,) classes.

    Raises:
        ValueError: The counts are empty, negative or all zero.
    """
    cumulated = np.cumsum(np.asarray(counts, np.int64))
    if not len(cumulated) or min(counts) < 0 or not cumulated[-1]:
        raise ValueError(f"counts: expected images of each class, found {list(counts)}")
    uniforms = standard_uniforms(seed, "labels", start, stop)
    # A uniform of exactly 1 belongs to the last class that has images.
    places = np.minimum(uniforms * cumulated[-1], np.nextafter(float(cumulated[-1]), 0))
    labels: npt.NDArray[np.int64] = np.searchsorted(cumulated, places, side="right").astype(
        np.int64
    )
    return labels
