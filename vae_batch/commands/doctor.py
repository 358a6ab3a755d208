"""The command ``vae-batch doctor``: can this installation, and each device, be trusted?"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from vae_batch.commands.exit_codes import SCORED, SOME_FAILED, exit_codes
from vae_batch.commands.output import print_json, print_parts, say

if TYPE_CHECKING:
    from vae_batch.doctor.findings import Finding

_COLOURS = {"ok": "green", "warning": "yellow", "failed": "bold red"}


def doctor(
    address: Annotated[
        str | None, typer.Option(help="Ray cluster to join (default: RAY_ADDRESS, else local).")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(help="0 checks this process alone, without Ray.")
    ] = None,
    weights: Annotated[
        list[str] | None, typer.Option(help="Weights file to check as well; may be repeated.")
    ] = None,
    reference_numbers: Annotated[
        bool,
        typer.Option(
            "--reference-numbers",
            help="Compute published FID and Inception Scores of CIFAR-10 again (slow).",
        ),
    ] = False,
    cifar10: Annotated[
        str | None, typer.Option(help="CIFAR-10 as .npz with x_train and x_test.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print findings as JSON.")] = False,
) -> None:
    """Check versions, weights, cluster and devices; every device runs the float32 parity probe."""
    findings = []
    with exit_codes():
        for finding in _examine(address, workers, weights or [], reference_numbers, cifar10):
            findings.append(finding)
            if not as_json:
                print_parts([_line(finding)])
    if as_json:
        print_json([dataclasses.asdict(finding) for finding in findings])
    failed = any(finding.verdict == "failed" for finding in findings)
    raise typer.Exit(SOME_FAILED if failed else SCORED)


def _examine(
    address: str | None,
    workers: int | None,
    weights: list[str],
    reference_numbers: bool,
    cifar10: str | None,
) -> Iterator[Finding]:
    """All findings, each as soon as it is known."""
    from vae_batch.doctor.findings import (
        device_findings,
        environment_findings,
        find_weights_files,
        listening_finding,
        weights_findings,
    )
    from vae_batch.evaluation import make_executor
    from vae_batch.plan import InputError, make_spec

    if cifar10 and not reference_numbers:
        raise InputError("--cifar10 is read for --reference-numbers only; give that flag as well")
    # An executor reads two settings of a spec: address and workers.
    settings = {"checkpoints": ["unused"], "reference": "digits"}
    spec = make_spec({**settings, "address": address, "workers": workers})
    executor = make_executor(spec)
    yield from environment_findings()
    files = find_weights_files(weights)
    yield from weights_findings(files)
    with executor:
        if executor.can_start_again:
            yield listening_finding()
        say(f"probing the devices of: {executor.description}")
        yield from device_findings(executor)
    if reference_numbers:
        from vae_batch.doctor.reference_numbers import published_number_findings

        yield from published_number_findings(files, cifar10)


def _line(finding: Finding) -> Text:
    """Subject, what was found, and the verdict."""
    line = Text(f"{finding.subject:<22} {finding.found}  ")
    return line.append(finding.verdict, style=_COLOURS[finding.verdict])
