"""The kind of a file, by its bytes, and the sentence for one that is no checkpoint."""

from __future__ import annotations

import io
import json
import pickle
import re
import struct
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vae_batch.models.inputs.file_kind import hdf5_size, kind_of, read_zip_contents
from vae_batch.models.inputs.files import read_head
from vae_batch.models.inputs.unreadable import why_unreadable

LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345678\n"


def zipped(*names: str, content: bytes = b"{}") -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name in names:
            archive.writestr(name, content)
    return stream.getvalue()


def hdf5(path: Path, **settings: Any) -> bytes:
    import h5py

    with h5py.File(path, "w", **settings) as file:
        file["weights"] = np.arange(1000.0)
    return path.read_bytes()


def numpy_file(save: Callable[..., None], *arrays: Any) -> bytes:
    stream = io.BytesIO()
    save(stream, *arrays)
    return stream.getvalue()


def tensorflow_index() -> bytes:
    """Ends as TensorFlow's tables do: 0xdb4775248b80fb57, little-endian."""
    return b"\0\0\1" + bytes(200) + struct.pack("<Q", 0xDB4775248B80FB57)


KERAS = zipped("metadata.json", "config.json", "model.weights.h5")


class Malicious:
    """Leaves a file behind when it is unpickled."""

    def __reduce__(self) -> Any:
        return Path.touch, (Path("unpickled"),)


