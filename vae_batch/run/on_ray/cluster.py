"""The cluster: joined or started, its devices, and what one worker of it holds."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from vae_batch.plan import InputError
from vae_batch.run.worker_environment import thread_environment


@dataclass(frozen=True)
class Pool:
    """Size of the actor pool and what each actor holds."""

    smallest: int
    largest: int
    cpus: int
    gpus: int


def connect(address: str | None) -> None:
    """An address wins, then the cluster this job was submitted to, then a local one.

    Never ``address=None``: it may attach to a stray cluster on the machine.
    """
    # Token authentication is Ray's default for local clusters; nothing a user must be told.
    logging.getLogger("ray._private.authentication").setLevel(logging.ERROR)
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # of this driver; faults come as rows
    quiet = {"log_to_driver": False, "logging_level": logging.WARNING}
    if address is None and not os.environ.get("RAY_ADDRESS"):
        environment = {"env_vars": thread_environment(threads=1)}
        ray.init(address="local", include_dashboard=False, runtime_env=environment, **quiet)
        return
    try:
        ray.init(address=address or "auto", **quiet)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise InputError(
            f"no Ray cluster answers at {address or os.environ['RAY_ADDRESS']}: {error}; check "
            "--address (or RAY_ADDRESS), or leave it out to start a local one"
        ) from error


def size_pool(workers: int | None) -> Pool:
    """GPU workers where the cluster has GPUs, else CPU workers that share each node's cores."""
    gpus = int(ray.cluster_resources().get("GPU", 0))
    if gpus:
        largest = workers or gpus
        return Pool(min(1, largest), largest, 0, 1)
    cores = [int(n["Resources"].get("CPU", 0)) for n in ray.nodes() if n["Alive"]]
    nodes = [count for count in cores if count > 0]
    if not nodes:
        raise InputError("the Ray cluster has neither CPUs nor GPUs free for workers")
    count = workers or len(nodes)
    a_node = -(-count // len(nodes))
    return Pool(count, count, max(1, min(nodes) // a_node), 0)


def worker_environment(pool: Pool) -> dict[str, str]:
    """Environment variables of a pool's workers; those without a GPU see none."""
    environment = thread_environment(threads=pool.cpus)
    if not pool.gpus:
        environment["CUDA_VISIBLE_DEVICES"] = ""
    return environment


def device_claims(pool: Pool) -> Iterator[tuple[str, dict[str, Any]]]:
    """Node in words and actor options, for each device that a worker of the pool may get."""
    for node in (node for node in ray.nodes() if node["Alive"]):
        resources = node["Resources"]
        cores = int(resources.get("CPU", 0))
        count = int(resources.get("GPU", 0)) if pool.gpus else min(1, cores)
        pinned = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        claim = {
            "num_cpus": min(pool.cpus, cores),
            "num_gpus": pool.gpus,
            "scheduling_strategy": pinned,
        }
        for _ in range(count):
            yield f"node {node['NodeManagerHostname']} ({node['NodeManagerAddress']})", claim
