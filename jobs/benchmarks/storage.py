"""Measure what storing activations costs: shards with receipts against plain files, and resuming.

    python jobs/benchmarks/storage.py --json storage.json
    python jobs/benchmarks/storage.py --shard results/activations/.../part-00000000-00000512.parquet

A shard holds pooled features and class probabilities. They are made from a seed or, better, read
from a finished run, since compression depends on them. Every format goes through the same store:
locally a temporary file, fsync and rename; on S3 one put (moto in a process of its own, on
loopback, so without a network's delays and without a real service's speed). Files that are read
are in the page cache. Rounds interleave the formats; medians per shard are printed. MB/s count the
raw float32 values, so a format that writes fewer bytes is not slower for it.

Resuming asks which shards of a unit are done: by one receipt per shard, or by ``receipts.json``,
which gathers the receipts of a complete unit.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import io
import multiprocessing
import os
import secrets
import statistics
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import typer
from measuring import interleaved, machine, write_json
from rich.console import Console
from rich.table import Table

from vae_batch.plan import Unit
from vae_batch.storage import (
    GATHERED,
    Store,
    decode_columns,
    encode_columns,
    gather_receipts,
    read_verified,
    unit_progress,
    write_with_receipt,
)

Arrays = dict[str, npt.NDArray[np.generic]]

_NAMES = ("features", "probabilities")


@dataclass(frozen=True)
class Format:
    """A way to store a shard's arrays.

    Attributes:
        name: Name in the table.
        encode: Turns arrays into the bytes of a file.
        decode: Turns the bytes of a file into arrays.
        with_receipt: Whether a receipt is written after the file, and its digest checked.
    """

    name: str
    encode: Callable[[Arrays], bytes]
    decode: Callable[[bytes], Arrays]
    with_receipt: bool = False

    def write_all(self, store: Store, unit: Unit, arrays: Arrays) -> None:
        """Write the same arrays as every shard of a unit."""
        for shard in unit.shards():
            content = self.encode(arrays)
            if self.with_receipt:
                write_with_receipt(store, unit, shard.name, content, rows=len(shard))
            else:
                store.write(f"{unit.path}/{shard.name}", content)

    def read_all(self, store: Store, unit: Unit) -> Arrays:
        """Read every shard of a unit and return the last one's arrays."""
        arrays: Arrays = {}
        for shard in unit.shards():
            if self.with_receipt:
                content = read_verified(store, unit, shard.name)
            else:
                content = store.read(f"{unit.path}/{shard.name}")
            arrays = self.decode(content)
        return arrays


def _npz(save: Callable[..., None], dtype: type[np.floating[Any]], arrays: Arrays) -> bytes:
    buffer = io.BytesIO()
    save(buffer, **{**arrays, **{name: arrays[name].astype(dtype) for name in _NAMES}})
    return buffer.getvalue()


def _read_npz(content: bytes) -> Arrays:
    with np.load(io.BytesIO(content), allow_pickle=False) as stored:
        return dict(stored)


def _parquet(arrays: Arrays) -> bytes:
    """One list per row, and pyarrow's defaults for everything else."""
    columns = {"index": pa.array(arrays["index"])}
    for name in _NAMES:
        flat = pa.array(np.ascontiguousarray(arrays[name]).reshape(-1))
        columns[name] = pa.FixedSizeListArray.from_arrays(flat, arrays[name].shape[1])
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(columns), sink)
    return bytes(sink.getvalue())


def _read_parquet(content: bytes) -> Arrays:
    table = pq.read_table(pa.BufferReader(content)).combine_chunks()
    arrays: Arrays = {"index": table["index"].to_numpy()}
    for name in _NAMES:
        (chunk,) = table[name].chunks
        values = chunk.flatten().to_numpy(zero_copy_only=False)
        arrays[name] = values.reshape(table.num_rows, -1)
    return arrays


FORMATS = (
    Format("as stored, with receipt", encode_columns, decode_columns, with_receipt=True),
    Format("as stored, file alone", encode_columns, decode_columns),
    Format("Parquet, pyarrow's defaults", _parquet, _read_parquet),
    Format("npz", functools.partial(_npz, np.savez, np.float32), _read_npz),
    Format("npz, compressed", functools.partial(_npz, np.savez_compressed, np.float32), _read_npz),
    Format("npz, float64", functools.partial(_npz, np.savez, np.float64), _read_npz),
)
"""Ours first: the others are compared with it."""

_OURS = FORMATS[0].name


def made_shard(images: int, features: int, classes: int) -> Arrays:
    """Make activations like Inception's: skewed features and probabilities from a softmax."""
    rng = np.random.default_rng(0)
    scores = np.exp(rng.normal(0.0, 2.0, (images, classes)))
    return {
        "index": np.arange(images),
        "features": rng.gamma(0.5, 0.6, (images, features)).astype(np.float32),
        "probabilities": (scores / scores.sum(axis=1, keepdims=True)).astype(np.float32),
    }


