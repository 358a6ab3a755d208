"""Classes that a model file needs beside Keras' own, and whether their code may run."""

from __future__ import annotations

import codecs
import contextlib
import importlib
import importlib.util
import inspect
import opcode
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

from vae_batch.models.formats.format import LoadOptions
from vae_batch.models.formats.keras import sampling_layers
from vae_batch.models.formats.keras.config_nodes import Json, Node, nodes
from vae_batch.models.formats.keras.tf_keras_safety import is_harmless
from vae_batch.models.formats.user_modules import import_user_module, is_given
from vae_batch.plan.errors import CheckpointError

_LIBRARIES = ("keras", "tf_keras")
_MODULES = (
    "layers", "models", "initializers", "regularizers", "constraints", "activations",
    "losses", "metrics", "optimizers", "ops", "random",
)  # fmt: skip
_INNER = frozenset(
    {"Functional", "Model", "Sequential", "TFOpLambda", "SlicingOpLambda", "ClassMethod", "Policy"}
    | {"TensorFlowOpLayer", "InstanceProperty", "InstanceMethod", "DTypePolicy"}
    | {"AddLoss", "AddMetric"}
)
# Layers that run what Keras did not write.
_RUNS_CODE = {
    "TFSMLayer": "which runs a graph from another file",
    "TensorFlowOpLayer": "which runs an operation that the file spells out",
    "ClassMethod": "which calls a method that the file names",
    "TorchModuleWrapper": "which runs a PyTorch module",
    "JaxLayer": "which runs a JAX function",
    "FlaxLayer": "which runs a Flax module",
}
#: What to do where a file's own code cannot run here; the end of a sentence, and its spec keys.
_ADD_BUILDER = (
    "add --builder package.module:function, a function of yours that returns the same VAE, whose "
    "weights are then read from the file, and --trust-checkpoints"
)
_REBUILD = (
    "build the network without that code in Python, load the file's weights into it with "
    "load_weights, and save it with model.save('extractor.keras')"
)
BUILDER: dict[str, object] = {"builder": "package.module:function", "trust": True}
TRUST = "if you trust the file, add --trust-checkpoints (trust = true in the TOML file)"

_SHORTEST_CODE = 60
# RESUME is among the first instructions, behind those that make cells of arguments.
_PROLOGUE = 16
_RESUMES = {151: "3.11 or 3.12", 149: "3.13", 128: "3.14"}

# What importing a user's module registered, by module and library; a module is imported once.
_registered: dict[tuple[str, str], dict[str, Any]] = {}


