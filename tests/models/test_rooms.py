"""Rooms of one floor import each other in one direction only."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

MODELS = Path(__file__).parents[2] / "vae_batch/models"

#: From the lowest; each may import those before it.
ROOMS = ("inputs", "formats", "checkpoints", "references", "extractors")


def imported_rooms(path: Path) -> Iterator[str]:
    """Rooms of the floor that a file imports, inside functions too."""
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        for name in names:
            parts = name.split(".")
            if parts[:2] == ["vae_batch", "models"] and len(parts) > 2:
                yield parts[2]


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_only_those_below_it(room: str) -> None:
    above = set(ROOMS[ROOMS.index(room) + 1 :])
    files = sorted((MODELS / room).rglob("*.py"))
    assert len(files) > 3
    wrong = {path.name: above & set(imported_rooms(path)) for path in files}
    assert {name: rooms for name, rooms in wrong.items() if rooms} == {}
    own = {room for path in files for room in imported_rooms(path)}
    assert room in own  # the test sees imports at all
