"""Keras 3 and tf_keras models as networks: ports, activations, hints, without their sigmoid."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from vae_batch.models.formats.format import Network
from vae_batch.models.formats.keras.network import network_of
from vae_batch.plan.errors import CheckpointError


@pytest.fixture(scope="module", params=["keras", "tf_keras"])
def library(request: pytest.FixtureRequest) -> Any:
    reason = "tf_keras (the extra of tf.keras 2 files) is not installed"
    return pytest.importorskip(request.param, reason=reason)


def draw(*shape: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-x.astype(np.float64)))


def decoder(library: Any, *tail: Any) -> Any:
    """Latents of size 3 to 16 pixels, then the given layers."""
    return library.Sequential([library.Input((3,)), library.layers.Dense(16), *tail])


def test_a_functional_encoder(library: Any) -> None:
    layers = library.layers
    image = library.Input((4, 4, 1), name="image")
    hidden = layers.Dense(5, "tanh")(layers.Flatten()(image))
    mean, logvar = layers.Dense(2, name="z_mean")(hidden), layers.Dense(2, name="z_lv")(hidden)
    model = library.Model(image, [mean, layers.Reshape((2,))(logvar)])
    network = network_of(model, "encoder.keras", replaced=("z_lv", "in another half"))
    assert [(p.name, p.shape, p.dtype) for p in network.inputs] == [("image", (4, 4, 1), "float32")]
    assert [(p.name, p.shape) for p in network.outputs] == [("z_mean", (2,)), ("z_lv", (2,))]
    assert (network.source, network.replaced) == ("encoder.keras", ("z_lv",))
    images = draw(6, 4, 4, 1)
    for found, expected in zip(network.run(images), model(images), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
        assert found.dtype == np.float32


def test_several_inputs_and_named_outputs(library: Any) -> None:
    """Keys of dictionaries are the ports' names; integer inputs stay integers."""
    layers = library.layers
    z, label = library.Input((3,), name="z"), library.Input((), name="label", dtype="int32")
    joined = layers.Concatenate()([z, layers.Embedding(10, 2)(label)])
    outputs = {"pixels": layers.Dense(4, "sigmoid")(joined), "code": layers.Dense(2)(joined)}
    model = library.Model({"z": z, "label": label}, outputs)
    network = network_of(model, "d.keras")
    assert [(p.name, p.shape, p.dtype) for p in network.inputs] == [
        ("label", (), "int32"),
        ("z", (3,), "float32"),
    ]
    assert [p.name for p in network.outputs] == ["code", "pixels"]
    labels, latents = np.array([3, 7]), draw(2, 3)
    code, pixels = network.run(labels, latents)
    expected = model({"z": latents, "label": labels})
    np.testing.assert_allclose(code, expected["code"], rtol=1e-5)
    np.testing.assert_allclose(pixels, expected["pixels"], rtol=1e-5)


TAILS: list[tuple[Callable[[Any], list[Any]], str | None]] = [
    (lambda lib: [lib.layers.Dense(4, "sigmoid")], "sigmoid"),
    (lambda lib: [lib.layers.Activation("sigmoid")], "sigmoid"),
    (lambda lib: [lib.layers.Activation("sigmoid"), lib.layers.Reshape((4, 4, 1))], "sigmoid"),
    (lambda lib: [lib.layers.Dense(4, "sigmoid"), lib.layers.Activation("linear")], "sigmoid"),
    (lambda lib: [decoder_end(lib), lib.layers.Permute((2, 1, 3))], "sigmoid"),
    (lambda lib: [lib.layers.Reshape((4, 4)), time_distributed(lib)], "sigmoid"),
    (lambda lib: [lib.layers.Dense(4, "tanh"), lib.layers.Dropout(0.5)], "tanh"),
    (lambda lib: [lib.layers.Dense(4)], "linear"),
    (lambda lib: [lib.layers.BatchNormalization()], "linear"),
    (lambda lib: [lib.layers.LeakyReLU()], "leaky_relu"),
    (lambda lib: [lib.layers.Dense(4, "sigmoid"), lib.layers.Rescaling(2.0, -1.0)], None),
]


def decoder_end(library: Any) -> Any:
    inner = library.layers.Conv2DTranspose(2, 3, padding="same", activation="sigmoid")
    layers = [library.Input((16,)), library.layers.Reshape((4, 4, 1)), inner]
    return library.Sequential([*layers, library.layers.Cropping2D(1)])


