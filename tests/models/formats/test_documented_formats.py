"""What the documentation says of formats is what the code does."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from vae_batch.models.formats.registry import ENTRY_POINTS, PlugIn
from vae_batch.plan import make_spec
from vae_batch.plan.reading import Reading

ROOT = Path(__file__).parents[3]
EXAMPLE = ROOT / "tests/plugins/vae_batch_pca.py"


def section(title: str) -> str:
    text = (ROOT / "vae_batch/docs/checkpoints.md").read_text(encoding="utf-8")
    return text.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def blocks(title: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", section(title), re.MULTILINE | re.DOTALL)


def test_its_entry_point_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    (entries,) = blocks("Other formats", "toml")
    ((name, value),) = tomllib.loads(entries)["project"]["entry-points"][ENTRY_POINTS].items()
    monkeypatch.syspath_prepend(str(EXAMPLE.parent))
    plug_in = PlugIn(EntryPoint(name, value, ENTRY_POINTS))
    assert (plug_in.name, plug_in.suffixes) == ("pca", (".pca",))
    assert plug_in.recognises("a", b"PCA 1\n...")


def test_declarations_are_the_keys_of_a_reading() -> None:
    rows = re.findall(r"^\| (`[^|]*`) \| ", section("Declarations"), re.MULTILINE)
    keys = [key for row in rows for key in re.findall(r"`(\w+)`", row)]
    assert keys == list(Reading.model_fields)


def test_the_example_of_declarations() -> None:
    (lines,) = blocks("Declarations", "toml")
    spec = make_spec(tomllib.loads(lines))
    reading = spec.reading_of("runs/mse-3/vae.keras")
    assert (reading.likelihood, reading.sigma) == ("gaussian", "optimal")
    assert spec.reading_of("runs/old/a/vae.h5").second_head == "log_std"
    assert spec.reading_of("runs/new.keras") == Reading()
