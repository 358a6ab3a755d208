"""Shared fixtures: toy checkpoints and a classifier that are real Keras files, and one Ray."""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis.configuration import set_hypothesis_home_dir

from vae_batch.run.execute.worker_environment import thread_environment

os.environ.update(thread_environment(threads=0) | {"CUDA_VISIBLE_DEVICES": ""})
os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
os.environ |= {
    "RAY_BACKEND_LOG_LEVEL": "fatal",
    "RAY_agent_register_timeout_ms": "180000",  # or a node of a busy machine ends itself
    "RAY_prestart_worker_first_driver": "0",  # a process a core, of which tests use a few
}
os.environ.pop("RAY_ADDRESS", None)

#: Gone at the end; short, for AF_UNIX paths below it.
_FOLDER = tempfile.TemporaryDirectory(prefix="vt", ignore_cleanup_errors=True)
os.environ["RAY_TMPDIR"] = _FOLDER.name
Path(_FOLDER.name, "ray").mkdir()  # where a node writes its address, and does not make it
set_hypothesis_home_dir(f"{_FOLDER.name}/hypothesis")  # not the working tree


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests on Ray first: they take longest, and other processes have all others meanwhile."""
    items.sort(key=lambda item: "ray_cluster" not in getattr(item, "fixturenames", ()))


@pytest.fixture(autouse=True, scope="session")
def _quick_runs() -> Iterator[None]:
    """Runs in this process load a network once, and do not wait for the disk."""
    from support.models.loaded_once import load_once

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("os.fsync", lambda _: None)
        load_once(patch)
        yield


@pytest.fixture
def no_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw no figures and no page after a run, for tests that do not look at them."""
    monkeypatch.setattr("vae_batch.report.bundle.write_report", lambda _: [])


@pytest.fixture
def no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Write the page without the figure bundle, which takes most of a report's time."""
    monkeypatch.setattr("vae_batch.report.bundle.replace_figures", lambda *_: {})


@pytest.fixture(scope="session")
def toy_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three checkpoints (two pairs, one single file) and a classifier for 8x8 digits."""
    from support.models.toy_models import save_classifier, save_pair, save_single

    folder = tmp_path_factory.mktemp("toys")
    save_pair(folder / "runs/step-0001", seed=1)
    save_pair(folder / "runs/step-0002", seed=2)
    save_single(folder / "runs/step-0003.keras", seed=3)
    save_classifier(folder / "classifier.keras")
    return folder


@pytest.fixture
def toy_settings(toy_folder: Path, tmp_path: Path) -> dict[str, Any]:
    """Settings of a small run over the toy checkpoints; several shards a unit."""
    from support.runs.serial_runs import settings_of

    runs, classifier = [str(toy_folder / "runs")], toy_folder / "classifier.keras"
    # Of 64 IWAE draws, the default, comes most of a toy run's time.
    settings = settings_of(runs, classifier, tmp_path / "out", iwae_draws=8)
    del settings["metrics"]  # the default ones
    return settings


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[None]:
    """One local Ray for the whole session, with explicit settings."""
    import ray

    folder = tempfile.mkdtemp(prefix="vr", dir=tempfile.gettempdir())  # short: AF_UNIX paths
    tests = str(Path(__file__).parent)
    ray.init(
        address="local",
        num_cpus=4,
        num_gpus=0,
        include_dashboard=False,
        object_store_memory=128 << 20,
        _temp_dir=folder,
        log_to_driver=False,
        runtime_env={"env_vars": {"CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": tests}},
    )
    yield
    ray.shutdown()
    shutil.rmtree(folder, ignore_errors=True)
