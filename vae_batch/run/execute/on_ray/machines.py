"""The cluster's machines, present or to be added, and the pool of workers that they hold."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from vae_batch.plan import InputError
from vae_batch.run.execute.on_ray.cluster import require_alive, result_of
from vae_batch.run.execute.worker_environment import NO_GPU, thread_environment

#: ``ray up`` leaves the cluster's configuration there, on the head. Nothing else tells a job how
#: far its cluster may grow: Ray's own call for that, ``get_cluster_config``, is filled by managed
#: platforms only.
_CONFIGURATION = "~/ray_bootstrap_config.yaml"

_HEAD = "node:__internal_head__"


@dataclass(frozen=True)
class Machine:
    """What one node offers.

    Attributes:
        cpus: Cores that Ray may assign; 0 on a head node that only drives.
        gpus: Number of GPUs.
        memory: Bytes that tasks may reserve; 0 where unknown.
    """

    cpus: int
    gpus: int
    memory: int = 0


@dataclass(frozen=True)
class Node:
    """A node of the cluster.

    Attributes:
        id: Ray's.
        place: In words.
        machine: What it offers.
        is_head: Whether it is the head.
    """

    id: str
    place: str
    machine: Machine
    is_head: bool


def alive_nodes() -> list[Node]:
    """Every node that is alive.

    Raises:
        ClusterLostError: The cluster does not answer.
    """
    require_alive(now=True)
    return [
        Node(
            node["NodeID"],
            f"node {node['NodeManagerHostname']} ({node['NodeManagerAddress']})",
            _machine(node["Resources"]),
            _HEAD in node["Resources"],
        )
        for node in ray.nodes()
        if node["Alive"]
    ]


def present_machines() -> list[Machine]:
    """Machines of the nodes that are alive."""
    return [node.machine for node in alive_nodes()]


def expected_machines() -> list[Machine]:
    """Nodes once the autoscaler has added all it may; those that are alive where there is none."""
    addable = addable_machines(_configuration())
    if not addable:
        return present_machines()
    return [node.machine for node in alive_nodes() if node.is_head] + addable


def addable_machines(configuration: Mapping[str, Any] | None) -> list[Machine]:
    """Worker nodes that a cluster configuration allows at most, those with most GPUs first.

    Args:
        configuration: As ``ray up`` completes it; node types whose resources it does not say are
            left out.
    """
    if not configuration:
        return []
    largest = int(configuration.get("max_workers", 0))
    found: list[Machine] = []
    for name, node_type in configuration.get("available_node_types", {}).items():
        resources = node_type.get("resources") or {}
        if name != configuration.get("head_node_type") and resources:
            count = min(int(node_type.get("max_workers", largest)), largest)
            found += [_machine(resources)] * count
    return sorted(found, key=lambda machine: (-machine.gpus, -machine.cpus))[:largest]


def _machine(resources: Mapping[str, float]) -> Machine:
    cpus, gpus, memory = (int(resources.get(name, 0)) for name in ("CPU", "GPU", "memory"))
    return Machine(cpus, gpus, memory)


def _configuration() -> dict[str, Any] | None:
    """The configuration that ``ray up`` left on the head; None where there is none."""
    head = next((node.id for node in alive_nodes() if node.is_head), None)
    if head is None:
        return None
    if head == ray.get_runtime_context().get_node_id():
        text = _read_configuration()
    else:
        pinned = NodeAffinitySchedulingStrategy(head, soft=False)
        text = result_of(_configuration_there.options(scheduling_strategy=pinned).remote())
    return _parsed(text) if text else None


def _parsed(text: str) -> dict[str, Any] | None:
    import yaml

    parsed = yaml.safe_load(text)
    return parsed if isinstance(parsed, dict) else None


def _read_configuration() -> str:
    path = Path(_CONFIGURATION).expanduser()
    return path.read_text(encoding="utf-8") if path.is_file() else ""


@ray.remote(num_cpus=0)
def _configuration_there() -> str:
    return _read_configuration()


#: Bytes that a background task reserves: a row of 10,000 x 2,048 activations peaks at 1 GiB.
_LIGHT_MEMORY = 2 << 30


@dataclass(frozen=True)
class Pool:
    """Claims of workers and of background tasks.

    Attributes:
        size: Number of workers, those that the cluster may grow to among them.
        threads: Threads of each worker.
        cpus: Cores that each worker claims. Beside CPU workers every node keeps one for a light
            task; beside GPU workers all but one a worker.
        gpus: GPUs that each worker holds: one TensorFlow, one GPU.
        light_cpus: Cores that a light task claims.
        light_memory: Bytes that it claims; 0 where a node's memory is not known.
    """

    size: int
    threads: int
    cpus: float
    gpus: int
    light_cpus: float = 1
    light_memory: int = 0


def size_pool(workers: int | None, machines: Sequence[Machine]) -> Pool:
    """GPU workers where there are or may be GPUs, else CPU workers that share each node's cores.

    Args:
        workers: How many were asked for; None for one per GPU, or one per node.
        machines: That the cluster has or may grow to.

    Raises:
        InputError: They offer neither CPUs nor GPUs.
    """
    if any(machine.gpus for machine in machines):
        return _gpu_pool(workers, machines)
    if any(machine.cpus for machine in machines):
        return _cpu_pool(workers, machines)
    raise InputError(
        "the Ray cluster offers neither CPUs nor GPUs, and no configuration on its head "
        "(~/ray_bootstrap_config.yaml, which ray up writes) says what its autoscaler may add; "
        "keep one worker node up, so that its kind can be seen (min_workers: 1, on Kubernetes "
        "minReplicas: 1), and give --workers for more than are up"
    )


def _gpu_pool(workers: int | None, machines: Sequence[Machine]) -> Pool:
    having = [machine for machine in machines if machine.gpus]
    return Pool(
        size=workers or sum(machine.gpus for machine in having),
        threads=max(1, min(machine.cpus // machine.gpus for machine in having)),
        cpus=1 if all(machine.cpus > machine.gpus for machine in having) else 0,
        gpus=1,
        light_memory=_light_memory(machines),
    )


def _cpu_pool(workers: int | None, machines: Sequence[Machine]) -> Pool:
    cores = [machine.cpus for machine in machines if machine.cpus]
    count = workers or len(cores)
    a_node = -(-count // len(cores))
    light = 1 if min(cores) > 1 else 0.5
    claim = (min(cores) - light) / a_node
    return Pool(
        size=count,
        threads=max(1, min(cores) // a_node),
        cpus=math.floor(claim) if claim >= 1 else math.floor(claim * 1e4) / 1e4,
        gpus=0,
        light_cpus=light,
        light_memory=_light_memory(machines),
    )


def _light_memory(machines: Sequence[Machine]) -> int:
    """What fits on every node that light tasks may run on."""
    return min([_LIGHT_MEMORY, *(machine.memory for machine in machines if machine.cpus)])


def worker_environment(pool: Pool) -> dict[str, str]:
    """Environment variables of a pool's workers; those without a GPU see none."""
    return thread_environment(pool.threads) | ({} if pool.gpus else NO_GPU)


