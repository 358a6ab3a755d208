"""Training and saving of small Keras models: reproducible from a seed, on TensorFlow."""

from __future__ import annotations

import functools
import itertools
import json
import os
import re
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import keras

Tensor = Any  # a TensorFlow tensor, whose package is imported lazily
Array = npt.NDArray[Any]


def layer_maker(seed: int) -> Callable[..., Any]:
    """A function (kind, name, *sizes, **settings) that makes relu layers with seeded weights.

    Every layer has a name, as Keras' own numbers depend on what the process built before.
    """
    import keras

    seeds = itertools.count(seed * 100)

    def make(kind: type, name: str, *sizes: int, **settings: Any) -> Any:  # noqa: ANN401
        initial = keras.initializers.GlorotUniform(seed=next(seeds))
        settings = {"activation": "relu", "kernel_initializer": initial, **settings}
        return kind(*sizes, name=name, **settings)

    return make


def train_epochs(
    loss_terms: Callable[..., tuple[Tensor, ...]],
    variables: list[Any],
    arrays: Sequence[Array],
    *,
    epochs: int,
    batch_size: int,
    learning_rate: float,
    seed: int,
) -> Iterator[tuple[float, ...]]:
    """Minimise with Adam; yields the mean of every loss term after each epoch.

    A whole epoch is one TensorFlow graph, so that no step runs Python.

    Args:
        loss_terms: (a batch of each array, noise seed (2,) int32) to scalars; the first is the
            loss.
        variables: Keras variables to train.
        arrays: Of one length n; rows are shuffled together.
        epochs: Epochs to run.
        batch_size: Rows per step, at most n.
        learning_rate: Of Adam.
        seed: Of order and noise.
    """
    import keras
    import tensorflow as tf

    rows = len(arrays[0])
    batch_size = min(batch_size, rows)
    steps = rows // batch_size
    with tf.device("CPU:0"):  # images stay in host memory; batches travel to the accelerator
        tensors = [tf.constant(array) for array in arrays]
    count = len(loss_terms(*(tensor[:1] for tensor in tensors), tf.constant([0, 0])))
    optimizer = keras.optimizers.Adam(learning_rate)
    optimizer.build(variables)

    def step(batch: list[Tensor], noise_seed: Tensor) -> Tensor:
        with tf.GradientTape() as tape:
            values = loss_terms(*batch, noise_seed)
        gradients = tape.gradient(values[0], [variable.value for variable in variables])
        optimizer.apply(gradients, variables)
        return tf.stack(values)

    @functools.partial(tf.function, autograph=False)
    def run_epoch(order: Tensor, epoch: Tensor) -> Tensor:
        def body(index: Tensor, total: Tensor) -> tuple[Tensor, Tensor]:
            chosen = order[index * batch_size : (index + 1) * batch_size]
            chosen = tf.ensure_shape(chosen, [batch_size])
            batch = [tf.gather(tensor, chosen) for tensor in tensors]
            values = step(batch, tf.stack([seed % 2**31, epoch * steps + index]))
            return index + 1, total + values

        start = (tf.constant(0), tf.zeros([count]))
        _, total = tf.while_loop(lambda index, _: index < steps, body, start)
        return total / steps

    generator = np.random.default_rng(seed)
    for epoch in range(epochs):
        order = generator.permutation(rows).astype(np.int32)
        means = run_epoch(tf.constant(order), tf.constant(epoch))
        yield tuple(float(value) for value in means.numpy())


def save_model(model: keras.Model, path: Path) -> None:
    """Save a ``.keras`` file atomically, with the same bytes for the same weights.

    A job that watches the folder never sees an incomplete file, and training again does not change
    the hash under which scores are stored.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    with tempfile.TemporaryDirectory() as folder:
        local = Path(folder) / "model.keras"
        model.save(local)
        with zipfile.ZipFile(local) as saved, zipfile.ZipFile(partial, "w") as undated:
            for name in sorted(saved.namelist()):
                content = _reproducible(name, saved.read(name))
                undated.writestr(zipfile.ZipInfo(name), content)  # dated 1980-01-01
    os.replace(partial, path)


def _reproducible(name: str, content: bytes) -> bytes:
    """A member of a .keras archive without its date and the process's object addresses."""
    if name == "metadata.json":
        return json.dumps({**json.loads(content), "date_saved": ""}).encode()
    if name == "config.json":
        numbers: dict[bytes, int] = {}
        return re.sub(
            rb'(?<="shared_object_id": )\d+',
            lambda match: b"%d" % numbers.setdefault(match[0], len(numbers)),
            content,
        )
    return content
