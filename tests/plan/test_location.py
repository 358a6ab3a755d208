"""Local paths and URIs in their parts."""

from __future__ import annotations

from pathlib import Path

import pytest

from vae_batch.plan.location import Location


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
