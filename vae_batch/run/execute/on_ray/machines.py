"""The cluster's machines: those that are there, and those its autoscaler may add."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

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


def present_machines() -> list[Machine]:
    """Nodes that are alive."""
    return [_machine(node["Resources"]) for node in alive_nodes()]


def expected_machines() -> list[Machine]:
    """Nodes once the autoscaler has added all it may; those that are alive where there is none."""
    addable = addable_machines(_configuration())
    if not addable:
        return present_machines()
    return [_machine(node["Resources"]) for node in alive_nodes() if _is_head(node)] + addable


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


def alive_nodes() -> list[dict[str, Any]]:
    """Ray's own description of each node that is alive."""
    return [node for node in ray.nodes() if node["Alive"]]


def place_of(node: Mapping[str, Any]) -> str:
    """A node in words."""
    return f"node {node['NodeManagerHostname']} ({node['NodeManagerAddress']})"


def _machine(resources: Mapping[str, float]) -> Machine:
    cpus, gpus, memory = (int(resources.get(name, 0)) for name in ("CPU", "GPU", "memory"))
    return Machine(cpus, gpus, memory)


def _is_head(node: Mapping[str, Any]) -> bool:
    return _HEAD in node["Resources"]


def _configuration() -> dict[str, Any] | None:
    """The configuration that ``ray up`` left on the head; None where there is none."""
    head = next((node["NodeID"] for node in alive_nodes() if _is_head(node)), None)
    if head is None:
        return None
    if head == ray.get_runtime_context().get_node_id():
        text = _read_configuration()
    else:
        pinned = NodeAffinitySchedulingStrategy(head, soft=False)
        text = ray.get(_configuration_there.options(scheduling_strategy=pinned).remote())
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
