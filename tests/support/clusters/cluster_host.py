"""A cluster of several nodes in a process of its own: ``ray.cluster_utils`` on command.

A line of JSON in (``{"add": "a", "num_cpus": 2}`` or ``{"remove": "a"}``), a line out: the
cluster's address. The first node is the head. Every node has a working directory and a home of its
own below the folder given as argument, so that nothing is found there by a relative path. A node
is removed as machines are that lose their power.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from ray.cluster_utils import Cluster

from vae_batch.run.execute.on_ray.cluster import nodes_have_time

#: Seconds in which a node has to register, with its agents; Ray's own limits are 30 s, which a busy
#: machine may not keep.
PATIENCE = 600.0


def main(root: Path) -> None:
    cluster = Cluster(shutdown_at_exit=True)
    nodes: dict[str, Any] = {}
    for line in sys.stdin:
        command = json.loads(line)
        if "remove" in command:
            cluster.remove_node(nodes.pop(command["remove"]), allow_graceful=False)
        else:
            name = command.pop("add")
            nodes[name] = add(cluster, root / name, command)
        print(cluster.address, flush=True)


def add(cluster: Cluster, folder: Path, options: dict[str, Any]) -> Any:
    folder.mkdir()
    os.chdir(folder)
    os.environ["HOME"] = str(folder)
    with nodes_have_time(PATIENCE):
        own = {"include_dashboard": False, "temp_dir": str(folder)}
        node = cluster.add_node(wait=False, **own, **options)
    cluster._wait_for_node(node, timeout=PATIENCE)
    return node


if __name__ == "__main__":
    main(Path(sys.argv[1]))