def objects_for(
    config: Json, options: LoadOptions, source: str, library: str = "keras"
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Classes and functions with which a model's configuration can be loaded.

    Unknown layers that sample z from the posterior's heads are replaced by one that returns the
    mean, so that no code of the file is needed. A trusted Python Lambda that samples z is replaced
    too, since the bytecode of another Python can crash the process: in the spelling with modules
    it is rewritten in ``config``, from which the model must then be loaded.

    Args:
        config: Of the model; perhaps changed.
        options: The user's modules, and whether code may run.
        source: The file, for messages.
        library: ``keras`` or ``tf_keras``, which will load it.

    Returns:
        ``custom_objects`` of the library's ``load_model``, and the names of replaced layers.

    Raises:
        CheckpointError: Code would have to run without trust, or a class is not given; names the
            layer and what to add.
    """
    users = _users_objects(options, library)
    objects, replaced = dict(users), []
    lambdas = []
    for node in nodes(config):
        if node.class_name == sampling_layers.SHIM:  # of an earlier reading
            lambdas.append(node.layer)
        elif _is_lambda(node) and _is_replaceable(node, users, options, source):
            lambdas.append(node.layer)
            sampling_layers.replace_by_mean(node)
        elif code := _code_in(node):
            _require_trust(node, code, options, source)
            _require_this_python(node, options, source)
        elif not _is_known(node, library):
            found = users.get(node.registered_name) or users.get(_own_name(node))
            found = found or _where_the_file_says(node, options)
            if found is not None:
                objects[node.registered_name] = found
            elif sampling_layers.draws_from_posterior(node):
                replaced.append(node.layer)
                shim = sampling_layers.mean_of_posterior(library)
                objects |= dict.fromkeys((node.registered_name, node.class_name), shim)
            else:
                raise _unknown(node, options, source)
    if lambdas:
        shim = sampling_layers.mean_of_posterior(library)
        objects |= {
            sampling_layers.SHIM: shim,
            sampling_layers.REGISTERED_SHIM: shim,
            "Lambda": sampling_layers.lambda_or_mean(library, tuple(lambdas)),
        }
    return objects, (*replaced, *lambdas)


def runs_bytecode(config: Json) -> bool:
    """Whether loading a configuration runs bytecode of the file, which may end the process."""
    return any(
        any(True for _ in _marshalled(node.config)) for node in nodes(config) if _code_in(node)
    )


def runs_code(config: Json) -> bool:
    """Whether loading a configuration runs code of the file, which safe mode forbids."""
    return any(_code_in(node) for node in nodes(config))


def _code_in(node: Node) -> str | None:
    """What code an object would run, in words; None for none."""
    if node.class_name == "__lambda__" or (_is_lambda(node) and _has_bytecode(node.config)):
        return "is a Python Lambda, whose code would be run"
    if node.class_name in _RUNS_CODE:
        return f"is a {node.class_name}, {_RUNS_CODE[node.class_name]}"
    names_function = node.class_name in ("TFOpLambda", "SlicingOpLambda")
    if names_function and not is_harmless(node.config.get("function")):
        return f"calls tf.{node.config.get('function')}, which may do more than compute"
    return None


def without_its_code(said: str, whole: bool) -> CheckpointError:
    """A refusal of a file whose own code cannot run here, with what to do instead.

    Args:
        said: Why, without a full stop.
        whole: As in ``LoadOptions``: builders return VAEs, not extractors.
    """
    if whole:
        return CheckpointError(f"{said}; {_REBUILD}")
    return CheckpointError(f"{said}; {_ADD_BUILDER}", BUILDER)


def _require_this_python(node: Node, options: LoadOptions, source: str) -> None:
    """Refuse bytecode that another Python has written: run by this one, it ends the process."""
    written = [other for code in _marshalled(node.config) if (other := other_python(code))]
    if not written:
        return
    here = ".".join(map(str, sys.version_info[:2]))
    raise without_its_code(
        f"{source}: layer {node.layer!r} is a Python Lambda whose bytecode {written[0]} has "
        f"written, and Python {here} would crash on it",
        options.whole,
    )


def _marshalled(value: Any) -> Iterator[bytes]:  # noqa: ANN401
    """Marshalled code in a Lambda's settings, in the spellings of both libraries."""
    if isinstance(value, dict):
        for inner in value.values():
            yield from _marshalled(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _marshalled(inner)
    elif isinstance(value, str) and len(value) > _SHORTEST_CODE:
        with contextlib.suppress(ValueError):
            code = codecs.decode(value.encode("ascii"), "base64")
            if code[:1] in (b"c", b"\xe3"):
                yield code


def other_python(code: bytes) -> str | None:
    """Which other Python has marshalled a code object, or None where it may be this one.

    Fields and opcodes differ between versions: Python 3.8 to 3.10 write six numbers before the
    bytecode, others five; from 3.11 on functions begin with RESUME, whose number differs between
    3.11 or 3.12, 3.13, and 3.14.
    """
    fields = next((n for n in (5, 6) if code[1 + 4 * n : 2 + 4 * n] in (b"s", b"\xf3")), 0)
    if not fields:
        return None  # damaged, or of a future version: a process of its own finds out
    if fields == 6:
        return "Python 3.8 to 3.10"
    start = 2 + 4 * fields
    size = int.from_bytes(code[start : start + 4], "little")
    opcodes = set(code[start + 4 : start + 4 + size][:_PROLOGUE:2])
    found = {version for number, version in _RESUMES.items() if number in opcodes}
    mine = opcode.opmap.get("RESUME")
    if mine in opcodes:
        return None
    return f"Python {min(found)}" if found else "Python 3.7 or an older one"


def _is_lambda(node: Node) -> bool:
    return node.class_name == "Lambda" and node.root_module in (None, *_LIBRARIES)


def _has_bytecode(config: Json) -> bool:
    """Whether a Lambda holds code, rather than the name of a function of the user's."""
    parts = [config.get(key) for key in ("function", "output_shape", "mask")]
    kinds = [config.get(f"{key}_type") for key in ("function", "output_shape", "mask")]
    coded = any(isinstance(part, dict) and part.get("class_name") == "__lambda__" for part in parts)
    return coded or "lambda" in kinds or isinstance(config.get("function"), list)


def _is_replaceable(node: Node, users: dict[str, Any], options: LoadOptions, source: str) -> bool:
    """Whether a Lambda samples z and may be replaced; one with code is refused without trust."""
    function = node.config.get("function")
    name = function.get("config") if isinstance(function, dict) else function
    if not _has_bytecode(node.config) and name in users:
        return False
    if not sampling_layers.draws_from_posterior(node):
        return False
    if _has_bytecode(node.config):
        _require_trust(node, _code_in(node) or "", options, source)
    return True


def _require_trust(node: Node, code: str, options: LoadOptions, source: str) -> None:
    if not options.trust:
        raise CheckpointError(
            f"{source}: layer {node.layer!r} {code}, which is not done for a file that is not "
            f"trusted; {TRUST}, or save the model with a layer class in its place",
            {"trust": True},
        )


def _is_known(node: Node, library: str) -> bool:
    name = node.class_name
    if name.startswith("__") or node.root_module in _LIBRARIES:
        return True
    keras = importlib.import_module(library)
    if node.registered_name in _registry(keras):
        return True
    if name == "function":
        return _is_builtin(keras, str(node.content.get("config")))
    if node.has_module or ">" in node.registered_name:
        return False
    return name in _INNER or _is_builtin(keras, name)


def _is_builtin(keras: ModuleType, name: str) -> bool:
    return any(hasattr(getattr(keras, module, None), name) for module in _MODULES)


def _registry(keras: ModuleType) -> dict[str, Any]:
    """The library's own table of registered classes; Keras 3's holds this package's layers."""
    if keras.__name__ == "keras":
        from vae_batch.models import layers  # noqa: F401  registers them
    table: dict[str, Any] = keras.utils.get_custom_objects()
    return table


def _users_objects(options: LoadOptions, library: str) -> dict[str, Any]:
    """Classes and functions of the user's modules, by bare and by registered name.

    The library's table is left unchanged, so that one checkpoint's modules do not affect how
    another is loaded.
    """
    keras = importlib.import_module(library)
    table = _registry(keras)
    found: dict[str, Any] = {}
    for name in options.reading.custom_objects:
        if is_given(name):
            found |= {
                key: value
                for own, value in vars(import_user_module(name, "custom_objects")).items()
                if own[:2] != "__"
                for key in (own, keras.utils.get_registered_name(value))
            }
        if is_given(name) or not options.trust:
            continue
        before = dict(table)
        try:
            module = import_user_module(name, "custom_objects")
            new = {key: value for key, value in table.items() if before.get(key) is not value}
        finally:
            table.clear()
            table.update(before)
        found |= _registered.setdefault((name, library), new) | _definitions(module, keras)
    return found


def _definitions(module: ModuleType, keras: ModuleType) -> dict[str, Any]:
    """What a module defines, or imports from its own package."""
    package = module.__name__.split(".", 1)[0]
    found = {}
    for value in vars(module).values():
        home = (getattr(value, "__module__", None) or "").split(".", 1)[0]
        if home == package and (inspect.isclass(value) or inspect.isfunction(value)):
            found[value.__name__] = value
            found[keras.utils.get_registered_name(value)] = value
    return found


def _where_the_file_says(node: Node, options: LoadOptions) -> Any | None:  # noqa: ANN401
    """A class of the module that the file names, if it lies in a package that the user has named.

    ``--custom-objects keras_hub`` covers ``keras_hub.src.models.vae.vae_backbone``.
    """
    named = {module.split(".", 1)[0] for module in options.reading.custom_objects}
    if not options.trust or node.root_module not in named:
        return None
    module = import_user_module(str(node.content["module"]), "the file")
    return getattr(module, _own_name(node), None)


def _own_name(node: Node) -> str:
    return str(node.content.get("config")) if node.class_name == "function" else node.class_name


def advice_for_missing(
    name: str, options: LoadOptions, where: str = "", package: str = "package.module"
) -> str:
    """What to do about an unknown class or function; the end of a sentence.

    Args:
        name: Its name.
        options: What was declared.
        where: Which layer needs it.
        package: What to declare.
    """
    what = f"it needs {name!r}{where}"
    modules = ", ".join(options.reading.custom_objects)
    if modules and not options.trust and not all(map(is_given, options.reading.custom_objects)):
        return (
            f"{what}; custom_objects names {modules}, but modules are imported only with trust: "
            f"{TRUST}"
        )
    if modules and any(map(is_given, options.reading.custom_objects)):
        return f"{what}, which custom_objects does not hold; give it too"
    if modules:
        return (
            f"{what}, which {modules} of custom_objects does not define; name its module too: "
            f"--custom-objects {package}"
        )
    return (
        f"{what}, which is not Keras' own; name the module that defines it, and trust it: add "
        f'--custom-objects {package} --trust-checkpoints (custom_objects = "{package}" '
        "and trust = true in the TOML file), or save encoder and decoder with Keras' own layers"
    )


def keys_for_missing(options: LoadOptions, package: str = "package.module") -> dict[str, object]:
    """Spec keys that would provide an unknown class or function."""
    named = options.reading.custom_objects
    if named and not options.trust:
        return {"trust": True}
    return {
        "custom_objects": [*named, package] if named else package,
        "trust": True,
    }


def _unknown(node: Node, options: LoadOptions, source: str) -> CheckpointError:
    kind = "function" if node.class_name == "function" else "class"
    where, package = f" (the {kind} of layer {node.layer!r})", _installed_package(node)
    advice = advice_for_missing(_own_name(node), options, where, package)
    return CheckpointError(
        f"{source} cannot be loaded: {advice}", keys_for_missing(options, package)
    )


def _installed_package(node: Node) -> str:
    """The package that the file names, where it is installed; nothing of it is imported."""
    root = node.root_module
    try:
        is_own = root is None or root == "__main__" or root in sys.stdlib_module_names
        found = None if is_own else importlib.util.find_spec(str(root))
    except (ImportError, ValueError):
        found = None
    return str(root) if found else "package.module"