@pytest.mark.parametrize(
    ("name", "content", "kind", "words"),
    [
        ("a.keras", KERAS, "keras", "config.json, but not one that Keras wrote"),
        ("a.keras", KERAS[:100], "truncated_zip", "its end is missing after 100 bytes"),
        ("a.keras", KERAS[:-30], "truncated_zip", "truncated or damaged; .*copy it again"),
        ("a.keras", zipped("x/a.txt"), "zip", r"without config.json, .*\(it holds x/a.txt\)"),
        ("a.zip", zipped("v/vae.keras"), "zip", r"around a model.*v/vae.keras\); unzip it"),
        ("a.zip", zipped("v/saved_model.pb"), "zip", "around a model"),
        ("a.zip", zipped(), "zip", "it holds nothing"),
        ("a.pt", zipped("archive/data.pkl", "archive/data/0"), "pickle", "PyTorch .*refused"),
        ("a.keras", pickle.dumps({}), "pickle", "is a pickle; .*runs code .*plug-in"),
        ("a.pkl", pickle.dumps({}, protocol=0), "pickle", "is a pickle"),
        ("a.npz", numpy_file(np.savez, [1.0], [2.0]), "npz", "NumPy archive"),
        ("a.keras", numpy_file(np.save, [1.0]), "npy", "NumPy array"),
        (
            "a.h5",
            LFS,
            "lfs_pointer",
            "not the file of 12,345,678 bytes .*git lfs pull",
        ),
        ("a.h5", b"/annex/objects/SHA256E-s1--ab.h5\n", "lfs_pointer", "git annex get"),
        ("a.h5", b"\xef\xbb\xbf\n <!DOCTYPE html><title>404</title>", "html", "web page"),
        ("a.h5", b"<?xml version='1.0'?><Error><Code>AccessDenied", "html", "web page"),
        ("a.h5", b"", "empty", "empty file of 0 bytes"),
        (
            "c.index",
            tensorflow_index(),
            "tf_checkpoint",
            "weights but no model, .*tf_keras.*model.save",
        ),
        ("c.keras", tensorflow_index(), "tf_checkpoint", "TensorFlow checkpoint"),
        ("c.data-00000-of-00001", b"\1\2\3", "tf_checkpoint", "TensorFlow checkpoint"),
        ("checkpoint", b'model_checkpoint_path: "ckpt-7"', "tf_checkpoint", "TensorFlow"),
        ("a.keras", struct.pack("<Q", 20) + b'{"w":{"dtype":"F32"}}', "safetensors", "safetensors"),
        ("a.keras", b'{"class_name": "Functional"}', "json", "architecture, without weights"),
        ("a.keras", b'{"error": "not found"}', "json", r"begins with '\{\"error\": \"not found\""),
        ("a.keras", b"Not found\nmore", "text", "is a text file, not a model .*'Not found'"),
        ("a.keras", "é".encode() * 3000, "text", "is a text file"),  # a letter is cut at 4096
        ("a.keras", ("x" + "é" * 3000).encode(), "text", "is a text file"),
        ("a.keras", bytes(5000), "unknown", "begins with 4,096 zero bytes"),
        ("a.keras", b"\x1f\x8b\x08\x00\xff\xff", "unknown", "bytes 1f 8b 08 00 ff ff"),
        ("a.keras", b"\x80", "unknown", "of no known format"),
    ],
    ids=lambda value: value if isinstance(value, str) else "content",  # archives hold their time
)
def test_kinds_and_sentences(
    tmp_path: Path, name: str, content: bytes, kind: str, words: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    head = read_head(str(path))
    assert len(head) <= 4096
    assert kind_of(str(path), head) == kind
    assert_sentence(why_unreadable(str(path), head), str(path), words)
    assert_sentence(why_unreadable(str(path), head, "s3://b/vae.keras"), "s3://b/vae.keras", words)


def assert_sentence(sentence: str, name: str, words: str) -> None:
    assert sentence.startswith(f"{name} "), sentence
    assert re.search(words, sentence), sentence
    assert not sentence.endswith("."), sentence


@pytest.mark.parametrize("settings", [{}, {"libver": "latest"}, {"userblock_size": 512}])
def test_hdf5_is_told_whole_from_truncated(tmp_path: Path, settings: dict[str, Any]) -> None:
    path = tmp_path / "vae.keras"
    content = hdf5(path, **settings)
    head = read_head(str(path))
    assert kind_of(str(path), head) == "hdf5"
    assert 8000 < hdf5_size(head) <= len(content)
    path.write_bytes(content[:3000])
    assert kind_of(str(path), head[:3000]) == "truncated_hdf5"
    sentence = why_unreadable(str(path), head[:3000])
    assert f"HDF5 file of {hdf5_size(head):,} bytes of which 3,000 are here" in sentence


def test_folders(tmp_path: Path) -> None:
    (tmp_path / "sm").mkdir()
    (tmp_path / "sm/saved_model.pb").write_bytes(b"x")
    assert kind_of(str(tmp_path / "sm"), b"") == "saved_model"
    assert kind_of(str(tmp_path), b"") == "folder"
    assert "without saved_model.pb, so it is not a SavedModel (it holds sm)" in why_unreadable(
        str(tmp_path), b""
    )
    assert kind_of(str(tmp_path / "gone"), b"") == "missing"
    assert "does not exist on this machine" in why_unreadable(str(tmp_path / "gone"), b"")


def test_nothing_is_unpickled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    content = pickle.dumps(Malicious())
    for name, file in (("a.pkl", content), ("a.pt", zipped("a/data.pkl", content=content))):
        Path(name).write_bytes(file)
        assert "refused" in why_unreadable(name, read_head(name))
    assert not Path("unpickled").exists()


def test_a_zip_bomb_is_not_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "bomb.keras"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("config.json", json.dumps({"pad": " " * (64 << 20)}))
    assert path.stat().st_size < 1 << 20
    assert peak_memory(lambda: kind_of(str(path), read_head(str(path)))) < 1 << 20
    assert kind_of(str(path), read_head(str(path))) == "keras"


def test_an_oversized_table_of_contents_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "many.keras"
    path.write_bytes(zipped(*(f"{i}" for i in range(70_000)), content=b""))  # more than zip32 holds
    assert read_zip_contents(str(path)).problem == "oversized"
    assert "too large for any model" in why_unreadable(str(path), read_head(str(path)))
    assert peak_memory(lambda: read_zip_contents(str(path))) < 1 << 20


def peak_memory(run: Callable[[], object]) -> int:
    tracemalloc.start()
    try:
        run()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_real_keras_file(toy_folder: Path) -> None:
    path = str(toy_folder / "runs/step-0003.keras")
    assert kind_of(path, read_head(path)) == "keras"
