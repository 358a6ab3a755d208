"""What a tf.keras configuration may name without trust.

tf_keras imports whatever module a file names (CVE-2025-1550 is of this kind; Keras 3 has fixed it),
and its safe mode checks Python lambdas only. So every object of a configuration is compared with
lists of harmless ones before tf_keras reads it. A TFOpLambda layer names any public function of
TensorFlow, some of which read and write files (``io.write_file``), load libraries
(``load_library``), call Python or change the process's state.
"""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Collection, Iterator
from typing import Any

from vae_batch.plan.errors import CheckpointError

_CLASS_MODULES = (
    "layers",
    "models",
    "initializers",
    "regularizers",
    "constraints",
    "mixed_precision",
)
_FUNCTION_MODULES = ("activations", "losses", "metrics")
_UNEXPORTED = frozenset({"Functional", "AddLoss", "AddMetric", "Policy", "LossScaleOptimizer"})
# They open the file that a setting names, run code that the file holds or refers to, or access
# attributes of Python objects by name.
_HARMFUL = frozenset(
    {"Lambda", "TFSMLayer", "StringLookup", "IntegerLookup", "TextVectorization", "HashedCrossing"}
    | {"DenseFeatures", "SequenceFeatures", "ClassMethod", "InstanceMethod", "InstanceProperty"}
)
_VALUES = frozenset({"__tuple__", "__numpy__", "__tensor__", "__bytes__", "__ellipsis__"})
_VALUES |= frozenset({"TensorShape", "__keras_tensor__"})
_OWN_MODULE = re.compile(r"(tf_keras|keras)(\.\w+)*|builtins")
_META = frozenset({"get", "serialize", "deserialize"})

# Modules of which every function only computes.
_TF_MODULES = frozenset({"math", "nn", "linalg", "image", "signal", "bitwise", "__operators__"})
_TOP_LEVEL = (
    "abs add argmax argmin argsort atan boolean_mask broadcast_to cast clip_by_norm clip_by_value "
    "concat convert_to_tensor cos cumsum divide einsum ensure_shape equal exp expand_dims eye fill "
    "floor gather gather_nd greater greater_equal identity less less_equal linspace log "
    "logical_and logical_not logical_or matmul maximum meshgrid minimum multiply negative norm "
    "not_equal one_hot ones ones_like pad pow range rank realdiv reduce_max reduce_mean "
    "reduce_min reduce_prod reduce_sum repeat reshape reverse roll round rsqrt scatter_nd shape "
    "sigmoid sign sin size slice softmax sort split sqrt square squeeze stack stop_gradient "
    "strided_slice subtract tanh tensordot tile transpose truediv unstack where zeros zeros_like"
)
_RANDOM = (
    "categorical gamma normal poisson shuffle stateless_categorical stateless_gamma "
    "stateless_normal stateless_truncated_normal stateless_uniform truncated_normal uniform"
)
_BACKEND = (
    "abs all any arange argmax argmin batch_dot batch_flatten batch_normalization bias_add "
    "binary_crossentropy cast cast_to_floatx categorical_crossentropy clip concatenate constant "
    "conv1d conv2d conv2d_transpose cos cumprod cumsum dot elu epsilon equal exp expand_dims eye "
    "flatten gather greater greater_equal hard_sigmoid int_shape l2_normalize less less_equal log "
    "max maximum mean min minimum ndim not_equal one_hot ones ones_like permute_dimensions pow "
    "prod random_bernoulli random_binomial random_normal random_uniform relu repeat "
    "repeat_elements reshape reverse round shape sigmoid sign sin softmax softplus softsign "
    "sparse_categorical_crossentropy sqrt square squeeze stack std stop_gradient sum tanh tile "
    "transpose truncated_normal var zeros zeros_like"
)
_ACTIVATIONS = (
    "elu exponential gelu hard_sigmoid leaky_relu linear mish relu selu sigmoid softmax softplus "
    "softsign swish tanh"
)
# Of VAEs whose loss was added to the model with add_loss.
_LOSSES = (
    "binary_crossentropy categorical_crossentropy cosine_similarity huber kl_divergence log_cosh "
    "mean_absolute_error mean_absolute_percentage_error mean_squared_error "
    "mean_squared_logarithmic_error poisson sparse_categorical_crossentropy"
)
_TF_FUNCTIONS = {
    "": frozenset(_TOP_LEVEL.split()),
    "random": frozenset(_RANDOM.split()),
    "keras.backend": frozenset(_BACKEND.split()),
    "keras.activations": frozenset(_ACTIVATIONS.split()),
    "keras.losses": frozenset(_LOSSES.split()),
    "keras.metrics": frozenset(_LOSSES.split()),
}


