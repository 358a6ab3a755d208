"""A cluster that has no node to work on yet: the autoscaler adds them, and takes them away."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.clusters.ray_nodes import autoscaled_head, run_and_see

from vae_batch.plan import InputError
from vae_batch.run.execute.on_ray.machines import (
    Machine,
    Pool,
    addable_machines,
    light_slots,
    size_pool,
)

G5 = Machine(cpus=8, gpus=1, memory=20 << 30)
NO_WORK = Machine(cpus=0, gpus=0, memory=10 << 30)


def test_one_worker_a_gpu_with_a_core_to_itself() -> None:
    # 8 cores a GPU: 8 threads. The other 7 cores of a node are for light tasks of 2 GiB.
    pool = size_pool(None, [NO_WORK, G5, G5, G5])
    assert pool == Pool(3, threads=8, cpus=1, gpus=1, light_cpus=1, light_memory=2 << 30)
    assert light_slots(pool, [NO_WORK, G5]) == 7
    # Nothing there yet: one light task may start a node.
    assert light_slots(pool, [NO_WORK]) == 1
    # 4 GPUs share 4 cores: no core can be claimed beside each.
    small = Machine(cpus=4, gpus=4, memory=1 << 30)
    assert size_pool(8, [small]) == Pool(8, 1, cpus=0, gpus=1, light_memory=1 << 30)


def test_cpu_workers_leave_a_core_of_each_node_to_light_tasks() -> None:
    nodes = [Machine(16, 0), Machine(8, 0)]
    # One a node, of the smaller's size: 8 threads, 7 claimed.
    assert size_pool(None, nodes) == Pool(2, threads=8, cpus=7, gpus=0)
    # Four on two nodes: two each, so 4 threads and (8 - 1) // 2 claimed.
    assert size_pool(4, nodes) == Pool(4, threads=4, cpus=3, gpus=0)
    # A single core is halved.
    assert size_pool(None, [Machine(1, 0)]) == Pool(1, 1, cpus=0.5, gpus=0, light_cpus=0.5)
    # More workers than cores: (2 - 1) / 3 each, in Ray's unit of 1/10000.
    assert size_pool(3, [Machine(2, 0)]) == Pool(3, 1, cpus=0.3333, gpus=0)


def test_neither_cpus_nor_gpus() -> None:
    with pytest.raises(InputError, match="min_workers: 1, on Kubernetes minReplicas: 1"):
        size_pool(None, [NO_WORK])


def test_what_a_configuration_allows() -> None:
    types = {
        "head": {"resources": {"CPU": 0}, "max_workers": 0},
        "cheap": {"resources": {"CPU": 4, "memory": 100}, "max_workers": 2},
        "gpu": {"resources": {"CPU": 8, "GPU": 1}, "max_workers": 9},
        "unknown": {"resources": {}, "max_workers": 5},
    }
    whole = {"max_workers": 5, "head_node_type": "head", "available_node_types": types}
    # GPUs first, 5 nodes in all.
    assert addable_machines(whole) == [Machine(8, 1)] * 5
    assert addable_machines(whole | {"max_workers": 0}) == []
    without = {name: types[name] for name in ("head", "cheap")}
    assert addable_machines(whole | {"available_node_types": without}) == [Machine(4, 0, 100)] * 2
    assert addable_machines(None) == []


@pytest.mark.slow
@pytest.mark.long
def test_gpu_workers_are_added_from_none_and_taken_away(
    toy_settings: dict[str, Any], tmp_path: Path
) -> None:
    del toy_settings["workers"]
    spec = tmp_path / "spec.json"
    spec.write_text(json.dumps(toy_settings))
    with autoscaled_head({"CPU": 2, "GPU": 1}, at_most=2) as environment:
        found = run_and_see(spec, environment | {"VAE_BATCH_TEST_IDLE": "90"})
    assert found["rows"] == ["scored"] * 3
    assert found["description"] == "Ray, up to 2 worker(s) with 1 GPU(s)"
    # None at first, one for each worker while there were shards, none again when all was idle.
    assert found["gpus"] == [0, 2, 0]
    assert {device["CUDA_VISIBLE_DEVICES"] for _, device in found["devices"]} == {"0"}
