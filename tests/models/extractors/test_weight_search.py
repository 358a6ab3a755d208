"""Which file is taken, and the sentence for each that is not."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
from support.models.published_layouts import Publish, write_zip_state_dict

from vae_batch.models.extractors.weights import search as weight_search
from vae_batch.models.extractors.weights.published import FORMAT_EXTRACTORS, PUBLISHED
from vae_batch.models.extractors.weights.search import (
    find_weights,
    locate_identified,
    search_folders,
)
from vae_batch.models.extractors.weights.weight_file import inspect_weight_file, sniff_format
from vae_batch.plan.errors import InputError

PTH = "pt_inception-2015-12-05-6726825d.pth"
H5 = "inception_v3_weights_tf_dim_ordering_tf_kernels.h5"
NOTOP = "inception_v3_weights_tf_dim_ordering_tf_kernels_notop.h5"

# Contents that are sniffed as the format; what a reader would say of them plays no part here.
HDF5 = b"\x89HDF\r\n\x1a\n" + bytes(64)
GRAPHDEF = b"\x0a\x08\x0a\x06weight" + bytes(16)


def small_state_dict(folder: Path, value: float = 1.0) -> bytes:
    path = write_zip_state_dict(folder / "made.pth", {"a": np.array([value], np.float32)})
    content = path.read_bytes()
    path.unlink()
    return content


@pytest.fixture(autouse=True)
def offline(empty_caches: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(entry: object, folder: object) -> None:
        raise InputError("the test is offline.")

    monkeypatch.setattr("vae_batch.models.extractors.weights.search.download_weights", refuse)


def test_registry_is_consistent() -> None:
    assert len({entry.name for entry in PUBLISHED}) == len(PUBLISHED)
    for entry in PUBLISHED:
        assert entry.extractor == FORMAT_EXTRACTORS[entry.format]
        assert entry.url.endswith(entry.name)
        assert entry.sha256 or entry.md5
        assert len(entry.sha256 or "0" * 64) == 64
        assert len(entry.md5 or "0" * 32) == 32


@pytest.mark.parametrize(
    ("content", "format"),
    [
        (HDF5, "keras-h5"),
        (GRAPHDEF, "graphdef"),
        (b"", "empty"),
        (b"<!DOCTYPE html><html>Not found</html>", "html"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git-lfs"),
        (b"\x80\x04\x95\x00", "pickle"),
        (b"PK\x03\x04 cut off", "zip-damaged"),
        (b"\x1f\x8b\x08 cut off", "gzip"),
        (b"weights", "unknown"),
    ],
)
def test_format_is_read_from_the_content(content: bytes, format: str, tmp_path: Path) -> None:
    path = tmp_path / PTH
    path.write_bytes(content)
    assert sniff_format(path) == format
    if format not in FORMAT_EXTRACTORS:
        assert inspect_weight_file(path).foreign_words


def test_the_file_of_known_hash_is_taken_under_any_name(tmp_path: Path, publish: Publish) -> None:
    content = small_state_dict(tmp_path)
    publish(PTH, content)
    path = tmp_path / "renamed.bin"
    path.write_bytes(content)
    found = find_weights("inception-2015", [str(path)])
    assert found.path == path
    assert found.published.name == PTH
    assert found.class_count == 1008


def test_the_right_one_of_several_is_picked(tmp_path: Path, publish: Publish) -> None:
    content = small_state_dict(tmp_path)
    publish(PTH, content)
    publish(H5, HDF5)
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_bytes(content)
    two.write_bytes(HDF5)
    both = [str(one), str(two)]
    assert find_weights("inception-2015", both).path == one
    assert find_weights("inception-keras", both).path == two


def test_a_swapped_file_of_known_hash_is_named(tmp_path: Path, publish: Publish) -> None:
    publish(H5, HDF5)
    path = tmp_path / PTH
    path.write_bytes(HDF5)
    for allowed in (False, True):
        with pytest.raises(InputError) as caught:
            find_weights("inception-2015", [str(path)], allow_unverified=allowed)
        assert f"is the published {H5}, the weights of inception-keras" in str(caught.value)
        assert "inception-2015 needs the 2015 GraphDef" in str(caught.value)


def test_a_swapped_file_of_unknown_hash_is_named_by_format(tmp_path: Path) -> None:
    path = tmp_path / "weights.h5"
    path.write_bytes(small_state_dict(tmp_path))
    with pytest.raises(InputError, match="holds a PyTorch state dict, the format of inception-201"):
        find_weights("inception-keras", [str(path)], allow_unverified=True)


def test_a_truncated_file_is_refused(tmp_path: Path, publish: Publish) -> None:
    content = small_state_dict(tmp_path)
    publish(PTH, content + bytes(1000))
    path = tmp_path / "short"
    path.write_bytes(content)
    with pytest.raises(InputError, match=f"has {len(content)} bytes where {PTH} has .*truncated"):
        find_weights("inception-2015", [str(path)])


def test_a_flipped_bit_is_refused(tmp_path: Path, publish: Publish) -> None:
    publish(PTH, small_state_dict(tmp_path, 1.0))
    path = tmp_path / "flipped"
    path.write_bytes(small_state_dict(tmp_path, 2.0))
    with pytest.raises(InputError, match=f"has the size of {PTH} but another hash.*damaged"):
        find_weights("inception-2015", [str(path)])


def test_an_unknown_hash_needs_permission(tmp_path: Path) -> None:
    path = tmp_path / "graph"
    path.write_bytes(GRAPHDEF)
    with pytest.raises(InputError, match="allow unverified weights"):
        find_weights("inception-2015", [str(path)])
    found = find_weights("inception-2015", [str(path)], allow_unverified=True)
    assert found.published is None


def test_a_damaged_file_is_refused_beside_a_good_one(tmp_path: Path, publish: Publish) -> None:
    good, bad = tmp_path / "good", tmp_path / "bad"
    good.write_bytes(small_state_dict(tmp_path, 1.0))
    bad.write_bytes(small_state_dict(tmp_path, 2.0))
    publish(PTH, good.read_bytes())
    with pytest.raises(InputError, match=r"bad has the size of"):
        find_weights("inception-2015", [str(good), str(bad)])


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"<html>", "is a web page"),
        (b"version https://git-lfs.github.com", "is a Git LFS pointer"),
        (b"", "is empty"),
        (b"PK\x03\x04", "truncated"),
        (b"\x80\x04\x95\x00", "pickles can run code"),
    ],
)
def test_other_files_are_called_what_they_are(content: bytes, words: str, tmp_path: Path) -> None:
    path = tmp_path / PTH
    path.write_bytes(content)
    with pytest.raises(InputError, match=words):
        find_weights("inception-2015", [str(path)], allow_unverified=True)


def test_missing_files_and_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="found nothing"):
        find_weights("inception-2015", [str(tmp_path / "absent.pth")])
    with pytest.raises(InputError, match="found a folder"):
        find_weights("inception-2015", [str(tmp_path)])


def test_folders_are_searched_in_order(empty_caches: Path, publish: Publish) -> None:
    publish(H5, HDF5)
    own, keras_cache, cache = search_folders()
    assert own == empty_caches
    for folder in (cache, keras_cache, own):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "notes.txt").write_text("not weights")
        (folder / "renamed").write_bytes(HDF5)
        assert find_weights("inception-keras").path == folder / "renamed"


def test_the_preferred_file_of_a_folder_is_taken(empty_caches: Path, publish: Publish) -> None:
    publish(H5, HDF5)
    publish(NOTOP, HDF5 + b"notop")
    (empty_caches / "a").write_bytes(HDF5 + b"notop")
    assert find_weights("inception-keras").class_count == 0
    (empty_caches / "b").write_bytes(HDF5)
    found = find_weights("inception-keras")
    assert (found.path.name, found.class_count) == ("b", 1000)


def test_a_broken_download_in_a_folder_is_an_error(empty_caches: Path) -> None:
    (empty_caches / H5).write_bytes(HDF5)
    with pytest.raises(InputError, match=f"is called {H5} but its hash is another"):
        find_weights("inception-keras")
    # Another extractor does not mind it.
    with pytest.raises(InputError, match=r"the test is offline.*--metrics losses"):
        find_weights("inception-2015")


def test_unverified_files_count_only_in_the_named_folder(empty_caches: Path) -> None:
    cache = weight_search.cache_folder()
    cache.mkdir(parents=True)
    (cache / "mine").write_bytes(GRAPHDEF)
    with pytest.raises(InputError, match="the test is offline"):
        find_weights("inception-2015", allow_unverified=True)
    (empty_caches / "mine").write_bytes(GRAPHDEF)
    found = find_weights("inception-2015", allow_unverified=True)
    assert found.path == empty_caches / "mine"


def test_nothing_to_be_had_says_where_and_what(empty_caches: Path) -> None:
    with pytest.raises(InputError) as caught:
        find_weights("inception-2015")
    for folder in search_folders():
        assert str(folder) in str(caught.value)
    assert PTH in str(caught.value)
    assert "VAE_BATCH_WEIGHTS" in str(caught.value)


def test_a_wrong_folder_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VAE_BATCH_WEIGHTS", "/nowhere/at/all")
    with pytest.raises(InputError, match="VAE_BATCH_WEIGHTS='/nowhere/at/all' is not a folder"):
        find_weights("inception-2015")


def test_the_archive_is_known_by_the_graph_inside(tmp_path: Path, publish: Publish) -> None:
    publish("inception-2015-12-05.tgz", GRAPHDEF)
    path = tmp_path / "archive"
    with tarfile.open(path, "w:gz") as archive:
        member = tarfile.TarInfo("folder/classify_image_graph_def.pb")
        member.size = len(GRAPHDEF)
        archive.addfile(member, io.BytesIO(GRAPHDEF))
    found = find_weights("inception-2015", [str(path)])
    assert found.published.name == "inception-2015-12-05.tgz"
    plain = tmp_path / "plain"
    plain.write_bytes(GRAPHDEF)
    assert found.sha256 == inspect_weight_file(plain).sha256


def test_a_worker_finds_the_identified_file_by_hash(tmp_path: Path, empty_caches: Path) -> None:
    path = tmp_path / "driver.pb"
    path.write_bytes(GRAPHDEF)
    sha256 = inspect_weight_file(path).sha256
    assert locate_identified("inception-2015", str(path), sha256).path == path
    elsewhere = empty_caches / "worker.pb"
    path.rename(elsewhere)
    assert locate_identified("inception-2015", str(path), sha256).path == elsewhere
    elsewhere.write_bytes(GRAPHDEF + b"x")
    with pytest.raises(InputError, match="not on this machine"):
        locate_identified("inception-2015", str(path), sha256)
    path.write_bytes(GRAPHDEF + b"x")
    with pytest.raises(InputError, match="has changed: expected sha256"):
        locate_identified("inception-2015", str(path), sha256)
