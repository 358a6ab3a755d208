"""One endpoint of a SavedModel as a network: arrays in, arrays out, whatever its structure."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from vae_batch.models.formats.format import Array, Network, Port
from vae_batch.models.formats.saved_model.final_activation import FrozenGraph, freeze
from vae_batch.plan.errors import CheckpointError

# Sub-objects that Keras 2 saves with their own call; other attributes are endpoints only if
# they are functions themselves.
_HALVES = ("encoder", "decoder")


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
    function: Any
    concrete: Any
    root: Any

    @property
    def input_size(self) -> int:
        """Values of one sample of its largest input; free sizes count as one."""
        specs = [spec for _, spec in _ports(self.concrete.structured_input_signature, "input")]
        shapes = [spec.shape.as_list() for spec in specs if spec.shape.rank]
        return max((math.prod(size or 1 for size in shape[1:]) for shape in shapes), default=0)

    def network(self, source: str) -> Network:
        """The endpoint as a network.

        Raises:
          CheckpointError: An input has no fixed number of axes, or is no tensor with a batch axis.
        """
        inputs = tuple(_ports(self.concrete.structured_input_signature, "input"))
        for port, spec in inputs:
            if spec.shape.rank in (None, 0):
                raise CheckpointError(
                    f"endpoint {self.name!r} of {source}: its input {port!r} has no fixed number "
                    "of axes with the batch first; export it with an input_signature such as "
                    "tf.TensorSpec((None, 28, 28, 1), tf.float32)"
                )
        run = self._runner([spec for _, spec in inputs])
        outputs = _output_ports(self.concrete, run, inputs)
        frozen = freeze(self.concrete)
        network = Network(
            source=source,
            inputs=tuple(_port(name, spec) for name, spec in inputs),
            outputs=outputs,
            run=run,
            activation=frozen.activation if frozen and len(outputs) == 1 else None,
            weights=self._weights,
            largest=frozen.largest() if frozen else None,
        )
        return _with_logits(network, frozen)

    def _runner(self, specs: list[Any]) -> Callable[..., tuple[Array, ...]]:
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
        return _in_batches_of(fixed.pop(), run) if len(fixed) == 1 else run

    def _weights(self) -> Iterator[tuple[str, Array]]:
        for variable in self.concrete.variables:
            yield variable.name.removesuffix(":0"), variable.numpy()


def endpoints_of(root: Any) -> dict[str, Endpoint]:  # noqa: ANN401
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


def _best(concrete_functions: Any) -> Any:  # noqa: ANN401
    """The trace for inference with a free batch size, as far as there is one."""
    import tensorflow as tf

    def cost(concrete: Any) -> tuple[int, int]:  # noqa: ANN401
        leaves = tf.nest.flatten(concrete.structured_input_signature)
        specs = [leaf for leaf in leaves if isinstance(leaf, tf.TensorSpec)]
        fixed = sum(not spec.shape.rank or spec.shape[0] is not None for spec in specs)
        return sum(leaf is True for leaf in leaves), fixed

    usable = [
        concrete
        for concrete in concrete_functions
        if any(
            isinstance(leaf, tf.TensorSpec)
            for leaf in tf.nest.flatten(concrete.structured_input_signature)
        )
    ]
    return min(usable, key=cost, default=None)


def _in_batches_of(
    size: int, run: Callable[..., tuple[Array, ...]]
) -> Callable[..., tuple[Array, ...]]:
    """The same for any number of samples, where the graph takes exactly ``size``."""

    def run_all(*arrays: Array) -> tuple[Array, ...]:
        count = len(arrays[0])
        parts = []
        for start in range(0, count, size):
            batch = [array[start : start + size] for array in arrays]
            padding = [(0, size - len(batch[0]))]
            parts.append(
                run(*(np.pad(array, padding + [(0, 0)] * (array.ndim - 1)) for array in batch))
            )
        return tuple(np.concatenate(rows)[:count] for rows in zip(*parts, strict=True))

    return run_all


def _with_logits(network: Network, frozen: FrozenGraph | None) -> Network:
    if frozen is None or network.activation != "sigmoid":
        return network

    def before_sigmoid() -> Network:
        return replace(
            network, run=frozen.without_sigmoid(), activation="linear", before_sigmoid=None
        )

    return replace(network, before_sigmoid=before_sigmoid)


def _output_ports(
    concrete: Any,  # noqa: ANN401
    run: Callable[..., tuple[Array, ...]],
    inputs: tuple[tuple[str, Any], ...],
) -> tuple[Port, ...]:
    """Shapes as traced; where the trace does not tell, as one run gives them."""
    named = list(_ports(concrete.structured_outputs, "output"))
    if all(spec.shape.rank and None not in spec.shape[1:] for _, spec in named):
        return tuple(_port(name, spec) for name, spec in named)
    if any(None in spec.shape[1:] for _, spec in inputs):
        return tuple(_port(name, spec) for name, spec in named if spec.shape.rank)
    arrays = run(*(np.zeros((1, *spec.shape[1:])) for _, spec in inputs))
    return tuple(
        Port(name, array.shape[1:], str(array.dtype))
        for (name, _), array in zip(named, arrays, strict=True)
    )


def _port(name: str, spec: Any) -> Port:  # noqa: ANN401
    return Port(name, tuple(spec.shape[1:]), spec.dtype.name)


def _ports(structure: Any, default: str) -> Iterator[tuple[str, Any]]:  # noqa: ANN401
    """Name and spec of every tensor, in the order in which TensorFlow flattens the structure."""
    for place, (path, spec) in enumerate(_leaves(structure, ())):
        own = getattr(spec, "name", None) if default == "input" else None
        yield path or own or f"{default}_{place}", spec


def _leaves(structure: Any, path: tuple[str, ...]) -> Iterator[tuple[str, Any]]:  # noqa: ANN401
    """Tensor specs with the innermost key or field name that leads to each."""
    import tensorflow as tf

    if isinstance(structure, Mapping):
        for key in sorted(structure):
            yield from _leaves(structure[key], (*path, str(key)))
    elif isinstance(structure, (list, tuple)):
        fields = getattr(structure, "_fields", ("",) * len(structure))
        for field, value in zip(fields, structure, strict=True):
            yield from _leaves(value, (*path, field))
    elif isinstance(structure, (tf.TensorSpec, tf.Tensor)):
        yield next((key for key in reversed(path) if key), ""), structure