def time_distributed(library: Any) -> Any:
    return library.layers.TimeDistributed(library.layers.Dense(3, activation="sigmoid"))


@pytest.mark.parametrize(("tail", "activation"), TAILS)
def test_final_activation(
    library: Any, tail: Callable[[Any], list[Any]], activation: str | None
) -> None:
    model = decoder(library, *tail(library))
    network = network_of(model, "d.keras")
    assert network.activation == activation
    assert (network.before_sigmoid is not None) == (activation == "sigmoid")
    if network.before_sigmoid is not None:
        require_logits(network, model)


def require_logits(network: Network, model: Any) -> None:
    """The network without its sigmoid gives the logits; the one with it is as it was."""
    latents = 3 * draw(5, 3)
    with_sigmoid = np.asarray(model(latents))
    assert network.before_sigmoid is not None
    logits = network.before_sigmoid()
    assert (logits.activation, logits.before_sigmoid) == ("linear", None)
    assert logits.outputs == network.outputs
    np.testing.assert_allclose(sigmoid(logits.run(latents)[0]), with_sigmoid, atol=1e-6)
    np.testing.assert_allclose(network.run(latents)[0], with_sigmoid, atol=1e-6)
    np.testing.assert_allclose(model(latents), with_sigmoid, atol=1e-6)
    assert not np.allclose(logits.run(latents)[0], with_sigmoid)


def test_a_sigmoid_as_an_operation(library: Any) -> None:
    import tensorflow as tf

    latents = library.Input((3,))
    function = library.ops.sigmoid if library.__name__ == "keras" else tf.sigmoid
    pixels = function(library.layers.Dense(4)(latents))
    model = library.Model(latents, library.layers.Reshape((2, 2))(pixels))
    network = network_of(model, "d.keras")
    assert network.activation == "sigmoid"
    require_logits(network, model)


def test_a_sigmoid_layer_that_is_used_twice_stays(library: Any) -> None:
    """Taking it off would take off the inner one too."""
    squash, latents = library.layers.Activation("sigmoid"), library.Input((3,))
    hidden = library.layers.Dense(4)(squash(library.layers.Dense(4)(latents)))
    network = network_of(library.Model(latents, squash(hidden)), "d.keras")
    assert network.activation == "sigmoid"
    assert network.before_sigmoid is None


def test_a_sigmoid_under_nested_models(library: Any) -> None:
    inner, latents = decoder(library, library.layers.Activation("sigmoid")), library.Input((3,))
    shape_only = library.Sequential([library.Input((16,)), library.layers.Reshape((4, 4, 1))])
    middle = library.Model(latents, inner(latents))
    outer = library.Input((3,))
    model = library.Model(outer, shape_only(middle(outer)))
    network = network_of(model, "d.keras")
    assert network.activation == "sigmoid"
    require_logits(network, model)


def subclassed(library: Any) -> type:
    class Decoder(library.Model):  # type: ignore[name-defined, misc]
        def __init__(self, **settings: Any) -> None:
            super().__init__(**settings)
            self.hidden = library.layers.Dense(5, "relu")
            self.pixels = library.layers.Dense(16, "sigmoid")
            self.shaped = library.layers.Reshape((4, 4, 1))

        def call(self, latents: Any) -> Any:
            return self.shaped(self.pixels(self.hidden(latents)))

    return Decoder


def test_a_subclassed_model(library: Any) -> None:
    """What its call does is followed, so its sigmoid is found."""
    model = subclassed(library)()
    model(draw(2, 3))
    network = network_of(model, "d.keras")
    assert [p.shape for p in network.inputs] == [(3,)]
    assert [(p.name, p.shape) for p in network.outputs] == [(model.pixels.name, (4, 4, 1))]
    assert network.activation == "sigmoid"
    require_logits(network, model)


def test_a_subclassed_model_inside_a_functional_one(library: Any) -> None:
    latents = library.Input((3,))
    model = library.Model(latents, subclassed(library)()(latents))
    network = network_of(model, "d.keras")
    assert network.activation == "sigmoid"
    require_logits(network, model)


