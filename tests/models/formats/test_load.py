"""Loading a checkpoint's files: by content, under limits, every failure one sentence."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hostile_files
import numpy as np
import pytest
from support.models.toy_models import LATENT, make_decoder, make_encoder, save_pair

from vae_batch.models.formats import load as load_module
from vae_batch.models.formats import registry
from vae_batch.models.formats.format import LoadOptions, Networks
from vae_batch.models.formats.load import load_networks
from vae_batch.plan.errors import CheckpointError
from vae_batch.plan.reading import Reading

LATENTS = np.random.default_rng(0).normal(size=(5, LATENT)).astype(np.float32)


def terms(*, trust: bool = False, cap: int = 8 << 30) -> LoadOptions:
    return LoadOptions(Reading(), trust, cap)


def networks(files: dict[str, Any], given: LoadOptions | None = None) -> Networks:
    loaded = load_networks({role: str(path) for role, path in files.items()}, given or terms())
    assert isinstance(loaded, Networks)
    return loaded


def test_local_paths_and_uris(tmp_path: Path) -> None:
    save_pair(tmp_path, seed=1)
    uri = f"file://{tmp_path}/decoder.keras"
    found = networks({"encoder": tmp_path / "encoder.keras", "decoder": uri})
    assert found.format == "keras"
    assert found.encoder is not None
    assert found.decoder is not None
    assert found.decoder.source == uri
    np.testing.assert_allclose(found.decoder.run(LATENTS)[0], make_decoder(1)(LATENTS), atol=1e-6)


def test_a_copy_is_named_as_the_user_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files behind URIs are copied; no message and no note shows the copy's path."""
    save_pair(tmp_path, seed=1)
    hostile_files.huge_weight(tmp_path / "bad.keras")

    def fetch(path: str, folder: Path) -> Path:
        folder.mkdir(parents=True)
        copy = folder / "copy"
        copy.write_bytes((tmp_path / path.removeprefix("s3://bucket/")).read_bytes())
        return copy

    monkeypatch.setattr(load_module, "fetch", fetch)
    found = networks({"decoder": "s3://bucket/decoder.keras"})
    assert found.decoder is not None
    assert found.decoder.source == "s3://bucket/decoder.keras"
    with pytest.raises(CheckpointError, match=r"^s3://bucket/bad\.keras declares 111\.8 GiB"):
        networks({"decoder": "s3://bucket/bad.keras"})


def test_halves_of_two_formats(tmp_path: Path) -> None:
    make_encoder(1).save(tmp_path / "encoder.keras")
    model = make_decoder(1)
    model.save(tmp_path / "decoder.h5")
    found = networks({"encoder": tmp_path / "encoder.keras", "decoder": tmp_path / "decoder.h5"})
    assert found.format == "keras+hdf5"
    assert found.encoder is not None
    assert found.decoder is not None
    np.testing.assert_allclose(found.decoder.run(LATENTS)[0], model(LATENTS), atol=1e-6)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", r"d\.keras is an empty file of 0 bytes"),
        (b"<!DOCTYPE html><title>404</title>", r"d\.keras is a web page"),
        (
            b"version https://git-lfs.github.com/spec/v1\nsize 12\n",
            r"d\.keras is a Git LFS pointer",
        ),
        (b"\x80\x04K\x01.", r"d\.keras is a pickle"),
    ],
)
def test_what_no_format_reads_is_named(tmp_path: Path, content: bytes, sentence: str) -> None:
    (tmp_path / "d.keras").write_bytes(content)
    with pytest.raises(CheckpointError, match=sentence):
        networks({"decoder": tmp_path / "d.keras"})


@pytest.mark.parametrize("path", ["{}/absent.keras", "file://{}/absent.keras"])
def test_a_missing_file(tmp_path: Path, path: str) -> None:
    words = r"absent\.keras is missing on this worker \(node .+\); give"
    with pytest.raises(CheckpointError, match=words):
        networks({"decoder": path.format(tmp_path)})


def test_a_layer_of_149_gib(tmp_path: Path) -> None:
    """Nothing of it is made: only its shape is read."""
    hostile_files.huge_activation(tmp_path / "d.keras")
    with pytest.raises(CheckpointError, match=r"d\.keras: layer 'copies' makes 149 GiB of each"):
        networks({"decoder": tmp_path / "d.keras"})


@dataclass
class Plugged:
    """A format of another package."""

    outcome: Any
    name: str = "plugged"
    suffixes: tuple[str, ...] = (".plug",)

    def recognises(self, path: str, head: bytes) -> bool:
        return head.startswith(b"PLUG")

    def load(self, files: Any, given: LoadOptions) -> Any:
        return self.outcome()


def plug(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, outcome: Any) -> Path:
    monkeypatch.setattr(registry, "formats", lambda: (Plugged(outcome),))
    (tmp_path / "d.plug").write_bytes(b"PLUG and more")
    return tmp_path / "d.plug"


def test_what_a_format_raises_is_the_checkpoints_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise IndexError("tuple index out of range")

    path = plug(tmp_path, monkeypatch, fail)
    sentence = r"d\.plug cannot be loaded as plugged: IndexError: tuple index out of range"
    with pytest.raises(CheckpointError, match=sentence):
        networks({"decoder": path})


def test_what_a_file_declares_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise CheckpointError("it needs trust", {"trust": True})

    with pytest.raises(CheckpointError) as raised:
        networks({"decoder": plug(tmp_path, monkeypatch, fail)})
    assert raised.value.declare == {"trust": True}


def test_memory_that_slips_through_the_checks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An allocation that no declared size tells of meets the system's limit, and raises."""
    path = plug(tmp_path, monkeypatch, lambda: np.ones(64 << 30, np.uint8))
    with pytest.raises(
        CheckpointError, match=r"d\.plug takes more memory to load, over memory_cap"
    ):
        networks({"decoder": path}, terms(cap=1 << 30))


def test_arrays_are_given_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Arrays:
        latent_shape = (3,)

    found = load_networks({"decoder": str(plug(tmp_path, monkeypatch, Arrays))}, terms())
    assert isinstance(found, Arrays)
