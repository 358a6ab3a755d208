"""Weight files and builders: every layout, and every way in which the two may not fit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from same_vae import KINDS, SavedVae, check_same, keras_models, save
from toy_builders import decoder_of, encoder_of, whole_of

from vae_batch.models.formats.built_weights import BuiltWeights
from vae_batch.models.formats.format import LoadingTerms
from vae_batch.models.formats.load import load_networks
from vae_batch.models.formats.network import Networks
from vae_batch.plan.errors import CheckpointError
from vae_batch.plan.reading import Reading

FORMAT = BuiltWeights()

Write = Callable[[str], str]


def load(
    files: dict[str, str], builder: str | None, trust: bool = True, cap: int = 1 << 30
) -> Networks:
    networks = load_networks(files, LoadingTerms(Reading(builder=builder), trust, cap))
    assert isinstance(networks, Networks)
    return networks


def load_saved(saved: SavedVae) -> Networks:
    return load(saved.files, saved.reading.builder, saved.trust)


@pytest.fixture
def module(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Write:
    """Writes a module of builders into the working directory; gives its name."""
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)

    def write(body: str) -> str:
        name = f"builders_{abs(hash((request.node.name, body)))}"
        lines = "import numpy as np\nfrom toy_builders import *\n"
        (folder / f"{name}.py").write_text(lines + body)
        return name

    return write


@pytest.mark.parametrize("kind", [kind for kind in KINDS if "weights" in kind])
def test_weights_become_the_same_vae(kind: str, tmp_path: Path) -> None:
    if "legacy" in kind:
        pytest.importorskip("tf_keras", reason="makes the file with tf_keras")
    saved = save(kind, tmp_path)
    for path in saved.files.values():
        assert FORMAT.recognises(path, Path(path).read_bytes()[:4096])
    networks = load_saved(saved)
    check_same(networks)
    assert networks.format == "weights+builder"
    assert networks.notes[-1] == f"built by {saved.reading.builder}"


@pytest.mark.parametrize("builder", ["tf_keras_vae", "tf_keras_halves"])
def test_the_files_of_keras_3_fit_tf_keras_models_too(builder: str, tmp_path: Path) -> None:
    pytest.importorskip("tf_keras", reason="builds with tf_keras")
    check_same(load(save("weights", tmp_path).files, f"toy_builders:{builder}"))


def test_the_files_of_tf_keras_2_13_fit_both_libraries(tmp_path: Path) -> None:
    tf_keras = pytest.importorskip("tf_keras", reason="makes the file with tf_keras")
    from same_vae import tf_keras_models

    path = tmp_path / "vae.weights.h5"
    whole_of(tf_keras, *tf_keras_models()).save_weights(path)
    for builder in ("keras_vae", "keras_halves", "tf_keras_vae", "tf_keras_halves"):
        check_same(load({"model": str(path)}, f"toy_builders:{builder}"))


def test_one_half_of_a_whole_builder(tmp_path: Path) -> None:
    saved = save("weights_pair", tmp_path)
    networks = load({"decoder": saved.files["decoder"]}, "toy_builders:keras_vae")
    assert networks.encoder is None
    assert networks.decoder is not None
    assert networks.decoder.activation == "sigmoid"


def test_model_files_and_other_hdf5_files_are_not_recognised(tmp_path: Path) -> None:
    keras_models()[0].save(tmp_path / "encoder.h5")
    with h5py.File(tmp_path / "data.h5", "w") as file:
        file["images"] = np.zeros((2, 3))
    for name in ("encoder.h5", "data.h5"):
        path = tmp_path / name
        assert not FORMAT.recognises(str(path), path.read_bytes()[:4096])


def test_without_a_builder_the_error_says_what_to_add(tmp_path: Path) -> None:
    saved = save("weights", tmp_path)
    with pytest.raises(CheckpointError) as caught:
        load(saved.files, None, trust=False)
    message = str(caught.value)
    for part in ("without an architecture", "mean", "--builder package.module:function",
                 "(encoder, decoder)", "--trust-checkpoints"):  # fmt: skip
        assert part in message
    assert caught.value.declare == {"builder": "package.module:function", "trust": True}


def test_a_builder_is_not_imported_without_trust(tmp_path: Path, module: Write) -> None:
    name = module("open('imported', 'w').close()\n")
    with pytest.raises(CheckpointError, match="--trust-checkpoints") as caught:
        load(save("weights", tmp_path).files, f"{name}:keras_vae", trust=False)
    assert caught.value.declare == {"trust": True}
    assert not Path("imported").exists()


def test_a_module_of_the_working_directory_is_found(tmp_path: Path, module: Write) -> None:
    """As with ``python -m``, even for what the function imports when it is called."""
    other = module("SIZE = 12\n")
    name = module(
        "def build():\n"
        f"    from {other} import SIZE\n"
        "    import keras\n"
        "    return encoder_of(keras, hidden=SIZE), decoder_of(keras)\n"
    )
    check_same(load(save("weights", tmp_path).files, f"{name}:build"))


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("import no_such_package", r"'no_such_package' is not found in .*work"),
        ("1 / 0", r"importing 'builders_\d+' raised ZeroDivisionError"),
        ("def other(): ...", r"has no function 'build'; it has .*keras_halves"),
        ("def build(size): ...", r"raised TypeError: .*called without arguments"),
        ("def build(): return None", r"returned NoneType, expected a Keras model"),
        ("def build(): return 1, 2", r"returned tuple, expected a Keras model"),
    ],
)
def test_a_builder_that_fails_is_named(
    body: str, message: str, tmp_path: Path, module: Write
) -> None:
    name = module(body + "\n")
    with pytest.raises(CheckpointError, match=message) as caught:
        load(save("weights", tmp_path).files, f"{name}:build")
    assert name in str(caught.value)


def test_a_missing_module_is_named_with_where_it_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"'no_such_module'.*--working-dir"):
        load(save("weights", tmp_path).files, "no_such_module.inner:build")


UNBUILT = """
def build():
    import keras

    class Half(keras.Model):
        def __init__(self, width, name):
            super().__init__(name=name)
            self.dense = keras.layers.Dense(width)

        def call(self, inputs):
            return self.dense(inputs)

    class VAE(keras.Model):
        def __init__(self):
            super().__init__()
            self.encoder, self.decoder = Half(3, "encoder"), Half(4, "decoder")

        def call(self, inputs):
            return self.decoder(self.encoder(inputs))

    vae = VAE()
    return CALLED
