"""The command ``vae-batch inspect``: what a checkpoint holds, and what is missing to score it."""

from __future__ import annotations

import dataclasses
import glob
import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from vae_batch.commands.exit_codes import SCORED, SOME_FAILED, exit_codes
from vae_batch.commands.output import print_json, print_parts
from vae_batch.commands.spec_flags import spec_of, with_spec_flags
from vae_batch.plan import EvaluationSpec, role_of
from vae_batch.plan.credentials import values_without_credentials, without_credentials

if TYPE_CHECKING:
    from vae_batch.models.inspection import Inspection, ProbeImages

_FLAGS = tuple(
    name
    for name in EvaluationSpec.model_fields
    if role_of(name) == "reading" or name.startswith("reference") or name in ("trust", "memory_cap")
)
_PROBE_IMAGES = 256

#: What has to be declared beside a value.
_BESIDE = {"gaussian": ' with sigma = "optimal" or a number'}


@with_spec_flags(tuple(name for name in _FLAGS if name != "reference_cache"))
def inspect(
    targets: Annotated[
        list[str], typer.Argument(help="Checkpoints as for `score`, or one TOML spec.")
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print findings as JSON.")] = False,
    *,
    settings: dict[str, Any],
) -> None:
    """Show what checkpoints hold, how each role was decided, and what is missing to score them."""
    refused = False
    findings = []
    with exit_codes():
        for inspection in _inspections(spec_of(targets, settings, {"reference": ""})):
            refused |= inspection.refusal is not None
            findings.append(inspection)
            if not as_json:
                print_parts(_parts(inspection))
    if as_json:
        print_json(values_without_credentials([dataclasses.asdict(found) for found in findings]))
    elif lines := toml_lines(findings):
        print_parts([Text("\n".join(["# as lines of a spec (TOML):", *lines]))])
    raise typer.Exit(SOME_FAILED if refused else SCORED)


def _inspections(spec: EvaluationSpec) -> Iterator[Inspection]:
    from vae_batch.models.checkpoints import find_checkpoints
    from vae_batch.models.formats.format import LoadOptions
    from vae_batch.models.inspection import inspect_checkpoint

    probe = _probe(spec) if spec.reference else None
    for checkpoint in find_checkpoints(spec.checkpoints, spec.encoder, spec.decoder):
        reading = spec.reading_of(checkpoint.label)
        terms = LoadOptions(reading, spec.trust, int(spec.memory_cap * 2**30))
        yield inspect_checkpoint(checkpoint, terms, probe)


def _probe(spec: EvaluationSpec) -> ProbeImages:
    from vae_batch.models.inspection import ProbeImages
    from vae_batch.models.references.reference import open_reference

    images = open_reference(
        spec.reference,
        spec.reference_split,
        spec.reference_range,
        spec.reference_samples,
        spec.reference_subset,
    )
    count = min(_PROBE_IMAGES, len(images))
    labels = images.labels
    return ProbeImages(
        images.read(0, count),
        None if labels is None else labels[:count],
        images.classes,
        images.name,
    )


def _parts(inspection: Inspection) -> Iterator[RenderableType]:
    checkpoint = inspection.checkpoint
    title = Text(checkpoint.label, style="bold")
    if checkpoint.step is not None:
        title.append(f"  step {checkpoint.step}", style="dim")
    yield title
    table = Table.grid(padding=(0, 2))
    for subject, verdict, how in _lines(inspection):
        table.add_row(Text(f"  {subject}"), Text(verdict), Text(how, style="dim"))
    yield table
    for proof in inspection.proofs:
        yield Text(f"  {proof}", style="green")
    if inspection.refusal:
        yield Text(f"  refused: {inspection.refusal}", style="red")
    yield Text()


def _lines(inspection: Inspection) -> Iterator[tuple[str, str, str]]:
    for role, path in inspection.checkpoint.files:
        yield f"{role} file", without_credentials(path), ""
    description = inspection.description
    if description is None:
        return
    yield "format", description.format, ""
    for decision in description.decisions:
        yield decision.subject, decision.verdict, decision.how
    for need, reason in description.missing.items():
        yield f"no {need}", "", reason
    for warning in description.warnings:
        yield "warning", "", warning


def toml_lines(inspections: Sequence[Inspection]) -> list[str]:
    """Lines of a TOML spec that declare what was found, or what would make checkpoints readable.

    Keys of the whole spec come first, since TOML allows none of them after a table.
    """
    whole: dict[str, object] = {}
    tables: list[str] = []
    for inspection in inspections:
        own = []
        for key, value in inspection.declare.items():
            if role_of(key) == "reading":
                own.append(_toml(key, value))
            else:  # trust and memory_cap: the largest value is enough for all
                whole[key] = max(value, whole.get(key, value))  # type: ignore[call-overload]
        if own:
            pattern = glob.escape(inspection.checkpoint.label)
            tables += ["", f"[per_checkpoint.{_quoted(pattern)}]", *own]
    return [f"{_toml(key, value)}  # above any [table]" for key, value in whole.items()] + tables


def _toml(key: str, value: object) -> str:
    """One line; of several choices the first is the value, the others are a comment."""
    if not isinstance(value, str | tuple):
        return f"{key} = {json.dumps(value)}"
    first, *others = (value,) if isinstance(value, str) else value
    listed = ", ".join(_quoted(other) + _BESIDE.get(other, "") for other in others)
    return f"{key} = {_quoted(first)}" + (f"  # or {listed}" if listed else "")


def _quoted(text: str) -> str:
    """A basic string of TOML: as in JSON, but no surrogate pairs, and DEL is escaped."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
