"""``vae-batch doctor``: findings with verdicts, and exit code 3 where one failed."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.models.stored_probe import StoredExtractor, examine_with_stored_features
from typer.testing import CliRunner, Result

from vae_batch import __version__
from vae_batch.cli import app
from vae_batch.doctor import findings as doctor
from vae_batch.doctor import findings as doctor_devices
from vae_batch.doctor import reference_numbers as doctor_numbers
from vae_batch.doctor.findings import (
    DeviceReport,
    Finding,
    device_findings,
    environment_findings,
    find_weights_files,
    report_findings,
    weights_findings,
)
from vae_batch.doctor.reference_numbers import PUBLISHED, number_finding, published_number_findings
from vae_batch.models.extractors.inception import parity_probe as parity_probe
from vae_batch.models.extractors.inception.parity_probe import Parity, read_stored_probe
from vae_batch.models.extractors.weights.listing import VerifiedWeights
from vae_batch.models.extractors.weights.published import PUBLISHED as PUBLISHED_WEIGHTS
from vae_batch.plan import InputError
from vae_batch.run.execute.executor import SerialExecutor


def call(*words: str) -> Result:
    return CliRunner().invoke(app, ["doctor", *words])


def verdicts(findings: list[dict[str, str]], part: str) -> list[str]:
    return [f["verdict"] for f in findings if f["subject"].startswith(part)]


def report(**changes: Any) -> DeviceReport:
    versions = {**doctor.installed_versions(), "vae_batch": __version__}
    sound = DeviceReport("cpu", 2, True, versions, Parity(3e-6, 3e-6, False), 8.0)
    return dataclasses.replace(sound, **changes)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without weights, whose device computes in float32; returns an empty folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setenv("VAE_BATCH_WEIGHTS", str(tmp_path))
    monkeypatch.setattr(parity_probe, "InceptionExtractor", StoredExtractor)
    return tmp_path


def test_a_sound_machine(machine: Path) -> None:
    result = call("--workers", "0")
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert all(line.split()[-1] in ("ok", "warning") for line in lines)
    subjects = [line.split()[0] for line in lines]
    assert subjects[:2] == ["python", "vae_batch"]
    assert set(doctor.PACKAGES) <= set(subjects)
    parity = next(line for line in lines if line.startswith("parity: this process"))
    assert "of their scale, allowed 1e-03" in parity
    assert parity.endswith("ok")
    assert "no published file found; download it: vae-batch weights fetch inception-2015" in (
        result.stdout
    )
    assert "probing the devices of: this process" in result.stderr


def perturb(path: Path, monkeypatch: pytest.MonkeyPatch, share: float) -> None:
    """Store features that are off by a share of their scale in one place."""
    probe = read_stored_probe()
    features = probe.features.copy()
    features[7, 100] += share * features.max()
    text = json.dumps(probe.provenance)
    np.savez_compressed(path / "probe.npz", features=features, provenance=np.array(text))
    monkeypatch.setattr(parity_probe, "STORED", path / "probe.npz")


def test_a_device_that_deviates_gives_exit_code_3(
    machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    perturb(machine, monkeypatch, 1.1e-3)
    result = call("--workers", "0", "--json")
    assert result.exit_code == 3
    findings = json.loads(result.stdout)
    assert verdicts(findings, "parity") == ["failed"]
    assert verdicts(findings, "device") == ["ok"]
    parity = next(f["found"] for f in findings if f["subject"].startswith("parity"))
    assert parity.startswith(
        "features deviate from float64 by 1.1e-03 of their scale, allowed 1e-03: "
    )
    assert "less precise than float32" in parity


def test_a_smaller_deviation_passes(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    perturb(machine, monkeypatch, 0.9e-3)
    result = call("--workers", "0", "--json")
    assert result.exit_code == 0
    assert verdicts(json.loads(result.stdout), "parity") == ["ok"]


def test_a_stale_probe_fails_the_device_and_goes_on(
    machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (machine / "probe.npz").write_bytes(b"damaged")
    monkeypatch.setattr(parity_probe, "STORED", machine / "probe.npz")
    result = call("--workers", "0", "--reference-numbers")
    assert result.exit_code == 3
    assert "the parity probe did not run: the stored probe" in result.stdout
    assert "published numbers" in result.stdout.splitlines()[-1]


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.usefixtures("ray_cluster")
def test_every_node_runs_the_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    """All of it but the network, which other tests run."""
    monkeypatch.setattr(doctor_devices, "examine_device", examine_with_stored_features)
    result = call("--json")
    findings = json.loads(result.stdout)
    assert verdicts(findings, "parity: CPU of node ") == ["ok"]
    assert verdicts(findings, "device: CPU of node ") == ["ok"]
    assert result.exit_code == 0
    assert "probing the devices of: Ray, 1 worker(s) with 4 CPU(s)" in result.stderr


@pytest.mark.parametrize(
    ("changes", "expected", "words"),
    [
        ({}, ["ok", "ok"], "oneDNN on"),
        ({"onednn": False}, ["warning", "ok"], "oneDNN off: extraction is slower"),
        ({"device": "H200", "onednn": False}, ["ok", "ok"], "H200, 2 cores"),
        (
            {"parity": Parity(float("inf"), float("inf"), False)},
            ["ok", "failed"],
            "by inf of their",
        ),
        ({"parity": Parity(3e-6, 4e-4, True)}, ["ok", "ok", "ok"], "TF32 convolutions"),
        ({"parity": Parity(3e-6, 4e-3, True)}, ["ok", "ok", "warning"], "GPUs and CPUs differ"),
        ({"parity": Parity(3e-6, 3e-2, True)}, ["ok", "ok", "failed"], "more than TF32 explains"),
    ],
)
def test_verdicts_on_a_device(changes: dict[str, Any], expected: list[str], words: str) -> None:
    findings = list(report_findings("GPU 0 of node a", report(**changes)))
    assert [finding.verdict for finding in findings] == expected
    assert all(finding.subject.endswith("GPU 0 of node a") for finding in findings)
    assert words in " ".join(finding.found for finding in findings)


@pytest.mark.parametrize(("bits", "verdict"), [("aa", "ok"), ("ab", "failed")])
def test_a_gpu_has_to_give_the_same_bits_twice(
    bits: str, verdict: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = [report(parity=Parity(3e-6, 3e-6, False, each)) for each in ("aa", bits)]
    left = iter(runs)
    monkeypatch.setattr(doctor_devices, "examine_device", lambda: next(left))
    monkeypatch.setattr(SerialExecutor, "has_gpus", True)
    *_, last = device_findings(SerialExecutor())
    assert (last.subject, last.verdict) == ("repeatability: this process", verdict)
    assert next(left, None) is None


def test_another_version_on_a_node_is_a_warning() -> None:
    versions = {**report().versions, "tensorflow": "2.18.0"}
    device, _ = report_findings("CPU of node b", report(versions=versions))
    assert device.verdict == "warning"
    assert f"tensorflow 2.18.0 (here {doctor.installed_versions()['tensorflow']})" in device.found


def test_a_device_whose_process_died(monkeypatch: pytest.MonkeyPatch) -> None:
    def die() -> None:
        raise RuntimeError("CUDA_ERROR_ECC_UNCORRECTABLE\nat line 7")

    monkeypatch.setattr(doctor_devices, "examine_device", die)
    (finding,) = device_findings(SerialExecutor())
    assert finding == Finding(
        "device: this process",
        "the parity probe did not run: CUDA_ERROR_ECC_UNCORRECTABLE at line 7",
        "failed",
    )


def test_missing_and_foreign_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    found = dict.fromkeys(doctor.PACKAGES, "9999.0") | {"scipy": "missing"}
    monkeypatch.setattr(doctor, "installed_versions", lambda: found)
    monkeypatch.setattr(doctor, "_requirements", lambda: {"ray": _only("2.60")})
    by_subject = {finding.subject: finding for finding in environment_findings()}
    assert by_subject["scipy"].verdict == "failed"
    assert by_subject["ray"] == Finding("ray", "9999.0, but vae-batch requires ~=2.60.0", "warning")
    assert by_subject["keras"].verdict == "ok"


def _only(minor: str) -> Any:
    from packaging.specifiers import SpecifierSet

    return SpecifierSet(f"~={minor}.0")


def test_weights_in_the_folders_and_given(machine: Path) -> None:
    named = machine / PUBLISHED_WEIGHTS[0].name
    named.write_text("<html>moved</html>")
    (machine / "notes.txt").write_text("nothing of ours")
    given = machine / "given.h5"
    given.write_bytes(b"")
    files = find_weights_files([str(given), str(named)])
    assert [file.path for file in files] == [str(given), str(named)]
    findings = list(weights_findings(files))
    assert [finding.verdict for finding in findings] == ["failed"] * 2 + ["warning"] * 2
    assert f"sha256 {files[1].sha256}" in findings[1].found
    assert "a web page" in findings[1].found


def published_weights(extractor: str) -> VerifiedWeights:
    path = f"{extractor}.pth"
    return VerifiedWeights(
        path, "torch-state-dict", 1, "a" * 64, "published.pth", extractor, True, True, None
    )


def test_published_weights_are_ok() -> None:
    files = [published_weights("inception-2015"), published_weights("inception-keras")]
    findings = list(weights_findings(files))
    assert [finding.verdict for finding in findings] == ["ok", "ok"]
    assert findings[0].found == f"inception-2015.pth, sha256 {'a' * 64}, published as published.pth"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--workers", "-1"], "workers = -1"),
        (["--workers", "0", "--weights", "none.pth"], "expected a file at none.pth"),
        (["--workers", "0", "--cifar10", "c.npz"], "for --reference-numbers only"),
    ],
)
def test_bad_input_gives_exit_code_2(words: list[str], sentence: str, machine: Path) -> None:
    result = call(*words)
    assert result.exit_code == 2
    assert result.stderr.startswith("error: ")
    assert sentence in result.stderr


def test_published_numbers_name_each_missing_part(machine: Path) -> None:
    no_weights, no_images = published_number_findings([], None)
    assert "published weights of inception-2015 are missing" in no_weights.found
    assert "CIFAR-10 is missing" in no_images.found
    (only_images,) = published_number_findings([published_weights("inception-2015")], None)
    assert only_images == no_images
    (only_weights,) = published_number_findings([], "cifar10.npz")
    assert only_weights == no_weights


def test_a_cached_cifar10_is_used(machine: Path) -> None:
    """Keras' archive counts, since Keras downloads where it has only the extracted folder."""
    datasets = machine / "keras" / "datasets"
    (datasets / "cifar-10-batches-py-target").mkdir(parents=True)
    assert doctor_numbers._cached_cifar10() is None
    (datasets / "cifar-10-batches-py-target_archive").write_bytes(b"archive")
    assert doctor_numbers._cached_cifar10() == "cifar10"


