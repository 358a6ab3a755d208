"""One endpoint of a SavedModel as a network: arrays in, arrays out, with or without its sigmoid."""

from __future__ import annotations

import functools
import logging
import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from vae_batch.models.batching import map_batches
from vae_batch.models.formats.format import Array, Network, Port
from vae_batch.plan.errors import CheckpointError

_log = logging.getLogger(__name__)

Loaded = Any  # an object that tf.saved_model.load returns, or a part of it
TracedFunction = Any  # a tf.ConcreteFunction
Spec = Any  # a tf.TensorSpec
Run = Callable[..., tuple[Array, ...]]

# Sub-objects that Keras 2 saves with their own call; other attributes are endpoints only if
# they are functions themselves.
_HALVES = ("encoder", "decoder")

# Operations that move values without changing them.
_SHAPE_ONLY = frozenset(
    {"Identity", "Reshape", "Squeeze", "ExpandDims", "Transpose", "StopGradient", "EnsureShape"}
    | {"PreventGradient", "StridedSlice", "Slice"}
)
_LINEAR = ("BiasAdd", "Add", "AddV2", "MatMul", "BatchMatMulV2", "Conv2D", "Conv2DBackpropInput")
_ACTIVATIONS = {
    "Sigmoid": "sigmoid",
    "Tanh": "tanh",
    "Relu": "relu",
    "Softplus": "softplus",
    "Softmax": "softmax",
} | dict.fromkeys(_LINEAR, "linear")

_NONLINEAR = ("tanh", "relu", "softplus")
# Operations between a dense layer's product and the scores of classes.
_HEADS = frozenset({"Softmax", "LogSoftmax", "Sigmoid", "BiasAdd", "Add", "AddV2"}) | _SHAPE_ONLY

_STORED = frozenset(("Const", "Placeholder", "NoOp"))
_ROWS = 32  # of the smallest batch that runs


@dataclass(frozen=True)
class Endpoint:
    """A callable of a SavedModel.

    Attributes:
        name: Of the attribute or signature.
        function: Takes the structure of ``concrete``'s signature.
        concrete: The traced function whose signature the endpoint has here.
        root: The loaded object; it owns the variables and has to outlive the calls.
    """

    name: str
    function: Loaded
    concrete: TracedFunction
    root: Loaded

    @property
    def input_size(self) -> int:
        """Values per sample of its largest input; free sizes count as one."""
        specs = [spec for _, spec in _named_specs(self.concrete.structured_input_signature)]
        shapes = [spec.shape.as_list() for spec in specs if spec.shape.rank]
        return max((math.prod(size or 1 for size in shape[1:]) for shape in shapes), default=0)

    def network(self, source: str) -> Network:
        """The endpoint as a network.

        Raises:
            CheckpointError: An input has no fixed number of axes, or no batch axis.
        """
        inputs = list(_named_specs(self.concrete.structured_input_signature))
        for name, spec in inputs:
            if spec.shape.rank in (None, 0):
                raise CheckpointError(
                    f"endpoint {self.name!r} of {source}: its input {name!r} has no fixed number "
                    "of axes with the batch first; export it with an input_signature such as "
                    "tf.TensorSpec((None, 28, 28, 1), tf.float32)"
                )
        run = self._runner([spec for _, spec in inputs])
        outputs = self._outputs(run, [spec for _, spec in inputs])
        frozen = _freeze(self.concrete)
        network = Network(
            source=source,
            inputs=tuple(_port(name, spec) for name, spec in inputs),
            outputs=outputs,
            run=run,
            activation=frozen.activation if frozen and len(outputs) == 1 else None,
            weights=self._weights,
            largest=frozen.largest() if frozen else None,
        )
        if frozen is not None:

            def inner(name: str | None) -> Network:
                tensor = frozen.inner(name, source)
                port = Port(tensor.op.name, tuple(tensor.shape[1:]), tensor.dtype.name)
                run = frozen.runner([tensor.name])
                return replace(network, outputs=(port, *outputs), run=run, inner=None)

            features = network.activation in _NONLINEAR
            network = replace(network, inner=inner, gives_features=features)
        if frozen is None or network.activation != "sigmoid":
            return network

        def before_sigmoid() -> Network:
            return replace(network, run=frozen.without_sigmoid(), activation="linear")

        return replace(network, before_sigmoid=before_sigmoid)

    def _runner(self, specs: list[Spec]) -> Run:
        """Arrays to arrays, through the endpoint's own structure."""
        import tensorflow as tf

        structure = self.concrete.structured_input_signature
        leaves = tf.nest.flatten(structure)
        places = [i for i, leaf in enumerate(leaves) if isinstance(leaf, tf.TensorSpec)]

        def run(*arrays: Array) -> tuple[Array, ...]:
            values = list(leaves)
            for place, spec, array in zip(places, specs, arrays, strict=True):
                values[place] = tf.constant(np.asarray(array, spec.dtype.as_numpy_dtype))
            args, kwargs = tf.nest.pack_sequence_as(structure, values)
            result = self.function(*args, **kwargs)
            return tuple(tensor.numpy() for tensor in tf.nest.flatten(result))

        fixed = {spec.shape[0] for spec in specs} - {None}
        if len(fixed) != 1:
            return run
        return functools.partial(map_batches, run, fixed.pop())

    def _outputs(self, run: Run, inputs: list[Spec]) -> tuple[Port, ...]:
        """Shapes as traced; where the trace leaves them open, as one run returns them."""
        named = list(_named_specs(self.concrete.structured_outputs, outputs=True))
        if all(spec.shape.rank and None not in spec.shape[1:] for _, spec in named):
            return tuple(_port(name, spec) for name, spec in named)
        if any(None in spec.shape[1:] for spec in inputs):
            return tuple(_port(name, spec) for name, spec in named if spec.shape.rank)
        arrays = run(*(np.zeros((1, *spec.shape[1:])) for spec in inputs))
        return tuple(
            Port(name, array.shape[1:], str(array.dtype))
            for (name, _), array in zip(named, arrays, strict=True)
        )

    def _weights(self) -> Iterator[tuple[str, Array]]:
        for variable in self.concrete.variables:
            yield variable.name.removesuffix(":0"), variable.numpy()


