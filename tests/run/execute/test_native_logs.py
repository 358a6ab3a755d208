"""TensorFlow's import in a fresh process: its chatter is gone, and nothing else is."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[3]

# A stand-in that writes as the library does, past sys.stderr, amid the words of others.
TENSORFLOW = r"""
import os, sys
os.write(2, b"WARNING: All log messages before absl::InitializeLog() is called are written\n")
sys.stderr.write("15 s: 3/10 shards")
sys.stderr.flush()
os.write(2, b"I0000 00:00:1795378757.320231   11829 port.cc:153] oneDNN operations are on.\n")
os.write(2, b"E0000 00:00:1795378757.320650   11829 cuda_platform.cc:52] failed call to cuInit\n")
os.write(2, b"\nF0000 00:00:1795378757.320650   11829 cpu.cc:1] needs AVX2\nsomething else\n")
if os.environ.get("BROKEN"):
    raise ImportError("no such library")
"""


def said(tmp_path: Path, level: str, **environment: str) -> tuple[str, str]:
    """What a process that imports it writes on stdout and stderr."""
    (tmp_path / "tensorflow.py").write_text(TENSORFLOW)
    code = (
        "import sys, os\n"
        "from vae_batch.run.execute.worker_environment import drop_log_lines_of_tensorflow\n"
        "drop_log_lines_of_tensorflow()\n"
        "try:\n"
        "    import tensorflow\n"
        "    print(tensorflow.__name__, type(tensorflow.__loader__).__name__)\n"
        "except ImportError as error:\n    print(error)\n"
        "os.write(2, b'after')"
    )
    paths = os.pathsep.join([str(tmp_path), str(FOLDER)])
    variables = {"PYTHONPATH": paths, "TF_CPP_MIN_LOG_LEVEL": level, **environment}
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | variables,
    )
    return done.stdout, done.stderr


KEPT = "\nF0000 00:00:1795378757.320650   11829 cpu.cc:1] needs AVX2\nsomething else\nafter"


def test_chatter_is_dropped_and_all_else_stays(tmp_path: Path) -> None:
    out, err = said(tmp_path, "3")
    assert out == "tensorflow SourceFileLoader\n"
    assert err == "15 s: 3/10 shards" + KEPT


def test_a_failed_import_leaves_its_words(tmp_path: Path) -> None:
    out, err = said(tmp_path, "3", BROKEN="1")
    assert out == "no such library\n"
    assert err == "15 s: 3/10 shards" + KEPT


def test_who_asks_for_the_logs_has_them(tmp_path: Path) -> None:
    _, err = said(tmp_path, "0")
    assert "oneDNN operations are on" in err


@pytest.mark.slow
@pytest.mark.long
def test_no_command_shows_a_line_of_a_library(toy_folder: Path, tmp_path: Path) -> None:
    """As a user starts them: in a process of its own, without the settings of these tests."""
    settings = ("TF_CPP_MIN_LOG_LEVEL", "RAY_BACKEND_LOG_LEVEL", "KERAS_BACKEND")
    environment = {name: value for name, value in os.environ.items() if name not in settings}
    runs, out = str(toy_folder / "runs"), str(tmp_path / "out")
    classifier = str(toy_folder / "classifier.keras")
    score = ["score", runs, "--reference", "digits", "--extractor", classifier]
    few = ["--samples", "64", "--reference-samples", "64", "--metrics", "losses", "--out", out]
    for words in (
        [*score, *few, "--workers", "1"],
        ["inspect", runs, "--reference", "digits"],
        ["export", out, "--tensorboard", str(tmp_path / "board")],
        ["doctor"],
    ):
        done = subprocess.run(
            [sys.executable, "-m", "vae_batch", *words],
            capture_output=True, text=True, check=False, cwd=tmp_path, env=environment,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        found = re.findall(r"(?m)^.*(?:absl|\d{4} \d\d:\d\d:|\.cc:|[Cc]uda|AVX).*$", done.stderr)
        assert found == [], words
