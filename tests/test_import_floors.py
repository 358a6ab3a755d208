"""The house: imports go to the same floor or down, and floors 0 to 2 stay light."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "vae_batch"

FLOORS = {"plan": 0, "metrics": 1, "storage": 2, "models": 3, "run": 4, "report": 5}
TOP = 6  # cli and what stands beside it

MODULES = sorted(PACKAGE.rglob("*.py"))


def floor_of(module: str) -> int:
    """Floor of a dotted name inside the package; the index itself holds the version only."""
    parts = module.split(".")
    if len(parts) == 1:
        return 0
    if parts[1:3] == ["metrics", "catalogue"]:
        return 0  # words and flags, no arrays
    return FLOORS.get(parts[1], TOP)


def imported_modules(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names.add(node.module)
    return names


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_go_downwards(path: Path) -> None:
    if path == PACKAGE / "__init__.py":
        return
    module = ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
    own = floor_of(module)
    upwards = [
        name
        for name in imported_modules(path)
        if name.split(".")[0] == "vae_batch" and floor_of(name) > own
    ]
    assert not upwards, f"{module} (floor {own}) imports from a higher floor: {upwards}"


def test_only_one_room_imports_ray() -> None:
    importers = [
        path.parent.relative_to(PACKAGE).as_posix()
        for path in MODULES
        if any(name.split(".")[0] == "ray" for name in imported_modules(path))
    ]
    assert set(importers) == {"run/execute/on_ray"}


@pytest.mark.parametrize(
    "statement",
    ["import vae_batch", "import vae_batch.plan, vae_batch.metrics, vae_batch.storage"],
)
def test_light_floors_in_a_fresh_interpreter(statement: str) -> None:
    heavy = loaded_by(statement) & {"ray", "tensorflow", "keras", "matplotlib", "sklearn"}
    assert not heavy, f"{statement} loads {heavy}"


def test_metrics_need_numpy_and_scipy_only() -> None:
    statement = "from vae_batch.metrics import Moments, frechet_distance, inception_score"
    assert not loaded_by(statement) & {"ray", "tensorflow", "pandas", "pyarrow", "pydantic"}


def test_the_driver_does_not_load_tensorflow() -> None:
    statement = "import vae_batch.run.execute.driver, vae_batch.report.bundle, vae_batch.cli"
    assert not loaded_by(statement) & {"ray", "tensorflow", "keras"}


def test_index_imports_nothing_but_itself() -> None:
    assert not loaded_by("import vae_batch") & {"numpy", "pydantic", "pyarrow"}


def loaded_by(statement: str) -> set[str]:
    code = f"{statement}; import sys; print(*{{m.split('.')[0] for m in sys.modules}})"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=PACKAGE.parent
    )
    return set(done.stdout.split())
