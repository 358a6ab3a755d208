"""Keys and secrets in URIs open stores, and are neither stored nor shown."""

from __future__ import annotations

import io
import logging
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import fs as arrow_fs
from support.stores.faulty_s3 import local_s3, make_bucket, s3_uri
from typer.testing import CliRunner

from vae_batch.cli import app
from vae_batch.plan import InputError, make_spec
from vae_batch.plan.credentials import lend_credentials, without_credentials
from vae_batch.plan.location import Location
from vae_batch.results import Results
from vae_batch.run.output.run_record import open_record
from vae_batch.storage import Store

SECRET = "wJalrXUtnFEMI+K7MDENG"
USER = f"AKIDEXAMPLE:{SECRET}"


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    pytest.importorskip("moto.server", reason="moto is missing: pip install '.[s3]'")
    with local_s3() as address:
        make_bucket(address, "night")
        yield address


def uri(server: str, path: str) -> str:
    return s3_uri(server.removeprefix("http://"), f"night/{path}", USER)


def put(server: str, path: str, content: bytes) -> str:
    Store.open(uri(server, "")).write(path, content)
    return uri(server, path)


def copy_run(server: str, source: str, target: str) -> None:
    filesystem, _ = arrow_fs.FileSystem.from_uri(uri(server, ""))
    for entry in filesystem.get_file_info(arrow_fs.FileSelector(source, recursive=True)):
        if entry.is_file:
            filesystem.copy_file(entry.path, entry.path.replace(source, target))


def stored_bytes(server: str) -> Iterator[tuple[str, bytes]]:
    """Every object below ``out`` and ``cache``, as it lies there and unpacked."""
    filesystem, _ = arrow_fs.FileSystem.from_uri(uri(server, ""))
    for folder in ("night/out", "night/cache"):
        for entry in filesystem.get_file_info(arrow_fs.FileSelector(folder, recursive=True)):
            if entry.is_file:
                with filesystem.open_input_file(entry.path) as stream:
                    content = stream.read()
                yield entry.path, content + unpacked(entry.path, content)


def unpacked(path: str, content: bytes) -> bytes:
    if path.endswith(".parquet"):
        table = pq.read_table(pa.BufferReader(content))
        return repr((table.schema.metadata, table.to_pylist())).encode()
    if path.endswith(".npz"):
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return b"".join(archive.read(name) for name in archive.namelist())
    return b""


@pytest.fixture(scope="module")
def settings(server: str, toy_folder: Path) -> dict[str, Any]:
    """All that a run names lies behind URIs with a key and a secret."""
    for path in sorted(toy_folder.rglob("*.keras")):
        put(server, path.relative_to(toy_folder).as_posix(), path.read_bytes())
    put(server, "runs/broken.keras", b"no model")
    images = io.BytesIO()
    drawn = np.random.default_rng(1).integers(0, 256, (80, 8, 8, 1), np.uint8)
    np.savez(images, x_train=drawn[:40], x_test=drawn[40:])
    return {
        "checkpoints": [uri(server, "runs")],
        "reference": put(server, "digits.npz", images.getvalue()),
        "training": "train",
        "extractors": [uri(server, "classifier.keras")],
        "samples": 64,
        "shard_size": 32,
        "batch_size": 16,
        "splits": 2,
        "workers": 0,
        "metrics": "losses,fid,kid,memorisation",
        "reference_cache": uri(server, "cache"),
        "out": uri(server, "out"),
    }


def arguments(settings: dict[str, Any]) -> Iterator[str]:
    for name, value in settings.items():
        for one in value if isinstance(value, list) else [value]:
            if name == "checkpoints":
                yield str(one)
            else:
                flag = {"extractors": "extractor"}.get(name, name).replace("_", "-")
                yield from (f"--{flag}", str(one))


@pytest.mark.slow
@pytest.mark.long
def test_no_byte_that_is_stored_or_shown_holds_the_secret(
    server: str, settings: dict[str, Any], caplog: pytest.LogCaptureFixture, capfd: Any
) -> None:
    caplog.set_level(logging.DEBUG)
    logging.getLogger("fontTools").setLevel(logging.INFO)
    out = settings["out"]
    shown = []
    for words in (
        ["score", *arguments(settings)],
        ["status", out],
        ["verify", out],
        ["rescore", out, "--metrics", "precision"],
        ["compare", out, out.replace("night/out", "night/again")],
        ["inspect", *settings["checkpoints"], "--reference", settings["reference"]],
    ):
        if words[0] == "compare":
            copy_run(server, "night/out", "night/again")
        result = CliRunner().invoke(app, words)
        assert result.exit_code in (0, 3), (words[0], result.output, result.exception)
        shown.append(f"{words[0]}: {result.stdout}{result.stderr}")
    results = Results.open(out)
    shown += [repr(results), results._repr_html_(), results.out, caplog.text, *capfd.readouterr()]
    shown += [repr(row) for row in results.table.to_dict("records")]
    for text in shown:
        plain = "".join(text.split())  # a table may break a word, or cut it off
        assert SECRET[:6] not in plain, text[:300]
        assert "AKIDEX" not in plain, text[:300]
    assert any("s3://night/out" in text for text in shown)
    assert set(results.table["status"]) == {"scored", "failed"}
    held = dict(stored_bytes(server))
    assert {"night/out/run.json", "night/out/report.html", "night/out/scores.parquet"} < set(held)
    assert [path for path, content in held.items() if SECRET.encode() in content] == []
    assert [path for path, content in held.items() if b"AKIDEXAMPLE" in content] == []


