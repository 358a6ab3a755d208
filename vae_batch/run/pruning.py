"""Activations taken away when their rows are scored; what rows are compared by stays."""

from __future__ import annotations

import json
from collections.abc import Mapping

from vae_batch.plan import Unit
from vae_batch.storage import Store

#: Which units were pruned: path to fingerprint.
PRUNED = "pruned.json"


def pruned_units(out: Store) -> dict[str, str]:
    """Fingerprints of pruned units by their path; empty where nothing was pruned.

    Raises:
      OSError: The file is damaged.
    """
    try:
        content = json.loads(out.read(PRUNED))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise OSError(f"{out.shown}/{PRUNED} is damaged: {error}") from error
    return {str(path): str(mark) for path, mark in content.items()}


def is_pruned(pruned: Mapping[str, str], unit: Unit) -> bool:
    """Whether a unit's activations were taken away."""
    return pruned.get(unit.path) == unit.fingerprint
