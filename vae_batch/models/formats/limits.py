"""Limits under which checkpoints are loaded: a malicious or huge one raises instead of crashing.

There are four: sizes that an archive declares, weights before they are allocated, the largest
tensor of a network before it runs, and a limit of the operating system for all else.
"""

from __future__ import annotations

import contextlib
import logging
import math
import threading
import types
import weakref
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from vae_batch.models.formats.format import Network
from vae_batch.models.formats.keras.config_nodes import Json, calls_of
from vae_batch.plan.errors import CheckpointError

GIB = 2**30

_log = logging.getLogger(__name__)

# A configuration of a network of 1,000 layers has about 1 MiB.
LARGEST_CONFIG = 16 << 20
_MOST_CALLS = 5_000
_MOST_MEMBERS = 10_000

# DEFLATE reaches 1032:1, on zeros; real weights hardly shrink.
_MOST_EXPANSION = 200
_SMALL_MEMBER = 64 << 20

# What a model may allocate beside the weights in its file: states that are not saved.
_SPARE_WEIGHTS = 64 << 20

# GiB that a checkpoint may reasonably need.
_MOST_MEMORY = 512

# The batch of a CPU run; GPUs take larger ones, and their allocator raises.
_ROWS = 32

# Shapes of initial values, which nested budgets need again.
_initialised: weakref.WeakKeyDictionary[Any, tuple[Any, Any]] = weakref.WeakKeyDictionary()

_CHANGING_LIMITS = threading.RLock()


@contextlib.contextmanager
def memory_cap(limit: int) -> Iterator[str | None]:
    """Within the context, this process may allocate ``limit`` more bytes of private memory.

    An allocation beyond that raises MemoryError (NumPy, Python) or ResourceExhaustedError
    (TensorFlow, which tries again for 10 seconds). RLIMIT_DATA is set and not RLIMIT_AS, which
    would count address space that is only reserved: CUDA and thread arenas take hundreds of GiB.

    Args:
        limit: Bytes.

    Yields:
        None, or why this platform has no such limit.
    """
    used = _private_bytes()
    if used is None:
        yield "this platform has no limit of a process's private memory"
        return
    import resource

    with _CHANGING_LIMITS:
        soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
        wanted = [used + limit, *(old for old in (soft, hard) if old != resource.RLIM_INFINITY)]
        resource.setrlimit(resource.RLIMIT_DATA, (min(wanted), hard))
        try:
            yield None
        finally:
            resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


@contextlib.contextmanager
def weight_budget(limit: int, source: str, reason: str) -> Iterator[None]:
    """Within the context, variables of Keras 3 and tf_keras beyond ``limit`` bytes are refused.

    They are not allocated; the refusal names ``source`` and ends with ``reason``.
    """
    import tensorflow as tf

    total = 0

    def creator(next_creator: Any, **settings: Any) -> Any:  # noqa: ANN401
        nonlocal total
        total += _variable_bytes(settings)
        if total > limit:
            raise MemoryError("over the budget of weights")
        return next_creator(**settings)

    try:
        with tf.variable_creator_scope(creator):
            yield
    except Exception as error:  # the library may have wrapped the refusal
        if total <= limit:
            raise
        raise CheckpointError(
            f"{source} declares {in_words(total)} of weights or more{reason}"
        ) from error


@contextlib.contextmanager
def weights_of_file(weight_bytes: int, cap: int, source: str) -> Iterator[None]:
    """A :func:`weight_budget` of twice what a file holds, and at most the cap."""
    limit = 2 * weight_bytes + _SPARE_WEIGHTS
    reason = (
        f", but the file holds {in_words(weight_bytes)}: it is damaged or malicious; save the "
        "model again with model.save(...)"
    )
    with weight_budget(min(limit, cap), source, reason if limit <= cap else over_cap(cap)):
        yield


def ran_out_of_memory(error: BaseException | None) -> bool:
    """Whether an error, or one of its causes, means that memory ran out."""
    while error is not None:
        if isinstance(error, MemoryError) or type(error).__name__ == "ResourceExhaustedError":
            return True
        error = error.__cause__ or error.__context__
    return False


def over_cap(cap: int) -> str:
    """End of a sentence about something larger than the memory cap."""
    return (
        f", over memory_cap = {cap / GIB:g} GiB; if the file is sound, raise --memory-cap and run "
        "where there is that much memory"
    )


def cap_for(size: int) -> dict[str, object]:
    """The spec key that would admit so many bytes, twice over as libraries copy them.

    Empty for more than a host has: such a file is probably malicious.
    """
    wanted = math.ceil(2 * size / GIB)
    return {"memory_cap": float(wanted)} if wanted <= _MOST_MEMORY else {}


