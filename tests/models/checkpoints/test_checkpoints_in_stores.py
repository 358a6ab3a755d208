"""Checkpoints behind URIs: a file, a pair and a SavedModel's folder score as local ones do."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from models.formats.same_vae import SavedVae
from models.formats.saved_kinds import saved_kinds
from support.runs.serial_runs import rows_of, score, settings_of
from support.stores.faulty_s3 import local_s3, make_bucket, s3_uri

#: Kinds, and the name of each in a store.
STORED = {"keras_single": "vae.keras", "h5_pair": "pair", "saved_model": "graph"}


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from support.models.toy_models import save_classifier

    path = tmp_path_factory.mktemp("stores") / "extractor.keras"
    save_classifier(path)
    return path


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    """The address of a bucket of a real S3 API, with NAME in the place of a path."""
    pytest.importorskip("moto.server", reason="moto is missing: install '.[s3]'")
    with local_s3() as server:
        filesystem = make_bucket(server, "models")
        for kind, name in STORED.items():
            upload(filesystem, saved_kinds()[kind], f"models/{name}")
        yield s3_uri(server.removeprefix("http://"), "models/NAME")


def upload(filesystem: object, saved: SavedVae, target: str) -> None:
    source = Path(saved.path)
    files = [path for path in source.rglob("*") if path.is_file()] or [source]
    for path in files:
        inner = path.relative_to(source).as_posix()
        stream = filesystem.open_output_stream(f"{target}/{inner}".removesuffix("/."))  # type: ignore[attr-defined]
        with stream:
            stream.write(path.read_bytes())


def check(uris: list[str], classifier: Path, out: Path) -> None:
    rows = rows_of(score(settings_of(uris, classifier, out)))
    local = saved_kinds()["keras_pair"].path
    (expected,) = rows_of(score(settings_of([local], classifier, out / "local"))).values()
    assert len(rows) == len(uris)
    for row in rows.values():
        assert (row["status"], row["reason"]) == ("scored", None)
        np.testing.assert_allclose(row["elbo"], expected["elbo"], rtol=1e-6)
        np.testing.assert_allclose(row["fid"], expected["fid"], rtol=1e-6)


def test_file_uris(classifier: Path, tmp_path: Path) -> None:
    check([Path(saved_kinds()[k].path).as_uri() for k in STORED], classifier, tmp_path / "out")


def test_an_object_store(bucket: str, classifier: Path, tmp_path: Path) -> None:
    uris = [bucket.replace("NAME", name) for name in STORED.values()]
    check(uris, classifier, tmp_path / "out")


def test_a_whole_bucket(bucket: str, classifier: Path, tmp_path: Path) -> None:
    """Found by listing it; labels have no query."""
    uri = bucket.replace("NAME", "").replace("//models/", "//models")
    rows = rows_of(score(settings_of([uri], classifier, tmp_path / "out")))
    assert set(rows) == {f"s3://models/{name}" for name in STORED.values()}
    assert {row["status"] for row in rows.values()} == {"scored"}
