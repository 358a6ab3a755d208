"""The specs to copy, and those in the documentation, fit the spec and its JSON schema."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from vae_batch.commands.schema import toml_schema
from vae_batch.plan import InputError, make_spec, read_toml

ROOT = Path(__file__).parents[2]
SPECS = ROOT / "jobs/specs"
MINIMAL = {"checkpoints": ["runs/*"], "reference": "mnist"}


def faults(spec: dict[str, Any]) -> list[str]:
    schema = toml_schema()
    Draft202012Validator.check_schema(schema)
    return [error.message for error in Draft202012Validator(schema).iter_errors(spec)]


@pytest.mark.parametrize("name", ["laptop", "cluster", "nightly"])
def test_a_spec_to_copy_is_valid(name: str) -> None:
    spec = make_spec(read_toml(str(SPECS / f"{name}.toml")), source=f"{name}.toml")
    assert (spec.workers == 0) == (name == "laptop")
    assert bool(spec.tolerance) == (name == "nightly")
    assert faults(tomllib.loads((SPECS / f"{name}.toml").read_text())) == []


def test_every_key_of_the_schema_is_described() -> None:
    schema = toml_schema()
    for keys in (schema["properties"], schema["$defs"]["RaceSettings"]["properties"]):
        assert [name for name, key in keys.items() if len(key.get("description", "")) < 15] == []


def test_blocks_of_the_documentation_are_valid() -> None:
    pages = [ROOT / "README.md", *(ROOT / "vae_batch/docs").glob("*.md")]
    blocks = [b for p in pages for b in re.findall(r"```toml\n(.*?)```", p.read_text(), re.DOTALL)]
    specs = [MINIMAL | tomllib.loads(block) for block in blocks if "entry-points" not in block]
    assert len(specs) >= 4
    for spec in specs:
        assert faults(spec) == []
        make_spec(spec)


@pytest.mark.parametrize(
    "more",
    [
        {"checkpoints": "runs/*"},
        {"metrics": "losses,fid"},
        {"metrics": ["all"]},
        {"race": "fid"},
        {"race": {"metric": "kid", "first": 100}},
        {"select": "inception_score"},
        {"sigma": "optimal", "likelihood": "gaussian"},
        {"sigma": 0.5, "likelihood": "gaussian"},
        {"tolerance": {"fid": 1.0, "elbo": 0.5}},
        {"per_checkpoint": {"runs/*": {"likelihood": "gaussian", "sigma": 1.0}}},
        {"custom_objects": "models"},
        {"extractors": "classifier.keras"},
    ],
)
def test_what_the_spec_takes_the_schema_takes(more: dict[str, Any]) -> None:
    make_spec(MINIMAL | more)
    assert faults(MINIMAL | more) == []


@pytest.mark.parametrize(
    "more",
    [
        {"refrence": "mnist"},
        {"labels": "onehot"},
        {"samples": "10000"},
        {"samples": 1},
        {"metrics": ["fdi"]},
        {"race": "mse"},
        {"race": {"metric": "kid", "frist": 100}},
        {"select": "kl"},
        {"tolerance": {"fdi": 1.0}},
        {"per_checkpoint": {"runs/*": {"samples": 5}}},
        {"extractors": []},
        {"seed": None},
    ],
)
def test_what_the_schema_refuses_the_spec_refuses(more: dict[str, Any]) -> None:
    assert faults(MINIMAL | more)
    if more != {"samples": "10000"}:  # a flag's text is a number; in TOML it is not what is meant
        with pytest.raises(InputError):
            make_spec(MINIMAL | more)