def test_published_numbers_of_another_set_are_refused(tmp_path: Path) -> None:
    images = np.zeros((3, 32, 32, 3), np.uint8)
    np.savez(tmp_path / "c.npz", x_train=images, x_test=images)
    found = published_number_findings(
        [published_weights("inception-2015")], str(tmp_path / "c.npz")
    )
    with pytest.raises(InputError, match=r"expected train images of shape \(50000, 32, 32, 3\)"):
        list(found)


def test_published_numbers_are_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights and images meet the computation; the values are then held against the published."""
    images = np.arange(4 * 32 * 32 * 3, dtype=np.uint8).reshape(4, 32, 32, 3)
    np.savez(tmp_path / "c.npz", x_train=images, x_test=images[:2])
    monkeypatch.setattr(doctor_numbers, "_CIFAR10_COUNTS", {"train": 4, "test": 2})
    seen = {}

    def loaded(weights: str) -> Any:
        seen["weights"] = weights
        return "extract"

    def computed(train: Any, test: Any, extract: Any, batch_size: int) -> list[tuple[str, float]]:
        seen.update(train=train.read(0, 4), test=test.read(0, 2), extract=extract)
        return [(name, number.value) for name, number in PUBLISHED.items()]

    monkeypatch.setattr(doctor_numbers, "_load", loaded)
    monkeypatch.setattr(doctor_numbers, "reference_numbers", computed)
    files = [published_weights("inception-keras"), published_weights("inception-2015")]
    findings = list(published_number_findings(files, str(tmp_path / "c.npz")))
    assert [finding.verdict for finding in findings] == ["ok"] * 4
    assert (seen["weights"], seen["extract"]) == ("inception-2015.pth", "extract")
    np.testing.assert_array_equal(seen["train"], images)
    np.testing.assert_array_equal(seen["test"], images[:2])


@pytest.mark.parametrize("name", PUBLISHED)
def test_tolerance_of_a_published_number(name: str) -> None:
    value, tolerance = PUBLISHED[name].value, PUBLISHED[name].tolerance
    assert number_finding(name, value + 0.9 * tolerance).verdict == "ok"
    wrong = number_finding(name, value - 1.1 * tolerance)
    assert wrong.verdict == "failed"
    assert str(value) in wrong.found
