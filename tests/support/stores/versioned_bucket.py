"""A bucket that keeps every version of every object, so that writes can be counted."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import support.stores.faulty_s3 as faulty_s3
from pyarrow import fs

#: Where the run under test writes.
OUT = "out"


class VersionedBucket:
    """The store of a run, read and spoilt behind its back."""

    def __init__(self, server: str) -> None:
        """Make the bucket ``runs`` on a server."""
        import boto3

        self._files = faulty_s3.make_bucket(server, "runs")
        self._client = boto3.client("s3", endpoint_url=server, region_name="us-east-1")
        self._client.put_bucket_versioning(
            Bucket="runs", VersioningConfiguration={"Status": "Enabled"}
        )

    def upload(self, folder: Path) -> None:
        """All Keras files below a folder, by their paths there."""
        for path in (found for found in folder.rglob("*") if found.suffix in (".keras", ".h5")):
            self._write(f"runs/{path.relative_to(folder).as_posix()}", path.read_bytes())

    def receipts(self) -> dict[str, Any]:
        """Receipts of shards by their time of writing."""
        found = self._below(f"runs/{OUT}", recursive=True)
        marks = [file for file in found if file.path.endswith(".receipt.json")]
        return {file.path: file.mtime for file in marks if "/part-0" in file.path}

    def flip(self, receipt: str, draw: np.random.Generator) -> None:
        """Flip a random bit of the file that a receipt vouches for."""
        folder, _, name = receipt.rpartition("/")
        stem = name.removesuffix("receipt.json")
        others = [file.path for file in self._below(folder) if file.base_name.startswith(stem)]
        (path,) = set(others) - {receipt}
        with self._files.open_input_file(path) as file:
            content = bytearray(file.read())
        place = int(draw.integers(8 * len(content)))
        content[place // 8] ^= 1 << place % 8
        self._write(path, bytes(content))

    def writes(self) -> Counter[str]:
        """How often each shard's file was written."""
        pages = self._client.get_paginator("list_object_versions")
        keys = [
            version["Key"]
            for page in pages.paginate(Bucket="runs", Prefix=f"{OUT}/")
            for version in page.get("Versions", [])
        ]
        return Counter(key for key in keys if "/part-0" in key and not key.endswith(".json"))

    def _write(self, path: str, content: bytes) -> None:
        with self._files.open_output_stream(path) as file:
            file.write(content)

    def _below(self, path: str, *, recursive: bool = False) -> list[Any]:
        selector = fs.FileSelector(path, recursive=recursive, allow_not_found=True)
        return list(self._files.get_file_info(selector))
