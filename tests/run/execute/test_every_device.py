"""``on_every_device``: where things are called, and what stands for a call that failed."""

from __future__ import annotations

import os
from typing import Any

import pytest

from vae_batch.plan import make_spec
from vae_batch.run.execute.executor import SerialExecutor


def test_serial_calls_here_and_returns_errors() -> None:
    executor = SerialExecutor()
    assert executor.on_every_device(divmod, 7, 2) == [("this process", (3, 1))]
    ((place, error),) = executor.on_every_device(int, "no number")
    assert place == "this process"
    assert isinstance(error, ValueError)


@pytest.mark.slow
@pytest.mark.usefixtures("ray_cluster")
def test_a_node_without_gpus_is_one_device() -> None:
    from vae_batch.run.execute.on_ray.executor import RayExecutor

    with RayExecutor(make_spec({"checkpoints": ["none"], "reference": "digits"})) as executor:
        ((place, value),) = executor.on_every_device(os.getenv, "CUDA_VISIBLE_DEVICES")
        assert place.startswith("CPU of node ")
        assert value == ""
        ((place, error),) = executor.on_every_device(int, "no number")
        assert place.startswith("node ")
        assert isinstance(error, ValueError)
        assert "no number" in str(error)


def claims(monkeypatch: pytest.MonkeyPatch, nodes: list[dict[str, Any]], **pool: int) -> list[Any]:
    from vae_batch.run.execute.on_ray import machines
    from vae_batch.run.execute.on_ray.machines import Pool, device_claims

    monkeypatch.setattr(machines.ray, "nodes", lambda: nodes)
    return [
        (
            place,
            claim["num_cpus"],
            claim["num_gpus"],
            getattr(claim.get("scheduling_strategy"), "node_id", None),
        )
        for place, claim in device_claims(Pool(size=1, threads=4, **pool))
    ]


def test_a_claim_for_each_gpu_or_each_node(monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = [node("head", True, CPU=4), node("a", True, CPU=8, GPU=2), node("b", False, GPU=8)]
    # With GPUs workers hold one each and no CPU; the head and the dead node have none to give.
    with_gpus = claims(monkeypatch, nodes, cpus=0, gpus=1)
    assert with_gpus == [("node a (a.local)", 0, 1, _id("a"))] * 2
    assert claims(monkeypatch, nodes, cpus=4, gpus=0) == [
        ("node head (head.local)", 4, 0, _id("head")),
        ("node a (a.local)", 4, 0, _id("a")),
    ]


def test_where_no_node_has_a_device_yet_one_is_to_be_added(monkeypatch: pytest.MonkeyPatch) -> None:
    found = claims(monkeypatch, [node("head", True, CPU=0)], cpus=1, gpus=1)
    assert found == [("an added node", 1, 1, None)]


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
