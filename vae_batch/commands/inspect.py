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
from vae_batch.commands.output import print_json, print_parts, say
from vae_batch.commands.spec_flags import spec_of, with_spec_flags
from vae_batch.plan import EvaluationSpec, role_of
from vae_batch.plan.credentials import values_without_credentials, without_credentials
from vae_batch.plan.printable import printable

if TYPE_CHECKING:
    from vae_batch.models.inspection import ExtractorInspection, Inspection
    from vae_batch.models.references.reference import ProbeImages

_MORE = ("trust", "memory_cap", "extractors", "classifier_range", "embedding", "class_output")
_FLAGS = tuple(
    name
    for name in EvaluationSpec.model_fields
    if role_of(name) == "reading" or name.startswith("reference") or name in _MORE
)
_PROBE_IMAGES, _PROBE_IMAGES_OF_EXTRACTORS = 256, 1000
_NO_CHECKPOINTS = ("no checkpoints",)

#: What has to be declared beside a value.
_BESIDE = {"gaussian": ' with sigma = "optimal" or a number'}


@with_spec_flags(tuple(name for name in _FLAGS if name != "reference_cache"))
def inspect(
    targets: Annotated[
        list[str] | None, typer.Argument(help="Checkpoints as for `score`, or one TOML spec.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print findings as JSON.")] = False,
    *,
    settings: dict[str, Any],
) -> None:
    """Show what checkpoints hold, how each role was decided, and what is missing to score them.

    Networks named with --extractor are shown alike.
    """
    refused = False
    findings: list[Inspection] = []
    extractors: list[ExtractorInspection] = []
    with exit_codes():
        spec = _spec(targets or [], settings)
        for inspection in _inspections(spec):
            refused |= inspection.refusal is not None
            findings.append(inspection)
            if not as_json:
                print_parts(_parts(inspection))
        for found in _extractors(spec):
            refused |= found.refusal is not None
            extractors.append(found)
            if not as_json:
                print_parts(_extractor_parts(found))
    if as_json:
        every = [*map(dataclasses.asdict, findings), *map(dataclasses.asdict, extractors)]
        print_json(values_without_credentials(every))
    elif lines := toml_lines(findings, extractors):
        print_parts([Text("\n".join(["# as lines of a spec (TOML):", *lines]))])
    raise typer.Exit(SOME_FAILED if refused else SCORED)


def _spec(targets: list[str], settings: dict[str, Any]) -> EvaluationSpec:
    """The spec; one that names an extractor alone needs no checkpoints."""
    needless: dict[str, Any] = {"reference": ""}
    if not targets and "extractors" in settings:
        needless["checkpoints"] = _NO_CHECKPOINTS
    return spec_of(targets, settings, needless)


def _extractors(spec: EvaluationSpec) -> Iterator[ExtractorInspection]:
    from vae_batch.models.extractors.inception.extractor import INCEPTION_EXTRACTORS
    from vae_batch.models.extractors.vision_transformer import is_vision_transformer
    from vae_batch.models.inspection import inspect_extractor

    for name in spec.extractors:
        if name not in INCEPTION_EXTRACTORS and not is_vision_transformer(name):
            yield inspect_extractor(name, spec, _probe(spec, _PROBE_IMAGES_OF_EXTRACTORS))


def _inspections(spec: EvaluationSpec) -> Iterator[Inspection]:
    from vae_batch.models.checkpoints import find_checkpoints
    from vae_batch.models.formats.format import LoadOptions
    from vae_batch.models.inspection import inspect_checkpoint

    if spec.checkpoints == _NO_CHECKPOINTS:
        return
    _say_what_is_imported(spec)
    probe = _probe(spec, _PROBE_IMAGES)
    for checkpoint in find_checkpoints(spec.checkpoints, spec.encoder, spec.decoder):
        reading = spec.reading_of(checkpoint.label)
        terms = LoadOptions(reading, spec.trust, int(spec.memory_cap * 2**30))
        yield inspect_checkpoint(checkpoint, terms, probe)


def _say_what_is_imported(spec: EvaluationSpec) -> None:
    """Say, before it happens, that importing a module runs all of it."""
    named = [spec, *(spec.reading_of(label) for label in spec.per_checkpoint)]
    modules = [m for reading in named for m in reading.custom_objects] + [
        reading.builder.partition(":")[0] for reading in named if reading.builder
    ]
    if modules and spec.trust:
        listed = ", ".join(dict.fromkeys(modules))
        say(f"importing {listed}, which runs all of it: a script that trains would train now")


def _probe(spec: EvaluationSpec, count: int) -> ProbeImages | None:
    if not spec.reference:
        return None
    from vae_batch.models.references.reference import ProbeImages
    from vae_batch.run.reference.images import open_set

    images = open_set(spec, spec.reference, spec.reference_split, spec.reference_samples)
    return ProbeImages.of(images, count)


def _extractor_parts(found: ExtractorInspection) -> Iterator[RenderableType]:
    yield Text(found.name or without_credentials(found.extractor), style="bold")
    table = Table.grid(padding=(0, 2))
    for decision in found.decisions:
        how = Text(decision.how, style="dim")
        table.add_row(Text(f"  {decision.subject}"), Text(decision.verdict), how)
    yield table
    if found.refusal:
        yield Text(f"  refused: {found.refusal}", style="red")
    yield Text()


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
        yield f"{role} file", printable(without_credentials(path)), ""
    if inspection.checkpoint.beside:
        yield (
            "beside it",
            ", ".join(inspection.checkpoint.beside),
            "not scored: the pair is complete",
        )
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


def toml_lines(
    inspections: Sequence[Inspection], extractors: Sequence[ExtractorInspection] = ()
) -> list[str]:
    """Lines of a TOML spec that declare what was found, or what would make files readable.

    Keys of the whole spec, extractors' among them, come first and once: TOML allows none of them
    twice or after a table.
    """
    whole: dict[str, object] = {}
    if extractors:
        whole["extractors"] = [found.extractor for found in extractors]
    for found in extractors:
        whole |= found.declare
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
    where = "  # above any [table]" if inspections else ""
    return [f"{_toml(key, value)}{where}" for key, value in whole.items()] + tables


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
