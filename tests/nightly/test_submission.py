"""A night is submitted once a date, whatever state its job is in; its exit code is passed on."""

from __future__ import annotations

import datetime
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from vae_batch.nightly import submission as submission_module
from vae_batch.nightly.submission import Submission, follow, name_of, require_token, submit
from vae_batch.plan import InputError

DATE = datetime.date(2026, 8, 4)


@dataclass
class Details:
    status: str
    driver_exit_code: int | None = None


@dataclass
class FakeClient:
    """A job API that knows jobs by id, and notes what it was asked to do.

    ``states`` are what a job goes through, one a look, once it has been submitted.
    """

    jobs: dict[str, Details] = field(default_factory=dict)
    states: list[Details] = field(default_factory=list)
    logs: list[str] = field(default_factory=list)
    asked: list[Any] = field(default_factory=list)

    def get_job_info(self, job_id: str) -> Details:
        if job_id not in self.jobs:
            raise RuntimeError(f"Request failed with status code 404: no job {job_id}.")
        if self.states and self.asked:
            self.jobs[job_id] = self.states.pop(0)
        return self.jobs[job_id]

    def submit_job(self, **given: Any) -> str:
        identifier = given["submission_id"]
        if identifier in self.jobs:
            raise RuntimeError("Request failed with status code 500: submission id is taken.")
        self.asked.append(given)
        self.jobs[identifier] = Details("PENDING")
        return str(identifier)

    def delete_job(self, job_id: str) -> bool:
        assert self.jobs[job_id].status in ("FAILED", "STOPPED", "SUCCEEDED")
        self.asked.append(f"delete {job_id}")
        del self.jobs[job_id]
        return True

    def get_job_logs(self, job_id: str) -> str:
        return self.logs.pop(0) if len(self.logs) > 1 else "".join(self.logs)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    write(tmp_path / "nightly.toml")
    return tmp_path


def write(path: Path, out: str = "s3://team/vae", more: str = "") -> Path:
    path.write_text(f'checkpoints = ["runs"]\nreference = "digits"\nout = "{out}"\n{more}')
    return path


@pytest.fixture
def night(project: Path) -> Submission:
    return Submission.of(project / "nightly.toml", DATE, project)


def test_the_id_is_the_date_and_the_command_names_it(night: Submission, project: Path) -> None:
    assert night.identifier == "vae-nightly-2026-08-04"
    assert night.entrypoint == "python -m vae_batch nightly nightly.toml --date 2026-08-04"
    assert night.runtime_env == {"working_dir": str(project.resolve())}


def test_several_specs_have_names_of_their_own(project: Path) -> None:
    (project / "specs").mkdir()
    faces = write(project / "specs/My faces.toml")
    made = Submission.of(faces, DATE, project, python="/opt/my python")
    assert made.entrypoint == (
        "'/opt/my python' -m vae_batch nightly 'specs/My faces.toml' --date 2026-08-04"
    )
    assert name_of(Path("mnist.toml")) == "vae-nightly-mnist"
    names = {name_of(Path(f"{stem}.toml")) for stem in ("my-faces", "my_faces", "My faces", "我")}
    assert len(names) == 4
    assert all(name.replace("-", "").isalnum() and name.isascii() for name in names)
    assert Submission.of(faces, DATE, project, name="team").identifier == "team-2026-08-04"


def test_a_new_night_is_submitted_with_the_working_directory(night: Submission) -> None:
    client = FakeClient()
    assert submit(client, night)[0] == "submitted"
    assert client.asked == [
        {
            "entrypoint": night.entrypoint,
            "submission_id": night.identifier,
            "runtime_env": night.runtime_env,
        }
    ]


@pytest.mark.parametrize("status", ["PENDING", "RUNNING"])
def test_a_night_under_way_is_left_alone(night: Submission, status: str) -> None:
    client = FakeClient({night.identifier: Details(status)})
    assert submit(client, night)[0] == "under way"
    assert client.asked == []


