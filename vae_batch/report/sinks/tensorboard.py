"""A run as TensorBoard event files: curves over training steps, pictures, warnings.

The files are written with TensorFlow's own ``tf.summary.write``. Its ``scalar``, ``image`` and
``text`` need the package ``tensorboard``, which writing does not need otherwise.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vae_batch.metrics.catalogue import METRICS
from vae_batch.plan import InputError
from vae_batch.plan.location import is_uri
from vae_batch.report.finished_run import FinishedRun
from vae_batch.report.labels import slugs
from vae_batch.report.sinks.scored_checkpoints import (
    ScoredCheckpoint,
    lines_of,
    pictures,
    scored_checkpoints,
)

_EVENTS = "events.out.tfevents."

# TensorBoard's plugins, and the classes of tensorflow/core/framework/summary.proto they show.
_SCALARS, _TEXT, _IMAGES = ("scalars", 1), ("text", 2), ("images", 3)


@dataclass(frozen=True)
class Written:
    """What one export wrote.

    Attributes:
        folder: The run folder, below the log folder that was given.
        scalars: Points of curves.
        images: Pictures.
        texts: Warnings and failures.
    """

    folder: str
    scalars: int = 0
    images: int = 0
    texts: int = 0


def write_tensorboard(run: FinishedRun, log_folder: str) -> Written:
    """Write a run below a log folder, in the place of what an earlier export of it left there.

    One run folder an output folder, named by it; a TensorBoard that is open while points are
    replaced has to be restarted. Steps are training steps. Checkpoints without a step, and
    training runs that share steps, get folders of their own inside.

    Args:
        run: What to show.
        log_folder: A folder for ``tensorboard --logdir``, or a URI that TensorFlow can write.

    Raises:
        InputError: The folder cannot be written.
    """
    import tensorflow as tf

    where = log_folder if is_uri(log_folder) else str(Path(log_folder).expanduser())
    written = Written(os.path.join(where, _run_name(run)))
    checkpoints = scored_checkpoints(run)
    lines = lines_of(checkpoints)
    try:
        old = list(_event_files(written.folder))
        for line in sorted(set(lines.values())):
            own = [c for c in checkpoints if lines[c.label] == line]
            with tf.summary.create_file_writer(os.path.join(written.folder, line)).as_default():
                for checkpoint in own:
                    written = _write_checkpoint(run, checkpoint, written)
        for path in old:
            tf.io.gfile.remove(path)
    except (tf.errors.OpError, OSError) as error:
        raise InputError(f"--tensorboard {log_folder} cannot be written: {error}") from None
    return written


def _run_name(run: FinishedRun) -> str:
    """The output folder's name, and a part of its path's hash: other folders may be named so."""
    root = run.store.shown.partition("?")[0]
    (name,) = slugs([root.rpartition("/")[2]]).values()
    return f"{name}-{hashlib.sha256(root.encode()).hexdigest()[:8]}"


def _event_files(folder: str) -> Iterator[str]:
    import tensorflow as tf

    if tf.io.gfile.exists(folder):
        for parent, _, names in tf.io.gfile.walk(folder):
            yield from (os.path.join(parent, n) for n in names if n.startswith(_EVENTS))


def _write_checkpoint(run: FinishedRun, checkpoint: ScoredCheckpoint, so_far: Written) -> Written:
    step = checkpoint.step or 0
    scalars = checkpoint.scalars()
    for tag, value in scalars.items():
        _write(tag, value, step, _SCALARS, METRICS[tag.partition("/")[0]].definition)
    images = dict(pictures(run.gallery(checkpoint.label)))
    for tag, picture in images.items():
        sides = [str(side).encode() for side in (picture.width, picture.height)]
        _write(tag, [*sides, picture.png], step, _IMAGES)
    said = {"warnings": checkpoint.warnings, "failures": checkpoint.failures}
    texts = {tag: sentences for tag, sentences in said.items() if sentences}
    for tag, sentences in texts.items():
        lines = [f"{checkpoint.label}:", "", *(f"- {sentence}" for sentence in sentences)]
        _write(tag, "\n".join(lines), step, _TEXT)
    return replace(
        so_far,
        scalars=so_far.scalars + len(scalars),
        images=so_far.images + len(images),
        texts=so_far.texts + len(texts),
    )


def _write(
    tag: str,
    value: Any,  # noqa: ANN401
    step: int,
    kind: tuple[str, int],
    description: str = "",
) -> None:
    import tensorflow as tf

    proto = tf.compat.v1.SummaryMetadata
    plugin, data_class = kind
    shown_by = proto.PluginData(plugin_name=plugin)
    metadata = proto(plugin_data=shown_by, data_class=data_class, summary_description=description)
    tf.summary.write(tag, tf.constant(value), step=step, metadata=metadata)