@pytest.mark.slow
@pytest.mark.long  # of the run that the test before it made
def test_a_stored_run_borrows_the_credentials_that_it_is_opened_with(
    settings: dict[str, Any],
) -> None:
    spec = open_record(settings["out"]).spec
    assert spec.out == settings["out"]
    assert spec.reference_cache == settings["reference_cache"]
    assert SECRET not in "".join((*spec.checkpoints, *spec.extractors, spec.reference))


@pytest.mark.parametrize(
    ("location", "stored", "opened"),
    [
        ("s3://K:S@a/out", "s3://b/cache", "s3://K:S@b/cache"),
        ("s3://K:S@a/out?region=x", "s3://b/c?region=y", "s3://K:S@b/c?region=y"),
        # another service never gets the key
        ("s3://K:S@a/out", "s3://b/c?endpoint_override=evil:1", "s3://b/c?endpoint_override=evil:1"),
        ("s3://K:S@a/o?endpoint_override=h:1", "s3://b/c", "s3://b/c"),
        ("s3://K:S@a/o?endpoint_override=h:1", "s3://b/c?region=x&endpoint_override=h:1",
         "s3://K:S@b/c?region=x&endpoint_override=h:1"),
        ("s3://K:S@a/out", "gs://b/c", "gs://b/c"),
        ("s3://K:S@a/out", "/disk/cache", "/disk/cache"),
        ("s3://K:S@a/out", "s3://L:T@b/c", "s3://L:T@b/c"),
        ("s3://a/out", "s3://b/c", "s3://b/c"),
        ("out/", "s3://b/c", "s3://b/c"),
    ],
)  # fmt: skip
def test_who_is_lent_credentials(location: str, stored: str, opened: str) -> None:
    assert lend_credentials(location, stored) == opened


@pytest.mark.parametrize(
    "text",
    [
        "s3://K:SECRET@b/x", "s3://K:SEC%2FRET@b/x", "s3://K:SEC/RET@b/x", "s3://K:SEC?RET@b/x",
        "s3://K:SEC@RET@b/x", "s3://K:SEC'RET@b/x", "gs://K:SECRET@b/x", "abfs://c:SECRET@b/x",
        "s3://b/x?secret_key=SECRET", "s3://b/x?region=r&token=SECRET", "s3://K:SECRET@b",
    ],
)  # fmt: skip
def test_whatever_a_uri_holds_is_not_shown(text: str) -> None:
    for shown in (
        without_credentials(text),
        without_credentials(f"first s3://a/b, then '{text}': no"),
        str(InputError(f"at {text}")),
        Location.parse(text).label,
        Store(text).shown,
    ):
        assert not any(part in shown for part in ("SEC", "RET")), shown
        assert "b" in shown


@pytest.mark.parametrize(
    "text",
    ["s3://b/a:1/c@2", "abfs://container@account/a", "/disk/a:b@c", "a?b=c", "s3://b/a?b=c@d"],
)
def test_labels_of_what_holds_no_credentials_stay(text: str) -> None:
    if "://" in text and "?" not in text:
        assert Location.parse(text).label == text
    if "?" not in text or "://" not in text:
        assert without_credentials(text) == text


@pytest.mark.parametrize("text", ["s3://K:SEC RET@b/x", "s3://K:SEC\nRET@b/x", "s3://b/x y"])
def test_a_uri_with_a_space_is_refused_without_being_shown(text: str) -> None:
    with pytest.raises(InputError, match="write %20") as caught:
        Store.open(text)
    assert not any(part in str(caught.value) for part in ("SEC", "RET"))


def test_a_bad_setting_is_told_without_its_credentials() -> None:
    place = f"s3://{USER}@b/x.keras"
    with pytest.raises(InputError) as caught:
        make_spec({"checkpoints": [], "reference": "digits", "extractors": [place, place]})
    assert "named twice" in str(caught.value)
    assert SECRET not in str(caught.value)
