"""Reference sets and extractor weights behind URIs are what they are on a disk."""

from __future__ import annotations

import gc
import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from support.stores.faulty_s3 import FaultyS3, local_s3, make_bucket, start

from vae_batch.models.checkpoints import find_checkpoints
from vae_batch.models.extractors.weights.search import find_weights, locate_identified
from vae_batch.models.references.reference import open_reference
from vae_batch.models.sample_sets import Samples, open_sample_set
from vae_batch.plan import CheckpointError, InputError, Reading

DRAWN = np.random.default_rng(2).integers(0, 256, (6, 5, 4, 3), np.uint8)
USER = "KEY:SECRET"

#: Sniffed as the 2015 GraphDef; no reader sees it here.
GRAPHDEF = b"\x0a\x08\x0a\x06weight" + bytes(16)


def png(image: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "png")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sets of the same six images in all forms, and some that are none."""
    root = tmp_path_factory.mktemp("sets")
    for number, image in enumerate(DRAWN):
        path = root / f"pictures/{number % 2}/{number:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(image))
    (root / "pictures/notes.txt").write_text("not an image")
    np.save(root / "set.npy", DRAWN)
    np.savez(root / "set.npz", x_train=DRAWN[:4], x_test=DRAWN[4:], y_test=np.array([1, 0]))
    encoded = [png(image) for image in DRAWN]
    pq.write_table(pa.table({"image": encoded, "label": [0, 1, 2, 0, 1, 2]}), root / "set.parquet")
    (root / "bad.npz").write_bytes(b"PK\x03\x04 no archive")
    (root / "bad.parquet").write_bytes(pq_with_bad_image())
    (root / "model.pb").write_bytes(GRAPHDEF)
    (root / "page.html").write_text("<!DOCTYPE html><html>Not found</html>")
    return root


def pq_with_bad_image() -> bytes:
    buffer = pa.BufferOutputStream()
    content = png(DRAWN[0])
    pq.write_table(pa.table({"image": [content, content[:-30]]}), buffer)
    return bytes(buffer.getvalue())


@pytest.fixture(scope="module")
def bucket(folder: Path) -> Iterator[FaultyS3]:
    pytest.importorskip("moto.server", reason="moto is missing: pip install '.[s3]'")
    with local_s3() as server:
        filesystem = make_bucket(server, "sets")
        for path in folder.rglob("*"):
            if path.is_file():
                target = f"sets/below/{path.relative_to(folder).as_posix()}"
                with filesystem.open_output_stream(target) as stream:
                    stream.write(path.read_bytes())
        proxy = start(server)
        yield proxy
        proxy.stop()


def s3(bucket: FaultyS3, name: str) -> str:
    return bucket.uri(f"sets/below/{name}", USER)


@pytest.mark.parametrize("name", ["pictures", "set.npy", "set.npz", "set.parquet"])
@pytest.mark.parametrize("split", ["test", "all"])
def test_a_set_in_a_store_is_the_set_on_a_disk(
    bucket: FaultyS3, folder: Path, name: str, split: str
) -> None:
    local = open_reference(str(folder / name), split)
    for uri, shown in (
        (s3(bucket, name), f"s3://sets/below/{name}"),
        ((folder / name).as_uri(), (folder / name).as_uri()),
    ):
        remote = open_reference(uri, split)
        assert remote.name == shown
        assert (remote.split, remote.shape, remote.classes) == (
            local.split, local.shape, local.classes
        )  # fmt: skip
        np.testing.assert_array_equal(remote.read(0, len(remote)), local.read(0, len(local)))
        assert len(remote) == len(local)
        if local.labels is not None:
            np.testing.assert_array_equal(remote.labels, local.labels)


@pytest.mark.parametrize("name", ["pictures", "set.npy", "set.parquet"])
def test_generated_images_in_a_store_are_those_on_a_disk(
    bucket: FaultyS3, folder: Path, name: str
) -> None:
    places = (s3(bucket, name), (folder / name).as_uri(), str(folder / name))
    pixels = []
    for found in (checkpoint for place in places for checkpoint in find_checkpoints([place])):
        assert found.samples == Samples("images", 6)
        assert "SECRET" not in found.label
        path = dict(found.files)["samples"]
        opened = open_sample_set(path, Reading(), None, 6, "first", 4, found.sha256)
        pixels.append(opened.pictures(np.arange(6)))
        with pytest.raises(CheckpointError, match="has changed since this run began") as refused:
            open_sample_set(path, Reading(), None, 6, "first", 4, "another")
        assert found.label in str(refused.value)
    assert len(pixels) == len(places)
    for other in pixels[1:]:
        np.testing.assert_array_equal(other, pixels[0])


def test_a_copy_goes_with_its_set(bucket: FaultyS3, monkeypatch: pytest.MonkeyPatch,
                                  tmp_path: Path) -> None:  # fmt: skip
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    images = open_reference(s3(bucket, "pictures"), "all")
    brought = [path.name for path in tmp_path.rglob("*") if path.is_file()]
    assert sorted(brought) == [f"{number:02d}.png" for number in range(6)]  # and no notes.txt
    images.read(0, 6)
    del images
    gc.collect()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("fault", ["500", "reset", "truncated", "short", "missing"])
def test_faults_change_no_pixel(bucket: FaultyS3, fault: str) -> None:
    for name in ("set.npy", "pictures"):
        bucket.spoil(fault, 1, ("GET",))
        images = open_reference(s3(bucket, name), "all")
        assert bucket.counts[fault] == 1
        found = images.read(0, 6)
        order = [0, 2, 4, 1, 3, 5] if name == "pictures" else range(6)  # by folder, then name
        np.testing.assert_array_equal(found, DRAWN[list(order)])


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("none.npz", "does not exist; expected a folder or .zip of"),
        ("bad.npz", "cannot be read as a NumPy file"),
        ("model.pb", "a .pb file is not a set"),
        ("set.npz", "7 reference images were asked for"),
    ],
)
def test_errors_name_the_uri_alone(bucket: FaultyS3, name: str, said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        open_reference(s3(bucket, name), "all", limit=7)
    message = str(caught.value)
    assert f"s3://sets/below/{name}" in message
    assert "SECRET" not in message
    assert "vae-batch-" not in message  # the copy's folder


def test_a_bad_image_is_named_by_its_uri(bucket: FaultyS3) -> None:
    images = open_reference(s3(bucket, "bad.parquet"), "all")
    with pytest.raises(InputError, match=r"image s3://sets/below/bad.parquet row 1 is truncated"):
        images.read(0, 2)


def test_a_refused_set_is_told(bucket: FaultyS3) -> None:
    bucket.spoil("403", 9)
    with pytest.raises(InputError, match=r"reference .s3://sets/below/set.npy. cannot be read: .*"):
        open_reference(s3(bucket, "set.npy"))
    bucket.spoil("", 0)


def test_weights_in_a_store(
    bucket: FaultyS3, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    uri = s3(bucket, "model.pb")
    local = find_weights("inception-2015", [str(folder / "model.pb")], allow_unverified=True)
    found = find_weights("inception-2015", [uri], allow_unverified=True)
    assert (found.sha256, found.format, found.source) == (local.sha256, "graphdef", uri)
    assert found.shown.startswith("s3://sets/below/model.pb")
    asked = bucket.requests
    assert locate_identified("inception-2015", uri, found.sha256).path == found.path
    assert bucket.requests == asked  # the machine has it
    found.path.unlink()
    again = locate_identified("inception-2015", uri, found.sha256)
    assert again.path.read_bytes() == GRAPHDEF
    with pytest.raises(InputError, match=r"s3://sets/below/model.pb\S* has changed: expected") as e:
        locate_identified("inception-2015", uri, "0" * 64)
    assert "SECRET" not in str(e.value)


@pytest.mark.parametrize(
    ("name", "said"),
    [("none.pb", "there is no file at s3://sets/below/none.pb"), ("page.html", "is a web page")],
)
def test_weights_that_cannot_be_used(
    bucket: FaultyS3, name: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(InputError, match=said) as caught:
        find_weights("inception-2015", [s3(bucket, name)], allow_unverified=True)
    assert "SECRET" not in str(caught.value)
    assert str(tmp_path) not in str(caught.value)
