"""Reads the constants of the 2015 Inception GraphDef with TensorFlow's own protocol buffers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from vae_batch.plan.errors import InputError

if TYPE_CHECKING:
    import tensorflow as tf

_NORM_OP = "BatchNormWithGlobalNormalization"


def read_graphdef(
    stream: BinaryIO, source: str
) -> tuple[Mapping[str, NDArray[np.generic]], Mapping[str, float]]:
    """Read every constant and every batch norm's epsilon.

    Args:
        stream: The serialised GraphDef.
        source: What the messages call the file.

    Returns:
        Arrays by node name, and the epsilon of each batch norm by scope. Where a norm does not
        scale after normalisation, its gamma is replaced by ones, as TensorFlow ignores it.

    Raises:
        InputError: The bytes are no GraphDef, or damaged.
    """
    import tensorflow as tf

    graph = tf.compat.v1.GraphDef()
    try:
        graph.ParseFromString(stream.read())
        arrays = {n.name: tf.make_ndarray(n.attr["value"].tensor) for n in _nodes(graph, "Const")}
    # The parser's DecodeError and make_ndarray's errors share no class.
    except Exception as error:
        raise InputError(
            f"{source}: the GraphDef cannot be parsed ({error}); it is truncated or damaged. "
            "Download it again."
        ) from error
    epsilons: dict[str, float] = {}
    for node in _nodes(graph, _NORM_OP):
        scope = node.name.rpartition("/batchnorm")[0] or node.name.rpartition("/")[0]
        epsilons[scope] = float(node.attr["variance_epsilon"].f)
        gamma = f"{scope}/batchnorm/gamma"
        if gamma in arrays and not node.attr["scale_after_normalization"].b:
            arrays[gamma] = np.ones_like(arrays[gamma])
    return arrays, epsilons


def _nodes(graph: tf.compat.v1.GraphDef, op: str) -> list[Any]:
    return [node for node in graph.node if node.op == op]
