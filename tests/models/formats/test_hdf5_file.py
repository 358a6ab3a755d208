"""HDF5 model files: under any name, of Keras 3 and tf.keras 2, damaged, hostile."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from edited_files import age_hdf5, rewrite_config
from same_vae import check_same, save

from vae_batch.models.formats.format import LoadOptions, Networks
from vae_batch.models.formats.keras.hdf5_file import Hdf5File
from vae_batch.models.formats.load import load_networks
from vae_batch.plan.errors import CheckpointError
from vae_batch.plan.reading import Reading

FORMAT = Hdf5File()


def load(files: dict[str, str], trust: bool = False, cap: int = 1 << 30) -> Networks:
    networks = load_networks(files, LoadOptions(Reading(), trust, cap))
    assert isinstance(networks, Networks)
    return networks


def head(path: str | Path) -> bytes:
    return Path(path).read_bytes()[:4096]


def small_model(path: Path, **settings: Any) -> Path:
    """A Dense layer in an HDF5 file of Keras 3."""
    import keras

    inputs = keras.Input((3,))
    keras.Model(inputs, keras.layers.Dense(2, name="only", **settings)(inputs)).save(path)
    return path


@pytest.mark.parametrize("kind", ["h5_pair", "hdf5_named_keras", "tf_keras_h5_pair"])
def test_pairs_are_the_same_vae_under_any_name(kind: str, tmp_path: Path) -> None:
    if kind.startswith("tf_keras"):
        pytest.importorskip("tf_keras", reason="makes the file with tf_keras")
    saved = save(kind, tmp_path)
    assert all(FORMAT.recognises(path, head(path)) for path in saved.files.values())
    networks = load(saved.files)
    check_same(networks)
    assert networks.format == saved.format == "hdf5"


def test_halves_of_different_formats_go_together(tmp_path: Path) -> None:
    h5, keras = save("h5_pair", tmp_path), save("keras_pair", tmp_path)
    networks = load({"encoder": h5.files["encoder"], "decoder": keras.files["decoder"]})
    check_same(networks)
    assert networks.format == "hdf5+keras"


def test_content_decides_and_not_the_name(tmp_path: Path) -> None:
    path = small_model(tmp_path / "m.h5")
    renamed = path.rename(tmp_path / "best_model")
    assert FORMAT.recognises(str(renamed), head(renamed))
    assert load({"model": str(renamed)}).whole is not None
    with h5py.File(tmp_path / "data.h5", "w") as file:
        file["images"] = np.zeros((2, 3))
    assert not FORMAT.recognises(str(tmp_path / "data.h5"), head(tmp_path / "data.h5"))
    zipped = save("keras_single", tmp_path).path
    assert not FORMAT.recognises(zipped, head(zipped))


def test_hard_sigmoid_of_an_old_file_is_the_old_function(tmp_path: Path) -> None:
    """At x = 1: 0.2 + 0.5 = 0.7 in tf.keras 2, and 1/6 + 1/2 = 0.6667 in Keras 3."""
    pytest.importorskip("tf_keras", reason="reads what Keras 3 would read as another function")
    path = small_model(tmp_path / "m.h5", activation="hard_sigmoid", kernel_initializer="ones")
    one = np.array([[1, 0, 0]], np.float32)
    new = load({"model": str(path)})
    assert new.whole is not None
    np.testing.assert_allclose(new.whole.run(one)[0], 2 / 3, rtol=1e-6)
    rewrite_config(path, lambda config: {**config, "config": old_input(config["config"])})
    age_hdf5(path)
    old = load({"model": str(path)})
    assert old.format == "tf_keras"
    assert old.whole is not None
    np.testing.assert_allclose(old.whole.run(one)[0], 0.7, rtol=1e-6)


def old_input(config: dict[str, Any]) -> dict[str, Any]:
    """A functional model's configuration as tf.keras 2 spells inputs, calls and data types."""
    first, dense = config["layers"]
    shape = first["config"].pop("batch_shape")
    first["config"] = {"batch_input_shape": shape, "dtype": "float32", "name": first["name"]}
    dense["config"]["dtype"] = "float32"
    dense["config"].pop("quantization_config", None)
    dense["config"].pop("lora_rank", None)
    first["inbound_nodes"], dense["inbound_nodes"] = [], [[[first["name"], 0, 0, {}]]]
    tensors = {key: [[config[key][0], 0, 0]] for key in ("input_layers", "output_layers")}
    return {"name": config["name"], "layers": [first, dense], **tensors}


def test_an_unknown_sampling_layer_is_replaced_by_its_mean(tmp_path: Path) -> None:
    import keras

    class Draw(keras.layers.Layer):
        def call(self, heads: Any) -> Any:
            return heads[0] + heads[1]

    inputs = keras.Input((4,))
    heads = [keras.layers.Dense(2, name=name)(inputs) for name in ("mu", "sigma")]
    model = keras.Model(inputs, [*heads, Draw(name="reparam")(heads)], name="encoder")
    model.save(tmp_path / "encoder.h5")
    encoder = load({"encoder": str(tmp_path / "encoder.h5")}).encoder
    assert encoder is not None
    assert encoder.replaced == ("reparam",)
    mean, _, latents = encoder.run(np.ones((1, 4), np.float32))
    np.testing.assert_array_equal(latents, mean)


