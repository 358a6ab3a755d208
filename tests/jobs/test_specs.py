"""The specs to copy are accepted as they are."""

from __future__ import annotations

from pathlib import Path

import pytest

from vae_batch.plan import make_spec, read_toml

SPECS = Path(__file__).parents[2] / "jobs/specs"


@pytest.mark.parametrize("name", ["laptop", "cluster", "nightly"])
def test_a_spec_to_copy_is_valid(name: str) -> None:
    spec = make_spec(read_toml(str(SPECS / f"{name}.toml")), source=f"{name}.toml")
    assert (spec.workers == 0) == (name == "laptop")
    assert bool(spec.tolerance) == (name == "nightly")
