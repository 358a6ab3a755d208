"""Files of tf.keras 2: read through tf_keras, and what a configuration may not name."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from edited_files import age_hdf5, rewrite_config
from same_vae import KINDS, check_same, save

from vae_batch.models.formats.format import LoadOptions, Networks
from vae_batch.models.formats.keras.keras_file import TfKerasFile
from vae_batch.models.formats.keras.tf_keras_safety import is_harmless
from vae_batch.models.formats.load import load_networks
from vae_batch.plan.errors import CheckpointError
from vae_batch.plan.reading import Reading

tf = pytest.importorskip("tensorflow")
tf_keras = pytest.importorskip("tf_keras", reason="the extra tf-keras is not installed")

Json = dict[str, Any]
FORMAT = TfKerasFile()


def load(files: dict[str, str], trust: bool = False, **declared: Any) -> Networks:
    networks = load_networks(files, LoadOptions(Reading(**declared), trust, 1 << 30))
    assert isinstance(networks, Networks)
    return networks


def save_quietly(model: Any, path: Path) -> Path:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the format is old
        model.save(path)
    return path


def dense_model(path: Path, **settings: Any) -> Path:
    """A Dense layer with a maths function behind it, so that Keras 3 leaves it to tf_keras."""
    inputs = tf_keras.Input((3,))
    hidden = tf_keras.layers.Dense(3, name="only", **settings)(inputs)
    return save_quietly(tf_keras.Model(inputs, tf.exp(hidden)), path)


def edited(path: Path, layer: str, change: Json) -> str:
    """The file with other JSON for one layer."""

    def change_config(config: Json) -> Json:
        found = [node for node in config["config"]["layers"] if node["config"]["name"] == layer]
        found[0].update(change)
        return config

    rewrite_config(path, change_config)
    return str(path)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.startswith("tf_keras")])
def test_files_of_tf_keras_are_the_same_vae(kind: str, tmp_path: Path) -> None:
    saved = save(kind, tmp_path)
    networks = load(saved.files, saved.trust, **saved.reading.declared)
    check_same(networks)
    assert networks.format == saved.format


def test_only_zips_of_the_time_before_keras_3_are_recognised(tmp_path: Path) -> None:
    old = save("tf_keras_zip_ops", tmp_path).path
    new = save("keras_single", tmp_path).path
    assert FORMAT.recognises(old, Path(old).read_bytes()[:4096])
    assert not FORMAT.recognises(new, Path(new).read_bytes()[:4096])
    assert not FORMAT.recognises(str(tmp_path), b"")


@pytest.mark.parametrize("kind", ["tf_keras_ops", "tf_keras_zip_pair"])
def test_without_tf_keras_the_error_names_the_extra(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved = save(kind, tmp_path)
    monkeypatch.setitem(sys.modules, "tf_keras", None)
    with pytest.raises(CheckpointError, match=r"pip install '\.\[tf-keras\]'"):
        load(saved.files)


def test_losses_and_metrics_added_to_the_model_do_no_harm(tmp_path: Path) -> None:
    """The usual way of tf.keras 2.4 to 2.8: sampling and loss written between the layers."""
    inputs = tf_keras.Input((4,))
    mean = tf_keras.layers.Dense(2, name="z_mean")(inputs)
    logvar = tf_keras.layers.Dense(2, name="z_log_var")(inputs)
    latents = mean + tf.exp(0.5 * logvar) * tf_keras.backend.random_normal((2,))
    outputs = tf_keras.layers.Dense(4, "sigmoid")(latents[:, :2])
    model = tf_keras.Model(inputs, outputs)
    model.add_loss(tf.reduce_mean(tf_keras.losses.binary_crossentropy(inputs, outputs)))
    model.add_loss(-0.5 * tf_keras.backend.mean(1 + logvar - tf.square(mean) - tf.exp(logvar)))
    model.add_metric(tf.reduce_mean(tf_keras.losses.mse(inputs, outputs)), name="mse")
    for name in ("vae.h5", "vae.keras"):
        path = save_quietly(model, tmp_path / name)
        whole = load({"model": str(path)}).whole
        assert whole is not None
        assert whole.activation == "sigmoid"
        assert whole.outputs[0].shape == (4,)


@pytest.mark.parametrize("suffix", [".h5", ".keras"])
@pytest.mark.parametrize(
    "function",
    ["io.write_file", "io.read_file", "load_library", "py_function", "raw_ops.PyFunc",
     "debugging.experimental.enable_dump_debug_info", "keras.utils.get_file", "print",
     "keras.backend.clear_session", "keras.losses.deserialize", "random.set_seed"],
)  # fmt: skip
def test_a_function_that_does_more_than_compute_is_refused(
    function: str, suffix: str, tmp_path: Path
) -> None:
    path = dense_model(tmp_path / f"m{suffix}")
    name = f"tf.{function}"
    node = {"function": function, "name": "harm", "dtype": "float32", "trainable": True}
    edited_path = edited(path, the_function(path), {"name": "harm", "config": node})
    with pytest.raises(CheckpointError, match=r"'harm'.*" + name.replace(".", r"\.")) as caught:
        load({"model": edited_path})
    assert "--trust-checkpoints" in str(caught.value)


def the_function(path: Path) -> str:
    names: list[str] = []

    def look(config: Json) -> Json:
        names.extend(
            node["config"]["name"]
            for node in config["config"]["layers"]
            if node["class_name"] == "TFOpLambda"
        )
        return config

    rewrite_config(path, look)
    return names[0]


def test_a_slicing_layer_may_not_call_other_functions(tmp_path: Path) -> None:
    path = dense_model(tmp_path / "m.h5")
    node = {"function": "io.write_file", "name": "harm", "dtype": "float32", "trainable": True}
    change = {"name": "harm", "class_name": "SlicingOpLambda", "config": node}
    with pytest.raises(CheckpointError, match=r"'harm' calls tf\.io\.write_file"):
        load({"model": edited(path, the_function(path), change)})


def marker_module(folder: Path) -> tuple[str, Path]:
    """A module that leaves a file behind when it is imported."""
    marker = folder / "imported"
    (folder / "harmful_module.py").write_text(
        f"open({str(marker)!r}, 'w').close()\n\ndef touch(x=None, **settings):\n    return x\n"
    )
    return "harmful_module", marker


def test_modules_that_a_file_names_are_not_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """tf_keras imports any module that a configuration names (as in CVE-2025-1550)."""
    module, marker = marker_module(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    path = dense_model(tmp_path / "m.keras")
    activation = {
        "module": module, "class_name": "function", "config": "touch", "registered_name": "touch"
    }  # fmt: skip
    layer = {"name": "only", "units": 3, "activation": activation}
    with pytest.raises(CheckpointError, match=r"touch|harmful_module"):
        load({"model": edited(path, "only", {"config": layer})})
    assert not marker.exists()
    assert module not in sys.modules


@pytest.mark.parametrize(
    "node",
    [
        {"class_name": "function", "module": "keras.utils", "config": "get_file",
         "registered_name": "get_file"},
        {"class_name": "function", "module": "builtins", "config": "eval",
         "registered_name": "eval"},
        {"class_name": "Dense", "module": "keras.utils", "config": {},
         "registered_name": "get_file"},
        {"class_name": "__typespec__", "module": "os", "spec_name": "system", "config": [],
         "registered_name": None},
        {"class_name": "__lambda__", "config": {"value": ["", None, None]}},
    ],
    ids=["get_file", "eval", "dense", "typespec", "lambda"],
)  # fmt: skip
def test_functions_that_are_no_activations_are_refused(node: Json, tmp_path: Path) -> None:
    path = dense_model(tmp_path / "m.keras")
    layer = {"name": "only", "units": 3, "activation": node}
    with pytest.raises(CheckpointError, match=r"layer 'only'.*--trust-checkpoints"):
        load({"model": edited(path, "only", {"config": layer})})


@pytest.mark.parametrize(
    ("class_name", "config"),
    [
        ("InstanceMethod", {"attr_name": "numpy"}),
        ("InstanceProperty", {"attr_name": "graph"}),
        ("ClassMethod", {"cls_symbol": "RaggedTensor", "method_name": "from_tensor"}),
        ("StringLookup", {"vocabulary": "/etc/passwd"}),
        ("TextVectorization", {"vocabulary": "/etc/passwd"}),
        ("TFSMLayer", {"filepath": "/tmp/saved_model"}),
    ],
)
@pytest.mark.parametrize("suffix", [".h5", ".keras"])
def test_layers_that_open_files_or_attributes_are_refused(
    class_name: str, config: Json, suffix: str, tmp_path: Path
) -> None:
    path = dense_model(tmp_path / f"m{suffix}")
    node = {"name": "harm", **config}
    change = {"name": "harm", "class_name": class_name, "config": node}
    with pytest.raises(CheckpointError, match=r"layer 'harm' is a .*--trust-checkpoints"):
        load({"model": edited(path, the_function(path), change)})


def test_code_in_an_old_hdf5_file_does_not_run(tmp_path: Path) -> None:
    """tf_keras runs the bytecode of an HDF5 file's Lambda whatever safe_mode says."""
    marker = tmp_path / "marker"
    code = eval(f"lambda x: (open({str(marker)!r}, 'w').close(), x)[1]")
    inputs = tf_keras.Input((3,))
    outputs = tf_keras.layers.Lambda(code, name="innocent")(inputs)
    path = save_quietly(tf_keras.Model(inputs, tf.exp(outputs)), tmp_path / "m.h5")
    age_hdf5(path)
    marker.unlink()  # making the model has run it
    with pytest.raises(CheckpointError, match=r"'innocent'.*Lambda.*--trust-checkpoints"):
        load({"model": str(path)})
    assert not marker.exists()


