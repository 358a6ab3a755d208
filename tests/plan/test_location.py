"""Local paths and URIs in their parts."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from vae_batch.plan import CheckpointError, InputError, make_spec
from vae_batch.plan.location import Location
from vae_batch.plan.printable import as_name, for_spreadsheet
from vae_batch.storage import Store


@pytest.mark.parametrize(
    ("text", "label", "query"),
    [
        ("s3://key:secret@b/a/b.keras?region=eu", "s3://b/a/b.keras", "region=eu"),
        ("s3://b/epoch?=3.keras", "s3://b/epoch?=3.keras", ""),
        ("s3://b/vae?epoch=3.keras", "s3://b/vae?epoch=3.keras", ""),
        ("s3://b/a/*?endpoint_override=http://h:1&scheme=http", "s3://b/a/*",
         "endpoint_override=http://h:1&scheme=http"),
        ("file:///a%20b/", "file:///a b", ""),
        ("s3://b", "s3://b", ""),
        ("s3://b/a?endpoint_override=[::1]:9000", "s3://b/a", "endpoint_override=[::1]:9000"),
        ("runs/what?a=b", "runs/what?a=b", ""),
        ("hdfs://user@host:9000/a", "hdfs://user@host:9000/a", ""),
    ],
)  # fmt: skip
def test_a_query_is_told_from_a_wildcard(text: str, label: str, query: str) -> None:
    location = Location.parse(text)
    assert (location.label, location.query) == (label, query)


@pytest.mark.parametrize(
    ("folder", "name", "joined"),
    [
        ("s3://k:s@b/a/?region=eu", "x y/z", "s3://k:s@b/a/x%20y/z?region=eu"),
        ("s3://b?region=eu", "z", "s3://b/z?region=eu"),
        ("file:///a%20b", "z", "file:///a%20b/z"),
        ("/what?a=b/", "x y", "/what?a=b/x y"),
        ("/", "z", "/z"),
    ],
)
def test_a_name_is_joined_before_the_query(folder: str, name: str, joined: str) -> None:
    assert (Location.parse(folder) / name).address == joined


@pytest.mark.parametrize(
    ("text", "path"),
    [("a/b", Path("a/b")), ("file:///a%20b", Path("/a b")), ("file://host/a", None),
     ("s3://b/a", None)],
)  # fmt: skip
def test_a_local_path_is_one_of_this_machine(text: str, path: Path | None) -> None:
    assert Location.parse(text).local_path == path


@pytest.mark.parametrize(
    "text", ["runs/*", "s3://k:s@b/a%20b?region=eu", "s3://b", "file:///a", "hdfs://u@h:9000/a"]
)
def test_an_address_is_the_text_and_a_repr_holds_no_secret(text: str) -> None:
    location = Location.parse(text)
    assert location.address == text
    assert "k:s" not in f"{location}{location!r}"


@pytest.mark.parametrize(
    "text",
    ["s3:/KEY:SECRET@bucket/x", "s3:KEY:SECRET@bucket", "s3//KEY:SECRET@bucket/x",
     "s3:///KEY:SECRET@bucket", "S3:/KEY:SECRET@b", "gs:/KEY:SECRET@b", "KEY:SECRET@bucket/x",
     "s3:/KEY:SE/CR+ET@bucket", "s3://KEY:SE/CR?ET@bucket/x", "'s3:/KEY:SECRET@b'",
     "s3:/bucket/x?secret_key=SECRET&region=eu", "bucket/x?aws_session_token=SECRET",
     "error: s3:\\\\KEY:SECRET@bucket is missing", "hdfs:/KEY:SECRET@host/x"],
)  # fmt: skip
def test_nothing_that_looks_like_credentials_is_said(text: str) -> None:
    for error in (InputError(text), CheckpointError(f"{text} cannot be read")):
        assert "SECRET" not in str(error)
        assert "SE/CR" not in str(error)


@pytest.mark.parametrize(
    "text",
    ["runs/a@b: 12:30:45, KID [classifier@ab12cd34] 3.5", "C:/users/me@home/x", "module:function",
     "[::1]:9000", "what?a=b", "step=3@x", "file runs/a:1@b"],
)  # fmt: skip
def test_ordinary_text_is_said_as_it_is(text: str) -> None:
    assert str(InputError(text)) == text


@pytest.mark.parametrize("key", ["checkpoints", "reference", "out", "reference_cache", "weights"])
@pytest.mark.parametrize("text", ["s3:/KEY:SECRET@b/x", "s3:KEY:SECRET@b", "gs//b/KEY:SECRET"])
def test_a_uri_without_its_slashes_is_refused_and_not_echoed(key: str, text: str) -> None:
    settings = {"checkpoints": ["a"], "reference": "digits", key: text}
    with pytest.raises(InputError, match=r"write (s3|gs)://, with a colon and two slashes") as told:
        make_spec(settings)
    assert f"--{key.replace('_', '-')}" in str(told.value)
    assert "SECRET" not in str(told.value)
    with pytest.raises(InputError, match=r"write (s3|gs)://"):
        Store.open(text)


def test_names_of_any_bytes_become_text() -> None:
    name = os.fsdecode(b"runs/\xff\xfe caf\xc3\xa9\x1b[2J\n=cmd()")
    assert as_name(name) == r"runs/\xff\xfe café\u{1b}[2J\u{a}=cmd()"
    assert as_name("vae-7 (übung).keras") == "vae-7 (übung).keras"


@pytest.mark.parametrize("begin", ["=", "+", "-", "@"])
def test_a_cell_is_no_formula(begin: str) -> None:
    assert for_spreadsheet(f"{begin}cmd()") == f"'{begin}cmd()"
    assert for_spreadsheet(f"a{begin}b\t\x1b") == f"a{begin}b\\u{{9}}\\u{{1b}}"
