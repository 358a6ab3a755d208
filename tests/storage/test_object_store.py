"""Storage on a real S3 API on loopback."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import pytest

from vae_batch.plan import Unit, make_spec
from vae_batch.run.driver import prepare, run
from vae_batch.run.executor import SerialExecutor
from vae_batch.run.progress import Silent
from vae_batch.storage import Store, finished_shards, read_verified, write_with_receipt

moto_server = pytest.importorskip("moto.server", reason="moto is missing: pip install '.[s3]'")


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    from pyarrow import fs

    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        patch.setenv("AWS_ACCESS_KEY_ID", "test")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        server = moto_server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        server.start()
        host, port = server.get_host_and_port()
        query = f"endpoint_override={host}:{port}&scheme=http&region=us-east-1"
        filesystem, _ = fs.FileSystem.from_uri(f"s3://runs/?{query}&allow_bucket_creation=true")
        filesystem.create_dir("runs")
        yield f"s3://runs/NAME?{query}"
        server.stop()


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
    rows = []
    for out in (toy_settings["out"], bucket.replace("NAME", "run")):
        plan = prepare(make_spec(toy_settings | {"out": out}), Silent())
        summary = run(plan, SerialExecutor(), Silent())
        rows.append([{k: v for k, v in row.items() if k != "scored_at"} for row in summary.rows])
    assert rows[0] == rows[1]
