"""The check of devices: each one runs the parity probe."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vae_batch import __version__
from vae_batch.doctor.findings import Finding, installed_versions
from vae_batch.run.planning.devices import available_cores

if TYPE_CHECKING:
    from vae_batch.models.extractors.inception.parity_probe import Parity
    from vae_batch.run.execute.executor import Executor


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
    """Findings on every device that a worker may get."""
    for place, report in executor.on_every_device(examine_device):
        if isinstance(report, DeviceReport):
            yield from report_findings(place, report)
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
    from vae_batch.run.execute.worker import device_name

    began = time.perf_counter()
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
