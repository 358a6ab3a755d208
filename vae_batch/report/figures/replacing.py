"""The figures of an output folder: written while others are drawn, in place of older ones."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pandas as pd

from vae_batch.report.figures.writing import INDEX, write_figures
from vae_batch.report.gallery import Gallery
from vae_batch.run.compare.selection import Selection
from vae_batch.storage import Store

_WRITERS = 4  # files on their way at a time: a disk syncs each, an object store answers slowly


def replace_figures(
    folder: Store,
    scores: pd.DataFrame,
    galleries: Mapping[str, Gallery],
    comparisons: Sequence[Mapping[str, Any]],
    selection: Selection | None,
) -> list[str]:
    """Write all figures into `folder`, then remove those of an earlier report that are no more.

    The index is written when every file that it lists is there.

    Returns:
        The names written, as `write_figures` gives them.

    Raises:
        OSError: a file cannot be written.
    """
    content = folder.find(INDEX)
    former = () if content is None else files_of_index(content)
    writing: list[Future[None]] = []
    with ThreadPoolExecutor(_WRITERS) as pool:

        def write(name: str, content: bytes) -> None:
            if name == INDEX:
                for file in writing:
                    file.result()
            writing.append(pool.submit(folder.write, name, content))

        names = write_figures(scores, galleries, write, comparisons, selection)
        writing[-1].result()
    for name in sorted({*former} - {*names}):
        folder.delete(name)
    return names


def files_of_index(index: bytes) -> tuple[str, ...]:
    """Files that an earlier report wrote beside its index; none where the index is damaged."""
    try:
        found = [name for figure in json.loads(index)["figures"] for name in figure["files"]]
    except (ValueError, KeyError, TypeError):
        return ()
    return tuple(name for name in found if isinstance(name, str) and "/" not in name)
