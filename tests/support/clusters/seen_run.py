"""Score a spec with Ray and print what each kind of task saw: ``python seen_run.py SPEC.json``.

GPUs of the cluster are counted before the run, after it, and after ``IDLE`` seconds at most.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
import time
from pathlib import Path

from support.clusters.seen_environment import RecordedCheckpoint, seen, seen_for

from vae_batch.plan import make_spec
from vae_batch.run.execute.on_ray.executor import RayExecutor
from vae_batch.run.execute.on_ray.machines import present_machines
from vae_batch.run.execute.score_run import run
from vae_batch.run.planning.open_run import prepare
from vae_batch.run.planning.run_plan import RunPlan
from vae_batch.run.progress.events import ignore

IDLE = float(os.environ.get("VAE_BATCH_TEST_IDLE", "0"))


def main(path: Path) -> None:
    spec = make_spec(json.loads(path.read_text()))
    plan = recorded(prepare(spec, ignore))
    with RayExecutor(spec) as executor:
        counts = [gpus()]
        summary = run(plan, executor, ignore)
        counts.append(gpus())
        tasks = [executor.submit(seen_for, 0.5) for _ in range(12)]
        found = {
            "description": executor.description,
            "rows": [row.status for row in summary.rows],
            "light": [task.result() for task in tasks],
            "devices": executor.on_every_device(seen),
        }
        counts.append(gpus_when_idle())
    print(json.dumps({**found, "gpus": counts}))


def recorded(plan: RunPlan) -> RunPlan:
    """The plan, with checkpoints that note who reads them."""
    rows = []
    for row in plan.rows:
        checkpoint = RecordedCheckpoint(**vars(row.checkpoint))
        job = dataclasses.replace(row.job, checkpoint=checkpoint)
        rows.append(dataclasses.replace(row, job=job))
    return dataclasses.replace(plan, rows=tuple(rows))


def gpus() -> int:
    return sum(machine.gpus for machine in present_machines())


def gpus_when_idle() -> int:
    deadline = time.monotonic() + IDLE
    while gpus() and time.monotonic() < deadline:
        time.sleep(0.5)
    return gpus()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
