"""Findings of ``vae-batch doctor`` on the environment and on weights; nothing is downloaded."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from vae_batch import __version__
from vae_batch.run.planning.devices import available_cores
from vae_batch.storage.array_files import memory_bytes

if TYPE_CHECKING:
    from vae_batch.models.extractors.inception.parity_probe import Parity
    from vae_batch.models.extractors.weights.listing import VerifiedWeights
    from vae_batch.run.execute.executor import Executor

#: ``warning``: worth knowing before a run. ``failed``: a run would stop, or its scores could not
#: be trusted.
Verdict = Literal["ok", "warning", "failed"]

#: Packages whose versions affect scores or the cluster.
PACKAGES = ("ray", "tensorflow", "keras", "numpy", "scipy", "pyarrow")

#: A worker needs up to 1.4 GiB for extraction; the driver and the system need the rest.
_ENOUGH_MEMORY = 4 << 30


@dataclass(frozen=True)
class Finding:
    """One printed line: what was checked, what was found, and the verdict."""

    subject: str
    found: str
    verdict: Verdict = "ok"


def environment_findings() -> Iterator[Finding]:
    """Interpreter, versions, cores and memory of this machine."""
    yield Finding("python", f"{platform.python_version()} on {platform.platform()}")
    yield Finding("vae_batch", __version__)
    for name, version in installed_versions().items():
        yield _version_finding(name, version)
    yield Finding("cores", str(available_cores()))
    memory = memory_bytes()
    if memory is None:
        yield Finding("memory", "unknown on this system", "warning")
    else:
        found = f"{memory / 2**30:.1f} GiB"
        if memory >= _ENOUGH_MEMORY:
            yield Finding("memory", found)
        else:
            yield Finding("memory", f"{found}; extraction needs at least 4 GiB", "warning")


def installed_versions() -> dict[str, str]:
    """Version of each of ``PACKAGES``, without importing it; ``missing`` if not installed."""
    return {name: _version_of(name) for name in PACKAGES}


def _version_of(name: str) -> str:
    # TensorFlow is also published under the name of its CPU build.
    for distribution in (name, f"{name}-cpu"):
        try:
            return metadata.version(distribution)
        except metadata.PackageNotFoundError:
            continue
    return "missing"


def _version_finding(name: str, version: str) -> Finding:
    if version == "missing":
        return Finding(name, "is not installed; reinstall vae-batch", "failed")
    wanted = _requirements().get(name)
    if wanted is None or wanted.contains(version, prereleases=True):
        return Finding(name, version)
    return Finding(name, f"{version}, but vae-batch requires {wanted}", "warning")


def _requirements() -> dict[str, Any]:
    """Version ranges that vae-batch requires; empty if it is not installed as a package."""
    from packaging.requirements import Requirement

    try:
        lines = metadata.requires("vae-batch") or []
    except metadata.PackageNotFoundError:
        return {}
    requirements = [Requirement(line) for line in lines]
    return {one.name: one.specifier for one in requirements if one.marker is None}


def weights_findings(files: Sequence[VerifiedWeights]) -> Iterator[Finding]:
    """A finding on each file, and a warning for each extractor without weights."""
    for file in files:
        yield _file_finding(file)
    for extractor in ("inception-2015", "inception-keras"):
        if not any(file.verified and file.extractor == extractor for file in files):
            missing = f"no published file found; download it: vae-batch weights fetch {extractor}"
            yield Finding(f"weights: {extractor}", missing, "warning")


def find_weights_files(given: Sequence[str]) -> list[VerifiedWeights]:
    """The given files, and published files (by name or content) in the searched folders.

    Raises:
        InputError: A given file does not exist, or ``VAE_BATCH_WEIGHTS`` is not a folder.
    """
    from vae_batch.models.extractors.weights.listing import verify_weights
    from vae_batch.models.extractors.weights.published import (
        FORMAT_EXTRACTORS,
        published_by_hash,
        published_by_name,
    )
    from vae_batch.models.extractors.weights.search import search_folders
    from vae_batch.models.extractors.weights.weight_file import hash_content, sniff_format

    def is_ours(path: Path) -> bool:
        if published_by_name(path.name):
            return True
        format = sniff_format(path)
        known = format in FORMAT_EXTRACTORS
        return known and published_by_hash(*hash_content(path, format), format) is not None

    folders = [folder for folder in search_folders() if folder.is_dir()]
    paths = [path for folder in folders for path in sorted(folder.iterdir()) if path.is_file()]
    asked_for = [Path(path).expanduser() for path in given]
    found = [path for path in paths if path not in asked_for and is_ours(path)]
    return [verify_weights(path) for path in [*asked_for, *found]]


def _file_finding(file: VerifiedWeights) -> Finding:
    subject = f"weights: {file.extractor or 'no extractor'}"
    found = f"{file.path}, sha256 {file.sha256}"
    if file.problem or not (file.verified and file.readable):
        return Finding(subject, f"{found}: {file.problem or 'not a published file'}", "failed")
    return Finding(subject, f"{found}, published as {file.published}")


@dataclass(frozen=True)
class DeviceReport:
    """What a worker reports of its device; picklable.

    Attributes:
        device: Name of the GPU, or ``cpu``.
        cores: CPU cores that the process may use.
        onednn: Whether oneDNN is on, which CPUs need for speed.
        versions: Of the packages that affect scores.
        parity: Result of the probe.
        seconds: Duration of the probe.
    """

    device: str
    cores: int
    onednn: bool
    versions: Mapping[str, str]
    parity: Parity
    seconds: float


def device_findings(executor: Executor) -> Iterator[Finding]:
    """Findings on every device that a worker may get; GPUs run the probe twice."""
    reports = executor.on_every_device(examine_device)
    again = executor.on_every_device(examine_device) if executor.has_gpus else []
    for number, (place, report) in enumerate(reports):
        if isinstance(report, DeviceReport):
            yield from report_findings(place, report)
            if again:
                yield _repeatability_finding(place, report, again[number][1])
        else:
            reason = " ".join(str(report).split())[:300] or type(report).__name__
            yield Finding(f"device: {place}", f"the parity probe did not run: {reason}", "failed")


def listening_finding() -> Finding:
    """Whether other machines can reach the local cluster that was started."""
    from vae_batch.run.execute.on_ray.cluster import exposed_servers

    address, exposed = exposed_servers()
    if not exposed:
        return Finding("local cluster", "listens on this machine's loopback interface alone")
    found = (
        f"listens on {address} ({', '.join(exposed)}), where other machines may reach it; unset "
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER, or let a firewall close these ports"
    )
    return Finding("local cluster", found, "warning")


def examine_device() -> DeviceReport:
    """Run the parity probe on this process's device."""
    from vae_batch.models.extractors.inception.parity_probe import measure_parity
    from vae_batch.run.execute.gpus import deterministic, device_name

    began = time.perf_counter()
    with deterministic():
        parity = measure_parity()
    return DeviceReport(
        device=device_name(),
        cores=available_cores(),
        onednn=os.environ.get("TF_ENABLE_ONEDNN_OPTS", "0") == "1",
        versions={**installed_versions(), "vae_batch": __version__},
        parity=parity,
        seconds=time.perf_counter() - began,
    )


