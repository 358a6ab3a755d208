"""Whether all machines of a cluster see the same files, and run the same code.

A local path is often the driver's alone, and an image may be older than the driver's.

The driver leaves a mark in each local folder that workers write to. Every present node is asked
before anything is computed; every process that computes looks for the marks itself, since nodes
may join later.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import secrets
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from vae_batch import __version__
from vae_batch.models.inputs.files import folder_files
from vae_batch.plan import InputError
from vae_batch.plan.location import Location
from vae_batch.run.execute.on_ray.cluster import result_of
from vae_batch.run.execute.on_ray.machines import Node, alive_nodes
from vae_batch.run.output.run_record import library_versions
from vae_batch.run.planning.run_plan import RunPlan
from vae_batch.storage import Store

#: Seconds that a shared file system may take to show a new file to another machine.
_PATIENCE = 10.0

#: Problems of one node that are named.
_SHOWN = 3

_REMEDY = (
    "give a URI that every node reads (s3://bucket/folder), or a path on a file system that is "
    "mounted on all of them; inputs may also travel with the job (ray job submit --working-dir)"
)


@dataclass(frozen=True)
class Mark:
    """A small file that the driver wrote into a folder.

    Attributes:
        word: Key of the spec that names the folder.
        folder: Absolute path.
        name: Of the file.
        text: Its content.
    """

    word: str
    folder: str
    name: str
    text: str


@dataclass(frozen=True)
class InputFile:
    """A local file or folder that workers read.

    Attributes:
        word: What it is, for messages.
        path: As the workers are told it.
        size: Bytes of it, or of all files in it, on the driver's node.
    """

    word: str
    path: str
    size: int


@dataclass(frozen=True)
class DriverFiles:
    """What the driver sees, and every process that computes for it must see too.

    Attributes:
        marks: In the folders that are written to; none where all of them are object stores.
        weights: Of extractors. A checkpoint that is missing costs its own row only.
        versions: Name and version of this package and of the libraries that numbers depend on.
    """

    marks: tuple[Mark, ...] = ()
    weights: tuple[InputFile, ...] = ()
    versions: tuple[tuple[str, str], ...] = ()


def require_visible(plan: RunPlan) -> DriverFiles:
    """Refuse a run whose files some node does not see, or that has other versions there.

    Nothing has been computed.

    Returns:
        What processes on nodes that join later are to look for; the caller removes the marks.

    Raises:
        InputError: Names the node, the path and what to do.
    """
    stores = {"out": plan.stores.out, "reference_cache": plan.stores.reference}
    weights = {f"extractor {r.extractor.name}": r.extractor.weights_path for r in plan.rows}
    checkpoints = {path for row in plan.rows for _, path in row.checkpoint.files}
    files = DriverFiles(
        tuple(_leave_marks(stores)),
        tuple(_local_files((word, path) for word, path in weights.items() if path)),
        tuple(_versions().items()),
    )
    try:
        _ask_every_node(files, list(_local_files(("checkpoint", p) for p in sorted(checkpoints))))
    except BaseException:
        remove_marks(files)
        raise
    return files


def remove_marks(files: DriverFiles) -> None:
    """Take the marks away."""
    for mark in files.marks:
        Path(mark.folder, mark.name).unlink(missing_ok=True)


@functools.lru_cache(maxsize=8)
def refusal_here(files: DriverFiles, *, extracts: bool = False) -> str:
    """Why this process must not compute for a run; empty where it sees what the driver saw.

    Args:
        files: Of the driver.
        extracts: Whether the process loads extractors.
    """
    here = ray.get_runtime_context().get_node_id()
    if differing := _differing(files.versions, _versions()):
        return f"{_place(here)}: {differing}"
    weights = files.weights if extracts else ()
    problems = itertools.chain(map(_problem_of_mark, files.marks), map(_problem_of_file, weights))
    problem = next(filter(None, problems), "")
    return f"{_place(here)}: {problem}; {_REMEDY}" if problem else ""


def _place(here: str) -> str:
    return next((node.place for node in alive_nodes() if node.id == here), "a node")


def _versions() -> dict[str, str]:
    return {"vae_batch": __version__, **library_versions()}


def _differing(driver: Iterable[tuple[str, str]], there: Mapping[str, str]) -> str:
    """How versions on a node differ from the driver's; empty where they do not."""
    found = [
        f"{name} {there.get(name, 'is missing')} there and {version} on the driver's node"
        for name, version in driver
        if there.get(name) != version
    ]
    return f"{', '.join(found)}; install the same versions on every node" if found else ""


