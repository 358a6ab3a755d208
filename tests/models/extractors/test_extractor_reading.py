"""Networks of the user's as extractors: outputs, range and colours are decided, never guessed."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.runs.serial_runs import rows_of, score
from typer.testing import CliRunner

from vae_batch.cli import app
from vae_batch.commands.inspect import toml_lines
from vae_batch.metrics import Moments, frechet_distance, inception_score
from vae_batch.models.checkpoints import Checkpoint
from vae_batch.models.child_process import in_child
from vae_batch.models.extractors.classifier import ClassifierExtractor, identify_classifier
from vae_batch.models.extractors.extractor import ExtractorIdentity
from vae_batch.models.formats.keras import load_model
from vae_batch.models.inspection import ExtractorInspection, Inspection
from vae_batch.models.references.reference import ProbeImages, open_reference
from vae_batch.plan import CheckpointError, InputError, make_spec

FEATURES = 48

pytestmark = pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5")


@pytest.fixture(scope="module")
def probe() -> ProbeImages:
    return ProbeImages.of(open_reference("digits"), 700)


class Parts:
    """Weights of a classifier of digits in 0..1: random features, least squares to the classes."""

    def __init__(self, probe: ProbeImages, channels: int = 1) -> None:
        draw = np.random.default_rng(0)
        pixels = probe.pixels.repeat(channels, axis=-1).reshape(len(probe.pixels), -1) / 255
        self.kernel = draw.normal(0, 0.4, (pixels.shape[1], FEATURES)).astype(np.float32)
        # Biases of the size of the products, so that pixels 255 times as bright are misread.
        self.bias = draw.normal(-1.5, 1, FEATURES).astype(np.float32)
        features = self.features(pixels)
        targets = 12.0 * np.eye(10)[probe.labels] - 6
        design = np.c_[features, np.ones(len(features))]
        solved = np.linalg.lstsq(design, targets, rcond=None)[0].astype(np.float32)
        self.weights = [self.kernel, self.bias, solved[:-1], solved[-1]]

    def features(self, pixels: np.ndarray) -> np.ndarray:
        flat = pixels.reshape(len(pixels), -1)
        return np.maximum(flat @ self.kernel + self.bias, 0)

    def logits(self, pixels: np.ndarray) -> np.ndarray:
        return self.features(pixels) @ self.weights[2] + self.weights[3]


@pytest.fixture(scope="module")
def parts(probe: ProbeImages) -> Parts:
    return Parts(probe)


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def network(
    parts: Parts,
    last: str | None = "softmax",
    *,
    library: Any = None,
    shape: tuple[int, ...] = (8, 8, 1),
    scaled: bool = False,
    headless: bool = False,
) -> Any:
    import keras

    layers = (library or keras).layers
    image = layers.Input(shape)
    hidden = layers.Rescaling(1 / 255)(image) if scaled else image
    flat = layers.Flatten(name="flat")(hidden)
    hidden = layers.Dense(FEATURES, "relu", name="features")(flat)
    made = hidden if headless else layers.Dense(10, last, name="scores")(hidden)
    model = (library or keras).Model(image, made)
    model.set_weights(parts.weights[:2] if headless else parts.weights)
    return model


def identity_of(path: Path, probe: ProbeImages, **declared: Any) -> ExtractorIdentity:
    spec = make_spec(
        {"checkpoints": ["v"], "reference": "digits", "workers": 0, "extractors": [str(path)]}
        | declared
    )
    return identify_classifier(str(path), spec, lambda: probe)


def extract(identity: ExtractorIdentity, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    colour = images if images.shape[-1] == 3 else images.repeat(3, axis=-1)
    return ClassifierExtractor(identity).extract(colour)


def save_saved_model(model: Any, path: Path) -> None:
    model.export(str(path), verbose=False)


def tf_keras_file(parts: Parts, path: Path) -> None:
    network(parts, library=pytest.importorskip("tf_keras")).save(path)


SAVED: dict[str, Callable[[Parts, Path], None]] = {
    "c.keras": lambda parts, path: network(parts).save(path),
    "c.h5": lambda parts, path: network(parts).save(path),
    "t.keras": tf_keras_file,
    "t.h5": tf_keras_file,
    "saved": lambda parts, path: save_saved_model(network(parts), path),
    "flat.keras": lambda parts, path: network(parts, shape=(8, 8)).save(path),
    "vector.keras": lambda parts, path: network(parts, shape=(64,)).save(path),
}


@pytest.mark.parametrize("name", SAVED)
def test_every_format_gives_the_same_features_and_probabilities(
    name: str, parts: Parts, probe: ProbeImages, tmp_path: Path
) -> None:
    """The range 0..1 of a classifier without Rescaling is told by the reference's labels."""
    SAVED[name](parts, tmp_path / name)
    identity = identity_of(tmp_path / name, probe)
    features, classes = extract(identity, probe.pixels[:50])
    pixels = probe.pixels[:50] / 255
    np.testing.assert_allclose(features, parts.features(pixels), atol=2e-5)
    np.testing.assert_allclose(classes, softmax(parts.logits(pixels)), atol=2e-5)
    assert (identity.feature_dim, identity.class_count) == (FEATURES, 10)
    assert identity.normalisation == "0..1"
    assert "0..1" in identity.protocol


