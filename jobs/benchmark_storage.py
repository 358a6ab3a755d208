"""What storing activations costs: shards and receipts against plain files, and resuming.

    python jobs/benchmark_storage.py --json storage.json
    python jobs/benchmark_storage.py --shard results/activations/.../part-00000000-00000512.parquet

Shards hold pooled features and class probabilities, made from a seed or, better, read from a
finished run, since compression depends on them. Every format goes through the same store: locally
a temporary file, fsync and rename, on S3 one put (moto in a process of its own, on loopback, so
with neither a network's delays nor a real service's speed). Files that are read lie in the page
cache. Rounds interleave the formats; medians a shard are printed. MB/s are of the raw float32
values, so that a format which writes fewer bytes is not the slower for it.

Resuming asks which shards of a unit are done: by a receipt each, or by ``receipts.json``, into
which those of a complete unit have been gathered.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import json
import multiprocessing
import os
import secrets
import statistics
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from measuring import interleaved, machine
from rich.console import Console
from rich.table import Table
from storage_formats import FORMATS, Arrays, are_equal, raw_bytes

from vae_batch.plan import Unit
from vae_batch.storage import (
    GATHERED,
    Store,
    decode_columns,
    gather_receipts,
    unit_progress,
    write_with_receipt,
)

_OURS = FORMATS[0].name


def made_shard(images: int, features: int, classes: int) -> Arrays:
    """Activations like Inception's: skewed features of order one, probabilities from a softmax."""
    rng = np.random.default_rng(0)
    scores = np.exp(rng.normal(0.0, 2.0, (images, classes)))
    return {
        "index": np.arange(images),
        "features": rng.gamma(0.5, 0.6, (images, features)).astype(np.float32),
        "probabilities": (scores / scores.sum(axis=1, keepdims=True)).astype(np.float32),
    }


def read_shard(path: Path) -> Arrays:
    """Index, features and probabilities of a stored shard of activations.

    Raises:
      typer.BadParameter: It is no such file.
    """
    try:
        arrays = decode_columns(path.read_bytes(), ["index", "features", "probabilities"])
    except OSError as error:
        raise typer.BadParameter(f"{path}: {error}") from None
    if set(arrays) != {"index", "features", "probabilities"}:
        raise typer.BadParameter(f"{path} holds {', '.join(arrays)}, expected activations")
    return arrays


def measure_formats(
    store: Store, where: str, arrays: Arrays, shards: int, rounds: int
) -> list[dict[str, Any]]:
    """Times of writing and reading some shards in every format, and what was read back."""
    count = len(arrays["index"])
    units = {
        f.name: Unit(f"format-{place}", "generated", "print", shards * count, count)
        for place, f in enumerate(FORMATS)
    }
    steps: dict[tuple[str, str], Callable[[], object]] = {}
    for each in FORMATS:
        unit = units[each.name]
        steps[each.name, "write"] = functools.partial(each.write_all, store, unit, arrays)
        steps[each.name, "read"] = functools.partial(each.read_all, store, unit)
    seconds = interleaved(steps, rounds)
    raw = raw_bytes(arrays)
    rows = []
    for each in FORMATS:
        unit = units[each.name]
        one = {
            verb: statistics.median(seconds[each.name, verb]) / shards for verb in ("write", "read")
        }
        first = {
            verb: statistics.median(seconds[_OURS, verb]) / shards for verb in ("write", "read")
        }
        rows.append(
            {
                "where": where,
                "format": each.name,
                "bytes_per_image": sum(store.sizes(unit.path).values()) / unit.samples,
                **{f"{verb}_seconds": one[verb] for verb in one},
                **{f"{verb}_mb_per_second": raw / one[verb] / 1e6 for verb in one},
                **{f"{verb}_times_ours": one[verb] / first[verb] for verb in one},
                "exact": are_equal(each.read_all(store, unit), arrays),
            }
        )
    return rows


def measure_resuming(
    store: Store, where: str, counts: Sequence[int], rounds: int
) -> list[dict[str, Any]]:
    """Times of asking which shards of a complete unit are done, in both ways."""
    rows = []
    for count in counts:
        units = {
            way: Unit(f"resume-{count}-{place}", "losses", "print", count, 1)
            for place, way in enumerate((GATHERED, "a receipt each"))
        }
        for unit in units.values():
            for shard in unit.shards():
                write_with_receipt(store, unit, shard.name, b"content", rows=len(shard))
        gather_receipts(store, units[GATHERED])
        done = {way: unit_progress(store, unit).shards for way, unit in units.items()}
        looks = {way: functools.partial(unit_progress, store, unit) for way, unit in units.items()}
        seconds = interleaved(looks, rounds)
        rows += [
            {
                "where": where,
                "way": way,
                "shards": count,
                "shards_found": len(done[way]),
                "gathered": store.exists(f"{unit.path}/{GATHERED}"),
                "seconds": statistics.median(seconds[way]),
            }
            for way, unit in units.items()
        ]
    return rows


