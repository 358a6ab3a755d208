"""Weight files and builders: every layout, what a builder may return, and how it may fail."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from builder_modules import Write, load, write_module
from same_vae import KINDS, SavedVae, check_same, keras_models, save
from support.models.toy_builders import whole_of

from vae_batch.models.formats.format import Networks
from vae_batch.models.formats.weights_only.built_weights import BuiltWeights
from vae_batch.plan.errors import CheckpointError

BUILDERS = "support.models.toy_builders"

FORMAT = BuiltWeights()

module = pytest.fixture(write_module)


def load_saved(saved: SavedVae) -> Networks:
    return load(saved.files, saved.reading.builder, saved.trust)


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
    check_same(load(save("weights", tmp_path).files, f"{BUILDERS}:{builder}"))


def test_the_files_of_tf_keras_2_13_fit_both_libraries(tmp_path: Path) -> None:
    tf_keras = pytest.importorskip("tf_keras", reason="makes the file with tf_keras")
    from same_vae import tf_keras_models

    path = tmp_path / "vae.weights.h5"
    whole_of(tf_keras, *tf_keras_models()).save_weights(path)
    for builder in ("keras_vae", "keras_halves", "tf_keras_vae", "tf_keras_halves"):
        check_same(load({"model": str(path)}, f"{BUILDERS}:{builder}"))


def test_one_half_of_a_whole_builder(tmp_path: Path) -> None:
    saved = save("weights_pair", tmp_path)
    networks = load({"decoder": saved.files["decoder"]}, f"{BUILDERS}:keras_vae")
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
        ("raise SystemExit('usage')", r"importing 'builders_\d+' raised SystemExit: usage"),
        ("def build(): raise SystemExit(2)", r"raised SystemExit: 2; it is called without"),
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
    from vae_batch.models.formats.user_modules import user_function

    trained = user_function(f"{built}:build", "builder")()
    trained.save_weights(tmp_path / "vae.weights.h5")
    files = {"model": str(tmp_path / "vae.weights.h5")}
    with pytest.raises(CheckpointError, match=r"VAE that is not built.*'encoder'.*dummy batch"):
        load(files, f"{unbuilt}:build")
    decoder = load(files, f"{built}:build").decoder
    assert decoder is not None
    codes = np.array([[1.0, -2.0, 3.0]], np.float32)
    np.testing.assert_allclose(decoder.run(codes)[0], trained.decoder(codes), rtol=1e-6)


def test_functional_and_subclassed_models_of_the_same_halves_share_files(tmp_path: Path) -> None:
    check_same(load(save("weights", tmp_path).files, f"{BUILDERS}:keras_subclassed"))
    check_same(load(save("subclassed_weights", tmp_path).files, f"{BUILDERS}:keras_vae"))


def test_content_tells_the_layout_and_not_the_name(tmp_path: Path) -> None:
    path = Path(save("weights", tmp_path).path).rename(tmp_path / "latest.h5")
    check_same(load({"model": str(path)}, f"{BUILDERS}:keras_vae"))


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
    from vae_batch.models.formats.user_modules import user_function

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
        load({"model": str(cut)}, f"{BUILDERS}:keras_vae")
