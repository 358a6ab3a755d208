"""Scripts of ``jobs/`` as modules, for tests that call their functions."""

from __future__ import annotations

import sys
from pathlib import Path

_JOBS = Path(__file__).parents[2] / "jobs"

sys.path[:0] = [str(_JOBS / "benchmarks"), str(_JOBS / "simulation")]
