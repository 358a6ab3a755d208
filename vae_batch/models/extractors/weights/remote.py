"""Weights files behind URIs: brought into the cache once a machine, and told by their hash."""

from __future__ import annotations

import hashlib
import os
import tempfile
from dataclasses import replace
from pathlib import Path

from vae_batch.models.extractors.weights.formats import WeightFile, inspect_weight_file
from vae_batch.models.inputs.files import fetch
from vae_batch.plan.errors import InputError
from vae_batch.plan.location import Location


def fetched_weights(uri: str, cache: Path, sha256: str | None = None) -> WeightFile:
    """The weights file of a URI, on this machine.

    Args:
      uri: Of a pyarrow filesystem.
      cache: Folder that keeps copies.
      sha256: Hash that is wanted, as `WeightFile` defines it: a copy that has it is not fetched
        again. None fetches anew.

    Raises:
      InputError: It cannot be read, or what is there is no weights file at all.
    """
    parsed = Location.parse(uri)
    if parsed.local_path is not None:
        return replace(inspect_weight_file(parsed.local_path), source=uri)
    name = Path(parsed.path).name
    place = cache / "fetched" / hashlib.sha256(parsed.label.encode()).hexdigest()[:16] / name
    if sha256 is not None and place.is_file():
        held = inspect_weight_file(place)
        if held.sha256 == sha256:
            return replace(held, source=uri)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=place.parent) as folder:
            os.replace(fetch(uri, Path(folder)), place)
    except FileNotFoundError:
        raise InputError(f"weights: there is no file at {parsed.label}") from None
    except OSError as error:
        raise InputError(f"weights: {parsed.label} cannot be read: {error}") from None
    return replace(inspect_weight_file(place), source=uri)
