"""Runs torch-fidelity's own formulas on given features, in its environment; a script, no test.

    python sample_peer_outputs.py FEATURES.npz OUT.npz

Reads ``generated`` and ``reference`` (n, d) and ``logits`` (n, c), float64; writes what
torch-fidelity makes of them, under its own names.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "models" / "inception"))
from peer_outputs import _allow_torchvision_without_operators


def torch_fidelity(features: dict[str, np.ndarray]) -> dict[str, float]:
    """FID, IS, KID (100 subsets of 1000) and PRC, both ways of computing it."""
    from torch_fidelity.defaults import DEFAULTS
    from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric
    from torch_fidelity.metric_isc import isc_features_to_metric
    from torch_fidelity.metric_kid import kid_features_to_metric
    from torch_fidelity.metric_prc import prc_features_to_metric

    options = {**DEFAULTS, "verbose": False}
    generated, reference, logits = (
        torch.from_numpy(features[name]) for name in ("generated", "reference", "logits")
    )
    statistics = [fid_features_to_statistics(part) for part in (generated, reference)]
    part = prc_features_to_metric(generated, reference, **{**options, "save_cpu_ram": True})
    return {
        **fid_statistics_to_metric(*statistics, verbose=False),
        **isc_features_to_metric(logits, splits=10, shuffle=False),
        **kid_features_to_metric(generated, reference, **options),
        **prc_features_to_metric(generated, reference, **options),
        **{f"part/{name}": value for name, value in part.items()},
    }


if __name__ == "__main__":
    features_path, out_path = sys.argv[1:]
    _allow_torchvision_without_operators()
    with np.load(features_path) as arrays:
        np.savez(Path(out_path), **torch_fidelity(dict(arrays)))
