"""Classes that a file needs: shims for sampling, the user's modules, and what asks for trust."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vae_batch.models.formats.format import LoadOptions
from vae_batch.models.formats.keras.custom_objects import objects_for, runs_code
from vae_batch.plan.errors import CheckpointError
from vae_batch.plan.reading import Reading


@pytest.fixture(params=["keras", "tf_keras"])
def library(request: pytest.FixtureRequest) -> Any:
    reason = "tf_keras (the extra of tf.keras 2 files) is not installed"
    return pytest.importorskip(request.param, reason=reason)


def terms(*modules: str, trust: bool = False) -> LoadOptions:
    return LoadOptions(Reading(custom_objects=modules), trust, 1 << 30)


def layer_class(library: Any, name: str, outputs: int = 1) -> Any:
    """A user's class of that name, which no loader knows."""

    def call(self: Any, inputs: Any) -> Any:
        first = inputs[0] if isinstance(inputs, list | tuple) else inputs
        return first if outputs == 1 else (first,) * outputs

    return type(name, (library.layers.Layer,), {"call": call})


def two_heads(library: Any, names: tuple[str, str] = ("a", "b"), sizes: Any = (2, 2)) -> Any:
    image = library.Input((4,))
    return image, [
        library.layers.Dense(size, name=name)(library.layers.Dense(8)(image))
        for name, size in zip(names, sizes, strict=True)
    ]


def config_of(model: Any) -> dict[str, Any]:
    return json.loads(model.to_json())


def test_a_model_of_the_librarys_own_layers_needs_nothing(library: Any) -> None:
    image, heads = two_heads(library)
    config = config_of(library.Model(image, [*heads, library.layers.Add()(heads)]))
    assert objects_for(config, terms(), "e.keras", library.__name__) == ({}, ())


@pytest.mark.parametrize(
    ("kind", "layer", "heads", "outputs"),
    [
        ("Sampling", "drawn", ("a", "b"), "z"),  # by the class's name
        ("ReparameterizationTrick", "drawn", ("a", "b"), "z"),
        ("Draw", "z", ("a", "b"), "z"),  # by the layer's
        ("Draw", "drawn", ("z_mean", "z_log_var"), "z"),  # by the heads' names
        ("Draw", "drawn", ("a", "b"), "heads and z"),  # both inputs are outputs too
    ],
)
def test_an_unknown_class_that_samples_gives_its_mean(
    library: Any, kind: str, layer: str, heads: tuple[str, str], outputs: str
) -> None:
    """No trust is needed, since no code of the user's is run."""
    image, tensors = two_heads(library, heads)
    z = layer_class(library, kind)(name=layer)(tensors)
    model = library.Model(image, z if outputs == "z" else [*tensors, z])
    config = config_of(model)
    objects, replaced = objects_for(config, terms(), "e.keras", library.__name__)
    assert replaced == (layer,)
    rebuilt = library.models.model_from_json(json.dumps(config), custom_objects=objects)
    rebuilt.set_weights(model.get_weights())
    images = np.ones((3, 4), np.float32)
    expected = library.Model(image, tensors[0])(images)
    found = rebuilt(images)
    np.testing.assert_allclose(found if outputs == "z" else found[2], expected, rtol=1e-6)


def test_twins_of_one_tensor_whose_merger_is_an_output(library: Any) -> None:
    layers, image = library.layers, library.Input((4,))
    hidden = layers.Dense(8)(image)
    twins = [layers.Dense(2)(hidden), layers.Dense(2)(hidden)]
    z = layer_class(library, "Draw")(name="drawn")(twins)
    config = config_of(library.Model(image, z))
    assert objects_for(config, terms(), "e.keras", library.__name__)[1] == ("drawn",)


def merged(library: Any, kind: str, sizes: Any = (2, 2), outputs: int = 1) -> dict[str, Any]:
    """A class that merges two tensors in the middle of a model."""
    image, tensors = two_heads(library, sizes=sizes)
    made = layer_class(library, kind, outputs)(name="merger")(tensors)
    made = made if outputs == 1 else library.layers.Add()(list(made))
    return config_of(library.Model(image, library.layers.Dense(3)(made)))