"""


def test_an_unbuilt_model_is_to_be_called_once(tmp_path: Path, module: Write) -> None:
    unbuilt = module(UNBUILT.replace("CALLED", "vae"))
    built = module(UNBUILT.replace("CALLED", "vae(np.ones((1, 5), 'float32')) is None or vae"))
    from vae_batch.models.formats.user_module import user_function

    trained = user_function(f"{built}:build", "builder")()
    trained.save_weights(tmp_path / "vae.weights.h5")
    files = {"model": str(tmp_path / "vae.weights.h5")}
    with pytest.raises(CheckpointError, match=r"VAE that is not built.*'encoder'.*dummy batch"):
        load(files, f"{unbuilt}:build")
    decoder = load(files, f"{built}:build").decoder
    assert decoder is not None
    codes = np.array([[1.0, -2.0, 3.0]], np.float32)
    np.testing.assert_allclose(decoder.run(codes)[0], trained.decoder(codes), rtol=1e-6)


def legacy(kind: str) -> None:
    if "legacy" in kind:
        pytest.importorskip("tf_keras", reason="makes the file with tf_keras")


@pytest.mark.parametrize("library", ["keras", "tf_keras"])
@pytest.mark.parametrize("kind", ["weights", "legacy_weights"])
def test_other_sizes_name_the_weight_and_both_shapes(
    kind: str, library: str, tmp_path: Path, module: Write
) -> None:
    pytest.importorskip(library)
    legacy(kind)
    name = module(
        f"def build():\n    import {library} as k\n"
        "    return whole_of(k, encoder_of(k, hidden=10), decoder_of(k))\n"
    )
    with pytest.raises(CheckpointError, match=r"dense.*kernel.*\(64, 12\).*\(64, 10\)"):
        load(save(kind, tmp_path).files, f"{name}:build")


MORE = """
def build():
    import keras

    latents = keras.Input((LATENT,))
    inner = keras.layers.Dense(12, "tanh")(latents)
    for _ in range(COUNT):
        inner = keras.layers.Dense(12, "tanh")(inner)
    pixels = keras.layers.Dense(64, "sigmoid")(inner)
    decoder = keras.Model(latents, keras.layers.Reshape(SHAPE)(pixels), name="decoder")
    return whole_of(keras, encoder_of(keras), decoder)