def report_findings(place: str, report: DeviceReport) -> Iterator[Finding]:
    """Findings on one device."""
    own = {**installed_versions(), "vae_batch": __version__}
    others = [f"{n} {v} (here {own[n]})" for n, v in report.versions.items() if v != own[n]]
    onednn = report.device != "cpu" or report.onednn
    remarks = [
        f"{report.device}, {report.cores} cores",
        f"oneDNN {'on' if report.onednn else 'off'}" + ("" if onednn else ": extraction is slower"),
        *([f"other versions than here: {', '.join(others)}"] if others else []),
    ]
    ok = onednn and not others
    yield Finding(f"device: {place}", "; ".join(remarks), "ok" if ok else "warning")
    yield _parity_finding(place, report)
    if report.parity.tf32:
        yield _tf32_finding(place, report.parity.as_scored)


def _repeatability_finding(place: str, first: DeviceReport, second: object) -> Finding:
    """Whether two runs of the probe gave the same bits, as a resumed run must."""
    subject = f"repeatability: {place}"
    if isinstance(second, DeviceReport) and second.parity.bits == first.parity.bits:
        return Finding(subject, "two runs of the probe gave the same bits")
    found = "two runs of the probe gave other bits" if isinstance(second, DeviceReport) else second
    meaning = "a run that is resumed here may not give the digits of one that was not interrupted"
    return Finding(subject, f"{found}: {meaning}", "failed")


def _parity_finding(place: str, report: DeviceReport) -> Finding:
    from vae_batch.models.extractors.inception.parity_probe import TOLERANCE

    deviation = report.parity.float32
    measured = (
        f"features deviate from float64 by {deviation:.1e} of their scale, allowed {TOLERANCE:.0e}"
    )
    if deviation <= TOLERANCE:
        return Finding(f"parity: {place}", f"{measured} ({report.seconds:.0f} s)")
    meaning = (
        "this device is less precise than float32, so its scores cannot be compared with those "
        "of other machines; look for bfloat16 or fast-math settings, or a faulty driver"
    )
    return Finding(f"parity: {place}", f"{measured}: {meaning}", "failed")


def _tf32_finding(place: str, deviation: float) -> Finding:
    from vae_batch.models.extractors.inception.parity_probe import TF32_TOLERANCE, TOLERANCE

    measured = f"with TF32 convolutions, which workers use: {deviation:.1e} from float64"
    subject = f"parity: {place}"
    if deviation > TF32_TOLERANCE:
        meaning = f"allowed {TF32_TOLERANCE:.0e}: more than TF32 explains"
        return Finding(subject, f"{measured}, {meaning}", "failed")
    if deviation > TOLERANCE:
        meaning = "scores of GPUs and CPUs differ by more than float32 rounding"
        return Finding(subject, f"{measured}: {meaning}", "warning")
    return Finding(subject, measured)