def test_a_night_that_is_done_is_not_done_again(night: Submission) -> None:
    client = FakeClient({night.identifier: Details("SUCCEEDED", 0)})
    assert submit(client, night)[0] == "already done"
    assert client.asked == []


@pytest.mark.parametrize("status", ["FAILED", "STOPPED"])
def test_a_night_that_failed_or_was_stopped_goes_again(night: Submission, status: str) -> None:
    client = FakeClient({night.identifier: Details(status, 3)})
    assert submit(client, night)[0] == "submitted again"
    assert client.asked[0] == f"delete {night.identifier}"
    assert client.asked[1]["submission_id"] == night.identifier


def test_of_two_submissions_at_once_the_second_finds_the_first(night: Submission) -> None:
    class Overtaken(FakeClient):
        def submit_job(self, **given: Any) -> str:
            self.jobs[given["submission_id"]] = Details("PENDING")  # the other one's
            return super().submit_job(**given)

    client = Overtaken()
    assert submit(client, night)[0] == "under way"
    assert client.asked == []


def test_a_refusal_is_bad_input(night: Submission) -> None:
    class Refusing(FakeClient):
        def submit_job(self, **given: Any) -> str:
            raise RuntimeError("Request failed with status code 500: package too large.")

    with pytest.raises(InputError, match=r"refuses job vae-nightly-2026-08-04: .*too large"):
        submit(Refusing(), night)


def test_a_cluster_that_answers_otherwise_is_bad_input(night: Submission) -> None:
    class Broken(FakeClient):
        def get_job_info(self, job_id: str) -> Details:
            raise RuntimeError("Request failed with status code 503: busy.")

    with pytest.raises(InputError, match=r"does not say how job .* stands: .*503"):
        submit(Broken(), night)


@pytest.mark.parametrize(
    ("end", "code"),
    [
        (Details("SUCCEEDED", 0), 0),
        (Details("FAILED", 3), 3),
        (Details("FAILED", 4), 4),
        (Details("FAILED", 2), 2),
        (Details("FAILED", None), 1),
        (Details("STOPPED", None), 1),
        (Details("FAILED", -9), 137),
    ],
)
def test_a_followed_job_s_own_exit_code_is_passed_on(
    night: Submission, end: Details, code: int
) -> None:
    states = [Details("PENDING"), Details("RUNNING"), Details("RUNNING"), end]
    client = FakeClient(states=states, logs=["", "one\n", "one\ntwo\n", "one\ntwo\nthree\n"])
    submit(client, night)
    shown: list[str] = []
    assert follow(client, night.identifier, shown.append, sleep=lambda _: None) == code
    assert "".join(shown) == "one\ntwo\nthree\n"


class Away(FakeClient):
    """A head node that does not answer so many times."""

    failures = 0

    def get_job_logs(self, job_id: str) -> str:
        if self.failures:
            self.failures -= 1
            raise ConnectionError("no route to host")
        return super().get_job_logs(job_id)


def test_a_head_that_is_away_for_a_while_is_waited_for(night: Submission) -> None:
    client = Away({night.identifier: Details("SUCCEEDED", 0)}, logs=["done\n"])
    client.failures = 10
    waits: list[float] = []
    assert follow(client, night.identifier, lambda _: None, sleep=waits.append) == 0
    assert len(waits) == 10


