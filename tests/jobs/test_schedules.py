"""The schedules: a crontab for cron and sh, manifests that Kubernetes and KubeRay take."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
import zoneinfo
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from pydantic import ValidationError
from support.clusters.kuberay_fields import RayCluster, RayCronJob
from support.clusters.supported_ray import supported_ray
from typer.testing import CliRunner

from vae_batch.cli import app
from vae_batch.commands.nightly import Schedule, schedule_text

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
DOCKERFILE = (ROOT / "jobs/docker/Dockerfile").read_text(encoding="utf-8")
MANIFESTS = ("cronjob", "raycluster", "raycronjob")
KUBERNETES = "1.31"

_NO_SCHEMAS = "kubernetes-validate comes with the kubernetes extra"

#: Lowest and highest value of each of cron's five fields.
_FIELDS = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))


def require_cron_time(text: str) -> None:
    """Refuse what is no five-field cron time: numbers, ranges, lists and steps."""
    fields = text.split()
    assert len(fields) == 5, text
    for field, (low, high) in zip(fields, _FIELDS, strict=True):
        for part in field.split(","):
            found = re.fullmatch(r"(?:\*|(\d+)(?:-(\d+))?)(?:/(\d+))?", part)
            assert found, f"{part} of {text}"
            numbers = [int(number) for number in found.groups()[:2] if number]
            assert all(low <= number <= high for number in numbers), text
            assert numbers == sorted(numbers), text


def crontab_entries(text: str) -> Iterator[tuple[str, str]]:
    """Time and command of each entry, as cron reads a user's table."""
    for line in text.splitlines():
        entry = line.strip()
        if not entry or entry.startswith("#"):
            continue
        if re.match(r"[A-Za-z_]+\s*=", entry):
            continue
        *time, command = entry.split(None, 5)
        require_cron_time(" ".join(time))
        yield " ".join(time), command


@pytest.fixture
def entries() -> list[tuple[str, str]]:
    return list(crontab_entries(schedule_text(Schedule.cron)))


@pytest.mark.parametrize("text", ["60 2 * * *", "1 24 * * *", "1 2 3", "x * * * *", "5-1 * * * *"])
def test_the_cron_parser_refuses_what_cron_would(text: str) -> None:
    with pytest.raises(AssertionError):
        require_cron_time(text)


def test_the_crontab_has_one_entry_that_is_locked_and_dated_by_the_job(
    entries: list[tuple[str, str]],
) -> None:
    ((time, command),) = entries
    require_cron_time(time)
    assert "flock -n -E 0 " in command
    assert "vae-batch submit nightly.toml" in command
    assert not re.search(r"(?<!\\)%", command), "cron reads % as the end of the command"
    text = schedule_text(Schedule.cron)
    assert text.endswith("\n"), "cron ignores a last line without an end"
    local = [line.removeprefix("# ") for line in text.splitlines() if "vae-batch nightly" in line]
    ((_, without_cluster),) = crontab_entries("\n".join(local))
    assert without_cluster.count("flock") == 1


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home whose project notes each start in a file, and ends as ``code`` says."""
    project = tmp_path / "vae_batch"
    (project / ".venv/bin").mkdir(parents=True)
    (project / "code").write_text("0")
    command = project / ".venv/bin/vae-batch"
    command.write_text(
        f"#!{sys.executable}\n"
        "import sys\n"
        "open('started', 'a').write(' '.join(sys.argv[1:]) + '\\n')\n"
        "print('summary of the night')\n"
        "sys.exit(int(open('code').read()))\n"
    )
    command.chmod(0o755)
    return tmp_path


def run_as_cron(command: str, home: Path) -> subprocess.CompletedProcess[str]:
    """As cron runs it: by sh, in the home, with next to no environment."""
    return subprocess.run(
        ["/bin/sh", "-c", command],
        cwd=home,
        env={"HOME": str(home), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.skipif(shutil.which("flock") is None, reason="flock of util-linux is not here")
def test_the_crontab_s_command_runs_is_quiet_and_is_not_started_twice(
    home: Path, entries: list[tuple[str, str]]
) -> None:
    ((_, command),) = entries
    first = run_as_cron(command, home)
    assert (first.returncode, first.stdout, first.stderr) == (0, "", "")
    started = home / "vae_batch/started"
    assert started.read_text() == "submit nightly.toml --address http://127.0.0.1:8265\n"
    assert (home / "vae-nightly.log").read_text() == "summary of the night\n"

    holder = subprocess.Popen(
        ["flock", str(home / ".vae-nightly.lock"), "-c", "echo held; cat"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    overlapping = run_as_cron(command, home)
    holder.communicate("")
    assert (overlapping.returncode, overlapping.stdout) == (0, "")
    assert len(started.read_text().splitlines()) == 1

    (home / "vae_batch/code").write_text("4")
    regressed = run_as_cron(command, home)
    assert "summary of the night" in regressed.stdout, "cron mails what is printed"


def documents(name: str) -> list[dict[str, Any]]:
    yaml = pytest.importorskip("yaml", reason="pyyaml comes with the test extra")
    text = schedule_text(Schedule(name))
    return [found for found in yaml.safe_load_all(text) if found]


@pytest.fixture
def manifest(request: pytest.FixtureRequest) -> dict[str, Any]:
    (found,) = documents(request.param)
    return found


def require_kubernetes(resource: dict[str, Any]) -> None:
    """Refuse what Kubernetes' own schema does, unknown fields among it."""
    validator = pytest.importorskip("kubernetes_validate", reason=_NO_SCHEMAS)
    validator.validate(resource, KUBERNETES, strict=True)


