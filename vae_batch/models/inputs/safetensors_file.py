"""Tensors of a ``.safetensors`` file.

Source of the layout: https://huggingface.co/docs/safetensors
"""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import numpy.typing as npt

from vae_batch.plan.location import require_regular

_LARGEST_HEADER = 100 << 20
_WIDTHS = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}


class SafetensorsFile:
    """A file whose header was read and checked.

    Raises:
        ValueError: It is no such file, or is truncated.
        OSError: It cannot be read.
    """

    def __init__(self, path: Path) -> None:
        require_regular(path)
        size = path.stat().st_size
        with path.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            if not 2 <= length <= min(_LARGEST_HEADER, size - 8):
                raise ValueError(f"{path} is no safetensors file, or is truncated")
            header = json.loads(stream.read(length))
        self._path, self._start = path, 8 + length
        self._entries: dict[str, tuple[str, tuple[int, ...], int]] = {}
        for name, entry in header.items():
            if name == "__metadata__":
                continue
            try:
                dtype, shape = str(entry["dtype"]), tuple(map(int, entry["shape"]))
                start, end = map(int, entry["data_offsets"])
            except (KeyError, TypeError, ValueError) as error:
                raise ValueError(f"{path} has a damaged header ({name!r})") from error
            width = _WIDTHS.get(dtype)
            whole = width is None or end - start == width * math.prod(shape)
            if not whole or min(shape, default=1) < 0 or not 0 <= start <= end <= size - 8 - length:
                raise ValueError(
                    f"{path} is truncated or damaged: it does not hold all of {name!r}"
                )
            self._entries[name] = dtype, shape, start

    @property
    def names(self) -> frozenset[str]:
        """Names of the tensors."""
        return frozenset(self._entries)

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a tensor."""
        return self._entries[name][1]

    def read(self, name: str) -> npt.NDArray[np.float32]:
        """A tensor of floats in float32.

        Raises:
            ValueError: It holds no floats.
        """
        dtype, shape, start = self._entries[name]
        if dtype not in _WIDTHS:
            raise ValueError(
                f"{self._path}: tensor {name!r} is of the type {dtype}, expected floats"
            )
        kind = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}[dtype]
        count, offset = math.prod(shape), self._start + start
        values = np.fromfile(self._path, kind, count, offset=offset).reshape(shape)
        if dtype == "BF16":  # the upper half of a float32
            return (values.astype(np.uint32) << 16).view(np.float32)
        found: npt.NDArray[np.float32] = values.astype(np.float32, copy=False)
        return found