@pytest.mark.parametrize(
    ("kind", "sizes", "outputs"),
    [
        ("Gate", (2, 2), 1),  # merges two tensors of one shape, but nothing says that it samples
        ("Sampling", (2, 3), 1),  # no mean and log-variance
        ("UpSampling", (2, 2), 1),  # resizes
        ("SubsampledAdd", (2, 2), 1),
        ("Sampling", (2, 2), 2),  # its second output is used
    ],
)
def test_other_unknown_classes_are_not_replaced(
    library: Any, kind: str, sizes: Any, outputs: int
) -> None:
    config = merged(library, kind, sizes, outputs)
    sentence = rf"d\.keras cannot be loaded: it needs '{kind}' \(the class of layer 'merger'\).*"
    with pytest.raises(CheckpointError, match=sentence + "custom-objects.*trust-checkpoints") as e:
        objects_for(config, terms(), "d.keras", library.__name__)
    installed = __name__.partition(".")[0]  # where the file says that the class is
    named = installed if '"module"' in json.dumps(config) else "package.module"
    assert e.value.declare == {"custom_objects": named, "trust": True}


def test_a_sampling_class_of_one_tensor_is_not_replaced(library: Any) -> None:
    """Mean and log-variance packed into one tensor: what it returns cannot be known."""
    image = library.Input((4,))
    z = layer_class(library, "Sampling")()(library.layers.Dense(4)(image))
    with pytest.raises(CheckpointError, match="needs 'Sampling'"):
        objects_for(config_of(library.Model(image, z)), terms(), "e.keras", library.__name__)


def with_lambda(library: Any, function: Any, layer: str, heads: bool) -> tuple[Any, Any]:
    image, tensors = two_heads(library, ("z_mean", "z_log_var"))
    inputs = tensors if heads else tensors[0]
    z = library.layers.Lambda(function, output_shape=(2,), name=layer)(inputs)
    return library.Model(image, [*tensors, z]), config_of(library.Model(image, [*tensors, z]))


@pytest.mark.parametrize("heads", [True, False])
def test_a_python_lambda_needs_trust(library: Any, heads: bool) -> None:
    _, config = with_lambda(library, lambda x: x, "z", heads)
    assert runs_code(config)
    sentence = r"e\.keras: layer 'z' is a Python Lambda.*--trust-checkpoints \(trust = true"
    with pytest.raises(CheckpointError, match=sentence) as e:
        objects_for(config, terms(), "e.keras", library.__name__)
    assert e.value.declare == {"trust": True}


def test_a_trusted_lambda_that_samples_gives_its_mean(library: Any) -> None:
    """Its code, perhaps of another Python, is not touched."""
    model, config = with_lambda(library, lambda x: x[0] + 100.0, "lambda_3", heads=True)
    objects, replaced = objects_for(config, terms(trust=True), "e.keras", library.__name__)
    assert replaced == ("lambda_3",)
    assert not runs_code(config)
    again = objects_for(config, terms(trust=True), "e.keras", library.__name__)
    assert again == (objects, replaced)
    rebuilt = library.models.model_from_json(json.dumps(config), custom_objects=objects)
    rebuilt.set_weights(model.get_weights())
    mean, _, z = rebuilt(np.ones((3, 4), np.float32))
    np.testing.assert_array_equal(mean, z)


def test_a_trusted_lambda_elsewhere_is_kept(library: Any) -> None:
    _, config = with_lambda(library, lambda x: 2 * x, "z", heads=False)
    as_saved = json.dumps(config)
    assert objects_for(config, terms(trust=True), "e.keras", library.__name__) == ({}, ())
    assert json.dumps(config) == as_saved


def test_a_lambda_that_names_a_function_of_the_users() -> None:
    """Keras 3 writes the name of a def, and no code: it is replaced without trust."""
    import keras

    def sampling(heads: Any) -> Any:
        return heads[0]

    _, config = with_lambda(keras, sampling, "z", heads=True)
    assert not runs_code(config)
    objects, replaced = objects_for(config, terms(), "e.keras")
    assert replaced == ("z",)
    rebuilt = keras.models.model_from_json(json.dumps(config), custom_objects=objects)
    assert len(rebuilt.outputs) == 3
    _, elsewhere = with_lambda(keras, sampling, "z", heads=False)
    with pytest.raises(CheckpointError, match=r"needs 'sampling' \(the function of layer 'z'"):
        objects_for(elsewhere, terms(), "e.keras")