def read_shard(path: Path) -> Arrays:
    """Read index, features and probabilities of a stored shard of activations.

    Raises:
        typer.BadParameter: The file is not a shard of activations.
    """
    try:
        arrays = decode_columns(path.read_bytes(), ["index", *_NAMES])
    except OSError as error:
        raise typer.BadParameter(f"{path}: {error}") from None
    if set(arrays) != {"index", *_NAMES}:
        raise typer.BadParameter(f"{path} holds {', '.join(arrays)}, expected activations")
    return arrays


def measure_formats(
    store: Store, where: str, arrays: Arrays, shards: int, rounds: int
) -> list[dict[str, Any]]:
    """Time writing and reading some shards in every format, and compare what was read."""
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
    seconds = {
        step: statistics.median(times) / shards
        for step, times in interleaved(steps, rounds).items()
    }
    raw = sum(arrays[name].nbytes for name in _NAMES)
    rows = []
    for each in FORMATS:
        unit = units[each.name]
        found = each.read_all(store, unit)
        row = {
            "where": where,
            "format": each.name,
            "bytes_per_image": sum(store.sizes(unit.path).values()) / unit.samples,
            # Wider floats hold the values exactly.
            "exact": all(np.array_equal(found[name], arrays[name]) for name in _NAMES),
        }
        for verb in ("write", "read"):
            one = seconds[each.name, verb]
            row |= {f"{verb}_seconds": one, f"{verb}_mb_per_second": raw / one / 1e6}
            row[f"{verb}_times_ours"] = one / seconds[_OURS, verb]
        rows.append(row)
    return rows


def measure_resuming(
    store: Store, where: str, counts: Sequence[int], rounds: int
) -> list[dict[str, Any]]:
    """Time asking which shards of a complete unit are done, in both ways."""
    rows = []
    for count in counts:
        units = {
            way: Unit(f"resume-{count}-{place}", "losses", "print", count, 1)
            for place, way in enumerate((GATHERED, "one receipt per shard"))
        }
        for unit in units.values():
            for shard in unit.shards():
                write_with_receipt(store, unit, shard.name, b"content", rows=len(shard))
        gather_receipts(store, units[GATHERED])
        found = {way: unit_progress(store, unit).shards for way, unit in units.items()}
        looks = {way: functools.partial(unit_progress, store, unit) for way, unit in units.items()}
        seconds = interleaved(looks, rounds)
        rows += [
            {
                "where": where,
                "way": way,
                "shards": count,
                "shards_found": len(found[way]),
                "gathered": store.exists(f"{unit.path}/{GATHERED}"),
                "seconds": statistics.median(seconds[way]),
            }
            for way, unit in units.items()
        ]
    return rows


@contextlib.contextmanager
def stores(with_s3: bool) -> Iterator[dict[str, Store]]:
    """Open the stores to measure, by their names in the table."""
    with tempfile.TemporaryDirectory() as local, contextlib.ExitStack() as stack:
        found = {"local": Store.open(local)}
        if with_s3:
            found["S3 (moto)"] = stack.enter_context(_loopback_s3())
        yield found


@contextlib.contextmanager
def _loopback_s3() -> Iterator[Store]:
    """A bucket of moto, served by another process so that it has an interpreter lock of its own."""
    from pyarrow import fs

    keys = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": secrets.token_hex(8)}
    before = {name: os.environ.get(name) for name in keys}
    os.environ |= keys
    fresh = multiprocessing.get_context("spawn")
    here, there = fresh.Pipe()
    server = fresh.Process(target=_serve, args=(there,), daemon=True)
    server.start()
    there.close()  # Otherwise a server that fails would be waited for forever.
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
    """Send ``host:port``, then serve until terminated."""
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
    images: Annotated[int, typer.Option(help="Images per shard.")] = 512,
    features: Annotated[int, typer.Option(help="Pooled features per image.")] = 2048,
    classes: Annotated[int, typer.Option(help="Class probabilities per image.")] = 1008,
    shard: Annotated[
        Path | None, typer.Option(help="Shard of a finished run instead of made numbers.")
    ] = None,
    shards: Annotated[int, typer.Option(help="Shards per format and round.")] = 4,
    resume: Annotated[str, typer.Option(help="Numbers of shards to resume.")] = "20,100,400",
    rounds: Annotated[int, typer.Option(help="Rounds; medians are printed.")] = 7,
    s3: Annotated[bool | None, typer.Option(help="Also on S3 (default: if moto is there).")] = None,
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
    with stores(with_s3) as found:
        for where, store in found.items():
            formats += measure_formats(store, where, arrays, shards, rounds)
            resuming += measure_resuming(store, where, counts, rounds)
    shapes = {name: list(array.shape) for name, array in arrays.items()}
    Console(width=120).print(_table(formats, resuming, shapes))
    made = {"source": str(shard) if shard else "made", "shapes": shapes, "rounds": rounds}
    content = {"machine": machine(), **made, "formats": formats, "resuming": resuming}
    write_json(content, json_path)


def _table(
    formats: Sequence[dict[str, Any]],
    resuming: Sequence[dict[str, Any]],
    shapes: dict[str, list[int]],
) -> Table:
    rows, features = shapes["features"]
    size = f"{rows} images of {features} features and {shapes['probabilities'][1]} classes"
    table = Table(title=f"Shards of {size}, {os.cpu_count()} cores")
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
