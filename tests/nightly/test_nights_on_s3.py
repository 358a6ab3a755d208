"""Nights whose checkpoints, results and history lie in a bucket of a real S3 API on loopback."""

from __future__ import annotations

import datetime
import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pyarrow import fs
from support.runs.nightly_rows import MONDAY, TUESDAY

from vae_batch.nightly.history import read_history
from vae_batch.nightly.night import run_night
from vae_batch.plan import make_spec
from vae_batch.run.progress.events import ignore
from vae_batch.storage import Store

pytestmark = pytest.mark.slow

moto_server = pytest.importorskip("moto.server", reason="moto is missing: pip install '.[s3]'")


@pytest.fixture
def query() -> Iterator[str]:
    """Where the API is; the bucket ``team`` is there."""
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        patch.setenv("AWS_ACCESS_KEY_ID", "nobody")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "hush-hush")
        server = moto_server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        server.start()
        host, port = server.get_host_and_port()
        found = f"endpoint_override={host}:{port}&scheme=http&region=us-east-1"
        filesystem, _ = fs.FileSystem.from_uri(f"s3://team/?{found}&allow_bucket_creation=true")
        filesystem.create_dir("team")
        yield found
        server.stop()


def upload(source: Path, query: str) -> None:
    """A checkpoint's files, in a moment."""
    store = Store.open(f"s3://team/runs?{query}")
    for path in [source] if source.is_file() else sorted(source.rglob("*")):
        store.write(path.relative_to(source.parent).as_posix(), path.read_bytes())


@pytest.mark.long
def test_two_nights_in_a_bucket(
    query: str, toy_folder: Path, toy_settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vae_batch.report.bundle.write_report", lambda _: [])
    few = {"metrics": "losses,fid", "samples": 90, "reference_samples": 90}
    places = {
        "checkpoints": [f"s3://team/runs?{query}"],
        "out": f"s3://nobody:hush-hush@team/nights?{query}",
    }
    spec = make_spec({**toy_settings, **few, **places, "stable_for": 3600.0})

    def night(date: datetime.date, **settings: Any) -> Any:
        return run_night(spec.model_copy(update=settings), date, ignore).summary

    upload(toy_folder / "runs/step-0001", query)
    fresh = night(MONDAY)
    assert [left["checkpoint"] for left in fresh["left"]] == ["s3://team/runs/step-0001"]
    assert fresh["rows"] == []

    first = night(MONDAY, stable_for=0.0)
    upload(toy_folder / "runs/step-0003.keras", query)
    second = night(TUESDAY, stable_for=0.0)
    again = night(TUESDAY, stable_for=0.0)
    assert [len(found["rows"]) for found in (first, second)] == [1, 1]
    assert again == second
    history = read_history(Store.open(spec.out))
    assert [(row.date, row.row.checkpoint) for row in history] == [
        (MONDAY, "s3://team/runs/step-0001"),
        (TUESDAY, "s3://team/runs/step-0003.keras"),
    ]
    age = datetime.datetime.now(datetime.UTC) - history[1].written_at
    assert age < datetime.timedelta(minutes=10), "the time of the upload"
    assert "hush-hush" not in json.dumps(second)
