"""A night as a Ray job whose id is its date: submitted again, it is found and not done twice."""

from __future__ import annotations

import datetime
import hashlib
import re
import shlex
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import yaml

from vae_batch.nightly.regression import require_tolerances
from vae_batch.plan import InputError, make_spec, read_toml
from vae_batch.plan.location import is_uri

PREFIX = "vae-nightly"

#: Seconds between two looks at a job that is followed.
POLL = 5.0

#: Looks in a row that may go unanswered: a head node may be away for a few minutes.
_UNANSWERED = 60

#: Of a job that ended without an exit code of its own, such as one that was stopped.
NO_EXIT_CODE = 1

Found = Literal["submitted", "submitted again", "under way", "already done"]


class JobClient(Protocol):
    """The part of ``ray.job_submission.JobSubmissionClient`` that is used."""

    def get_job_info(self, job_id: str) -> Any:  # noqa: ANN401
        """Details with ``status`` and ``driver_exit_code``; RuntimeError where there is none."""
        ...

    def submit_job(
        self, *, entrypoint: str, submission_id: str, runtime_env: dict[str, Any]
    ) -> str:
        """Submit; RuntimeError where the id is taken."""
        ...

    def delete_job(self, job_id: str) -> bool:
        """Forget a job that has ended."""
        ...

    def get_job_logs(self, job_id: str) -> str:
        """All that it has printed so far."""
        ...


@dataclass(frozen=True)
class Submission:
    """A night to be submitted.

    Attributes:
        identifier: Of the job; the same for the same spec and date.
        entrypoint: Shell command, run in a copy of the working directory.
        runtime_env: Of Ray, with the folder that is uploaded.
    """

    identifier: str
    entrypoint: str
    runtime_env: Mapping[str, Any]

    @classmethod
    def of(
        cls,
        spec: Path,
        date: datetime.date,
        working_dir: Path,
        name: str | None = None,
        python: str = "python",
        runtime_env: Path | None = None,
    ) -> Submission:
        """The submission of a spec's night; the spec is read, so that a bad one fails here.

        Args:
            spec: TOML file, in the working directory.
            date: Of the night.
            working_dir: Folder that is uploaded, in which the job runs.
            name: Tells specs apart in the id; by default the spec's file name does.
            python: Interpreter on the cluster.
            runtime_env: YAML or JSON file with more of Ray's runtime environment.

        Raises:
            InputError: The spec cannot be used, lies elsewhere or writes into the job's own copy;
                or the runtime environment cannot be read.
        """
        root = working_dir.resolve()
        if not spec.resolve().is_relative_to(root):
            raise InputError(
                f"spec {spec} lies outside of the working directory {root}, which alone is "
                "uploaded; copy it there"
            )
        _require_lasting_output(spec)
        inside = spec.resolve().relative_to(root).as_posix()
        words = [python, "-m", "vae_batch", "nightly", inside, "--date", str(date)]
        environment = {**_read_runtime_env(runtime_env), "working_dir": str(root)}
        return cls(f"{name or name_of(spec)}-{date}", shlex.join(words), environment)


def _read_runtime_env(file: Path | None) -> Mapping[str, Any]:
    if file is None:
        return {}
    try:
        found = yaml.safe_load(file.read_bytes())  # JSON is YAML
    except (OSError, yaml.YAMLError) as error:
        raise InputError(f"--runtime-env {file} cannot be read: {error}") from None
    if not isinstance(found, dict) or "working_dir" in found:
        raise InputError(
            f"--runtime-env {file}: expected keys of Ray's runtime environment, such as "
            f"pip: [...], without working_dir (--working-dir); found {found!r:.200}"
        )
    return found


def name_of(spec: Path) -> str:
    """The beginning of a job's id: ``vae-nightly`` for nightly.toml, else with the spec's name."""
    if spec.stem == "nightly":
        return PREFIX
    slug = re.sub(r"[^a-z0-9]+", "-", spec.stem.lower()).strip("-")
    if slug != spec.stem:  # other names may have the same slug
        slug = f"{slug}-{hashlib.sha256(spec.stem.encode()).hexdigest()[:6]}".lstrip("-")
    return f"{PREFIX}-{slug}"