@pytest.mark.parametrize(
    ("node", "words"),
    [
        ({"class_name": "TFSMLayer", "config": {"name": "layer"}}, "a graph from another file"),
        (
            {"class_name": "TFOpLambda", "config": {"name": "layer", "function": "io.write_file"}},
            "calls tf.io.write_file",
        ),
        (
            {
                "class_name": "SlicingOpLambda",
                "config": {"name": "layer", "function": "io.write_file"},
            },
            "calls tf.io.write_file",
        ),
        ({"class_name": "TensorFlowOpLayer", "config": {"name": "layer"}}, "the file spells out"),
    ],
)
def test_layers_that_run_other_code_need_trust(node: dict[str, Any], words: str) -> None:
    config = {"class_name": "Sequential", "config": {"name": "d", "layers": [node]}}
    with pytest.raises(CheckpointError, match=rf"layer 'layer' .*{words}.*trust = true"):
        objects_for(config, terms(), "d.h5")
    assert objects_for(config, terms(trust=True), "d.h5") == ({}, ())


@pytest.mark.parametrize(
    ("layer", "function"),
    [("TFOpLambda", "math.sigmoid"), ("SlicingOpLambda", "__operators__.getitem")],
)
def test_harmless_tensorflow_functions_need_none(layer: str, function: str) -> None:
    node = {"class_name": layer, "config": {"name": "s", "function": function}}
    config = {"class_name": "Functional", "config": {"layers": [node]}}
    assert objects_for(config, terms(), "d.h5") == ({}, ())


MODULE = """
import {library} as keras
from {library}.saving import register_keras_serializable

@register_keras_serializable(package="{module}")
class Gate(keras.layers.Layer):
    def call(self, inputs):
        return inputs[0] * inputs[1]

class Sampling(keras.layers.Layer):
    def call(self, inputs):
        return inputs[0] + 5.0

def bend(x):
    return 2 * x
"""


@pytest.fixture
def module(library: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module of the user's in the working directory."""
    name = f"my_layers_of_{library.__name__}"
    text = MODULE.format(library=library.__name__, module=name)
    (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.chdir(tmp_path)
    return name


def test_the_users_module_defines_them(library: Any, module: str) -> None:
    """Bare and registered names; and the library's own table stays as it was."""
    config = merged(library, "Gate")
    before = dict(library.utils.get_custom_objects())
    for _ in range(2):  # the second time the module is imported already
        objects, replaced = objects_for(
            config, terms(module, trust=True), "d.keras", library.__name__
        )
        assert replaced == ()
        assert objects["Gate"] is objects[f"{module}>Gate"]
        assert objects["bend"](3) == 6
        assert objects["Gate"].__module__ == module
    assert library.utils.get_custom_objects() == before


def test_the_users_own_sampling_layer_is_preferred(library: Any, module: str) -> None:
    image, tensors = two_heads(library)
    z = layer_class(library, "Sampling")()(tensors)
    config = config_of(library.Model(image, [*tensors, z]))
    objects, replaced = objects_for(config, terms(module, trust=True), "e.keras", library.__name__)
    assert replaced == ()
    assert objects["Sampling"].__module__ == module


def test_a_module_is_imported_with_trust_only(library: Any, module: str) -> None:
    with pytest.raises(CheckpointError, match=f"{module}, but modules are imported only") as e:
        objects_for(merged(library, "Gate"), terms(module), "d.keras", library.__name__)
    assert e.value.declare == {"trust": True}


def test_a_class_that_the_module_lacks(library: Any, module: str) -> None:
    with pytest.raises(CheckpointError, match=f"needs 'Fork'.*{module} .*does not define"):
        objects_for(merged(library, "Fork"), terms(module, trust=True), "d.keras", library.__name__)


def test_a_module_that_is_not_there(library: Any) -> None:
    with pytest.raises(CheckpointError, match=r"custom_objects names the module 'no\.such'.*ray"):
        objects_for(
            merged(library, "Gate"), terms("no.such", trust=True), "d.keras", library.__name__
        )
