"""Score every checkpoint of a variational autoencoder in one resumable Ray job.

This module is an index of public names; each is imported when it is first used, so that
``import vae_batch`` stays light.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vae_batch.keras_callback import ScoreCheckpoints as ScoreCheckpoints
    from vae_batch.plan import CheckpointError as CheckpointError
    from vae_batch.plan import EvaluationSpec as EvaluationSpec
    from vae_batch.plan import InputError as InputError
    from vae_batch.results import Results as Results
    from vae_batch.results import score as score

__version__ = "0.1.0"

_HOMES = {
    "CheckpointError": "vae_batch.plan",
    "EvaluationSpec": "vae_batch.plan",
    "InputError": "vae_batch.plan",
    "Results": "vae_batch.results",
    "ScoreCheckpoints": "vae_batch.keras_callback",
    "metrics": "vae_batch.metrics",
    "score": "vae_batch.results",
}

__all__ = [
    "CheckpointError",
    "EvaluationSpec",
    "InputError",
    "Results",
    "ScoreCheckpoints",
    "__version__",
    "metrics",
    "score",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = importlib.import_module(_HOMES[name])
    return home if name == "metrics" else getattr(home, name)
