"""A refusal that names a flag of the reading also gives it as a key, for ``inspect`` to print."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import vae_batch.models
from vae_batch.plan import EvaluationSpec, role_of

MODELS = Path(vae_batch.models.__file__).parent
FLAGS = {
    "--" + name.replace("_", "-")
    for name in EvaluationSpec.model_fields
    if role_of(name) == "reading"
} | {"--trust-checkpoints"}


def sites() -> Iterator[tuple[str, ast.Call, dict[str, str]]]:
    """Where a CheckpointError is made, and the module's constants of text."""
    for path in sorted(MODELS.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        constants = {
            target.id: _text(node.value, {})
            for node in tree.body
            if isinstance(node, ast.Assign)
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "CheckpointError":
                yield f"{path.relative_to(MODELS)}:{node.lineno}", node, constants


def _text(node: ast.AST, constants: dict[str, str]) -> str:
    """The literal text in an expression, with the constants that it names."""
    parts = []
    for inner in ast.walk(node):
        if isinstance(inner, ast.Constant) and isinstance(inner.value, str):
            parts.append(inner.value)
        elif isinstance(inner, ast.Name):
            parts.append(constants.get(inner.id, ""))
    return " ".join(parts)


SITES = {place: (call, constants) for place, call, constants in sites()}


def test_the_sites_are_found() -> None:
    assert len(SITES) > 80


@pytest.mark.parametrize("place", SITES)
def test_a_flag_that_is_named_is_declared(place: str) -> None:
    call, constants = SITES[place]
    named = FLAGS & set(re.findall(r"--[a-z]+(?:-[a-z]+)*", _text(call.args[0], constants)))
    assert not named or len(call.args) > 1, f"it names {sorted(named)}; pass them as declare"
