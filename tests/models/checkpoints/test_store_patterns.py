"""Checkpoints in an object store: a real S3 API on loopback, reached by a URI with a query."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.stores.faulty_s3 import local_s3, make_bucket, s3_uri

from vae_batch.models.checkpoints import find_checkpoints
from vae_batch.models.inputs.files import fetch, is_folder, read_head
from vae_batch.plan import InputError

FILES = (
    "step-2/encoder.keras",
    "step-2/decoder.keras",
    "step-10/encoder.keras",
    "step-10/decoder.keras",
    "sm/saved_model.pb",
    "sm/variables/variables.index",
    "epoch=3 50%.h5",
    "log.txt",
)


@pytest.fixture(scope="module")
def uri() -> Iterator[str]:
    """URI of a bucket's folder with NAME in place of what is below it."""
    pytest.importorskip("moto.server", reason="moto is missing: pip install '.[s3]'")
    with local_s3() as server:
        filesystem = make_bucket(server, "vaes")
        for name in FILES:
            with filesystem.open_output_stream(f"vaes/runs/{name}") as stream:
                stream.write(name.encode())
        yield s3_uri(server.removeprefix("http://"), "vaes/runs/NAME")


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("", ["step-2", "epoch=3 50%.h5", "step-10", "sm"]),
        ("*", ["step-2", "epoch=3 50%.h5", "step-10", "sm"]),
        ("step-*", ["step-2", "step-10"]),
        ("step-?", ["step-2"]),
        ("step-{step}/*coder.keras", ["step-2", "step-10"]),
        ("**/encoder.keras", ["step-2", "step-10"]),
        ("step-2", ["step-2"]),
        ("step-2/encoder.keras", ["step-2"]),
        ("sm", ["sm"]),
        ("log.txt", ["log.txt"]),
        ("*.txt", ["log.txt"]),
        ("epoch=3%2050%25.h5", ["epoch=3 50%.h5"]),
    ],
)
def test_patterns(uri: str, pattern: str, expected: list[str]) -> None:
    found = find_checkpoints([uri.replace("NAME", pattern)])
    assert [c.label.removeprefix("s3://vaes/runs/") for c in found] == expected


def test_files_keep_the_query_and_can_be_read(uri: str, tmp_path: Path) -> None:
    query = uri.partition("?")[2]
    for checkpoint in find_checkpoints([uri.replace("NAME", "")]):
        for _, path in checkpoint.files:
            assert path.endswith(f"?{query}")
            assert is_folder(path) == (checkpoint.label.endswith("sm"))
            whole = b"" if is_folder(path) else fetch(path, tmp_path / "whole").read_bytes()
            assert read_head(path) == whole
    local = fetch(uri.replace("NAME", "sm"), tmp_path)
    assert (local / "variables/variables.index").read_bytes() == b"sm/variables/variables.index"
    local = fetch(uri.replace("NAME", "epoch=3%2050%25.h5"), tmp_path)
    assert (local.name, local.read_bytes()) == ("epoch=3 50%.h5", b"epoch=3 50%.h5")


def test_hashes_are_those_of_local_files(uri: str, tmp_path: Path) -> None:
    for name in FILES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    here, there = find_checkpoints([str(tmp_path)]), find_checkpoints([uri.replace("NAME", "")])
    assert [c.sha256 for c in here] == [c.sha256 for c in there]


def test_halves_pair_by_patterns(uri: str) -> None:
    encoder = uri.replace("NAME", "step-{step}/encoder.keras")
    found = find_checkpoints([], encoder, encoder.replace("encoder", "decoder"))
    assert [(c.label, c.step, len(c.files)) for c in found] == [
        ("s3://vaes/runs/step-2", 2, 2),
        ("s3://vaes/runs/step-10", 10, 2),
    ]


def test_nothing_found_lists_the_folder(uri: str) -> None:
    for name in ("*.onnx", "nothing", "step-x/vae"):
        with pytest.raises(InputError, match=f"no checkpoint matches s3://vaes/runs/{name[0]}"):
            find_checkpoints([uri.replace("NAME", name)])
    with pytest.raises(InputError, match=r"runs/ holds epoch=3 50%.h5, log.txt, sm, step-10, step"):
        find_checkpoints([uri.replace("NAME", "*.onnx")])


def test_a_missing_bucket_is_an_input_error(uri: str) -> None:
    with pytest.raises(InputError, match="no-such-bucket"):
        find_checkpoints([uri.replace("vaes", "no-such-bucket")])


def test_a_bucket_has_no_wildcards() -> None:
    with pytest.raises(InputError, match="without wildcards"):
        find_checkpoints(["s3://vae-*/runs/*.keras"])


def test_an_unknown_scheme_is_an_input_error() -> None:
    with pytest.raises(InputError, match=r"ftp://host/vae\.keras cannot be opened"):
        find_checkpoints(["ftp://host/vae.keras"])
