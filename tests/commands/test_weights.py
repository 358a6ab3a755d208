"""``vae-batch weights``: what is published, what a file is, and refusals with exit code 2."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from vae_batch.cli import app
from vae_batch.models.extractors.weights import listing as weight_files
from vae_batch.models.extractors.weights.listing import VerifiedWeights
from vae_batch.models.extractors.weights.published import PUBLISHED


def call(*words: str) -> Result:
    return CliRunner(env={"COLUMNS": "300"}).invoke(app, ["weights", *words])


@pytest.fixture(autouse=True)
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No weights on this machine; returns the cache folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.delenv("VAE_BATCH_WEIGHTS", raising=False)
    return tmp_path / "cache" / "vae_batch" / "weights"


def verified(path: str, published: str = PUBLISHED[0].name) -> VerifiedWeights:
    return VerifiedWeights(
        path,
        "torch-state-dict",
        95_628_359,
        "67" * 32,
        published,
        "inception-2015",
        True,
        True,
        None,
    )


def test_list_names_every_published_file_and_where_it_lies(folders: Path) -> None:
    folders.mkdir(parents=True)
    (folders / PUBLISHED[0].name).write_bytes(b"x")
    rows = json.loads(call("list", "--json").stdout)
    assert [row["name"] for row in rows] == [entry.name for entry in PUBLISHED]
    assert [row["path"] for row in rows] == [str(folders / PUBLISHED[0].name), *[None] * 4]
    table = call("list").stdout
    for entry in PUBLISHED:
        assert re.search(rf"{re.escape(entry.name)} +{entry.extractor} +{entry.publisher}", table)
    assert "95.6" in table  # 95,628,359 bytes


def test_verify_a_published_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weight_files, "verify_weights", verified)
    result = call("verify", "a.pth", "b.pth")
    assert result.exit_code == 0
    assert result.stderr == ""
    assert re.search(
        rf"b\.pth +torch-state-dict +95\.6 +676767676767 +{PUBLISHED[0].name}", result.stdout
    )


def test_verify_says_what_an_unpublished_file_is(tmp_path: Path) -> None:
    page = tmp_path / "inception.pth"
    page.write_text("<html>not found</html>")
    result = call("verify", str(page), "--json")
    assert result.exit_code == 2
    (row,) = json.loads(result.stdout)
    assert row["sha256"] == hashlib.sha256(page.read_bytes()).hexdigest()
    assert (row["format"], row["verified"], row["published"]) == ("html", False, None)
    assert result.stderr.startswith("error: ")
    assert "a web page" in result.stderr
    assert str(page) in result.stderr


def test_one_bad_file_among_good_ones_gives_exit_code_2(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bad = VerifiedWeights("bad.pth", "empty", 0, "0" * 64, None, None, False, False, "it is empty")
    found = {"good.pth": verified("good.pth"), "bad.pth": bad}
    monkeypatch.setattr(weight_files, "verify_weights", found.get)
    result = call("verify", "good.pth", "bad.pth")
    assert result.exit_code == 2
    assert "good.pth" in result.stdout
    assert result.stderr == "error: it is empty\n"


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    result = call("verify", str(tmp_path / "none.h5"))
    assert result.exit_code == 2
    assert "expected a file at" in result.stderr
    assert result.stdout == ""


def test_fetch_without_names_gets_a_file_for_each_extractor(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(weight_files, "fetch_weights", verified)
    result = call("fetch", "--json")
    assert result.exit_code == 0
    paths = [row["path"] for row in json.loads(result.stdout)]
    assert paths == ["inception-2015", "inception-keras"]
    named = call("fetch", "x.pth", "--json")
    assert [row["path"] for row in json.loads(named.stdout)] == ["x.pth"]


def test_fetch_of_an_unknown_name() -> None:
    result = call("fetch", "inception-v4")
    assert result.exit_code == 2
    assert "'inception-v4' are unknown; expected one of inception-2015" in result.stderr


def test_fetch_without_a_network(folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("urllib.request.urlopen", _no_network)
    monkeypatch.setattr("vae_batch.models.extractors.weights.download._PAUSE_SECONDS", 0.0)
    result = call("fetch", "inception-2015")
    assert result.exit_code == 2
    assert result.stderr.count("error: ") == 1
    assert not (folders / PUBLISHED[0].name).exists()


def _no_network(*_: object, **__: object) -> None:
    import urllib.error

    raise urllib.error.URLError("no route to host")