@pytest.mark.parametrize("manifest", ["cronjob"], indirect=True)
def test_kubernetes_takes_the_cronjob(manifest: dict[str, Any]) -> None:
    require_kubernetes(manifest)
    spec = manifest["spec"]
    require_cron_time(spec["schedule"])
    zoneinfo.ZoneInfo(spec["timeZone"])
    assert spec["concurrencyPolicy"] == "Forbid"
    assert spec["startingDeadlineSeconds"] >= 600
    assert {"successfulJobsHistoryLimit", "failedJobsHistoryLimit"} <= set(spec)
    job = spec["jobTemplate"]["spec"]
    pod = job["template"]["spec"]
    assert pod["restartPolicy"] == "Never"
    (container,) = pod["containers"]
    verdicts = job["podFailurePolicy"]["rules"][0]["onExitCodes"]
    assert (verdicts["containerName"], verdicts["values"]) == (container["name"], [2, 3, 4])
    assert {"requests", "limits"} <= set(container["resources"])
    program, command, settings = container["command"]
    assert program in PROJECT["scripts"]
    assert command in {found.name or found.callback.__name__ for found in app.registered_commands}
    assert container["volumeMounts"][0]["mountPath"].endswith(f"/{settings}")


@pytest.mark.parametrize("manifest", ["cronjob"], indirect=True)
@pytest.mark.parametrize(
    ("path", "right", "wrong"),
    [
        ("spec", "concurrencyPolicy", "concurencyPolicy"),
        ("spec.jobTemplate.spec", "backoffLimit", "backofLimit"),
        ("spec.jobTemplate.spec.template.spec", "restartPolicy", "restart"),
        ("spec.jobTemplate.spec.template.spec.containers.0", "env", "environment"),
    ],
)
def test_a_misspelt_field_of_the_cronjob_is_refused(
    manifest: dict[str, Any], path: str, right: str, wrong: str
) -> None:
    validator = pytest.importorskip("kubernetes_validate", reason=_NO_SCHEMAS)
    section: Any = manifest
    for step in path.split("."):
        section = section[int(step)] if step.isdigit() else section[step]
    section[wrong] = section.pop(right)
    with pytest.raises(validator.ValidationError, match=wrong):
        require_kubernetes(manifest)


def pod_templates(manifest: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """All pod templates of a manifest, however deep."""
    for key, value in manifest.items():
        if key == "template" and "containers" in value.get("spec", {}):
            yield value
        for inner in value if isinstance(value, list) else [value]:
            if isinstance(inner, dict):
                yield from pod_templates(inner)


@pytest.mark.parametrize("manifest", ["raycluster", "raycronjob"], indirect=True)
def test_kuberay_takes_the_manifests_and_kubernetes_their_pods(manifest: dict[str, Any]) -> None:
    model = {"RayCluster": RayCluster, "RayCronJob": RayCronJob}[manifest["kind"]]
    model.model_validate(manifest)
    templates = list(pod_templates(manifest))
    assert len(templates) == 2
    for template in templates:
        named = {"apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": "any"}}
        require_kubernetes({**named, "template": template})


@pytest.mark.parametrize("manifest", ["raycronjob"], indirect=True)
def test_a_field_that_kuberay_does_not_know_is_refused(manifest: dict[str, Any]) -> None:
    """CronJob's own fields among them: RayCronJob has no concurrencyPolicy."""
    for path, name, value in [
        ("spec", "concurrencyPolicy", "Forbid"),
        ("spec.jobTemplate", "ttlSecondAfterFinished", 600),
        ("spec.jobTemplate.rayClusterSpec.authOptions", "mode", "Token"),
        ("spec.jobTemplate.rayClusterSpec.workerGroupSpecs.0", "minReplica", 0),
        ("spec", "timeZone", ""),
    ]:
        wrong = deepcopy(manifest)
        section: Any = wrong
        for step in path.split("."):
            section = section[int(step)] if step.isdigit() else section[step]
        section[name] = value
        with pytest.raises(ValidationError, match=name):
            RayCronJob.model_validate(wrong)