def test_a_run_gives_the_scores_of_the_right_range(
    parts: Parts, probe: ProbeImages, toy_folder: Path, tmp_path: Path
) -> None:
    from vae_batch.storage import Store

    network(parts).save(tmp_path / "c.keras")
    settings = {
        "checkpoints": [str(toy_folder / "runs/step-0001")],
        "reference": "digits",
        "extractors": [str(tmp_path / "c.keras")],
        "metrics": "fid,inception_score",
        "samples": 128,
        "splits": 1,
        "workers": 0,
        "out": str(tmp_path / "out"),
    }
    (row,) = rows_of(score(settings)).values()
    from keras.models import load_model

    from vae_batch.models.sampling import standard_normals

    decoder = load_model(toy_folder / "runs/step-0001/decoder.keras")
    latents = standard_normals(0, "latents", 0, 128, (3,))
    images = np.rint(np.asarray(decoder(latents)) * 255) / 255
    real = open_reference("digits").read(0, 797) / 255
    moments = [Moments.from_activations(parts.features(x)) for x in (images, real)]
    assert row["fid"] == pytest.approx(frechet_distance(*moments), rel=1e-3)
    expected = inception_score(softmax(parts.logits(images)), splits=1).mean
    assert row["inception_score"] == pytest.approx(expected, rel=1e-4)
    assert Store.open(settings["out"])


def test_a_first_rescaling_or_normalization_tells_the_range(
    parts: Parts, probe: ProbeImages, tmp_path: Path
) -> None:
    import keras

    network(parts, scaled=True).save(tmp_path / "scaled.keras")
    identity = identity_of(tmp_path / "scaled.keras", probe)
    assert identity.normalisation == "0..255"
    features, _ = extract(identity, probe.pixels[:9])
    np.testing.assert_allclose(features, parts.features(probe.pixels[:9] / 255), atol=2e-5)
    unlabelled = ProbeImages(probe.pixels, None, None, "")
    for name, factor, offset in (
        ("0..255", 1.0, 0.0),
        ("0..1", 1 / 255, 0.0),
        ("-1..1", 2 / 255, -1),
    ):
        pixels = probe.pixels * factor + offset
        image = keras.Input((8, 8, 1))
        normal = keras.layers.Normalization(mean=pixels.mean(), variance=pixels.var())
        hidden = keras.layers.Flatten()(normal(image))
        keras.Model(image, keras.layers.Dense(5, "softmax")(hidden)).save(tmp_path / "n.keras")
        assert identity_of(tmp_path / "n.keras", unlabelled).normalisation == name


def test_an_unknown_range_is_asked_for(parts: Parts, probe: ProbeImages, tmp_path: Path) -> None:
    network(parts).save(tmp_path / "c.keras")
    unlabelled = ProbeImages(probe.pixels, None, None, "")
    with pytest.raises(InputError, match=r"c\.keras: the pixel range.*--classifier-range 0\.\.1"):
        identity_of(tmp_path / "c.keras", unlabelled)
    identity = identity_of(tmp_path / "c.keras", unlabelled, classifier_range="0..1")
    features, _ = extract(identity, probe.pixels[:9])
    np.testing.assert_allclose(features, parts.features(probe.pixels[:9] / 255), atol=2e-5)


