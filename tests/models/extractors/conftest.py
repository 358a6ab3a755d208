"""One set of random weights in every published layout, and a registry that tests may change."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path

import pytest
from support.models.published_layouts import (
    GOLDEN_SEED_2015,
    GOLDEN_SEED_KERAS,
    Publish,
    RawInception,
    raw_inception,
    state_dict_arrays,
    write_graphdef,
    write_keras_h5,
    write_legacy_state_dict,
)

from vae_batch.models.extractors.weights import listing as weight_files
from vae_batch.models.extractors.weights import published as weight_registry
from vae_batch.models.extractors.weights import search as weight_search
from vae_batch.models.extractors.weights.published import PUBLISHED, PublishedWeights


@pytest.fixture(scope="session")
def raw_2015() -> RawInception:
    return raw_inception(GOLDEN_SEED_2015, 1008)


@pytest.fixture(scope="session")
def raw_keras() -> RawInception:
    return raw_inception(GOLDEN_SEED_KERAS, 1000)


@pytest.fixture(scope="session")
def weights_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("weights")


@pytest.fixture(scope="session")
def state_dict_file(weights_folder: Path, raw_2015: RawInception) -> Path:
    return write_legacy_state_dict(weights_folder / "random.pth", state_dict_arrays(raw_2015))


@pytest.fixture(scope="session")
def graphdef_file(weights_folder: Path, raw_2015: RawInception) -> Path:
    return write_graphdef(weights_folder / "random.pb", raw_2015)


@pytest.fixture(scope="session")
def keras_file(weights_folder: Path, raw_keras: RawInception) -> Path:
    return write_keras_h5(weights_folder / "random.h5", raw_keras)


@pytest.fixture
def empty_caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No weights anywhere on this machine, and a folder for VAE_BATCH_WEIGHTS."""
    folder = tmp_path / "own"
    folder.mkdir()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setenv("VAE_BATCH_WEIGHTS", str(folder))
    return folder


@pytest.fixture
def publish(monkeypatch: pytest.MonkeyPatch) -> Publish:
    """Declare the content of a file to be what is published under a known name."""

    def replace(name: str, content: bytes, **changes: object) -> PublishedWeights:
        old = weight_registry.published_by_name(name)
        assert old is not None
        entry = dataclasses.replace(
            old,
            bytes=len(content),
            sha256=hashlib.sha256(content).hexdigest(),
            md5=hashlib.md5(content, usedforsecurity=False).hexdigest(),
            **changes,
        )
        table = tuple(entry if e.name == name else e for e in weight_registry.PUBLISHED)
        for module in (weight_registry, weight_search, weight_files):
            monkeypatch.setattr(module, "PUBLISHED", table)
        return entry

    assert weight_registry.PUBLISHED is PUBLISHED
    return replace