def endpoints_of(root: Loaded) -> dict[str, Endpoint]:
    """Callables of a loaded SavedModel by name: its functions, then its other signatures."""
    found: dict[str, Endpoint] = {}
    for name in [*(n for n in dir(root) if not n.startswith("_")), "__call__"]:
        value = getattr(root, name, None)
        if name in _HALVES and not hasattr(value, "concrete_functions"):
            value = getattr(value, "__call__", None)  # noqa: B004  a traced function, or none
        concrete = _best(getattr(value, "concrete_functions", ()))
        if concrete is not None:
            found[name] = Endpoint(name, value, concrete, root)
    for name, concrete in getattr(root, "signatures", {}).items():
        found.setdefault(name, Endpoint(name, concrete, concrete, root))
    return found


def _best(concrete_functions: tuple[TracedFunction, ...]) -> TracedFunction | None:
    """The trace for inference with a free batch size, as far as there is one."""
    import tensorflow as tf

    candidates = []
    for concrete in concrete_functions:
        leaves = tf.nest.flatten(concrete.structured_input_signature)
        specs = [leaf for leaf in leaves if isinstance(leaf, tf.TensorSpec)]
        fixed = sum(not spec.shape.rank or spec.shape[0] is not None for spec in specs)
        if specs:
            candidates.append(((sum(leaf is True for leaf in leaves), fixed), concrete))
    best = min(candidates, key=lambda candidate: candidate[0], default=None)
    return None if best is None else best[1]


def _port(name: str, spec: Spec) -> Port:
    return Port(name, tuple(spec.shape[1:]), spec.dtype.name)


def _named_specs(structure: object, outputs: bool = False) -> Iterator[tuple[str, Spec]]:
    """Name and spec of every tensor, in the order in which TensorFlow flattens the structure."""
    for place, (key, spec) in enumerate(_leaves(structure, "")):
        own = None if outputs else getattr(spec, "name", None)
        yield key or own or f"{'output' if outputs else 'input'}_{place}", spec


def _leaves(structure: object, key: str) -> Iterator[tuple[str, Spec]]:
    """Tensor specs with the innermost key or field name that leads to each."""
    import tensorflow as tf

    if isinstance(structure, Mapping):
        for inner in sorted(structure):
            yield from _leaves(structure[inner], str(inner) or key)
    elif isinstance(structure, list | tuple):
        fields = getattr(structure, "_fields", ("",) * len(structure))
        for field, value in zip(fields, structure, strict=True):
            yield from _leaves(value, field or key)
    elif isinstance(structure, tf.TensorSpec | tf.Tensor):
        yield key, structure