def test_logits_are_told_by_labels(parts: Parts, probe: ProbeImages, tmp_path: Path) -> None:
    network(parts, None).save(tmp_path / "c.keras")
    identity = identity_of(tmp_path / "c.keras", probe)
    _, classes = extract(identity, probe.pixels[:9])
    np.testing.assert_allclose(classes, softmax(parts.logits(probe.pixels[:9] / 255)), atol=2e-5)
    unlabelled = ProbeImages(probe.pixels, None, None, "")
    with pytest.raises(InputError, match=r"--class-output logits or --class-output none"):
        identity_of(tmp_path / "c.keras", unlabelled, classifier_range="0..1")
    none = identity_of(
        tmp_path / "c.keras", unlabelled, classifier_range="0..1", class_output="none"
    )
    features, classes = extract(none, probe.pixels[:9])
    np.testing.assert_allclose(features, parts.logits(probe.pixels[:9] / 255), atol=2e-5)
    assert classes.shape == (9, 0)
    assert "no class probabilities" in str(none.inception_score_reason)


def test_one_sigmoid_is_two_classes(parts: Parts, probe: ProbeImages, tmp_path: Path) -> None:
    import keras

    image = keras.Input((8, 8, 1))
    hidden = keras.layers.Dense(FEATURES, "relu")(keras.layers.Flatten()(image))
    model = keras.Model(image, keras.layers.Dense(1, "sigmoid")(hidden))
    model.set_weights([*parts.weights[:2], parts.weights[2][:, :1], parts.weights[3][:1]])
    model.save(tmp_path / "c.keras")
    identity = identity_of(tmp_path / "c.keras", probe, classifier_range="0..1")
    _, classes = extract(identity, probe.pixels[:99])
    positive = 1 / (1 + np.exp(-parts.logits(probe.pixels[:99] / 255)[:, 0]))
    np.testing.assert_allclose(classes, np.c_[1 - positive, positive], atol=2e-5)
    assert inception_score(classes, splits=1).mean > 1.1


def test_sigmoids_of_many_labels_are_no_distribution(
    parts: Parts, probe: ProbeImages, tmp_path: Path
) -> None:
    network(parts, "sigmoid").save(tmp_path / "c.keras")
    identity = identity_of(tmp_path / "c.keras", probe)
    features, classes = extract(identity, probe.pixels[:9])
    np.testing.assert_allclose(features, parts.features(probe.pixels[:9] / 255), atol=2e-5)
    assert classes.shape == (9, 0)
    assert "10 labels" in str(identity.inception_score_reason)


def test_a_headless_network_is_its_own_embedding(
    parts: Parts, probe: ProbeImages, tmp_path: Path
) -> None:
    network(parts, headless=True).save(tmp_path / "c.keras")
    identity = identity_of(tmp_path / "c.keras", probe, classifier_range="0..1")
    features, classes = extract(identity, probe.pixels[:9])
    np.testing.assert_allclose(features, parts.features(probe.pixels[:9] / 255), atol=2e-5)
    assert classes.shape == (9, 0)


def test_a_pooled_backbone_and_feature_maps(probe: ProbeImages, tmp_path: Path) -> None:
    import keras

    image = keras.Input((8, 8, 1))
    maps = keras.layers.Conv2D(4, 3, activation="relu", name="maps")(image)
    pooled = keras.layers.GlobalAveragePooling2D()(maps)
    backbone = keras.Model(image, pooled, name="encoder")  # a nested half's name misleads nobody
    whole = keras.Input((8, 8, 1))
    keras.Model(whole, backbone(whole)).save(tmp_path / "b.keras")
    keras.Model(image, maps).save(tmp_path / "m.keras")
    expected = np.asarray(backbone(probe.pixels[:9] / 255))
    for name in ("b.keras", "m.keras"):
        identity = identity_of(tmp_path / name, probe, classifier_range="0..1")
        features, classes = extract(identity, probe.pixels[:9])
        np.testing.assert_allclose(features, expected, atol=1e-5)
        assert classes.shape == (9, 0)


@pytest.mark.parametrize("library", ["keras", "tf_keras", "saved_model"])
def test_a_declared_embedding_is_that_layers_output(
    library: str, parts: Parts, probe: ProbeImages, tmp_path: Path
) -> None:
    import keras

    made = pytest.importorskip("tf_keras") if library == "tf_keras" else keras
    inner = network(parts, library=made)
    image = made.layers.Input((8, 8, 1))
    squeezed = made.layers.Dense(6, "tanh", name="code")(inner(image))  # a nested model's layer
    model = made.Model(image, made.layers.Dense(10, "softmax")(squeezed))
    path = tmp_path / ("saved" if library == "saved_model" else "c.keras")
    save_saved_model(model, path) if library == "saved_model" else model.save(path)
    identity = identity_of(path, probe, classifier_range="0..1", embedding="features")
    features, _ = extract(identity, probe.pixels[:9])
    np.testing.assert_allclose(features, parts.features(probe.pixels[:9] / 255), atol=2e-5)
    with pytest.raises(InputError, match=r"no layer.*'nowhere'.*features"):
        identity_of(path, probe, classifier_range="0..1", embedding="nowhere")