def test_a_python_lambda_needs_trust_and_its_layer_is_named(tmp_path: Path) -> None:
    import keras

    inputs = keras.Input((3,))
    twice = keras.layers.Lambda(lambda x: 2 * x, name="twice")(inputs)
    keras.Model(inputs, keras.layers.Dense(2, kernel_initializer="ones")(twice)).save(
        tmp_path / "m.h5"
    )
    files = {"model": str(tmp_path / "m.h5")}
    with pytest.raises(CheckpointError, match=r"'twice'.*Lambda.*--trust-checkpoints"):
        load(files)
    whole = load(files, trust=True).whole
    assert whole is not None
    np.testing.assert_array_equal(whole.run(np.ones((1, 3), np.float32))[0], [[6, 6]])


def test_an_unknown_class_is_named_with_what_to_add(tmp_path: Path) -> None:
    path = small_model(tmp_path / "m.h5")

    def renamed(config: dict[str, Any]) -> dict[str, Any]:
        layer = config["config"]["layers"][1]
        layer |= {"class_name": "Squash", "module": "mine", "registered_name": "mine>Squash"}
        return config

    rewrite_config(path, renamed)
    with pytest.raises(CheckpointError, match=r"'Squash'.*'only'.*--custom-objects"):
        load({"model": str(path)})


def test_a_dataset_larger_than_the_cap_is_refused_unread(tmp_path: Path) -> None:
    """91 TiB are declared; the chunks are empty, so the file has a few KiB."""
    path = small_model(tmp_path / "m.h5")
    with h5py.File(path, "r+") as file:
        name = next(n for n in every_dataset(file) if n.endswith("kernel"))
        del file[name]
        file.create_dataset(name, (5000, 5 * 10**9), "float32", chunks=(100, 100))
    with pytest.raises(CheckpointError, match=r"holds 90\.9\d TiB of weights.*memory_cap"):
        load({"model": str(path)})


def test_a_layer_larger_than_its_weights_is_refused_unallocated(tmp_path: Path) -> None:
    path = small_model(tmp_path / "m.h5")

    def grown(config: dict[str, Any]) -> dict[str, Any]:
        config["config"]["layers"][1]["config"]["units"] = 10**10
        return config

    rewrite_config(path, grown)
    with pytest.raises(CheckpointError, match=r"declares 1\d\d(\.\d)? GiB of weights"):
        load({"model": str(path)})


@pytest.mark.parametrize("way", ["link", "virtual", "external"])
def test_values_from_another_file_are_refused(tmp_path: Path, way: str) -> None:
    """HDF5 can point at any file that the process may read."""
    path = small_model(tmp_path / "m.h5")
    secret = tmp_path / "secret.h5"
    with h5py.File(secret, "w") as file:
        file["k"] = np.ones((3, 2), np.float32)
    with h5py.File(path, "r+") as file:
        name = next(n for n in every_dataset(file) if n.endswith("kernel"))
        del file[name]
        if way == "link":
            file[name] = h5py.ExternalLink(str(secret), "k")
        elif way == "virtual":
            layout = h5py.VirtualLayout((3, 2), np.float32)
            layout[:] = h5py.VirtualSource(str(secret), "k", (3, 2))
            file.create_virtual_dataset(name, layout)
        else:
            file.create_dataset(name, (3, 2), "float32", external=[(str(secret), 0, 24)])
    with pytest.raises(CheckpointError, match=r"kernel' lies in another file"):
        load({"model": str(path)})


def test_a_committed_datatype_is_no_dataset(tmp_path: Path) -> None:
    path = small_model(tmp_path / "m.h5")
    whole = load({"model": str(path)}).whole
    with h5py.File(path, "r+") as file:
        file["half"] = np.dtype("float16")
        file["model_weights/records"] = np.dtype([("a", "<f8"), ("b", "<c16")])
    again, images = load({"model": str(path)}).whole, np.ones((2, 3), np.float32)
    assert whole is not None
    assert again is not None
    np.testing.assert_array_equal(again.run(images)[0], whole.run(images)[0])


def every_dataset(file: h5py.File) -> list[str]:
    names: list[str] = []
    file.visititems(lambda n, item: names.append(n) if isinstance(item, h5py.Dataset) else None)
    return names


def test_damaged_files_are_named(tmp_path: Path) -> None:
    path = small_model(tmp_path / "m.h5")
    cut = tmp_path / "cut.h5"
    cut.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(CheckpointError, match=r"cut\.h5.*(truncated|cut off|incomplete)"):
        load({"model": str(cut)})
    odd = Path(shutil.copy(path, tmp_path / "odd.h5"))
    with h5py.File(odd, "r+") as file:
        file.attrs["model_config"] = "[" * 100_000
    with pytest.raises(CheckpointError, match="model_config is no readable JSON"):
        load({"model": str(odd)})
    with h5py.File(odd, "r+") as file:
        file.attrs["model_config"] = json.dumps([1])
    with pytest.raises(CheckpointError, match="model_config is no JSON object"):
        load({"model": str(odd)})


def test_a_keras_3_file_that_does_not_load_says_why(tmp_path: Path) -> None:
    path = small_model(tmp_path / "m.h5")

    def wrong(config: dict[str, Any]) -> dict[str, Any]:
        config["config"]["layers"][1]["config"]["units"] = 5
        return config

    rewrite_config(path, wrong)
    with pytest.raises(CheckpointError, match=r"cannot be loaded by Keras: .*\(3, 5\).*3\.\d+"):
        load({"model": str(path)})
