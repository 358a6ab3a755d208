"""Serial runs of one test process load each checkpoint and extractor once, as one worker does.

Loading and tracing a network takes most of a small run's time, and many tests score the same files.
What a file holds is recognised by its path, size and time of change, so a test that rewrites a file
has it loaded again. Checkpoints that run a user's code, and those in object stores, are loaded anew
each time. Runs on Ray and in other processes know nothing of this.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Any, TypeVar

import pytest

from vae_batch.run.execute import worker
from vae_batch.run.stages import inputs

Loaded = TypeVar("Loaded")

_KEPT_CHECKPOINTS, _KEPT_EXTRACTORS = 32, 8


class _Kept:
    """The last few results, by their keys."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._results: OrderedDict[Hashable, Any] = OrderedDict()

    def get(self, key: Hashable, make: Callable[[], Loaded]) -> Loaded:
        if key not in self._results:
            self._results[key] = make()
            while len(self._results) > self._size:
                self._results.popitem(last=False)
        self._results.move_to_end(key)
        return self._results[key]


def load_once(patch: pytest.MonkeyPatch) -> None:
    """Keep what stages and workers of this process load."""
    networks_kept, vaes_kept = _Kept(_KEPT_CHECKPOINTS), _Kept(_KEPT_CHECKPOINTS)
    extractors_kept = _Kept(_KEPT_EXTRACTORS)
    load_networks, assemble, load_extractor = (
        inputs.load_networks,
        inputs.assemble,
        worker.load_extractor,
    )

    def networks_of(files: Any, options: Any, sha256: str | None = None) -> Any:
        runs_code = options.trust or options.reading.builder is not None
        state = None if runs_code else _state_of(files.values())
        if state is None:
            return load_networks(files, options, sha256)
        key = (tuple(sorted(files.items())), state, repr(options), sha256)
        return networks_kept.get(key, lambda: load_networks(files, options, sha256))

    def assembled(networks: Any, *arguments: Any, **probes: Any) -> Any:
        digests = tuple(None if p is None else _digest(p.tobytes()) for p in probes.values())
        key = (id(networks), repr(arguments), digests)
        # The networks are kept with what was made of them, so that their id stays theirs.
        made = vaes_kept.get(key, lambda: (networks, assemble(networks, *arguments, **probes)))
        return made[1]

    def extractor(identity: Any, batch_size: int) -> Any:
        state = _state_of(filter(None, [identity.weights_path]))
        if state is None:
            return load_extractor(identity, batch_size)
        key = (repr(identity), state, batch_size)
        return extractors_kept.get(key, lambda: load_extractor(identity, batch_size))

    patch.setattr(inputs, "load_networks", networks_of)
    patch.setattr(inputs, "assemble", assembled)
    patch.setattr(worker, "load_extractor", extractor)


def _state_of(paths: Any) -> tuple[Any, ...] | None:
    """Sizes and times of change of local files, folders with all they hold; None of others."""
    found = []
    for path in map(Path, paths):
        if not path.exists():
            return None
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            stat = file.stat()
            found.append((str(file), stat.st_size, stat.st_mtime_ns))
    return tuple(found)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