def require_token(environment: Mapping[str, str], home: Path) -> None:
    """Refuse token mode without a token, before a cluster refuses it in its own words.

    Args:
        environment: With ``RAY_AUTH_MODE`` set.
        home: Folder of the usual token file.

    Raises:
        InputError: Names where a token may be.
    """
    if environment.get("RAY_AUTH_MODE", "").lower() != "token":
        return
    path = environment.get("RAY_AUTH_TOKEN_PATH")
    file = Path(path) if path else home / ".ray" / "auth_token"
    if not environment.get("RAY_AUTH_TOKEN") and not file.is_file():
        raise InputError(
            f"no token for the Ray cluster: RAY_AUTH_TOKEN is not set and {file} does not exist; "
            "copy the cluster's token there (on its head: `ray get-auth-token`), or name its file "
            "in RAY_AUTH_TOKEN_PATH; a cluster without authentication needs RAY_AUTH_MODE=disabled"
        )


def submit(client: JobClient, submission: Submission) -> tuple[Found, str]:
    """Submit a night, unless it is running or done; failed or stopped jobs are resubmitted.

    Returns:
        How the job stands, and the log of the attempt before this one, to which Ray appends.

    Raises:
        InputError: The cluster refuses the job.
    """
    status, former = _status(client, submission), ""
    if status in ("PENDING", "RUNNING"):
        return "under way", former
    if status == "SUCCEEDED":
        return "already done", former
    try:
        if status is not None:
            former = _log_of(client, submission)
            client.delete_job(submission.identifier)
        client.submit_job(
            entrypoint=submission.entrypoint,
            submission_id=submission.identifier,
            runtime_env={**submission.runtime_env},
        )
    except (RuntimeError, ValueError, OSError) as error:
        if _status(client, submission) in ("PENDING", "RUNNING"):
            return "under way", former  # another submission came first
        raise InputError(f"the cluster refuses job {submission.identifier}: {error}") from None
    return ("submitted" if status is None else "submitted again"), former


def follow(
    client: JobClient,
    identifier: str,
    show: Callable[[str], None],
    sleep: Callable[[float], None] = time.sleep,
    former: str = "",
) -> int:
    """Show what a job prints until it ends.

    Args:
        client: Of the cluster.
        identifier: Of the job.
        show: Takes text as it comes.
        sleep: Waits so many seconds.
        former: Beginning of its log that is not shown: an earlier attempt's.

    Returns:
        The job's own exit code.

    Raises:
        InputError: The cluster has not answered for several minutes; the job may go on.
    """
    shown, unanswered = 0, 0
    while True:
        try:
            details = client.get_job_info(identifier)
            logs = client.get_job_logs(identifier).removeprefix(former)
        except (RuntimeError, OSError) as error:
            unanswered += 1
            if unanswered >= _UNANSWERED:
                raise InputError(
                    f"the cluster has not answered {unanswered} times about job {identifier}: "
                    f"{error}; the job may go on: submit it again to follow it"
                ) from None
            sleep(POLL)
            continue
        unanswered = 0
        show(logs[shown:])
        shown = max(shown, len(logs))
        status = _word(details)
        if status not in ("PENDING", "RUNNING"):
            return 0 if status == "SUCCEEDED" else _exit_code(details.driver_exit_code)
        sleep(POLL)


def _exit_code(driver: int | None) -> int:
    """As a shell gives it: 128 and the signal's number for a driver that one ended."""
    if not driver:
        return NO_EXIT_CODE
    return driver if driver > 0 else 128 - driver


def _status(client: JobClient, submission: Submission) -> str | None:
    """The status of a night's job; None where there is none."""
    try:
        return _word(client.get_job_info(submission.identifier))
    except (RuntimeError, OSError) as error:
        if "status code 404" in str(error):
            return None
        raise InputError(
            f"the cluster does not say how job {submission.identifier} stands: {error}"
        ) from None


def _log_of(client: JobClient, submission: Submission) -> str:
    """What an ended job printed; empty where the cluster has it no more."""
    try:
        return client.get_job_logs(submission.identifier)
    except (RuntimeError, OSError):
        return ""


def _word(details: Any) -> str:  # noqa: ANN401
    """A status as a word: RUNNING and so on, of Ray's enumeration or a plain string."""
    return str(getattr(details.status, "value", details.status))


def _require_lasting_output(spec: Path) -> None:
    read = make_spec(read_toml(str(spec)), source=str(spec))
    require_tolerances(read)
    if not is_uri(read.out) and not Path(read.out).expanduser().is_absolute():
        raise InputError(
            f"{spec}: out = {read.out!r} is relative, and the job runs in a copy of the working "
            "directory that is deleted with it; expected a URI such as s3://bucket/folder, or an "
            "absolute path on a file system that every node mounts"
        )