def test_two_outputs_are_features_and_probabilities(
    parts: Parts, probe: ProbeImages, tmp_path: Path
) -> None:
    import keras

    model = network(parts)
    tensors = [model.get_layer("scores").output, model.get_layer("features").output]
    keras.Model(model.inputs, tensors).save(tmp_path / "c.keras")
    identity = identity_of(tmp_path / "c.keras", probe)
    features, classes = extract(identity, probe.pixels[:9])
    np.testing.assert_allclose(features, parts.features(probe.pixels[:9] / 255), atol=2e-5)
    np.testing.assert_allclose(classes, softmax(parts.logits(probe.pixels[:9] / 255)), atol=2e-5)


def test_grey_of_colours_is_their_luminance(
    parts: Parts, probe: ProbeImages, tmp_path: Path
) -> None:
    from PIL import Image

    network(parts).save(tmp_path / "c.keras")
    colours = np.random.default_rng(1).integers(0, 256, (20, 8, 8, 3), dtype=np.uint8)
    identity = identity_of(tmp_path / "c.keras", probe)
    features, _ = extract(identity, colours)
    grey = np.stack([np.asarray(Image.fromarray(image).convert("L")) for image in colours])
    np.testing.assert_allclose(features, parts.features(grey / 255), atol=2e-5)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_constant_features_are_refused(
    value: float, parts: Parts, probe: ProbeImages, tmp_path: Path
) -> None:
    model = network(parts, scaled=True)
    kernel, _, *head = parts.weights
    model.set_weights([kernel * 0, np.full(FEATURES, value, np.float32), *head])
    model.save(tmp_path / "c.keras")
    with pytest.raises(InputError, match=r"embedding is .* for all 700 probe images"):
        identity_of(tmp_path / "c.keras", probe)


def test_inspect_shows_an_extractor_and_its_lines_score(
    parts: Parts, toy_folder: Path, tmp_path: Path
) -> None:
    network(parts, None).save(tmp_path / "c.keras")
    words = ["inspect", "--extractor", str(tmp_path / "c.keras")]
    refused = CliRunner().invoke(app, words)
    assert refused.exit_code == 3
    assert "refused" in refused.output
    declared: dict[str, Any] = {}
    for _ in range(3):  # one question at a time
        flags = [f"--{key.replace('_', '-')}={value}" for key, value in declared.items()]
        said = CliRunner().invoke(app, [*words, *flags])
        declared = tomllib.loads(said.output.partition("(TOML):")[2])
        declared.pop("extractors")
    assert said.exit_code == 0, said.output
    assert "what its last dense layer takes" in said.output
    assert declared == {"classifier_range": "0..1", "class_output": "logits"}
    told = CliRunner().invoke(app, [*words, "--reference", "digits", "--json"])
    assert json.loads(told.output)[0]["declare"] == declared


def two_tensors(parts: Parts, names: tuple[str, ...]) -> Any:
    import keras

    model = network(parts, None)
    tensors = [model.get_layer(name).output for name in names]
    return keras.Model(model.inputs, tensors)


def dim(parts: Parts) -> Any:
    """Its features are zero for all but pixels of 0..255."""
    model = network(parts)
    model.set_weights([parts.kernel, parts.bias - 1e3, *parts.weights[2:]])
    return model


def called_twice(parts: Parts) -> Any:
    import keras

    image = keras.Input((8, 8, 1))
    layer = keras.layers.Dense(64, "relu", name="twice")
    last = keras.layers.Dense(FEATURES, "relu", name="once")
    hidden = last(layer(layer(keras.layers.Flatten()(image))))
    return keras.Model(image, keras.layers.Dense(10, "softmax")(hidden))


def with_lambda(function: Any) -> Any:
    import keras

    image = keras.Input((8, 8, 1))
    hidden = keras.layers.Lambda(function, output_shape=(8, 8, 1))(image)
    hidden = keras.layers.Dense(FEATURES, "relu")(keras.layers.Flatten()(hidden))
    return keras.Model(image, keras.layers.Dense(10, "softmax")(hidden))


