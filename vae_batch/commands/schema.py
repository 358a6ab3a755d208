"""The command ``vae-batch schema``."""

from __future__ import annotations

from typing import Any

from vae_batch.commands.exit_codes import exit_codes
from vae_batch.commands.output import print_json
from vae_batch.commands.spec_flags import choices_of
from vae_batch.metrics.catalogue import METRICS, Purpose, metrics_for
from vae_batch.plan import EvaluationSpec
from vae_batch.plan.reading import Reading


def schema() -> None:
    """Print a JSON schema of the TOML file, with which editors complete and check it."""
    with exit_codes():
        print_json(toml_schema())


def toml_schema() -> dict[str, Any]:
    """JSON schema (draft 2020-12) of what :func:`vae_batch.plan.read_toml` returns.

    It accepts every file that the spec accepts, but not all that it accepts can be scored: rules
    that join several keys are checked by ``vae-batch score`` alone.
    """
    found = EvaluationSpec.model_json_schema()
    keys, race = found["properties"], found["$defs"]["RaceSettings"]
    for name, key in [*keys.items(), *race["properties"].items()]:
        _simplify(name, key)
    race["properties"]["metric"] |= _metrics("race")
    keys["race"] = {
        "anyOf": [_metrics("race"), {"$ref": keys["race"]["$ref"]}],
        "description": keys["race"]["description"],
    }
    keys["select"] |= _metrics("select")
    keys["tolerance"]["propertyNames"] = _metrics("tolerance")
    keys["per_checkpoint"]["additionalProperties"] = {
        "type": "object",
        "properties": {name: keys[name] for name in Reading.model_fields},
        "additionalProperties": False,
    }
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **found}


def _simplify(name: str, key: dict[str, Any]) -> None:
    """What the spec takes beside the type that it keeps; TOML has no null."""
    for word in ("role", "title"):
        key.pop(word, None)
    if key.get("default", ...) is None:
        del key["default"]
    if "anyOf" in key:
        kinds = [kind for kind in key.pop("anyOf") if kind != {"type": "null"}]
        key |= kinds[0] if len(kinds) == 1 else {"anyOf": kinds}
    if key.get("type") == "array":
        words = {"enum": choices_of(name)} if name == "metrics" else {"type": "string"}
        several = {"type": "array", "items": words, "minItems": key.pop("minItems", 0)}
        key["anyOf"] = [{"type": "string"}, several]  # one alone; of metrics, with commas between
        del key["type"], key["items"]


def _metrics(purpose: Purpose) -> dict[str, Any]:
    """Metrics to select, race or tolerate by; a biased one's name stands for its corrected one."""
    choices = metrics_for(purpose)
    return {"enum": [*choices, *(n for n, m in METRICS.items() if m.compared_as in choices)]}