@pytest.mark.parametrize("manifest", ["raycronjob"], indirect=True)
def test_the_raycronjob_is_marked_alpha_and_cleans_up(manifest: dict[str, Any]) -> None:
    text = schedule_text(Schedule.raycronjob)
    assert text.startswith("# ALPHA.")
    assert "RayCronJob=true" in text
    require_cron_time(manifest["spec"]["schedule"])
    zoneinfo.ZoneInfo(manifest["spec"]["timeZone"])
    assert len(manifest["metadata"]["name"]) <= 36
    job = manifest["spec"]["jobTemplate"]
    assert job["shutdownAfterJobFinishes"]
    assert job["backoffLimit"] == 0
    assert job["entrypoint"].endswith("&& vae-batch nightly nightly.toml")


@pytest.mark.parametrize("manifest", MANIFESTS, indirect=True)
def test_nothing_is_exposed_and_no_secret_is_inline(manifest: dict[str, Any]) -> None:
    assert manifest["kind"] in ("CronJob", "RayCluster", "RayCronJob")
    for key, value in walk(manifest):
        assert not (key == "serviceType" and value != "ClusterIP"), "the dashboard stays inside"
        assert not (key == "enableIngress" and value), "no way in from the world"
        assert key not in ("hostPort", "hostNetwork", "nodePort", "loadBalancerIP", "headService")
        assert not (key == "privileged" and value)
        if key == "env":
            for variable in value:
                secret = re.search("TOKEN|SECRET|PASSWORD|KEY", variable["name"])
                assert not (secret and "value" in variable), f"{variable['name']} is inline"
    token = [value for key, value in walk(manifest) if key in ("authOptions", "secretKeyRef")]
    assert token in ([{"mode": "token"}], [{"name": "vae-batch", "key": "auth_token"}])


def test_the_cronjob_submits_to_the_cluster_of_the_other_manifest() -> None:
    (cron,), (cluster,) = documents("cronjob"), documents("raycluster")
    name = cluster["metadata"]["name"]
    values = dict(walk(cron))
    assert values["secretKeyRef"]["name"] == name
    variables = {v["name"]: v.get("value") for v in values["env"]}
    assert variables["RAY_API_SERVER_ADDRESS"] == f"http://{name}-head-svc:8265"
    assert variables["RAY_AUTH_MODE"] == "token"


@pytest.mark.parametrize("name", ["raycluster", "raycronjob"])
def test_the_ray_of_the_manifests_is_a_supported_one(name: str) -> None:
    versions = ray_versions(name)
    assert versions
    assert all(version in supported_ray() for version in versions)


def ray_versions(name: str) -> list[str]:
    return [value for key, value in walk(documents(name)[0]) if key == "rayVersion"]


def test_the_image_pins_what_the_project_accepts_and_copies_what_it_needs() -> None:
    base = re.search(r"^FROM rayproject/ray:([\d.]+)-py(\d)(\d+)-\$\{DEVICE\}$", DOCKERFILE, re.M)
    assert base
    assert f"{base[2]}.{base[3]}" in SpecifierSet(PROJECT["requires-python"])
    pins = dict(re.findall(r"([\w-]+)==([\d.]+)", DOCKERFILE))
    assert pins["ray"] == base[1]
    (version,) = {v for name in ("raycluster", "raycronjob") for v in ray_versions(name)}
    assert version == base[1], "the manifests name the Ray of the image"
    extras = PROJECT["optional-dependencies"]
    accepted = map(Requirement, [*PROJECT["dependencies"], *extras["gpu"], *extras["tf-keras"]])
    ranges = {each.name: each.specifier for each in accepted}
    assert {name: pin for name, pin in pins.items() if pin not in ranges[name]} == {}
    for listed in re.findall(r"extras=([\w,-]+)", DOCKERFILE):
        assert {*listed.split(",")} <= {*extras}
    copied = re.findall(r"^COPY --chown=ray:users (.+) \S+$", DOCKERFILE, re.M)
    assert [path for line in copied for path in line.split() if not (ROOT / path).exists()] == []
    assert re.findall(r"^USER (\w+)$", DOCKERFILE, re.M) == ["ray"], "not root"


@pytest.mark.parametrize("schedule", Schedule)
def test_every_schedule_is_printed_whole(schedule: Schedule) -> None:
    done = CliRunner().invoke(app, ["nightly", "--schedule", schedule])
    assert done.exit_code == 0
    assert done.stdout == schedule_text(schedule)


def test_a_night_needs_a_spec_or_a_schedule() -> None:
    done = CliRunner().invoke(app, ["nightly"])
    assert done.exit_code == 2
    assert "no spec: expected `vae-batch nightly SPEC`, or --schedule" in done.stderr


def walk(value: Any) -> Iterator[tuple[str, Any]]:
    """Every key with its value, however deep."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield key, inner
            yield from walk(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from walk(inner)
