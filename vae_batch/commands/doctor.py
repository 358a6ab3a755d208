"""The command ``vae-batch doctor``: is this installation, and each device, fit to score?"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.text import Text

from vae_batch.commands.exit_codes import SCORED, SOME_FAILED, exit_codes, stderr_console

if TYPE_CHECKING:
    from vae_batch.doctor.findings import Finding

_COLOURS = {"ok": "green", "warning": "yellow", "failed": "bold red"}


def doctor(
    address: Annotated[
        str | None, typer.Option(help="Ray cluster to join (default: RAY_ADDRESS, else local).")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(help="0 examines this process without Ray.")
    ] = None,
    weights: Annotated[
        list[str] | None, typer.Option(help="Weights file to check as well; repeatable.")
    ] = None,
    reference_numbers: Annotated[
        bool,
        typer.Option(
            "--reference-numbers",
            help="Compute published FID and Inception Scores of CIFAR-10 anew (takes long).",
        ),
    ] = False,
    cifar10: Annotated[
        str | None, typer.Option(help="CIFAR-10 as .npz with x_train and x_test.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print findings as JSON.")] = False,
) -> None:
    """Examine versions, weights and devices; every device runs the float32 parity probe."""
    findings = []
    with exit_codes():
        for finding in _examine(address, workers, weights or [], reference_numbers, cifar10):
            findings.append(finding)
            if not as_json:
                Console().print(_line(finding), soft_wrap=True)
    if as_json:
        print(json.dumps([dataclasses.asdict(finding) for finding in findings], indent=1))
    failed = any(finding.verdict == "failed" for finding in findings)
    raise typer.Exit(SOME_FAILED if failed else SCORED)


def _examine(
    address: str | None,
    workers: int | None,
    weights: list[str],
    reference_numbers: bool,
    cifar10: str | None,
) -> Iterator[Finding]:
    """All findings, each as soon as it is made."""
    from vae_batch.doctor.devices import device_findings
    from vae_batch.doctor.findings import environment_findings, find_weights_files, weights_findings
    from vae_batch.evaluation import make_executor
    from vae_batch.plan import InputError, make_spec

    if cifar10 and not reference_numbers:
        raise InputError("--cifar10 is read for --reference-numbers only; give that as well")
    # An executor reads only these two settings of a spec; the others are never looked at.
    settings = {"checkpoints": ["unused"], "reference": "digits"}
    spec = make_spec({**settings, "address": address, "workers": workers})
    executor = make_executor(spec)
    yield from environment_findings()
    files = find_weights_files(weights)
    yield from weights_findings(files)
    with executor:
        stderr_console().print(f"probing the devices of: {executor.description}", markup=False)
        yield from device_findings(executor)
    if reference_numbers:
        from vae_batch.doctor.reference_numbers import published_number_findings

        yield from published_number_findings(files, cifar10)


def _line(finding: Finding) -> Text:
    """CheckpointJob, what was found, and the verdict at the end."""
    line = Text(f"{finding.job:<22} {finding.found}  ")
    return line.append(finding.verdict, style=_COLOURS[finding.verdict])
