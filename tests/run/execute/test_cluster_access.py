"""Who may enter which cluster, and what is said to who may not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.clusters.ray_head import free_ports
from support.clusters.ray_nodes import ROOT, ray_nodes

from vae_batch.plan import ClusterLostError
from vae_batch.run.execute.on_ray import cluster
from vae_batch.run.execute.on_ray.visibility import _differing

LOCAL = """
from vae_batch.evaluation import make_executor
from vae_batch.plan import make_spec
with make_executor(make_spec({"checkpoints": ["none"], "reference": "digits"})) as executor:
    from ray._private.authentication.authentication_utils import is_token_auth_enabled
    print(is_token_auth_enabled(), executor.submit(divmod, 7, 2).result())
    from vae_batch.doctor.findings import listening_finding
    print(listening_finding().verdict)
"""

JOIN = """
import sys
from vae_batch.plan import InputError
from vae_batch.run.execute.on_ray.cluster import connect
try:
    connect(sys.argv[1])
except InputError as error:
    print(error)
"""


def says(code: str, home: Path, *arguments: str, **variables: str) -> str:
    """What a new process prints that has no settings of Ray but these."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env={**kept, "PYTHONPATH": str(ROOT), "HOME": str(home), **variables},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_a_local_cluster_asks_for_a_token_and_listens_on_loopback_alone(tmp_path: Path) -> None:
    assert says(LOCAL, tmp_path) == "True (3, 1)\nok\n"
    token = tmp_path / ".ray/auth_token"
    assert token.stat().st_mode & 0o777 == 0o600
    open_to_all = {"RAY_AUTH_MODE": "disabled", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "1"}
    assert says(LOCAL, tmp_path, **open_to_all) == "False (3, 1)\nwarning\n"


@pytest.mark.slow
@pytest.mark.long
def test_a_cluster_that_asks_for_a_token_is_told_from_none(tmp_path: Path) -> None:
    with ray_nodes() as nodes:
        nodes.add("head", num_cpus=0)
        refused = f"the Ray cluster at {nodes.address} does not let this process in"
        said = says(JOIN, tmp_path, nodes.address)
        assert said.startswith(f"{refused}; it asks for a token, so: export RAY_AUTH_MODE=token")
        said = says(JOIN, tmp_path, nodes.address, RAY_AUTH_MODE="token")
        assert said.startswith(f"{refused}: the token is missing here, or is another cluster's")
        wrong = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "f" * 64}
        said = says(JOIN, tmp_path, nodes.address, **wrong)
        assert said.startswith(f"{refused}: the token is missing here, or is another cluster's")
        assert "f" * 64 not in said
        right = {name: os.environ[name] for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN")}
        assert says(JOIN, tmp_path, nodes.address, **right) == ""


def test_a_node_has_more_time_than_ray_gives_it(monkeypatch: pytest.MonkeyPatch) -> None:
    from ray._private import node

    ours = node.time
    monkeypatch.setattr(cluster.time, "monotonic", lambda: 60.0)
    with cluster.nodes_have_time(seconds=180.0):
        assert node.time.monotonic() == 10.0
        assert node.time.sleep is ours.sleep
    assert node.time is ours


def test_a_local_cluster_that_does_not_start_is_no_bug(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(**_: object) -> None:
        raise Exception("The current node timed out during startup.")

    monkeypatch.setattr(cluster, "_joined", True)
    monkeypatch.setattr(cluster.ray, "init", fail)
    monkeypatch.setattr(cluster.ray, "shutdown", lambda: None)  # of the session's cluster
    with pytest.raises(ClusterLostError, match="no local Ray cluster could be started: The curr"):
        cluster.connect(None)


def test_other_versions_are_named() -> None:
    here = {"vae_batch": "0.2", "keras": "3.12.0", "numpy": "2.4.6"}
    assert not _differing(here.items(), here | {"torch": "2.9"})
    there = {"vae_batch": "0.1", "keras": "3.12.0"}
    assert _differing(here.items(), there) == (
        "vae_batch 0.1 there and 0.2 on the driver's node, numpy is missing there and 2.4.6 on the "
        "driver's node; install the same versions on every node"
    )


def test_a_cluster_that_is_not_there_is_missed_at_once(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    said = says(JOIN, tmp_path, f"127.0.0.1:{port}")
    assert said.startswith(f"no Ray cluster answers at 127.0.0.1:{port}: nothing listens")
