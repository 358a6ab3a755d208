"""Opens the file system of a location."""

from __future__ import annotations

import functools
import re

from pyarrow import ArrowInvalid
from pyarrow import fs as arrow_fs

from vae_batch.plan.errors import InputError
from vae_batch.plan.location import Location
from vae_batch.storage.retry import retrying

_WILDCARD = re.compile(r"[*?{]|\[(?![0-9a-fA-F:.]+\])")  # a host may be [::1]


def open_filesystem(location: Location) -> tuple[arrow_fs.FileSystem, str]:
    """Open the pyarrow file system of a location, and name the path in it.

    Args:
        location: Local path or URI. Its path may hold wildcards.

    Returns:
        The file system and the location's path in it.

    Raises:
        InputError: The scheme is unknown, the URI is not well formed, or the store cannot be
            reached.
    """
    if not location.scheme:
        return arrow_fs.LocalFileSystem(), str(location.local_path)
    host = location.authority.rpartition("@")[2]
    if location.scheme == "s3" and (":" in host or "?" in location.user):
        raise InputError(
            f"{location.label}: write a key or secret in a URI with %2F for /, %3F for ? and %40 "
            "for @; or leave it out and set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        )
    if _WILDCARD.search(host):
        raise InputError(f"{location.label}: write the bucket or host in full, without wildcards")
    query = f"?{location.query}" if location.query else ""
    try:
        filesystem, root = _open_root(f"{location.scheme}://{location.authority}/{query}")
    except (ArrowInvalid, OSError) as error:
        raise InputError(
            f"{location.label} cannot be opened: {error}; expected a local path or a URI such as "
            "s3://bucket/folder, gs://bucket/folder or file:///folder"
        ) from None
    path = f"{root.rstrip('/')}/{location.path}".rstrip("/") if root else location.path
    return filesystem, path or "/"


@functools.lru_cache(maxsize=64)
def _open_root(address: str) -> tuple[arrow_fs.FileSystem, str]:
    """Open a bucket or host once: without a region in the URI, pyarrow asks the service for it."""
    if address.startswith("s3://") and "allow_delayed_open" not in address:
        # Small files are then written by one request; pyarrow's multipart upload takes three.
        address += f"{'&' if '?' in address else '?'}allow_delayed_open=true"
    filesystem, root = retrying(lambda: arrow_fs.FileSystem.from_uri(address), f"opening {address}")
    return filesystem, root
