"""What a run would compute on, found without starting anything or importing TensorFlow."""

from __future__ import annotations

import os
from pathlib import Path

from vae_batch.plan import EvaluationSpec
from vae_batch.run.cost.estimate import Devices
from vae_batch.run.execute.executor import Executor, SerialExecutor

#: NVIDIA's driver says there which GPUs the machine has.
_GPUS = Path("/proc/driver/nvidia/gpus")


def available_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def gpu_names(folder: Path = _GPUS) -> list[str]:
    """Names of this machine's NVIDIA GPUs that processes may see; none where none are found."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    found = []
    for path in sorted(folder.glob("*/information")):
        fields = dict(line.split(":", 1) for line in path.read_text().splitlines() if ":" in line)
        found.append(fields.get("Model", "GPU").strip())
    return found if visible is None else found[: len([v for v in visible.split(",") if v])]


def local_devices(workers: int | None) -> Devices:
    """Of a run on this machine alone.

    Args:
        workers: Of the spec: 0 is this process, None one a GPU, or one for the machine.
    """
    cores, gpus = available_cores(), gpu_names()
    gpu = gpus[0] if gpus else ""
    count = workers or max(1, len(gpus))
    each = f"{gpu} (of {len(gpus)})" if gpus else f"{cores} CPU cores"
    if workers == 0:
        return Devices(f"this process, {each}", 1, cores, gpu, is_serial=True)
    return Devices(f"{count} worker{'s' if count > 1 else ''}, {each}", count, cores, gpu)


def joins_cluster(spec: EvaluationSpec) -> bool:
    """Whether a run joins a running Ray cluster, whose workers have cores of their own."""
    return spec.workers != 0 and bool(spec.address or os.environ.get("RAY_ADDRESS"))


def devices_of(executor: Executor, *, is_local: bool) -> Devices:
    """Those of an executor that is entered.

    Args:
        executor: The run's.
        is_local: Whether its workers share this machine's cores; on a cluster that was joined each
            is counted as one core, since receipts tell what it makes of those it has.
    """
    if isinstance(executor, SerialExecutor):
        return local_devices(0)
    gpus, workers = gpu_names(), executor.workers
    gpu = (gpus[0] if gpus and is_local else "GPU") if executor.has_gpus else ""
    return Devices(executor.description, workers, available_cores() if is_local else workers, gpu)
