"""Loading with builders, and modules of builders written by a test."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from vae_batch.models.formats.format import LoadOptions, Networks
from vae_batch.models.formats.load import load_networks
from vae_batch.plan.reading import Reading

Write = Callable[[str], str]


def load(
    files: dict[str, str], builder: str | None, trust: bool = True, cap: int = 1 << 30
) -> Networks:
    networks = load_networks(files, LoadOptions(Reading(builder=builder), trust, cap))
    assert isinstance(networks, Networks)
    return networks


def write_module(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Write:
    """To be a fixture: writes a module of builders into the working directory; gives its name."""
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)

    def write(body: str) -> str:
        name = f"builders_{abs(hash((request.node.name, body)))}"
        lines = "import numpy as np\nfrom support.models.toy_builders import *\n"
        (folder / f"{name}.py").write_text(lines + body)
        return name

    return write
