"""A SavedModel's graph as data, read from ``saved_model.pb`` before TensorFlow runs any of it.

A graph is a program: it may read and write files or call Python. This module finds out what it
would do and how much memory it would take.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vae_batch.plan.errors import CheckpointError

# Stateful operations that touch nothing but the graph's own variables, tables, random streams
# and control flow. Every other stateful operation needs trust.
_HARMLESS_STATEFUL = re.compile(
    r"""^(_Arg|_Retval|Placeholder\w*|Empty|GuaranteeConst|Assert|CheckNumerics(V2)?|DeviceIndex
    |VarHandleOp|VarIsInitializedOp|VariableShape|Variable(V2)?|DisableCopyOnRead
    |_?ReadVariables?Op|Assign(Add|Sub)?VariableOp|ResourceGather(Nd)?|ResourceScatter\w+
    |(_?If|_?While|Case|StatefulPartitionedCall)
    |TensorArray\w*V3|TensorArrayV3|Stack(Push|Pop|Close)?V2
    |Random(Uniform|UniformInt|StandardNormal|Shuffle|Gamma|Poisson|PoissonV2|Crop)
    |TruncatedNormal|ParameterizedTruncatedNormal|Multinomial|NonDeterministicInts
    |Stateful(StandardNormalV2|StandardNormal|TruncatedNormal|Uniform\w*|RandomBinomial)
    |StatelessRandomGetAlg|RngSkip|RngReadAndSkip
    |(Mutable)?HashTableV2|MutableHashTableOfTensorsV2|AnonymousHashTable|InitializeTableV2
    |LookupTable(Find|Size|Import|Export|Insert|Remove)V2
    |CudnnRNN(V2|V3)?|XlaCallModule)$""",
    re.VERBOSE,
)
# Operations that TensorFlow does not mark as stateful and that still open files, call Python or
# run other code.
_HARMFUL_STATELESS = re.compile(
    r"File|PyFunc|Dataset|Debug|Reader|Summary|Snapshot|Rpc|Print|Dump|ImmutableConst"
    r"|VocabRemapping|(De|En)codeProto|CustomCall|CustomAggregator|^(Save|Restore)"
)
_SAVING = frozenset(("SaveV2", "MergeV2Checkpoints", "ShardedFilename"))
_RESTORING = frozenset(("RestoreV2",))
_MAIN = "main graph"

SavedModelMessage = Any  # protobuf's classes have no types; Graph is its MetaGraphDef
Graph = Any
GraphNode = Any


def read_graph(folder: str) -> SavedModelMessage:
    """The SavedModel message of a folder."""
    from google.protobuf.message import DecodeError
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    path = Path(folder) / "saved_model.pb"
    message = SavedModel()
    try:
        message.ParseFromString(path.read_bytes())
    except DecodeError as error:
        raise CheckpointError(
            f"{path} is damaged ({path.stat().st_size} bytes: {error}); export the model again"
        ) from error
    if not message.meta_graphs:
        raise CheckpointError(f"{path} holds no graph; export the model again")
    return message


def harmful_operations(message: SavedModelMessage) -> dict[str, str]:
    """Operations that need trust, each with the function (or ``main graph``) that holds it.

    The saver's own functions, which TensorFlow writes into every SavedModel to move its variables
    to and from the folder, count only where something else calls them.
    """
    found: dict[str, str] = {}
    for graph in message.meta_graphs:
        own = _saver_functions(graph)
        for where, node in _nodes(graph):
            if node.op not in own.get(where, ()) and _is_harmful(node.op):
                found.setdefault(node.op, where)
    return found


def logical_bytes(message: SavedModelMessage) -> int:
    """Bytes of all variables and constants in memory.

    A constant of equal values is stored as one value, so a small file can declare a huge one.
    """
    total = 0
    for graph in message.meta_graphs:
        variables = (
            saved.variable
            for saved in graph.object_graph_def.nodes
            if saved.WhichOneof("kind") == "variable"
        )
        total += sum(_tensor_bytes(variable.shape, variable.dtype) for variable in variables)
        for _, node in _nodes(graph):
            if node.op == "Const":
                tensor = node.attr["value"].tensor
                total += _tensor_bytes(tensor.tensor_shape, tensor.dtype)
    return total


def _is_harmful(operation: str) -> bool:
    from tensorflow.python.framework import op_def_registry

    definition = op_def_registry.get(operation)
    if definition is None:  # of no loaded library, so nothing is known about it
        return True
    if definition.is_stateful:
        return _HARMLESS_STATEFUL.match(operation) is None
    return _HARMFUL_STATELESS.search(operation) is not None


def _nodes(graph: Graph) -> Iterator[tuple[str, GraphNode]]:
    for node in graph.graph_def.node:
        yield _MAIN, node
    for function in graph.graph_def.library.function:
        for node in function.node_def:
            yield function.signature.name, node


def _saver_functions(graph: Graph) -> dict[str, frozenset[str]]:
    """Functions that nothing but the saver's two nodes calls, and the operations they may hold."""
    saver = graph.saver_def
    allowed = {
        _node_name(saver.save_tensor_name): _SAVING,
        _node_name(saver.restore_op_name): _RESTORING,
    }
    own: dict[str, frozenset[str]] = {}
    others = set(graph.object_graph_def.concrete_functions)
    others |= {
        saved.bare_concrete_function.concrete_function_name
        for saved in graph.object_graph_def.nodes
        if saved.WhichOneof("kind") == "bare_concrete_function"
    }
    for where, node in _nodes(graph):
        if where == _MAIN and node.name in allowed:
            own |= dict.fromkeys(_called(node), allowed[node.name])
        else:
            others |= _called(node)
    return {name: operations for name, operations in own.items() if name not in others}


def _node_name(tensor: str) -> str:
    return tensor.removeprefix("^").split(":")[0]


def _called(node: GraphNode) -> set[str]:
    names = set()
    for value in node.attr.values():
        kind = value.WhichOneof("value")
        if kind == "func":
            names.add(value.func.name)
        elif kind == "list":
            names |= {function.name for function in value.list.func}
    return names


def _tensor_bytes(shape: Any, dtype: int) -> int:  # noqa: ANN401
    import tensorflow as tf

    sizes = [max(int(dimension.size), 0) for dimension in shape.dim]
    try:
        width = int(tf.dtypes.as_dtype(dtype).size or 1)
    except TypeError:  # no type of this TensorFlow
        width = 8
    return math.prod(sizes) * width