def test_a_head_that_stays_away_is_not_waited_for_for_ever(
    night: Submission, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(submission_module, "_UNANSWERED", 5)
    client = Away({night.identifier: Details("RUNNING")})
    client.failures = 100
    with pytest.raises(InputError, match=r"not answered 5 times .*: no route to host; .*follow it"):
        follow(client, night.identifier, lambda _: None, sleep=lambda _: None)


def test_a_spec_that_cannot_be_used_is_refused_before_it_is_submitted(project: Path) -> None:
    bad = write(project / "bad.toml", more="tolerance = {fidd = 1.0}\n")
    with pytest.raises(InputError, match="fidd is no metric"):
        Submission.of(bad, DATE, project)
    with pytest.raises(InputError, match=r"missing\.toml does not exist"):
        Submission.of(project / "missing.toml", DATE, project)


def test_an_output_inside_the_job_s_copy_is_refused(project: Path) -> None:
    local = write(project / "local.toml", out="results/")
    with pytest.raises(InputError, match=r"out = 'results/' is relative.*a URI such as"):
        Submission.of(local, DATE, project)
    Submission.of(write(project / "shared.toml", out="/mnt/vae"), DATE, project)


def test_the_spec_lies_in_the_working_directory(
    project: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    elsewhere = write(tmp_path_factory.mktemp("elsewhere") / "nightly.toml")
    with pytest.raises(InputError, match="outside of the working directory"):
        Submission.of(elsewhere, DATE, project)
    assert Submission.of(elsewhere, DATE, elsewhere.parent).entrypoint.startswith("python -m")


def test_a_runtime_environment_is_passed_on(project: Path) -> None:
    file = project / "environment.yaml"
    file.write_text("pip: [/wheels/vae_batch.whl]\nenv_vars: {A: b}\n")
    made = Submission.of(project / "nightly.toml", DATE, project, runtime_env=file)
    assert made.runtime_env == {
        "pip": ["/wheels/vae_batch.whl"],
        "env_vars": {"A": "b"},
        "working_dir": str(project.resolve()),
    }


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("- pip", r"expected keys of Ray's .*found \['pip'\]"),
        ("working_dir: .", "without working_dir"),
        ("pip: [", "cannot be read: "),
        (None, "cannot be read: .*No such file"),
    ],
)
def test_a_runtime_environment_that_is_none_is_refused(
    project: Path, content: str | None, message: str
) -> None:
    file = project / "environment.yaml"
    if content is not None:
        file.write_text(content)
    with pytest.raises(InputError, match=f"(?s)--runtime-env {file}.*{message}"):
        Submission.of(project / "nightly.toml", DATE, project, runtime_env=file)


def test_the_log_of_an_attempt_before_is_not_shown_again(night: Submission) -> None:
    """Ray appends to the log of a job that is submitted again under its id."""
    client = FakeClient(
        {night.identifier: Details("FAILED", 3)},
        states=[Details("RUNNING"), Details("RUNNING"), Details("SUCCEEDED", 0)],
        logs=["first\n", "first\n", "first\nsecond\n", "first\nsecond\nthird\n"],
    )
    found, former = submit(client, night)
    assert (found, former) == ("submitted again", "first\n")
    shown: list[str] = []
    follow(client, night.identifier, shown.append, sleep=lambda _: None, former=former)
    assert "".join(shown) == "second\nthird\n"


def test_token_mode_needs_a_token_and_says_where_one_may_be(tmp_path: Path) -> None:
    message = r"RAY_AUTH_TOKEN is not set and .*auth_token does not exist; .*get-auth-token"
    with pytest.raises(InputError, match=message):
        require_token({"RAY_AUTH_MODE": "token"}, tmp_path)
    file = tmp_path / "token"
    with pytest.raises(InputError, match=f"{file} does not exist"):
        require_token({"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(file)}, tmp_path)
    file.write_text("secret")
    require_token({"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(file)}, tmp_path)
    require_token({"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "secret"}, tmp_path)
    require_token({"RAY_AUTH_MODE": "disabled"}, tmp_path)
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray/auth_token").write_text("secret")
    require_token({"RAY_AUTH_MODE": "token"}, tmp_path)


def test_a_token_that_is_refused_at_once_is_bad_input(monkeypatch: pytest.MonkeyPatch) -> None:
    from ray.exceptions import RayError

    from vae_batch.run.execute.on_ray import job_api

    def refuse(_: str) -> None:
        raise RayError("Authentication failed")

    monkeypatch.setattr(job_api, "JobSubmissionClient", refuse)
    with (
        pytest.raises(InputError, match=r"^http://there: Authentication failed$"),
        job_api.job_api("http://there"),
    ):
        pass