"""


@pytest.mark.parametrize("kind", ["weights", "legacy_weights"])
def test_a_layer_more_in_the_model_is_an_error(kind: str, tmp_path: Path, module: Write) -> None:
    legacy(kind)
    name = module(MORE.replace("COUNT", "1"))
    with pytest.raises(CheckpointError, match=r"builder 'builders_\d+:build'"):
        load(save(kind, tmp_path).files, f"{name}:build")


def test_a_layer_more_in_the_file_is_an_error(tmp_path: Path, module: Write) -> None:
    """Keras 3 reads the layers that it knows and passes over the others."""
    import keras

    from vae_batch.models.formats.user_module import user_function

    larger = user_function(f"{module(MORE.replace('COUNT', '2'))}:build", "builder")()
    last = larger.get_layer("decoder").layers[-2]
    wide = keras.layers.Dense(64)
    wide.build((None, 64))
    path = tmp_path / "vae.weights.h5"
    whole_of(keras, *keras_models()).save_weights(path)
    with h5py.File(path, "r+") as file:
        group = file.create_group("layers/functional_1/layers/dense_2/vars")
        group["0"], group["1"] = np.asarray(last.kernel), np.asarray(last.bias)
    with pytest.raises(CheckpointError, match=r"holds 2 weights, such as .*dense_2/vars/0 \(12"):
        load({"model": str(path)}, "toy_builders:keras_vae")


SWAPPED = """
def build():
    import LIBRARY as k

    images = k.Input(SHAPE)
    inner = k.layers.Dense(12, "tanh")(k.layers.Flatten()(images))
    logvar = k.layers.Dense(LATENT, name="logvar")(inner)
    mean = k.layers.Dense(LATENT, name="mean")(inner)
    encoder = k.Model(images, [logvar, mean], name="encoder")
    return encoder, decoder_of(k)
