"""Groups of metrics as users ask for them; what a group costs is why it is asked for by itself."""

from __future__ import annotations

from typing import Literal

MetricGroup = Literal[
    "losses",
    "latents",
    "iwae",
    "reconstruction",
    "reconstruction_fid",
    "fid",
    "fid_infinity",
    "inception_score",
    "kid",
    "precision",
    "diagnostics",
    "memorisation",
]

#: All but FID-infinity, whose slope needs many samples, and memorisation, which needs the
#: activations of the training images.
DEFAULT_GROUPS: tuple[MetricGroup, ...] = (
    "losses",
    "latents",
    "iwae",
    "reconstruction",
    "reconstruction_fid",
    "fid",
    "inception_score",
    "kid",
    "precision",
    "diagnostics",
)