def check_keras_config(config: Json, weight_bytes: int, cap: int, source: str) -> None:
    """Check a configuration of either library before anything is built from it.

    Raises:
        CheckpointError: Its weights exceed the cap; it nests models into more than 5,000 calls of
            layers; or it calls a layer on no tensor, which would compute during loading.
    """
    if weight_bytes > cap:
        raise CheckpointError(
            f"{source} holds {in_words(weight_bytes)} of weights{over_cap(cap)}",
            cap_for(weight_bytes),
        )
    calls = _count_calls(config, source)
    if calls > _MOST_CALLS:
        raise CheckpointError(
            f"{source} nests models into {calls:.3g} calls of layers, of which at most "
            f"{_MOST_CALLS:,} are loaded; the file may be malicious; otherwise save encoder and "
            "decoder separately"
        )


def check_zip(path: str | Path, cap: int, source: str) -> None:
    """Check the sizes that a zip archive declares, without unpacking it."""
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
    if len(members) > _MOST_MEMBERS:
        raise CheckpointError(f"{source} has {len(members):,} members; a Keras file has under ten")
    for member in members:
        tight = member.file_size > _MOST_EXPANSION * max(member.compress_size, 1)
        if tight and member.file_size > _SMALL_MEMBER:
            raise CheckpointError(
                f"{source} is a zip bomb: {member.filename} unpacks from "
                f"{in_words(member.compress_size)} to {in_words(member.file_size)}; Keras does not "
                "pack its files: save the model again with model.save(...)"
            )
    total = sum(member.file_size for member in members)
    if total > cap:
        raise CheckpointError(
            f"{source} unpacks to {in_words(total)}{over_cap(cap)}", cap_for(total)
        )


def require_small_activations(network: Network, cap: int, rows: int = _ROWS) -> None:
    """Check the largest tensor that a network computes for a batch, before it runs."""
    if network.largest is None:
        return
    sample, layer = network.largest
    if rows * sample > cap:
        raise CheckpointError(
            f"{network.source}: layer {layer!r} makes {in_words(sample)} of each sample, "
            f"{in_words(rows * sample)} of a batch of {rows}{over_cap(cap)}",
            cap_for(rows * sample),
        )


def in_words(size: int) -> str:
    """Bytes as ``1.5 GiB``."""
    exponent = min(int(math.log2(size)) // 10, 4) if size else 0
    return f"{size / 1024**exponent:,.4g} {('bytes', 'KiB', 'MiB', 'GiB', 'TiB')[exponent]}"


def _private_bytes() -> int | None:
    """Private writable memory of this process; None where the system does not limit it."""
    try:
        import resource  # noqa: F401  absent on Windows

        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    except (ImportError, OSError):
        return None
    sizes = [int(line.split()[1]) for line in lines if line.startswith("VmData:")]
    return 1024 * sizes[0] if sizes else None


def _variable_bytes(settings: Json) -> int:
    """Bytes of a variable from the arguments of its creation, without computing its values."""
    import tensorflow as tf

    value, shape, dtype = (settings.get(key) for key in ("initial_value", "shape", "dtype"))
    if shape is None and callable(value):
        shape, dtype = _shape_and_dtype(value)
    elif shape is None:
        shape, dtype = getattr(value, "shape", ()), getattr(value, "dtype", dtype)
    sizes = tf.TensorShape(shape).as_list() if tf.TensorShape(shape).rank is not None else []
    width = int(tf.as_dtype(dtype or "float32").size)
    return width * math.prod(int(size or 0) for size in sizes)


def _shape_and_dtype(initial_value: Callable[[], Any]) -> tuple[Any, Any]:
    """Of what an initialiser returns, from its graph: nothing is allocated."""
    import tensorflow as tf

    remembers = isinstance(initial_value, types.FunctionType)
    if remembers and initial_value in _initialised:
        return _initialised[initial_value]
    try:
        with tf.Graph().as_default():
            made = initial_value()
        found = (made.shape, made.dtype)
    except Exception:  # one that only runs eagerly; the system's limit applies to it
        _log.debug("cannot trace an initialiser", exc_info=True)
        found = ((0,), "float32")
    if remembers:
        _initialised[initial_value] = found
    return found


def _count_calls(value: Any, source: str) -> int:  # noqa: ANN401
    """Calls of layers that a configuration expands to, nested models included."""
    if isinstance(value, list):
        return sum(_count_calls(inner, source) for inner in value)
    if not isinstance(value, dict):
        return 0
    layers = value.get("layers")
    counted = 0
    for layer in layers if isinstance(layers, list) else ():
        calls = calls_of(layer) if isinstance(layer, dict) else []
        if not all(calls):
            raise CheckpointError(
                f"{source}: layer {layer.get('name')!r} ({layer.get('class_name')}) is called on "
                "no tensor, so it would compute while it is loaded; save the model with that "
                "value as a weight"
            )
        counted += max(len(calls), 1) * (1 + _count_calls(layer, source))
    rest = (part for key, part in value.items() if key not in ("layers", "inbound_nodes"))
    return counted + sum(_count_calls(part, source) for part in rest)