def light_environment() -> dict[str, str]:
    """Environment variables of light tasks: one thread, and no GPU where there are some."""
    return thread_environment(threads=1) | NO_GPU


def light_slots(pool: Pool, machines: Sequence[Machine]) -> int:
    """Light tasks that nodes have room for beside GPU workers.

    More of them would make the autoscaler add nodes; one must be under way even where there is no
    node, so that there will be.

    Args:
        pool: Its workers.
        machines: That are there.
    """
    free = sum(machine.cpus - machine.gpus * pool.cpus * pool.gpus for machine in machines)
    return max(1, int(free / pool.light_cpus))


def device_claims(pool: Pool) -> Iterator[tuple[str, dict[str, Any]]]:
    """Node in words and actor options, for each device that a worker of the pool may get.

    Where no node has any yet, one that the autoscaler is then to add.
    """
    found = False
    for node in alive_nodes():
        cores = node.machine.cpus
        claim = {
            "num_cpus": min(pool.cpus, cores),
            "num_gpus": pool.gpus,
            "scheduling_strategy": NodeAffinitySchedulingStrategy(node.id, soft=False),
        }
        for _ in range(node.machine.gpus if pool.gpus else min(1, cores)):
            found = True
            yield node.place, claim
    if not found:
        yield "an added node", {"num_cpus": pool.cpus, "num_gpus": pool.gpus}