def test_a_call_that_cannot_be_followed(library: Any) -> None:
    """NumPy shapes in a call stop the reading, not the running."""

    class Opaque(library.Model):  # type: ignore[name-defined, misc]
        def __init__(self) -> None:
            super().__init__()
            self.pixels = library.layers.Dense(4, "sigmoid")

        def call(self, latents: Any, training: bool = False) -> Any:
            if not hasattr(latents, "numpy") and "KerasTensor" in type(latents).__name__:
                raise TypeError("symbols are not welcome")
            return {"x": self.pixels(latents), "twice": (2 * latents, None)}

    model = Opaque()
    model(draw(2, 3))
    network = network_of(model, "d.keras")
    assert network.activation is None
    assert [(p.name, p.shape) for p in network.outputs] == [("twice", (3,)), ("x", (4,))]
    latents = draw(5, 3)
    np.testing.assert_allclose(network.run(latents)[0], 2 * latents)


def test_an_unbuilt_model_is_refused(library: Any) -> None:
    with pytest.raises(
        CheckpointError, match=r"d\.keras: Decoder .* was never built.*call it once"
    ):
        network_of(subclassed(library)(), "d.keras")


@pytest.mark.parametrize(
    ("scale", "offset", "hint"),
    [
        (1 / 255, 0.0, "0..255"),
        (1 / 127.5, -1.0, "0..255"),
        (2.0, -1.0, "0..1"),
        (0.5, 0.5, "-1..1"),
        (1.0, 0.0, None),  # says nothing
        (3.0, 0.0, None),
    ],
)
def test_the_range_that_a_first_rescaling_tells(
    library: Any, scale: float, offset: float, hint: str | None
) -> None:
    layers = library.layers
    rescaling = layers.Rescaling(scale, offset)
    first = library.Sequential([library.Input((4, 4, 1)), layers.Reshape((16,)), rescaling])
    image = library.Input((4, 4, 1))
    model = library.Model(image, layers.Dense(2)(first(image)))
    assert network_of(model, "e.keras").input_hint == hint


def test_a_rescaling_behind_a_layer_is_no_hint(library: Any) -> None:
    layers = library.layers
    model = library.Sequential([library.Input((4,)), layers.Dense(3), layers.Rescaling(1 / 255)])
    assert network_of(model, "e.keras").input_hint is None


def test_weights_have_names(library: Any) -> None:
    weights = dict(network_of(decoder(library, library.layers.Dense(4)), "d.keras").weights())
    assert [values.shape for values in weights.values()] == [(3, 16), (16,), (16, 4), (4,)]
    assert "kernel" in next(iter(weights))


def test_the_largest_tensor_of_a_sample(library: Any) -> None:
    """UpSampling of 4x4x2 by 8: 32 x 32 x 2 float32."""
    layers = library.layers
    tail = [layers.Reshape((4, 4, 1)), layers.Conv2D(2, 1), layers.UpSampling2D(8, name="up")]
    network = network_of(decoder(library, *tail, layers.Conv2D(1, 3)), "d.keras")
    assert network.largest == (32 * 32 * 2 * 4, "up")


def test_tensors_inside_of_layers_count(library: Any) -> None:
    """50 x 50 scores of 3 heads; 7 steps of 6 copies of 5 values: float32."""
    layers, words = library.layers, library.Input((50, 2))
    attended = layers.MultiHeadAttention(3, 2, name="attention")(words, words)
    network = network_of(library.Model(words, attended), "d.keras")
    assert network.largest == (3 * 50 * 50 * 4, "attention")
    steps = library.Input((7, 5))
    inner = library.Sequential([library.Input((5,)), layers.RepeatVector(6), layers.Flatten()])
    inner.add(layers.Dense(1))
    network = network_of(
        library.Model(steps, layers.TimeDistributed(inner, name="each")(steps)), "d.keras"
    )
    assert network.largest == (7 * 6 * 5 * 4, "each")


def test_mixed_precision_comes_out_as_float32(library: Any) -> None:
    latents = library.Input((3,))
    hidden = library.layers.Dense(4, dtype="mixed_bfloat16")(latents)
    pixels = library.layers.Activation("sigmoid", dtype="bfloat16")(hidden)
    network = network_of(library.Model(latents, pixels), "d.keras")
    assert network.outputs[0].dtype == "bfloat16"
    assert network.run(draw(2, 3))[0].dtype == np.float32