def require_harmless(config: Any, own: Collection[str], source: str) -> None:  # noqa: ANN401
    """Check that a configuration names nothing but tf_keras' own harmless objects.

    Names in ``own`` are resolved in ``custom_objects``, not where the file says.
    """
    for node, layer in _objects(config, "model"):
        problem = _problem(node, own)
        if problem:
            raise CheckpointError(
                f"{source}: layer {layer!r} {problem}; it is refused from a file that is not "
                "trusted. If you trust this file, add --trust-checkpoints (trust = true in the "
                "TOML file)",
                {"trust": True},
            )


def _problem(node: dict[str, Any], own: Collection[str]) -> str | None:
    """Why an object needs trust; None where it needs none."""
    name, module, registered = node["class_name"], node.get("module"), node.get("registered_name")
    if (node["class_name"] if registered is None else registered) in own:
        return None
    if name in _VALUES:
        return None
    if module is not None and not _OWN_MODULE.fullmatch(str(module)):
        return f"names {name!r} of the Python module {module!r}, which would be imported"
    if name == "function":
        function = node.get("config")
        if function in own:
            return None
        known = {None, function} >= {registered} and function in _functions()
        return None if known else f"names the function {function!r} of {module!r}"
    if name in ("TFOpLambda", "SlicingOpLambda"):
        function = (node.get("config") or {}).get("function")
        return None if is_harmless(function) else f"calls tf.{function}"
    if name in _HARMFUL:
        return f"is a {name}, which may open files or run code"
    if not _is_class(name) or not (registered is None or _is_class(registered)):
        return f"names the class {registered or name!r}, which is not part of tf.keras"
    return None


def _objects(value: Any, layer: str) -> Iterator[tuple[dict[str, Any], str]]:  # noqa: ANN401
    """Serialised objects anywhere in a configuration, each with the layer it belongs to."""
    if isinstance(value, list):
        for inner in value:
            yield from _objects(inner, layer)
    elif isinstance(value, dict):
        config = value.get("config")
        if isinstance(config, dict) and isinstance(config.get("name"), str):
            layer = config["name"]
        if "class_name" in value:
            yield {**value, "class_name": str(value["class_name"])}, layer
        for inner in value.values():
            yield from _objects(inner, layer)


def _is_class(name: str) -> bool:
    """Older files carry a version in the names of some classes."""
    return name in _classes() or re.sub(r"V[12]$", "", name) in _classes()


@functools.cache
def _classes() -> frozenset[str]:
    found = {
        name
        for module in _CLASS_MODULES
        for name, value in _members(module)
        if inspect.isclass(value)
    }
    return frozenset(found | _UNEXPORTED) - _HARMFUL


@functools.cache
def _functions() -> frozenset[str]:
    found = {
        name
        for module in _FUNCTION_MODULES
        for name, value in _members(module)
        if inspect.isfunction(value)
    }
    return frozenset(found) - _META


def _members(module: str) -> Iterator[tuple[str, Any]]:
    import tf_keras

    place: Any = tf_keras
    for piece in module.split("."):
        place = getattr(place, piece)
    return iter(vars(place).items())


def is_harmless(function: object) -> bool:
    """Whether a function, named as ``math.sigmoid``, computes and does nothing else."""
    if not isinstance(function, str):
        return False
    module, _, name = function.removeprefix("compat.v1.").rpartition(".")
    return module in _TF_MODULES or name in _TF_FUNCTIONS.get(module, ())
