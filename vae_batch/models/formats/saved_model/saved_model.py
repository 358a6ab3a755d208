"""SavedModel folders: endpoints ``encode`` and ``decode``, or one folder for each half."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vae_batch.models.formats.format import LoadOptions, Network, Networks
from vae_batch.models.formats.limits import cap_for, in_words, over_cap, ran_out_of_memory
from vae_batch.models.formats.saved_model.endpoint import Endpoint, Loaded, endpoints_of
from vae_batch.plan.errors import CheckpointError
from vae_batch.plan.reading import Reading

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


_GRAPH = "saved_model.pb"
# Names of endpoints where nothing is declared; for a folder that is one half, then the names that
# Keras and TensorFlow give to a model's only endpoint.
_NAMES = {"encoder": ("encode", "encoder"), "decoder": ("decode", "decoder")}
_ONLY = ("serve", "serving_default", "call", "__call__")


class SavedModelFolder:
    """TensorFlow's folders with a ``saved_model.pb``; implements ``CheckpointFormat``.

    A path may name the folder or the ``saved_model.pb`` in it.
    """

    name = "saved_model"
    suffixes: tuple[str, ...] = ()  # a folder: scans find it by the file in it

    def recognises(self, path: str, head: bytes) -> bool:
        """See the protocol."""
        return (_folder(path) / _GRAPH).is_file()

    def load(self, files: Mapping[str, str], options: LoadOptions) -> Networks:
        """See the protocol."""
        parts: dict[str, Network] = {}
        notes: list[str] = []
        for role, path in files.items():
            folder = str(_folder(path))
            choice = _Choice(folder, endpoints_of(_load(folder, options)), options.reading)
            for part, endpoint in choice.parts(role, whole=options.whole).items():
                parts[part] = endpoint.network(folder)
                notes.append(f"{part}: endpoint {endpoint.name!r} of {Path(folder).name}")
        return Networks(
            self.name,
            parts.get("encoder"),
            parts.get("decoder"),
            parts.get("whole"),
            tuple(notes),
        )


@dataclass(frozen=True)
class _Choice:
    """Which endpoints of a folder are the VAE's parts."""

    folder: str
    found: Mapping[str, Endpoint]
    reading: Reading

    def parts(self, role: str, *, whole: bool) -> dict[str, Endpoint]:
        """Part of the VAE to endpoint, for a folder in the role of ``model`` or of a half."""
        if whole:
            return {"whole": self._only()}
        if role != "model":
            return {role: self._named(role) or self._only()}
        chosen = {part: self._named(part) for part in _NAMES}
        halves = {part: endpoint for part, endpoint in chosen.items() if endpoint is not None}
        return halves or {"whole": self._only()}

    def _named(self, part: str) -> Endpoint | None:
        key = f"{_NAMES[part][0]}_signature"
        declared = getattr(self.reading, key)
        if declared is not None and declared not in self.found:
            raise CheckpointError(
                f"{self.folder} has no endpoint {declared!r}, which {key} names; it has "
                f"{self._listed()}",
                self._choices(part),
            )
        names = (declared,) if declared is not None else _NAMES[part]
        return next((self.found[name] for name in names if name in self.found), None)

    def _only(self) -> Endpoint:
        for name in _ONLY:
            if name in self.found:
                return self.found[name]
        if len(self.found) == 1:
            return next(iter(self.found.values()))
        raise CheckpointError(
            f"{self.folder} has no endpoints 'encode' and 'decode'; it has {self._listed()}; name "
            "the right ones with --encode-signature and --decode-signature, or export the halves "
            "with encoder.export(...) and decoder.export(...)",
            {key: value for part in _NAMES for key, value in self._choices(part).items()},
        )

    def _choices(self, part: str) -> dict[str, object]:
        """The spec key for a part, the likeliest endpoint first: images are the larger input."""
        encodes = part == "encoder"
        found = sorted(self.found.values(), key=lambda e: e.input_size, reverse=encodes)
        names = tuple(endpoint.name for endpoint in found)
        choice = names if len(names) > 1 else names[0]
        return {f"{_NAMES[part][0]}_signature": choice} if names else {}

    def _listed(self) -> str:
        return ", ".join(repr(name) for name in self.found) or "none that takes a tensor"


def _folder(path: str) -> Path:
    return Path(path).parent if Path(path).name == _GRAPH else Path(path)


def _checked_graph(folder: str, options: LoadOptions) -> SavedModelMessage:
    graph = read_graph(folder)
    size = logical_bytes(graph)
    if size > options.memory_cap:
        raise CheckpointError(
            f"{folder} declares {in_words(size)} of tensors{over_cap(options.memory_cap)}",
            cap_for(size),
        )
    harmful = harmful_operations(graph)
    if harmful and not options.trust:
        listed = "; ".join(f"{op} in {where}" for op, where in list(harmful.items())[:4])
        raise CheckpointError(
            f"the graph of {folder} holds operations that may touch files or run code ({listed}); "
            "export it without them, or, if you trust its author, add --trust-checkpoints",
            {"trust": True},
        )
    return graph


def _load(folder: str, options: LoadOptions) -> Loaded:
    import tensorflow as tf

    graph = _checked_graph(folder, options)
    tags = [set(meta.meta_info_def.tags) for meta in graph.meta_graphs]
    serving = ["serve"] if len(tags) > 1 and {"serve"} in tags else None
    try:
        return tf.saved_model.load(folder, tags=serving)
    except Exception as error:  # TensorFlow raises many types
        if ran_out_of_memory(error):
            raise
        raise CheckpointError(
            f"{folder} cannot be loaded as a SavedModel: {str(error)[:300]}; its variables folder "
            "may be missing or damaged: export the model again"
        ) from error
