"""SavedModel folders: endpoints and signatures, pairs, structures, and graphs that need trust."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from same_vae import check_same, keras_models, save

from vae_batch.models.formats.format import LoadOptions, Networks
from vae_batch.models.formats.saved_model.saved_model import SavedModelFolder
from vae_batch.plan.errors import CheckpointError
from vae_batch.plan.reading import Reading

FORMAT = SavedModelFolder()


def load(files: dict[str, str], trust: bool = False, **declared: Any) -> Networks:
    return FORMAT.load(files, LoadOptions(Reading(**declared), trust, 1 << 30))


def save_module(
    folder: Path, function: Callable[..., Any], shape: tuple[int | None, ...], **others: Any
) -> str:
    """A tf.Module with one traced function ``decode``, and what else it is to hold."""
    import tensorflow as tf

    module = tf.Module()
    module.decode = tf.function(function, input_signature=[tf.TensorSpec(shape, tf.float32)])
    for name, value in others.items():
        setattr(module, name, value)
    tf.saved_model.save(module, str(folder))
    return str(folder)


@pytest.mark.parametrize(
    "kind",
    ["saved_model", "saved_model_signatures", "saved_model_pair", "tf_keras_saved_model_pair"],
)
def test_endpoints_signatures_and_pairs_are_the_same_vae(kind: str, tmp_path: Path) -> None:
    if kind.startswith("tf_keras"):
        pytest.importorskip("tf_keras", reason="makes the file with tf_keras")
    saved = save(kind, tmp_path)
    assert all(FORMAT.recognises(path, b"") for path in saved.files.values())
    networks = load(saved.files, **saved.reading.declared)
    check_same(networks)
    assert networks.format == "saved_model"


def test_the_pb_file_stands_for_its_folder(tmp_path: Path) -> None:
    saved = save("saved_model", tmp_path)
    path = f"{saved.path}/saved_model.pb"
    assert FORMAT.recognises(path, b"\x08\x01")
    check_same(load({"model": path}))


def test_other_folders_and_files_are_not_recognised(tmp_path: Path) -> None:
    (tmp_path / "variables").mkdir()
    (tmp_path / "a.keras").write_bytes(b"PK")
    assert not FORMAT.recognises(str(tmp_path), b"")
    assert not FORMAT.recognises(str(tmp_path / "a.keras"), b"PK")


def test_one_model_alone_is_whole(tmp_path: Path) -> None:
    _, decoder = keras_models()
    decoder.export(str(tmp_path / "dec"), verbose=False)
    networks = load({"model": str(tmp_path / "dec")})
    assert networks.encoder is None
    assert networks.decoder is None
    assert networks.whole is not None
    assert networks.whole.outputs[0].shape == (8, 8, 1)


def test_half_an_autoencoder_is_found_by_name(tmp_path: Path) -> None:
    import tensorflow as tf

    networks = load({"model": save_module(tmp_path / "m", tf.nn.relu, (None, 4))})
    assert networks.decoder is not None
    assert (networks.encoder, networks.whole) == (None, None)
    assert networks.decoder.activation == "relu"
    assert networks.decoder.before_sigmoid is None


def test_dictionaries_named_tuples_and_lists_are_flattened_with_their_names(tmp_path: Path) -> None:
    import tensorflow as tf

    spec = tf.TensorSpec((None, 2), tf.float32)

    @tf.function(input_signature=[{"latents": spec, "label": tf.TensorSpec((None,), tf.int32)}])
    def decode(inputs: dict[str, tf.Tensor]) -> dict[str, Any]:
        label = tf.cast(inputs["label"], tf.float32)[:, None]
        return {"pixels": [inputs["latents"] + label, label], "a": inputs["latents"]}

    module = tf.Module()
    module.decode = decode
    tf.saved_model.save(module, str(tmp_path / "m"))
    decoder = load({"model": str(tmp_path / "m")}).decoder
    assert decoder is not None
    # TensorFlow flattens a dictionary by its sorted keys.
    assert [(port.name, port.shape, port.dtype) for port in decoder.inputs] == [
        ("label", (), "int32"),
        ("latents", (2,), "float32"),
    ]
    assert [port.name for port in decoder.outputs] == ["a", "pixels", "pixels"]
    given = decoder.run(np.array([1, 2]), np.array([[0.0, 1.0], [2.0, 3.0]]))
    np.testing.assert_array_equal(given[1], [[1, 2], [4, 5]])


def test_a_fixed_batch_size_is_filled_up(tmp_path: Path) -> None:
    networks = load({"model": save_module(tmp_path / "m", lambda z: 2 * z, (4, 3))})
    latents = np.arange(18, dtype=np.float32).reshape(6, 3)
    assert networks.decoder is not None
    assert networks.decoder.inputs[0].shape == (3,)
    (given,) = networks.decoder.run(latents)
    np.testing.assert_array_equal(given, 2 * latents)


def test_an_input_without_axes_is_refused(tmp_path: Path) -> None:
    import tensorflow as tf

    module = tf.Module()
    module.decode = tf.function(
        lambda z: z, input_signature=[tf.TensorSpec(None, tf.float32, name="z")]
    )
    tf.saved_model.save(module, str(tmp_path / "m"))
    with pytest.raises(CheckpointError, match=r"input 'z' has no fixed number of axes"):
        load({"model": str(tmp_path / "m")})


def test_an_output_of_unknown_shape_is_run_once(tmp_path: Path) -> None:
    import tensorflow as tf

    def decode(z: tf.Tensor) -> tf.Tensor:
        return tf.reshape(z, tf.concat([tf.shape(z)[:1], tf.constant([1, 1, 3])[: tf.size(z)]], 0))

    networks = load({"model": save_module(tmp_path / "m", decode, (None, 3))})
    assert networks.decoder is not None
    assert networks.decoder.outputs[0].shape == (1, 1, 3)


def test_a_declared_endpoint_that_is_missing_is_answered_with_those_there_are(
    tmp_path: Path,
) -> None:
    saved = save("saved_model", tmp_path)
    with pytest.raises(CheckpointError, match=r"no endpoint 'embed'.*encode_signature.*'decode'"):
        load(saved.files, encode_signature="embed")


def test_endpoints_of_other_names_have_to_be_declared(tmp_path: Path) -> None:
    import tensorflow as tf

    spec = [tf.TensorSpec((None, 3), tf.float32)]
    module = tf.Module()
    module.to_code = tf.function(lambda x: x + 1, input_signature=spec)
    module.to_images = tf.function(lambda z: z - 1, input_signature=spec)
    tf.saved_model.save(module, str(tmp_path / "m"))
    files = {"model": str(tmp_path / "m")}
    with pytest.raises(CheckpointError, match=r"'to_code', 'to_images'.*--decode-signature") as no:
        load(files)
    assert set(no.value.declare) == {"encode_signature", "decode_signature"}
    networks = load(files, encode_signature="to_code", decode_signature="to_images")
    assert networks.encoder is not None
    np.testing.assert_array_equal(networks.encoder.run(np.zeros((1, 3)))[0], [[1, 1, 1]])


def writing(path: Path) -> Callable[[Any], Any]:
    import tensorflow as tf

    def decode(z: tf.Tensor) -> tf.Tensor:
        with tf.control_dependencies([tf.io.write_file(str(path), "owned")]):
            return tf.identity(z)

    return decode


def test_a_graph_that_writes_files_needs_trust_and_is_named(tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    folder = save_module(tmp_path / "m", writing(marker), (None, 3))
    with pytest.raises(CheckpointError, match=r"WriteFile in __inference_decode.*--trust") as no:
        load({"model": folder})
    assert no.value.declare == {"trust": True}
    assert not marker.exists()
    networks = load({"model": folder}, trust=True)
    assert networks.decoder is not None
    networks.decoder.run(np.zeros((1, 3)))
    assert marker.read_text() == "owned"


def test_file_reading_python_and_tables_from_files_need_trust(tmp_path: Path) -> None:
    import tensorflow as tf

    secret = tmp_path / "secret.txt"
    secret.write_text("0\n1\n")
    table = tf.lookup.StaticHashTable(
        tf.lookup.TextFileInitializer(
            str(secret),
            tf.string, tf.lookup.TextFileIndex.WHOLE_LINE,
            tf.int64, tf.lookup.TextFileIndex.LINE_NUMBER,
        ),
        -1,
    )  # fmt: skip

    def reads(z: Any) -> Any:
        return z + tf.cast(tf.strings.length(tf.io.read_file(str(secret))), tf.float32)

    def python(z: Any) -> Any:
        return tf.ensure_shape(tf.py_function(lambda x: x, [z], tf.float32), (None, 3))

    def lists(z: Any) -> Any:
        return z + tf.cast(tf.size(tf.io.matching_files("/etc/*")), tf.float32)

    def prints(z: Any) -> Any:
        with tf.control_dependencies([tf.print(z, output_stream=f"file://{tmp_path}/log")]):
            return tf.identity(z)

    def looks_up(z: Any) -> Any:
        return z + tf.cast(table.lookup(tf.constant("1")), tf.float32)

    cases = [
        (reads, "ReadFile"),
        (python, "EagerPyFunc"),
        (lists, "MatchingFiles"),
        (prints, "PrintV2"),
        (looks_up, "InitializeTableFromTextFileV2"),
    ]
    for number, (function, operation) in enumerate(cases):
        folder = save_module(tmp_path / str(number), function, (None, 3), table=table)
        with pytest.raises(CheckpointError, match=operation):
            load({"model": folder})


def test_the_savers_own_operations_are_excused_but_not_for_others(tmp_path: Path) -> None:
    import tensorflow as tf

    harmless = save_module(tmp_path / "a", lambda z: z * 2, (None, 3), kept=tf.Variable([1.0]))
    load({"model": harmless})

    def saves(z: Any) -> Any:
        path = tf.constant(str(tmp_path / "stolen"))
        save_op = tf.raw_ops.SaveV2(
            prefix=path, tensor_names=["z"], shape_and_slices=[""], tensors=[z]
        )
        with tf.control_dependencies([save_op]):
            return tf.identity(z)

    with pytest.raises(CheckpointError, match=r"SaveV2 in __inference_saves"):
        load({"model": save_module(tmp_path / "b", saves, (None, 3))})


def test_a_call_of_the_savers_function_is_not_excused(tmp_path: Path) -> None:
    """A hostile graph may call what TensorFlow wrote for its saver, with a path of its own."""
    import tensorflow as tf
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    from vae_batch.models.formats.saved_model.saved_model import harmful_operations

    folder = save_module(tmp_path / "m", lambda z: z, (None, 3), kept=tf.Variable([1.0]))
    message = SavedModel()
    message.ParseFromString(Path(folder, "saved_model.pb").read_bytes())
    assert harmful_operations(message) == {}
    functions = {f.signature.name: f for f in message.meta_graphs[0].graph_def.library.function}
    saver = next(name for name in functions if "traced_save" in name)
    decode = next(function for name, function in functions.items() if "decode" in name or
                  "lambda" in name)  # fmt: skip
    call = decode.node_def.add(name="call", op="PartitionedCall")
    call.attr["f"].func.name = saver
    assert harmful_operations(message)["SaveV2"] == saver


def test_tensors_over_the_memory_cap_are_refused_before_loading(tmp_path: Path) -> None:
    """A constant of one value repeated is stored as one value."""
    import tensorflow as tf

    from vae_batch.models.formats.saved_model.saved_model import logical_bytes, read_graph

    folder = save_module(tmp_path / "m", lambda z: z + tf.fill([3], 2.0), (None, 3))
    message = read_graph(folder)
    node = message.meta_graphs[0].graph_def.node.add(name="huge", op="Const")
    tensor = node.attr["value"].tensor
    tensor.dtype = tf.float32.as_datatype_enum
    tensor.tensor_shape.dim.add(size=25 * 10**9)
    tensor.float_val.append(0)
    assert logical_bytes(message) >= 10**11
    Path(folder, "saved_model.pb").write_bytes(message.SerializeToString())
    with pytest.raises(CheckpointError, match=r"declares 93\.13 GiB of tensors.*memory_cap"):
        load({"model": folder})


def test_the_largest_tensor_of_a_sample_is_found(tmp_path: Path) -> None:
    import tensorflow as tf

    def decode(z: Any) -> Any:
        return tf.reduce_mean(tf.tile(z[:, :, None], [1, 1, 5000]), -1)

    decoder = load({"model": save_module(tmp_path / "m", decode, (None, 3))}).decoder
    assert decoder is not None
    assert decoder.largest is not None
    assert decoder.largest[0] == 3 * 5000 * 4


def test_damaged_folders_are_named(tmp_path: Path) -> None:
    saved = save("saved_model", tmp_path)
    graph = Path(saved.path, "saved_model.pb")
    content = graph.read_bytes()
    for damaged in (content[: len(content) // 2], b"<html>not found</html>", b""):
        graph.write_bytes(damaged)
        with pytest.raises(CheckpointError, match=r"is damaged|holds no graph"):
            load(saved.files)
    graph.write_bytes(content)
    for file in Path(saved.path, "variables").iterdir():
        file.unlink()
    with pytest.raises(CheckpointError, match=r"variables folder"):
        load(saved.files)
