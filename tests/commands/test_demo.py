"""The demo prints what README shows, in the same columns; numbers differ a little by CPU."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

README = Path(__file__).parents[2] / "README.md"
_NUMBER = re.compile(r"[\d.,]*\d")


def table_of(text: str) -> str:
    lines = "\n".join(line.rstrip() for line in text.splitlines())
    found = re.search(r"^4 checkpoints, 0 failed.*?scores\.csv has all$", lines, re.M | re.S)
    assert found, text
    return found[0]


@pytest.mark.slow
@pytest.mark.long
def test_the_table_of_the_readme_is_the_demo_s(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "vae_batch", "demo", "--workers", "0"],
        capture_output=True, text=True, check=False, cwd=tmp_path,
        env=os.environ | {"COLUMNS": "80", "PYTHONPATH": str(README.parent)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "best by FID corrected[digits-classifier@" in done.stderr
    printed, shown = table_of(done.stdout), table_of(README.read_text(encoding="utf-8"))
    words = [" ".join(_NUMBER.sub("#", text).split()) for text in (printed, shown)]
    words = [re.sub("classifier@\\w+", "classifier@#", text) for text in words]
    assert words[0] == words[1], f"README should show:\n{printed}"
    rows = [re.findall(r"^ step-(\d+) +(.*)$", text, re.M) for text in (printed, shown)]
    for (step, found), (other, known) in zip(*rows, strict=True):
        assert step == other
        numbers = [[float(n) for n in _NUMBER.findall(text)] for text in (found, known)]
        assert numbers[0] == pytest.approx(numbers[1], rel=0.2, abs=3.0)