def test_trust_loads_what_is_refused_without(tmp_path: Path) -> None:
    inputs = tf_keras.Input((3,))
    outputs = tf_keras.layers.Lambda(lambda x: 2 * x, name="twice")(inputs)
    path = save_quietly(tf_keras.Model(inputs, tf.exp(outputs)), tmp_path / "m.h5")
    whole = load({"model": str(path)}, trust=True).whole
    assert whole is not None
    given = whole.run(np.zeros((1, 3), np.float32))[0]
    np.testing.assert_array_equal(given, np.ones((1, 3)))


def test_the_users_own_class_is_loaded_from_the_module_that_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_tf_layers.py").write_text(
        "import tf_keras\n\nclass Twice(tf_keras.layers.Layer):\n"
        "    def call(self, x):\n        return 2 * x\n"
    )
    monkeypatch.chdir(tmp_path)
    from vae_batch.models.formats.user_modules import import_user_module

    twice = import_user_module("my_tf_layers", "custom_objects").Twice(name="doubling")
    inputs = tf_keras.Input((3,))
    model = tf_keras.Model(inputs, tf.exp(twice(inputs)))
    for name in ("m.h5", "m.keras"):
        path = save_quietly(model, tmp_path / name)
        with pytest.raises(CheckpointError, match=r"'Twice'.*--custom-objects"):
            load({"model": str(path)})
        whole = load({"model": str(path)}, trust=True, custom_objects=("my_tf_layers",)).whole
        assert whole is not None
        given = whole.run(np.full((1, 3), 0.5, np.float32))[0]
        np.testing.assert_allclose(given, np.e, rtol=1e-6)


def test_a_zip_bomb_is_refused_unread(tmp_path: Path) -> None:
    import zipfile

    path = dense_model(tmp_path / "m.keras")
    with (
        zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive,
        archive.open("assets/zeros", "w", force_zip64=True) as member,
    ):
        for _ in range(128):
            member.write(bytes(1 << 20))
    with pytest.raises(CheckpointError, match="is a zip bomb"):
        load({"model": str(path)})


@pytest.mark.parametrize(
    ("function", "harmless"),
    [
        ("math.exp", True), ("__operators__.add", True), ("compat.v1.shape", True),
        ("random.normal", True), ("keras.backend.random_normal", True), ("nn.relu", True),
        ("clip_by_value", True), ("keras.metrics.binary_crossentropy", True),
        ("io.write_file", False), ("compat.v1.io.write_file", False), ("py_function", False),
        ("math", False), ("", False), (None, False), ({"a": 1}, False), ("keras.backend", False),
        ("keras.backend.set_floatx", False), ("random.set_global_generator", False),
        ("math.__loader__.exec", False),
    ],
)  # fmt: skip
def test_functions_that_only_compute_are_listed(function: object, harmless: bool) -> None:
    assert is_harmless(function) is harmless
