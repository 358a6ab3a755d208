"""Storage on a real S3 API on loopback."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from support.stores.faulty_s3 import local_s3, make_bucket, s3_uri, start
from support.stores.score_rows import numbers

from vae_batch.plan import Unit, make_spec
from vae_batch.run.execute.executor import SerialExecutor
from vae_batch.run.execute.score_run import run
from vae_batch.run.planning.open_run import prepare
from vae_batch.run.progress.events import ignore
from vae_batch.storage import Store, finished_shards, read_verified, write_with_receipt

pytest.importorskip("moto.server", reason="moto is missing: pip install '.[s3]'")


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    """``s3://runs/NAME?...`` of a real S3 API."""
    with local_s3() as server:
        make_bucket(server, "runs")
        yield s3_uri(server.removeprefix("http://"), "runs/NAME")


def test_files_and_receipts(bucket: str) -> None:
    store = Store.open(bucket.replace("NAME", "files"))
    unit = Unit("activations/a", "generated", "print", samples=3, shard_size=2)
    assert finished_shards(store, unit) == []
    for shard in unit.shards():
        write_with_receipt(store, unit, shard.name, b"x" * len(shard), rows=len(shard))
    assert finished_shards(store, unit) == unit.shards()
    assert read_verified(store, unit, unit.shards()[0].name) == b"xx"
    assert store.folder("activations/a").exists(f"part-{unit.shards()[0].name}.parquet")
    assert not store.is_local


def test_a_run_on_s3_writes_the_bits_of_a_local_one(
    bucket: str, toy_settings: dict[str, Any]
) -> None:
    toy_settings["metrics"] = "losses,fid"
    from pyarrow import fs

    rows = []
    for out in (toy_settings["out"], bucket.replace("NAME", "my%20runs/mod%C3%A8le-%E6%A8%A1")):
        plan = prepare(make_spec(toy_settings | {"out": out}), ignore)
        summary = run(plan, SerialExecutor(), ignore)
        rows.append(numbers(summary.rows))
    assert rows[0] == rows[1]
    assert Store.open(bucket.replace("NAME", "my%20runs/mod%C3%A8le-%E6%A8%A1")).exists("run.json")
    filesystem, _ = fs.FileSystem.from_uri(bucket.replace("runs/NAME", "runs"))
    assert filesystem.get_file_info("runs/my runs/modèle-模/run.json").is_file


def test_a_small_file_is_written_by_one_request() -> None:
    with local_s3() as server:
        make_bucket(server, "runs")
        proxy = start(server)
        store = Store.open(proxy.uri("runs/small"))
        before = proxy.requests
        store.write("a.json", b"{}")
        assert proxy.requests == before + 1
        assert store.read("a.json") == b"{}"
        assert "allow_delayed_open" not in store.shown
        proxy.stop()
