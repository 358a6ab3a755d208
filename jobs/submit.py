"""Submit a nightly run to a Ray cluster, once per date (``python jobs/submit.py nightly.toml``).

The job's id contains its date. A running job is followed, a finished one is left alone, and one
that failed or was stopped is resubmitted and resumes. The exit code is the job's own: 0 nothing
wrong, 2 bad input, 3 some checkpoints failed, 4 a regression, 1 or more than 128 a job that was
stopped or died.

The cluster is --address or RAY_API_SERVER_ADDRESS, such as http://127.0.0.1:8265. It is
authenticated by a token unless RAY_AUTH_MODE says otherwise.
"""

from __future__ import annotations

import datetime
import os
from pathlib import Path
from typing import Annotated

import typer

from vae_batch.commands.debug_flag import with_debug_flag
from vae_batch.commands.exit_codes import exit_codes, run_process
from vae_batch.commands.output import results, stderr_console
from vae_batch.nightly.submission import JobClient, Submission, follow, require_token, submit
from vae_batch.plan import InputError


def main(
    spec: Annotated[Path, typer.Argument(help="TOML spec, in the working directory.")],
    address: Annotated[str | None, typer.Option(help="Job API, http://HOST:8265.")] = None,
    date: Annotated[
        datetime.datetime | None,
        typer.Option(formats=["%Y-%m-%d"], help="Date of the nightly run (default: today, UTC)."),
    ] = None,
    to_the_end: Annotated[
        bool,
        typer.Option("--follow/--no-follow", help="Print its log, and wait for its end."),
    ] = True,
    working_dir: Annotated[Path, typer.Option(help="Project root to upload.")] = Path(),
    name: Annotated[
        str | None,
        typer.Option(help="Start of the job's id (default: vae-nightly, or with SPEC's name)."),
    ] = None,
    python: Annotated[str, typer.Option(help="Interpreter on the cluster.")] = "python",
) -> None:
    """Submit the nightly run of a date, unless it is running or finished."""
    day = (date or datetime.datetime.now(datetime.UTC)).date()
    with exit_codes():
        submission = Submission.of(spec, day, working_dir, name, python)
        code = _submit(submission, address, to_the_end)
    raise typer.Exit(code)


def _submit(submission: Submission, address: str | None, to_the_end: bool) -> int:
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
    from ray.exceptions import RayError

    try:
        client = _connect(url)
        found = submit(client, submission)
        said = f"{submission.identifier}: {found}"
        stderr_console().print(said, highlight=False, soft_wrap=True)
        if found == "already done" or not to_the_end:
            return 0
        return follow(client, submission.identifier, _show)
    except RayError as error:  # A token that the cluster does not know.
        raise InputError(f"{url}: {error}") from None


def _connect(url: str) -> JobClient:
    from ray.job_submission import JobSubmissionClient

    try:
        return JobSubmissionClient(url)
    except (ConnectionError, RuntimeError, OSError) as error:
        raise InputError(f"no Ray job API answers at {url}: {error}; check --address") from None


def _show(text: str) -> None:
    print(text, end="", file=results(), flush=True)


if __name__ == "__main__":
    run_process(lambda: typer.run(with_debug_flag(main)))
