"""The house: imports go to the same floor or down, and floors 0 to 2 stay light."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "vae_batch"

FLOORS = {
    "installation": 0,
    "plan": 0,
    "metrics": 1,
    "storage": 2,
    "models": 3,
    "run": 4,
    "report": 5,
}
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


def test_imports_go_downwards() -> None:
    upwards = {}
    for path in MODULES:
        if path == PACKAGE / "__init__.py":
            continue
        module = ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
        own = floor_of(module)
        higher = [
            name
            for name in imported_modules(path)
            if name.split(".")[0] == "vae_batch" and floor_of(name) > own
        ]
        if higher:
            upwards[f"{module} (floor {own})"] = higher
    assert not upwards, f"modules that import from a higher floor: {upwards}"


def test_only_one_room_imports_ray() -> None:
    importers = [
        path.parent.relative_to(PACKAGE).as_posix()
        for path in MODULES
        if any(name.split(".")[0] == "ray" for name in imported_modules(path))
    ]
    assert set(importers) == {"run/execute/on_ray"}


def test_what_the_light_floors_load() -> None:
    """One interpreter imports floor after floor; what is loaded so far is checked each time."""
    index, metrics, floors, top = loaded_by(
        "import vae_batch",
        "from vae_batch.metrics import Moments, frechet_distance, inception_score",
        "import vae_batch.plan, vae_batch.metrics, vae_batch.storage",
        "import vae_batch.run.execute.driver, vae_batch.report.bundle, vae_batch.cli",
    )
    assert not index & {"numpy", "pydantic", "pyarrow"}, "the index imports nothing but itself"
    assert not metrics & {"ray", "tensorflow", "pandas", "pyarrow", "pydantic"}, (
        "metrics need NumPy and SciPy only"
    )
    assert not floors & {"ray", "tensorflow", "keras", "matplotlib", "sklearn"}, (
        "floors 0 to 2 are light"
    )
    assert not top & {"ray", "tensorflow", "keras"}, "the driver does not load TensorFlow"


def loaded_by(*statements: str) -> list[set[str]]:
    """Top-level modules that a fresh interpreter has loaded after each statement."""
    shown = "print(*{m.split('.')[0] for m in sys.modules})"
    code = "\n".join(["import sys", *(f"{statement}\n{shown}" for statement in statements)])
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=PACKAGE.parent
    )
    return [set(line.split()) for line in done.stdout.splitlines()]
