"""Labels of conditional VAEs: which input takes them, and in what form."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from vae_batch.models.formats.format import Array, Floats, Port, PortShape
from vae_batch.plan.errors import CheckpointError
from vae_batch.plan.reading import Labels

IntArray = npt.NDArray[np.int64]

_NAMES = {"label", "labels", "y", "class", "classes", "cls", "cond", "condition", "conditions",
          "c", "digit", "digits", "category", "target", "targets", "onehot"}  # fmt: skip


@dataclass(frozen=True)
class LabelInfo:
    """What is known about labels before a network is examined.

    Attributes:
        classes: Number of classes of the reference, or None where it has no labels.
        declared: How the checkpoint takes labels, where that was declared.
    """

    classes: int | None
    declared: Labels | None


@dataclass(frozen=True)
class LabelInput:
    """How one network takes labels.

    Attributes:
        how: ``one-hot`` and ``integer`` labels have an input of their own; ``concatenated`` ones
            follow the image's or latent's last axis as one-hot values.
        classes: Of the reference.
        port: The input that takes them.
        index: Its place among the network's inputs.
    """

    how: Labels
    classes: int
    port: Port
    index: int

    def describe(self) -> str:
        """Such as ``one-hot labels, 10 classes``."""
        return f"{self.how} labels, {self.classes} classes"

    def join(self, main: Array, labels: IntArray) -> tuple[Array, ...]:
        """The network's inputs."""
        if self.how == "concatenated":
            one_hot = self._one_hot(labels)
            one_hot = one_hot.reshape(len(labels), *(1 for _ in main.shape[2:]), self.classes)
            wide = np.broadcast_to(one_hot, (*main.shape[:-1], self.classes))
            return (np.concatenate([main, wide], axis=-1),)
        column = (len(labels), *(1 for _ in self.port.shape))
        own: Array = self._one_hot(labels) if self.how == "one-hot" else labels.reshape(column)
        own = own.astype(numpy_dtype(self.port))
        return (main, own) if self.index == 1 else (own, main)

    def _one_hot(self, labels: IntArray) -> Floats:
        return np.eye(self.classes, dtype=np.float32)[labels]


def numpy_dtype(port: Port) -> np.dtype[Any]:
    """The dtype of arrays for an input: its own integers, float32 for any floats."""
    return np.dtype(port.dtype if port.dtype.startswith(("int", "uint")) else "float32")


def checked_labels(labels: Array | None, rows: int, label: LabelInput, who: str) -> IntArray:
    """(rows,) int64 labels for a network."""
    if labels is None:
        raise CheckpointError(
            f"the {who} takes {label.describe()}, but none are given; score it against a "
            "reference with labels (a named set, or an .npz that holds them)"
        )
    if labels.shape != (rows,):
        raise CheckpointError(
            f"the {who} takes one label per image, expected shape ({rows},), found {labels.shape}"
        )
    if rows and (labels.min() < 0 or labels.max() >= label.classes):
        raise CheckpointError(
            f"the {who} takes {label.describe()}, found labels from {labels.min()} to "
            f"{labels.max()}; number the classes from 0"
        )
    return labels.astype(np.int64)


def split_inputs(
    ports: Sequence[Port],
    fits: Callable[[PortShape], bool],
    info: LabelInfo,
    who: str,
    main_name: str,
) -> tuple[Port, LabelInput | None]:
    """The input of images or latents, and the label input where there are two inputs.

    The main input is the one that fits. Where both fit, the label input is the one that is named
    like labels, else the one that has the shape of labels, else the second.
    """
    if len(ports) == 1:
        return ports[0], None
    if len(ports) != 2:
        raise CheckpointError(
            f"the {who} has the inputs {list_ports(ports)}; expected {main_name} and perhaps "
            "labels: save it without the others"
        )
    main = _main_input(ports, fits, info.classes)
    return ports[main], _read_label_port(ports[1 - main], 1 - main, info, who)


def concatenated(
    port: Port, main_fits: Callable[[PortShape], bool], info: LabelInfo
) -> tuple[PortShape, LabelInput] | None:
    """The main shape and the label input of an only input that takes both joined, or None."""
    last = port.shape[-1] if port.shape else None
    if info.classes is None or info.declared not in (None, "concatenated"):
        return None
    if last is None or last <= info.classes:
        return None
    main = (*port.shape[:-1], last - info.classes)
    return (main, LabelInput("concatenated", info.classes, port, 0)) if main_fits(main) else None


def list_ports(ports: Sequence[Port]) -> str:
    """Names and shapes, for messages."""
    return ", ".join(f"{port.name!r} {port.shape}" for port in ports) or "none"


def is_named_label(port: Port) -> bool:
    """Whether an input is named like labels, such as ``y`` or ``class_1``."""
    return bool(_NAMES & set(re.findall(r"[a-z]+", port.name.lower())))


def _main_input(
    ports: Sequence[Port], fits: Callable[[PortShape], bool], classes: int | None
) -> int:
    fitting = [i for i in (0, 1) if fits(ports[i].shape)]
    if len(fitting) == 1:
        return fitting[0]
    for is_label in (is_named_label, lambda port: _has_label_shape(port.shape, classes)):
        labels = [i for i in (0, 1) if is_label(ports[i])]
        if len(labels) == 1:
            return 1 - labels[0]
    return 0


def _has_label_shape(shape: PortShape, classes: int | None) -> bool:
    return shape in ((), (1,)) or (classes is not None and shape == (classes,))


def _read_label_port(port: Port, index: int, info: LabelInfo, who: str) -> LabelInput:
    what = f"the {who}'s input {port.name!r} {port.shape}"
    classes = info.classes
    if classes is None:
        raise CheckpointError(
            f"{what} seems to take labels, but the reference images have none; score this "
            "checkpoint against a reference with labels (a named set, or an .npz that holds "
            "them)"
        )
    if port.shape in ((), (1,)) and (classes > 1 or info.declared == "integer"):
        how: Labels = "integer"
    elif port.shape == (classes,):
        how = "one-hot"
    elif len(port.shape) == 1 and port.shape[0] is not None:
        raise CheckpointError(
            f"{what} takes one-hot labels of {port.shape[0]} classes, but the reference has "
            f"{classes}; score this checkpoint against the data set it was trained on, with "
            "enough --reference-samples to hold every class"
        )
    else:
        raise CheckpointError(
            f"{what} is neither one-hot labels ({classes},) nor integer labels (1,); save a model "
            "that takes labels in one of these forms"
        )
    if info.declared not in (None, how, "concatenated"):
        raise CheckpointError(
            f"{what} takes {how} labels, but --labels {info.declared} is declared; declare "
            f"--labels {how} or leave it out",
            {"labels": how},
        )
    return LabelInput(how, classes, port, index)