@contextlib.contextmanager
def stores(with_s3: bool, folder: str | None) -> Iterator[dict[str, Store]]:
    """Stores to measure, by their names in the table, in a folder and on a bucket of their own."""
    with tempfile.TemporaryDirectory(dir=folder) as local, contextlib.ExitStack() as stack:
        found = {"local": Store.open(local)}
        if with_s3:
            found["S3 (moto)"] = stack.enter_context(_loopback_s3())
        yield found


@contextlib.contextmanager
def _loopback_s3() -> Iterator[Store]:
    """A bucket of moto, which is served by another process so that it has a lock of its own."""
    from pyarrow import fs

    keys = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": secrets.token_hex(8)}
    before = {name: os.environ.get(name) for name in keys}
    os.environ |= keys
    fresh = multiprocessing.get_context("spawn")
    here, there = fresh.Pipe()
    server = fresh.Process(target=_serve, args=(there,), daemon=True)
    server.start()
    there.close()  # or a server that fails would be waited for without end
    try:
        query = f"endpoint_override={here.recv()}&scheme=http&region=us-east-1"
        filesystem, _ = fs.FileSystem.from_uri(f"s3://runs/?{query}&allow_bucket_creation=true")
        filesystem.create_dir("runs")
        yield Store.open(f"s3://runs/benchmark?{query}")
    finally:
        server.terminate()
        server.join()
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def _serve(answer: Any) -> None:  # noqa: ANN401
    """Serve until terminated; says ``host:port``."""
    import logging
    import threading

    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    answer.send(f"{host}:{port}")
    threading.Event().wait()


def main(
    images: Annotated[int, typer.Option(help="Images a shard.")] = 512,
    features: Annotated[int, typer.Option(help="Pooled features an image.")] = 2048,
    classes: Annotated[int, typer.Option(help="Class probabilities an image.")] = 1008,
    shard: Annotated[
        Path | None, typer.Option(help="Shard of a finished run in place of made numbers.")
    ] = None,
    shards: Annotated[int, typer.Option(help="Shards a format and round.")] = 4,
    resume: Annotated[str, typer.Option(help="Numbers of shards to resume.")] = "20,100,400",
    rounds: Annotated[int, typer.Option(help="Rounds; medians are printed.")] = 7,
    s3: Annotated[bool | None, typer.Option(help="Also on S3 (default: if moto is there).")] = None,
    folder: Annotated[Path | None, typer.Option(help="On the disk to measure.")] = None,
    json_path: Annotated[
        Path | None, typer.Option("--json", help="Also write the table to this file.")
    ] = None,
) -> None:
    """Measure all formats and both ways of resuming, and print one table."""
    arrays = read_shard(shard) if shard else made_shard(images, features, classes)
    counts = [int(part) for part in resume.split(",")]
    with_s3 = importlib.util.find_spec("moto") is not None if s3 is None else s3
    formats: list[dict[str, Any]] = []
    resuming: list[dict[str, Any]] = []
    with stores(with_s3, str(folder) if folder else None) as found:
        for where, store in found.items():
            formats += measure_formats(store, where, arrays, shards, rounds)
            resuming += measure_resuming(store, where, counts, rounds)
    shapes = {name: list(array.shape) for name, array in arrays.items()}
    Console(width=120).print(_table(formats, resuming, shapes))
    if json_path is not None:
        made = {"source": str(shard) if shard else "made", "shapes": shapes, "rounds": rounds}
        content = {"machine": machine(), **made, "formats": formats, "resuming": resuming}
        json_path.write_text(json.dumps(content, indent=1) + "\n")


def _table(
    formats: Sequence[dict[str, Any]],
    resuming: Sequence[dict[str, Any]],
    shapes: dict[str, list[int]],
) -> Table:
    rows, features = shapes["features"]
    size = f"{rows} images of {features} features and {shapes['probabilities'][1]} classes a shard"
    table = Table(title=f"{size}, {os.cpu_count()} cores")
    table.add_column("where")
    table.add_column("what")
    for heading in ("bytes/image", "write ms", "MB/s", "x ours", "read ms", "MB/s", "x ours"):
        table.add_column(heading, justify="right")
    for row in formats:
        cells = [f"{row['bytes_per_image']:.0f}"]
        for verb in ("write", "read"):
            cells += [f"{1e3 * row[f'{verb}_seconds']:.1f}", f"{row[f'{verb}_mb_per_second']:.0f}"]
            cells += [f"{row[f'{verb}_times_ours']:.2f}"]
        table.add_row(row["where"], row["format"], *cells)
    table.add_section()
    for row in resuming:
        what = f"resume {row['shards']} shards, {row['way']}"
        table.add_row(row["where"], what, "", "", "", "", f"{1e3 * row['seconds']:.1f}")
    return table


if __name__ == "__main__":
    typer.run(main)