@dataclass(frozen=True)
class _FrozenGraph:
    """A traced function with its variables as constants and its calls inlined.

    Attributes:
        function: The frozen function.
        last: Name of the last node that changes values.
        activation: What that node computes (``sigmoid``, ``tanh``, ``linear``); None where it is
            no plain activation.
    """

    function: TracedFunction
    last: str
    activation: str | None

    def largest(self) -> tuple[int, str]:
        """Bytes of the largest tensor per sample, and the node that computes it.

        A tensor without a batch axis is computed once per batch, so a share of it counts.
        """
        found = (0, "")
        for operation in self.function.graph.get_operations():
            for tensor in operation.outputs if operation.type not in _STORED else ():
                sizes = tensor.shape.as_list() if tensor.shape.rank is not None else []
                count = math.prod(size for size in sizes if size is not None)
                once = 1 if sizes and sizes[0] is None else _ROWS
                found = max(found, (count * tensor.dtype.size // once, operation.name))
        return found

    def without_sigmoid(self) -> Run:
        """Arrays to arrays through the same graph, in which the last node returns its input."""
        return self.runner([], identity=self.last)

    def inner(self, name: str | None, source: str) -> Any:  # noqa: ANN401  a tensor of the graph
        """What a scope of that name returns last, or for None what the last product takes.

        Raises:
            CheckpointError: There is none.
        """
        operations = self.function.graph.get_operations()
        if name is not None:
            scopes = {part for op in operations for part in op.name.split("/")}
            # Exports number the scopes of layers anew.
            near = [part for part in scopes if re.fullmatch(rf"{re.escape(name)}(_\d+)?", part)]
            scope = name if name in near else near[0] if len(near) == 1 else None
            named = [op for op in operations if scope in op.name.split("/") and op.outputs]
            if named:
                return named[-1].outputs[0]
            problem = f"{source} has no layer {name!r}, which embedding names"
        else:
            operation = self.function.graph.get_operation_by_name(self.last)
            while operation.type in _HEADS:
                operation = operation.inputs[0].op
            if operation.type == "MatMul":
                return operation.inputs[0]
            problem = f"{source} does not end in a dense layer, so its embedding is not known"
        inside = [op.name.split("/")[-2] for op in operations if "/" in op.name]
        layers = dict.fromkeys(scope for scope in inside if scope.islower())
        listed = tuple(reversed(layers))[:6]
        raise CheckpointError(
            f'{problem}; declare --embedding "layer name", such as {", ".join(listed)}',
            {"embedding": listed},
        )

    def runner(self, first: list[str], identity: str | None = None) -> Run:
        """Arrays to arrays through the same graph.

        Args:
            first: Names of tensors that are returned before the outputs.
            identity: A node that returns its input instead.
        """
        import tensorflow as tf

        definition = self.function.graph.as_graph_def()
        for node in definition.node:
            if node.name == identity:
                node.op = "Identity"  # has the sigmoid's one input and its type attribute
        inputs = [tensor.name for tensor in self.function.inputs]
        outputs = first + [tensor.name for tensor in self.function.outputs]
        imported = tf.compat.v1.wrap_function(lambda: tf.import_graph_def(definition, name=""), [])
        graph = imported.graph
        logits = imported.prune(
            [graph.get_tensor_by_name(name) for name in inputs],
            [graph.get_tensor_by_name(name) for name in outputs],
        )
        types = [tensor.dtype.as_numpy_dtype for tensor in self.function.inputs]

        def run(*arrays: Array) -> tuple[Array, ...]:
            tensors = [
                tf.constant(np.asarray(array, kind))
                for array, kind in zip(arrays, types, strict=True)
            ]
            return tuple(tensor.numpy() for tensor in logits(*tensors))

        return run


def _freeze(concrete: TracedFunction) -> _FrozenGraph | None:
    """A traced function's frozen graph; None where TensorFlow cannot freeze it.

    Takes the memory of the weights once more.
    """
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    try:
        frozen = convert_variables_to_constants_v2(
            concrete, lower_control_flow=False, aggressive_inlining=True
        )
    except Exception:  # tables, custom calls, graphs above 2 GiB: it runs without being analysed
        _log.debug("cannot freeze %s", concrete.name, exc_info=True)
        return None
    nodes = {node.name: node for node in frozen.graph.as_graph_def().node}
    name = frozen.outputs[0].name.split(":")[0]
    while nodes[name].op in _SHAPE_ONLY:
        name = nodes[name].input[0].split(":")[0].removeprefix("^")
    return _FrozenGraph(frozen, name, _ACTIVATIONS.get(nodes[name].op))