KNOWN = {"classifier_range": "0..1"}
#: What is saved, what is declared, what the refusal says, and what it tells to declare.
REFUSALS: dict[str, tuple[Callable[[Parts], Any], dict[str, Any], str, dict[str, Any]]] = {
    "two outputs": (
        lambda parts: two_tensors(parts, ("features", "scores")), KNOWN | {"class_output": "none"},
        "declare its name with --embedding", {"embedding": "features"},
    ),
    "three outputs": (
        lambda parts: two_tensors(parts, ("features", "scores", "flat")),
        KNOWN | {"embedding": "features"}, "declare --class-output none", {"class_output": "none"},
    ),
    "no such layer": (
        lambda parts: network(parts), KNOWN | {"embedding": "nowhere"},
        r"no layer named 'nowhere', which embedding names; it has .*features",
        {"embedding": "features"},
    ),
    "a layer that is called twice": (
        called_twice, KNOWN | {"embedding": "twice"}, "called once with --embedding",
        {"embedding": "once"},
    ),
    "zero, of the wrong range": (
        dim, KNOWN, "declare --classifier-range", {"classifier_range": "0..255"},
    ),
    "zero, another layer": (
        dim, KNOWN, "or another layer with --embedding", {"embedding": "flat"},
    ),
    "no probabilities": (
        lambda parts: network(parts, None), KNOWN | {"class_output": "softmax"},
        "declare --class-output logits", {"class_output": "logits"},
    ),
    "code": (
        lambda parts: with_lambda(lambda x: x * 1.0), KNOWN, "add --trust-checkpoints",
        {"trust": True},
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSALS.values(), ids=REFUSALS)
def test_the_remedy_of_a_refusal_works(
    case: tuple[Any, dict[str, Any], str, dict[str, Any]],
    parts: Parts,
    probe: ProbeImages,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(load_model, "_in_child", True)  # a process of its own takes seconds
    make, given, words, remedy = case
    make(parts).save(tmp_path / "c.keras")
    with pytest.raises(InputError, match=words) as refused:
        identity_of(tmp_path / "c.keras", probe, **given)
    (key,) = remedy
    cause = refused.value.__cause__
    assert isinstance(cause, CheckpointError)
    choices = cause.declare.get(key)
    if choices is not None:
        assert remedy[key] in (choices if isinstance(choices, tuple) else (choices,))
    identity = identity_of(tmp_path / "c.keras", probe, **given | remedy)
    features, _ = extract(identity, probe.pixels[:9])
    assert np.ptp(features, axis=0).max() > 0


@pytest.mark.parametrize("kind", ["a name of its script", "weights alone"])
def test_no_builder_is_named_for_an_extractor(
    kind: str, parts: Parts, probe: ProbeImages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Builders return VAEs: a network is saved again, as the sentence says."""
    monkeypatch.setattr(load_model, "_in_child", True)
    path = tmp_path / ("c.weights.h5" if "weights" in kind else "c.h5")
    if "weights" in kind:
        network(parts).save_weights(path)
    else:
        with_lambda(eval("lambda x: x * K", {"K": 1.0})).save(path)
    with pytest.raises(InputError, match=r"load.* into .*save .*'extractor\.keras'") as refused:
        identity_of(path, probe, classifier_range="0..1", trust=True)
    assert "--builder" not in str(refused.value)
    saved_again = network(parts)
    saved_again.load_weights(path)
    saved_again.save(tmp_path / "extractor.keras")
    assert identity_of(tmp_path / "extractor.keras", probe, classifier_range="0..1")


def test_lines_of_checkpoints_and_extractors_are_one_spec() -> None:
    """Each key of the whole spec stands there once, before the tables."""
    checkpoint = Inspection(
        Checkpoint("a", None, (), ""),
        declare={"trust": True, "memory_cap": 12.0, "likelihood": "bernoulli"},
    )
    extractor = ExtractorInspection(
        "c.keras", declare={"trust": True, "custom_objects": ("mine",), "class_output": "logits"}
    )
    assert tomllib.loads("\n".join(toml_lines([checkpoint], [extractor]))) == {
        "extractors": ["c.keras"],
        "trust": True,
        "custom_objects": "mine",
        "class_output": "logits",
        "memory_cap": 12.0,
        "per_checkpoint": {"a": {"likelihood": "bernoulli"}},
    }


def test_a_driver_without_tensorflow_reads_in_a_child(parts: Parts, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="SIGSEGV"):
        in_child(crash)
    with pytest.raises(CheckpointError, match="said so"):
        in_child(refuse)
    assert in_child(len, "four") == 4


def crash() -> None:
    import os
    import signal

    os.kill(os.getpid(), signal.SIGSEGV)


def refuse() -> None:
    raise CheckpointError("said so", {"trust": True})
