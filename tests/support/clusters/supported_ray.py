"""Releases of Ray that the package accepts."""

from __future__ import annotations

import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

PYPROJECT = Path(__file__).parents[3] / "pyproject.toml"


def supported_ray() -> SpecifierSet:
    project = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"]
    requirements = map(Requirement, project["dependencies"])
    return next(each.specifier for each in requirements if each.name == "ray")
