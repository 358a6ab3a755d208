"""What to install where a module is missing; imports the standard library alone."""

from __future__ import annotations

import sys

ON_A_CLUSTER = (
    "on a Ray cluster every node needs vae_batch and its dependencies: use an image built from "
    "jobs/docker/Dockerfile, or submit with --runtime-env FILE, where Ray's runtime environment "
    "installs them, or have `vae-batch submit --python PATH` start an interpreter that has them"
)


def pip_install(extra: str = "") -> str:
    """The command that installs this project, in its checkout: it is in no package registry."""
    return f"pip install '.[{extra}]'" if extra else "pip install ."


def missing(error: ModuleNotFoundError) -> str:
    """A sentence for a dependency that is not installed."""
    return (
        f"{error} in {sys.executable}: expected vae_batch to be installed with its dependencies "
        f"(`{pip_install()}` in its checkout); {ON_A_CLUSTER}"
    )