"""


@pytest.mark.parametrize("kind", ["weights", "legacy_weights"])
def test_heads_in_another_order_are_an_error_and_not_swapped(
    kind: str, tmp_path: Path, module: Write
) -> None:
    """Both layouts tell layers of one shape apart by their order alone."""
    legacy(kind)
    name = module(SWAPPED.replace("LIBRARY", "keras"))
    with pytest.raises(CheckpointError, match=r"layer '(mean|logvar)' would go into layer '"):
        load(save(kind, tmp_path).files, f"{name}:build")


def test_layers_may_have_other_names_than_in_the_file(tmp_path: Path, module: Write) -> None:
    name = module(
        "def build():\n    import keras\n"
        "    encoder = encoder_of(keras)\n"
        "    encoder.get_layer('mean').name = 'z_mu'\n"
        "    return encoder, decoder_of(keras)\n"
    )
    networks = load(save("weights", tmp_path).files, f"{name}:build")
    assert networks.encoder is not None
    assert networks.encoder.outputs[0].shape == (3,)


def test_weights_that_match_nothing_are_an_error(tmp_path: Path) -> None:
    import keras

    other = keras.Sequential([keras.Input((5,)), keras.layers.Dense(2)])
    other.save_weights(tmp_path / "other.weights.h5")
    for builder in ("keras_vae", "keras_subclassed", "keras_halves"):
        with pytest.raises(CheckpointError, match=r"other\.weights\.h5"):
            load({"model": str(tmp_path / "other.weights.h5")}, f"toy_builders:{builder}")


def test_functional_and_subclassed_models_of_the_same_halves_share_files(tmp_path: Path) -> None:
    check_same(load(save("weights", tmp_path).files, "toy_builders:keras_subclassed"))
    check_same(load(save("subclassed_weights", tmp_path).files, "toy_builders:keras_vae"))


def test_content_tells_the_layout_and_not_the_name(tmp_path: Path) -> None:
    path = Path(save("weights", tmp_path).path).rename(tmp_path / "latest.h5")
    check_same(load({"model": str(path)}, "toy_builders:keras_vae"))


def test_names_as_older_keras_wrote_them(tmp_path: Path) -> None:
    """Bytes of one length, split over several attributes where they are many."""
    pytest.importorskip("tf_keras", reason="makes the file with tf_keras")
    saved = save("legacy_weights", tmp_path)
    with h5py.File(saved.path, "r+") as file:
        layers = [
            name for name in file.attrs["layer_names"] if file[name].attrs["weight_names"].size
        ]
        del file["top_level_model_weights"], file.attrs["layer_names"]
        for number, name in enumerate(layers):
            file.attrs[f"layer_names{number}"] = np.array([name], "S7")
            file[name].attrs["weight_names"] = file[name].attrs["weight_names"].astype("S32")
    check_same(load_saved(saved))


def test_a_legacy_file_of_other_parts_is_answered_with_both_lists(tmp_path: Path) -> None:
    tf_keras = pytest.importorskip("tf_keras", reason="makes the file with tf_keras")
    encoder_of(tf_keras).save_weights(tmp_path / "encoder.h5")
    message = r"3 layers \(dense\w*, mean, logvar\), but .* 2 layers \(encoder, decoder\)"
    with pytest.raises(CheckpointError, match=message):
        load({"model": str(tmp_path / "encoder.h5")}, "toy_builders:keras_halves")
    encoder = load({"encoder": str(tmp_path / "encoder.h5")}, "toy_builders:keras_halves").encoder
    assert encoder is not None


def test_a_builder_without_that_half_is_named(tmp_path: Path, module: Write) -> None:
    name = module("def build():\n    import keras\n    return decoder_of(keras)\n")
    decoder_of(__import__("keras")).save_weights(tmp_path / "d.weights.h5")
    with pytest.raises(CheckpointError, match=r"no layer or attribute named 'decoder'"):
        load({"decoder": str(tmp_path / "d.weights.h5")}, f"{name}:build")


def test_batch_normalisation_and_metrics_do_not_disturb(tmp_path: Path, module: Write) -> None:
    """Moving averages are weights too; counters of metrics and optimisers are not the model's."""
    name = module(
        "def build():\n    import keras\n"
        "    inputs = keras.Input((4,))\n"
        "    inner = keras.layers.BatchNormalization()(keras.layers.Dense(3)(inputs))\n"
        "    encoder = keras.Model(inputs, keras.layers.Dropout(0.5, seed=1)(inner))\n"
        "    codes = keras.Input((3,))\n"
        "    decoder = keras.Model(codes, keras.layers.Dense(4)(codes))\n"
        "    return subclassed_of(keras, encoder, decoder)\n"
    )
    from vae_batch.models.formats.user_module import user_function

    build = user_function(f"{name}:build", "builder")
    trained = build()
    trained.compile("adam")
    trained.optimizer.build(trained.trainable_variables)
    moving = trained.encoder.layers[2].moving_mean
    moving.assign([1.0, 2.0, 3.0])
    trained.kl_loss_tracker.update_state(7.0)
    trained.built = True
    trained.save_weights(tmp_path / "vae.weights.h5")
    networks = load({"model": str(tmp_path / "vae.weights.h5")}, f"{name}:build")
    assert networks.encoder is not None
    images = np.ones((2, 4), np.float32)
    expected = np.asarray(trained.encoder(images, training=False))
    np.testing.assert_allclose(networks.encoder.run(images)[0], expected, rtol=1e-6)


def test_files_over_the_memory_cap_are_refused_before_building(
    tmp_path: Path, module: Write
) -> None:
    name = module("def build():\n    open('built', 'w').close()\n")
    path = tmp_path / "vae.weights.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("layers/dense/vars/0", (10**5, 10**6), "float32", chunks=(100, 100))
    with pytest.raises(CheckpointError, match=r"holds 372\.5 GiB of weights.*memory_cap"):
        load({"model": str(path)}, f"{name}:build")
    assert not Path("built").exists()


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    content = Path(save("weights", tmp_path).path).read_bytes()
    cut = tmp_path / "cut.weights.h5"
    cut.write_bytes(content[: len(content) // 2])
    with pytest.raises(CheckpointError, match=r"cut\.weights\.h5"):
        load({"model": str(cut)}, "toy_builders:keras_vae")
