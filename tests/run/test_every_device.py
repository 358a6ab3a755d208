"""``on_every_device``: where things are called, and what stands for a call that failed."""

from __future__ import annotations

import os
from typing import Any

import pytest

from vae_batch.plan import make_spec
from vae_batch.run.executor import SerialExecutor


def test_serial_calls_here_and_returns_errors() -> None:
    executor = SerialExecutor()
    assert executor.on_every_device(divmod, 7, 2) == [("this process", (3, 1))]
    ((place, error),) = executor.on_every_device(int, "no number")
    assert place == "this process"
    assert isinstance(error, ValueError)


@pytest.mark.slow
@pytest.mark.usefixtures("ray_cluster")
def test_a_node_without_gpus_is_one_device() -> None:
    from vae_batch.run.on_ray.executor import RayExecutor

    with RayExecutor(make_spec({"checkpoints": ["none"], "reference": "digits"})) as executor:
        ((place, value),) = executor.on_every_device(os.getenv, "CUDA_VISIBLE_DEVICES")
        assert place.startswith("CPU of node ")
        assert value == ""
        ((place, error),) = executor.on_every_device(int, "no number")
        assert place.startswith("node ")
        assert isinstance(error, ValueError)
        assert "no number" in str(error)


def test_a_claim_for_each_gpu_or_each_node(monkeypatch: pytest.MonkeyPatch) -> None:
    from vae_batch.run.on_ray import cluster

    nodes = [node("head", True, CPU=4), node("a", True, CPU=8, GPU=2), node("b", False, GPU=8)]
    monkeypatch.setattr(cluster.ray, "nodes", lambda: nodes)

    def claims(**pool: int) -> list[tuple[str, int, int, str]]:
        found = cluster.device_claims(cluster.Pool(1, 1, **pool))
        return [
            (place, claim["num_cpus"], claim["num_gpus"], claim["scheduling_strategy"].node_id)
            for place, claim in found
        ]

    # With GPUs workers hold one each and no CPU; the head and the dead node have none to give.
    assert claims(cpus=0, gpus=1) == [("node a (a.local)", 0, 1, _id("a"))] * 2
    assert claims(cpus=4, gpus=0) == [
        ("node head (head.local)", 4, 0, _id("head")),
        ("node a (a.local)", 4, 0, _id("a")),
    ]


def node(name: str, alive: bool, **resources: float) -> dict[str, Any]:
    return {
        "NodeID": _id(name),
        "NodeManagerHostname": name,
        "NodeManagerAddress": f"{name}.local",
        "Alive": alive,
        "Resources": resources,
    }


def _id(name: str) -> str:
    """A node id in Ray's form, 28 bytes in hex."""
    return name.encode().hex().ljust(56, "0")
