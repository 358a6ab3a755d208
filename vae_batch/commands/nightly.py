"""The commands ``vae-batch nightly`` and ``vae-batch submit``."""

from __future__ import annotations

import datetime
import os
from enum import StrEnum
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vae_batch.commands.exit_codes import exit_codes
from vae_batch.commands.output import print_json, print_text, results, say
from vae_batch.installation import ON_A_CLUSTER
from vae_batch.plan import InputError, make_spec, read_toml
from vae_batch.terminal.progress import TerminalProgress

if TYPE_CHECKING:
    from vae_batch.nightly.submission import Submission


class Schedule(StrEnum):
    """Ways of starting a run every night."""

    cron = "cron"
    cronjob = "cronjob"
    raycluster = "raycluster"
    raycronjob = "raycronjob"


_FILES = {schedule: f"{schedule}.yaml" for schedule in Schedule} | {Schedule.cron: "crontab"}

_Date = Annotated[
    datetime.datetime | None,
    typer.Option(formats=["%Y-%m-%d"], help="Date of the nightly run (default: today, UTC)."),
]


def nightly(
    spec: Annotated[str | None, typer.Argument(help="TOML spec, as of `vae-batch score`.")] = None,
    date: _Date = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
    schedule: Annotated[
        Schedule | None,
        typer.Option(
            help="Print a schedule to edit instead: cron's table, a Kubernetes CronJob, the "
            "RayCluster that it submits to, or a RayCronJob of KubeRay."
        ),
    ] = None,
) -> None:
    """Score what is new, compare it with earlier nights, and end with 4 on a regression.

    Nightly runs are idempotent: a second run of the same date, also at the same time, ends with
    the exit code of the first. Failed checkpoints give 3; failures beside a regression are in the
    summary.
    """
    from vae_batch.nightly.night import run_night

    with exit_codes():
        if schedule is not None:
            print_text(schedule_text(schedule).rstrip())
            return
        if spec is None:
            raise InputError("no spec: expected `vae-batch nightly SPEC`, or --schedule")
        with TerminalProgress() as progress:
            read = make_spec(read_toml(spec), source=spec)
            night = run_night(read, _day(date), progress)
    if night.already_done:
        say(f"night of {_day(date)}: already done")
    if as_json:
        print_json(night.summary)
    else:
        print_text(night.page.rstrip())
    raise typer.Exit(night.exit_code)


def schedule_text(schedule: Schedule) -> str:
    """The file of a schedule, with what is to be edited marked EDIT-ME."""
    folder = resources.files("vae_batch.nightly") / "schedules"
    return (folder / _FILES[schedule]).read_text(encoding="utf-8")


def submit(
    spec: Annotated[Path, typer.Argument(help="TOML spec, in the working directory.")],
    address: Annotated[
        str | None,
        typer.Option(
            help="Job API of the cluster, http://HOST:8265 (default: RAY_API_SERVER_ADDRESS)."
        ),
    ] = None,
    date: _Date = None,
    to_the_end: Annotated[
        bool,
        typer.Option("--follow/--no-follow", help="Print its log, and wait for its end."),
    ] = True,
    working_dir: Annotated[
        Path, typer.Option(help="Uploaded folder, in which the job runs.")
    ] = Path(),
    name: Annotated[
        str | None,
        typer.Option(help="Start of the job's id (default: vae-nightly, or with SPEC's name)."),
    ] = None,
    python: Annotated[
        str, typer.Option(help="Interpreter on the cluster that has vae_batch.")
    ] = "python",
    runtime_env: Annotated[
        Path | None,
        typer.Option(help="YAML or JSON file of Ray's runtime environment, such as pip = [...]."),
    ] = None,
) -> None:
    """Submit the nightly run of a date to a Ray cluster, unless it is running or finished.

    The job's id contains its date. A running job is followed, a finished one is left alone, and
    one that failed or was stopped is resubmitted and resumes. The exit code is the job's own; 1 or
    more than 128 is that of a job that was stopped or died. The cluster is authenticated by a
    token, unless RAY_AUTH_MODE says otherwise.
    """
    from vae_batch.nightly.submission import Submission

    with exit_codes():
        submission = Submission.of(spec, _day(date), working_dir, name, python, runtime_env)
        code = _submit(submission, address, to_the_end)
    raise typer.Exit(code)


def _day(date: datetime.datetime | None) -> datetime.date:
    return (date or datetime.datetime.now(datetime.UTC)).date()


def _submit(submission: Submission, address: str | None, to_the_end: bool) -> int:
    from vae_batch.nightly.submission import follow, require_token
    from vae_batch.nightly.submission import submit as submit_to

    os.environ.setdefault("RAY_AUTH_MODE", "token")
    require_token(os.environ, Path.home())
    url = address or os.environ.get("RAY_API_SERVER_ADDRESS", "")
    if not url.startswith(("http://", "https://")):
        raise InputError(
            f"no job API at {url or 'no address'}: expected --address (or RAY_API_SERVER_ADDRESS) "
            "such as http://127.0.0.1:8265"
        )
    for other in ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS"):  # Ray prefers these to an argument.
        os.environ.pop(other, None)
    from vae_batch.run.execute.on_ray.job_api import job_api

    said: list[str] = []

    def show(text: str) -> None:
        print(text, end="", file=results(), flush=True)
        said.append(text)

    with job_api(url) as client:
        found, former = submit_to(client, submission)
        say(f"{submission.identifier}: {found}")
        if found == "already done" or not to_the_end:
            return 0
        code = follow(client, submission.identifier, show, former=former)
    if code and "No module named" in "".join(said):
        say(f"error: the job did not find a module; {ON_A_CLUSTER}")
    return code