def _local_files(named: Iterable[tuple[str, str]]) -> Iterator[InputFile]:
    """Those on local paths, as far as the driver can read them; what it cannot costs its row."""
    for word, path in named:
        if Location.parse(path).local_path is not None:
            with contextlib.suppress(OSError):
                yield InputFile(word, path, _size(path))


def _leave_marks(stores: dict[str, Store]) -> Iterator[Mark]:
    marked: list[Path] = []
    for word, store in stores.items():
        folder = store.local_folder
        if folder is None or any(folder.is_relative_to(outer) for outer in marked):
            continue
        name, text = f".seen-{secrets.token_hex(8)}", secrets.token_hex(8)
        store.write(name, text.encode())
        marked.append(folder)
        yield Mark(word, str(folder), name, text)


def _ask_every_node(files: DriverFiles, checkpoints: Sequence[InputFile]) -> None:
    here = ray.get_runtime_context().get_node_id()
    nodes = [node for node in alive_nodes() if node.id != here]
    others = [node for node in nodes if node.machine.cpus or node.machine.gpus]
    # Plain values, which any version of the package can answer.
    for node, versions in _answers(others, _versions_there, "say its versions"):
        if differing := _differing(files.versions, versions):
            raise InputError(f"{node.place}: {differing}")
    for node, problems in _answers(
        others, _problems_there, "look at its files", files, checkpoints
    ):
        if problems:
            more = f" (and {len(problems) - _SHOWN} more)" if len(problems) > _SHOWN else ""
            raise InputError(f"{node.place}: {'; '.join(problems[:_SHOWN])}{more}; {_REMEDY}")


def _answers(
    nodes: Sequence[Node],
    function: Any,  # noqa: ANN401
    doing: str,
    *arguments: Any,  # noqa: ANN401
) -> Iterator[tuple[Node, Any]]:
    """What a remote function returns on each node; those that are lost meanwhile are left out."""
    pinned = [NodeAffinitySchedulingStrategy(node.id, soft=False) for node in nodes]
    calls = [function.options(scheduling_strategy=where).remote(*arguments) for where in pinned]
    for node, call in zip(nodes, calls, strict=True):
        try:
            yield node, result_of(call)
        except RayTaskError as error:
            raise InputError(f"{node.place} cannot {doing}: {error.cause or error}") from error
        except RayError:
            continue


@ray.remote(num_cpus=0)
def _versions_there() -> dict[str, str]:
    return _versions()


@ray.remote(num_cpus=0)
def _problems_there(files: DriverFiles, checkpoints: Sequence[InputFile]) -> list[str]:
    found = map(_problem_of_mark, files.marks)
    inputs = map(_problem_of_file, [*files.weights, *checkpoints])
    return [problem for problem in itertools.chain(found, inputs) if problem]


def _problem_of_mark(mark: Mark) -> str:
    """Why a folder is not the driver's, or is of no use; empty where all is well."""
    path, deadline = Path(mark.folder, mark.name), time.monotonic() + _PATIENCE
    while not _holds(path, mark.text):
        if time.monotonic() > deadline:
            return (
                f"{mark.word} {mark.folder} is not the driver's folder there: a file that the "
                "driver has just written into it is missing"
            )
        time.sleep(0.5)
    own = path.with_name(f"{mark.name}-{secrets.token_hex(4)}")
    try:
        own.touch()
    except OSError as error:
        return f"{mark.word} {mark.folder} cannot be written there: {error}"
    own.unlink(missing_ok=True)
    return ""


def _holds(path: Path, text: str) -> bool:
    with contextlib.suppress(OSError):
        return path.read_text(encoding="utf-8") == text
    return False


def _problem_of_file(file: InputFile) -> str:
    try:
        size = _size(file.path)
    except OSError as error:
        return f"{file.word} {_shown(file.path)} cannot be read there ({type(error).__name__})"
    if size != file.size:
        return (
            f"{file.word} {_shown(file.path)} has {size:,} bytes there and {file.size:,} on the "
            "driver's node"
        )
    return ""


def _shown(path: str) -> str:
    """A path with the folder that it is relative to."""
    local = Location.parse(path).local_path
    return path if local is None or local.is_absolute() else f"{path} (in {os.getcwd()})"


def _size(path: str) -> int:
    """Bytes of a file, or of all files in a folder.

    Raises:
        OSError: It is not there.
    """
    local = Location.parse(path).local_path or Path(path)
    if local.is_dir():
        return sum((local / name).stat().st_size for name in folder_files(str(local)))
    return local.stat().st_size
