"""ONNX models: read as data, their roles decided, run with the same bits on any number of cores."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.stores.faulty_s3 import local_s3, make_bucket, s3_uri

from vae_batch.models.autoencoder.assemble import assemble
from vae_batch.models.autoencoder.vae import Autoencoder
from vae_batch.models.extractors.classifier import ClassifierExtractor, identify_classifier
from vae_batch.models.formats.format import LoadOptions, Network, Networks
from vae_batch.models.formats.load import load_networks
from vae_batch.models.inputs.files import content_sha256, fetch
from vae_batch.models.inputs.onnx_content import is_onnx
from vae_batch.models.references.reference import ProbeImages
from vae_batch.plan import make_spec
from vae_batch.plan.errors import CheckpointError
from vae_batch.plan.reading import Reading

onnx = pytest.importorskip("onnx", reason="needs the extra onnx")
pytest.importorskip("onnxruntime", reason="needs the extra onnx")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402  after the skip

PYTHON = os.environ.get("VAE_BATCH_PEERS_PYTHON", "")
GIB = 1 << 30
SIZE = (8, 8)
SHAPE = (*SIZE, 3)
RNG = np.random.default_rng(7)
# 1x1 convolutions, so that NumPy says in a line what they give.
ENCODE = RNG.normal(size=(4, 3)).astype(np.float32)  # 2 latent channels, mean and log-variance
DECODE = RNG.normal(size=(3, 2)).astype(np.float32) / 2
GAUSSIAN = Reading(likelihood="gaussian", sigma="optimal", model_range="-1..1")


def value(name: str, shape: Sequence[int | str], kind: int = TensorProto.FLOAT) -> Any:
    return helper.make_tensor_value_info(name, kind, shape)


def save(
    path: Path,
    nodes: Sequence[tuple[str, Sequence[str], str, dict[str, Any]]],
    inputs: Sequence[Any],
    outputs: Sequence[Any],
    weights: dict[str, np.ndarray],
    *,
    beside: bool = False,
) -> Path:
    made = [
        helper.make_node(kind, inside, [out], name=out, **settings)
        for kind, inside, out, settings in nodes
    ]
    stored = [numpy_helper.from_array(array, name) for name, array in weights.items()]
    graph = helper.make_graph(made, "graph", inputs, outputs, stored)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("other.domain", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8, producer_name="tests")
    external = {"save_as_external_data": True, "location": f"{path.name}.data"} if beside else {}
    onnx.save(model, path, size_threshold=0, **external)
    return path


def conv(path: Path, matrix: np.ndarray, batch: int | str = "n", **settings: Any) -> Path:
    """A 1x1 convolution, named as diffusers names its VAE's ports."""
    ends = {4: ("sample", "latent_parameters"), 3: ("latent_sample", "sample")}[len(matrix)]
    return save(
        path,
        [("Conv", [ends[0], "w"], ends[1], {})],
        [value(ends[0], (batch, matrix.shape[1], *SIZE))],
        [value(ends[1], (batch, len(matrix), *SIZE))],
        {"w": matrix[..., None, None]},
        **settings,
    )


def mlp_decoder(path: Path) -> tuple[Path, np.ndarray]:
    """sigmoid(z W) of images (n, 8, 8), as exporters of dense decoders end."""
    matrix = RNG.normal(size=(5, 64)).astype(np.float32)
    save(
        path,
        [
            ("MatMul", ["z", "w"], "logits", {}),
            ("Sigmoid", ["logits"], "flat", {}),
            ("Reshape", ["flat", "shape"], "images", {}),
        ],
        [value("z", ("n", 5))],
        [value("images", ("n", *SIZE))],
        {"w": matrix, "shape": np.array([-1, *SIZE])},
    )
    return path, matrix


def load(trust: bool = False, cap: int = GIB, **files: Path) -> Networks:
    found = load_networks(
        {role: str(path) for role, path in files.items()}, LoadOptions(Reading(), trust, cap)
    )
    assert isinstance(found, Networks)
    return found


def vae_of(
    reading: Reading = GAUSSIAN, shape: tuple[int, ...] = SHAPE, **files: Path
) -> Autoencoder:
    return assemble(load(**files), reading, shape, None, batch_size=16)


def diffusers_pair(folder: Path, **settings: Any) -> dict[str, Path]:
    """Halves with spatial latents (2, 8, 8), channels first, both heads in one output."""
    return {
        "encoder": conv(folder / "encoder.onnx", ENCODE, **settings),
        "decoder": conv(folder / "decoder.onnx", DECODE, **settings),
    }


def expected(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and log-variance (n, 2, 8, 8) of images (n, 8, 8, 3) in -1..1."""
    heads = np.einsum("nhwc,kc->nkhw", images, ENCODE)
    return heads[:, :2], heads[:, 2:]


@pytest.mark.parametrize("settings", [{}, {"beside": True}, {"batch": 3}])
def test_a_pair_as_of_diffusers(tmp_path: Path, settings: dict[str, Any]) -> None:
    vae = vae_of(**diffusers_pair(tmp_path, **settings))
    found = vae.description
    assert (found.format, found.latent_shape, found.image_shape) == ("onnx", (2, *SIZE), SHAPE)
    assert (found.output, found.second_head, found.value_range) == ("mean", "logvar", "-1..1")
    images = vae.to_model(RNG.integers(0, 256, (20, *SHAPE), dtype=np.uint8))
    mean, logvar = vae.encode(images)
    for ours, theirs in zip((mean, logvar), expected(images), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)
    decoded = np.einsum("nkhw,ck->nhwc", mean, DECODE)
    np.testing.assert_allclose(vae.decode(mean), decoded, atol=1e-5)


def test_a_scaling_factor(tmp_path: Path) -> None:
    files = diffusers_pair(tmp_path)
    plain = vae_of(**files)
    declared = GAUSSIAN.model_copy(update={"latent_scale": 0.18215, "latent_shift": 0.25})
    vae = vae_of(declared, **files)
    images = vae.to_model(RNG.integers(0, 256, (4, *SHAPE), dtype=np.uint8))
    (mean, logvar), (own, own_logvar) = vae.encode(images), plain.encode(images)
    np.testing.assert_allclose(mean, (own - 0.25) * 0.18215, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(logvar, own_logvar + 2 * np.log(0.18215), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(vae.decode(mean), plain.decode(own), atol=1e-5)
    assert "less 0.25, times 0.18215" in str(vae.description.decisions)


def test_a_decoder_alone_gives_logits(tmp_path: Path) -> None:
    path, matrix = mlp_decoder(tmp_path / "anything")
    vae = vae_of(Reading(), (*SIZE, 1), model=path)
    assert (vae.description.output, vae.latent_shape) == ("logits", (5,))
    assert vae.description.missing["posterior"] == "the checkpoint holds a decoder alone"
    latents = RNG.normal(size=(9, 5)).astype(np.float32)
    logits = (latents @ matrix).reshape(9, *SIZE, 1)
    np.testing.assert_allclose(vae.decode(latents), logits, rtol=1e-4, atol=1e-5)


def test_bits_do_not_depend_on_the_number_of_cores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    matrix = RNG.normal(size=(3, 2)).astype(np.float32)
    latents = RNG.normal(size=(40, 2, *SIZE)).astype(np.float32)
    path, made = conv(tmp_path / "decoder.onnx", matrix), []
    for threads in ("1", "3"):
        monkeypatch.setenv("TF_NUM_INTRAOP_THREADS", threads)
        made.append(load(decoder=path).decoder.run(latents)[0])
    np.testing.assert_array_equal(*made)


def test_first_operations_tell_the_pixel_range(tmp_path: Path) -> None:
    def hints(*nodes: tuple[str, Sequence[str], str, dict[str, Any]]) -> Network:
        weights = {"a": np.float32(127.5), "m": np.full((3, 1, 1), 0.4, np.float32)}
        weights |= {"s": np.full((3, 1, 1), 0.2, np.float32), "one": np.float32(1)}
        last = nodes[-1][2]
        ends = [value("x", ("n", 3, *SIZE))], [value("y", ("n", 3, *SIZE))]
        path = save(tmp_path / "a.onnx", [*nodes, ("Relu", [last], "y", {})], *ends, weights)
        return load(model=path).whole

    mapped = hints(("Div", ["x", "a"], "b", {}), ("Sub", ["b", "one"], "c", {}))
    assert mapped.input_hint == "0..255"
    normal = hints(("Sub", ["x", "m"], "b", {}), ("Div", ["b", "s"], "c", {}))
    assert normal.input_hint is None
    np.testing.assert_allclose(normal.input_statistics, (0.4, 0.2), rtol=1e-6)
    assert hints(("Identity", ["x"], "b", {})).input_statistics is None


def test_an_extractor(tmp_path: Path) -> None:
    weights = RNG.normal(size=(3, 6)).astype(np.float32)
    path = save(
        tmp_path / "net.onnx",
        [
            ("Div", ["x", "range"], "scaled", {}),
            ("Relu", ["scaled"], "map", {}),
            ("GlobalAveragePool", ["map"], "pool", {}),
            ("Flatten", ["pool"], "features", {}),
            ("Gemm", ["features", "w"], "scores", {}),
            ("Softmax", ["scores"], "classes", {}),
        ],
        [value("x", ("n", 3, *SIZE))],
        [value("classes", ("n", 6))],
        {"w": weights, "range": np.float32(255)},
    )
    images = RNG.integers(0, 256, (30, *SHAPE), dtype=np.uint8)
    for embedding in (None, "map"):  # what the last dense layer takes; feature maps, pooled
        spec = make_spec({"checkpoints": ["a"], "reference": "mnist", "workers": 0,
                          "extractors": [str(path)], "embedding": embedding})  # fmt: skip
        identity = identify_classifier(
            str(path), spec, lambda: ProbeImages(images, None, None, "noise")
        )
        assert (identity.feature_dim, identity.class_count) == (3, 6)
        features, probabilities = ClassifierExtractor(identity).extract(images)
        pooled = (images / 255.0).mean(axis=(1, 2))
        np.testing.assert_allclose(features, pooled, rtol=1e-4)
        powers = np.exp(pooled @ weights)
        np.testing.assert_allclose(
            probabilities, powers / powers.sum(axis=1, keepdims=True), rtol=1e-4
        )


def test_weights_beside_are_part_of_the_identity(tmp_path: Path) -> None:
    path = conv(tmp_path / "decoder.onnx", DECODE, beside=True)
    own, data = content_sha256(str(path)), tmp_path / "decoder.onnx.data"
    changed = bytearray(data.read_bytes())
    changed[0] ^= 1
    data.write_bytes(changed)
    assert content_sha256(str(path)) != own
    inline = conv(tmp_path / "inline.onnx", DECODE)
    assert content_sha256(str(inline)) == hashlib.sha256(inline.read_bytes()).hexdigest()


def test_weights_beside_are_hashed_and_fetched_from_a_store(tmp_path: Path) -> None:
    pytest.importorskip("moto.server", reason="moto is missing: pip install '.[s3]'")
    local = conv(tmp_path / "decoder.onnx", DECODE, beside=True)
    with local_s3() as server:
        filesystem = make_bucket(server, "vaes")
        for file in (local, local.with_name("decoder.onnx.data")):
            with filesystem.open_output_stream(f"vaes/runs/{file.name}") as stream:
                stream.write(file.read_bytes())
        uri = s3_uri(server.removeprefix("http://"), "vaes/runs/decoder.onnx")
        assert content_sha256(uri) == content_sha256(str(local))
        copy = fetch(uri, tmp_path)
        assert content_sha256(str(copy)) == content_sha256(str(local))


def refused(message: str, cap: int = GIB, **files: Path) -> None:
    with pytest.raises(CheckpointError, match=message):
        load(cap=cap, **files)


def test_what_is_damaged_or_hostile_is_refused(tmp_path: Path) -> None:
    path = conv(tmp_path / "decoder.onnx", DECODE, beside=True)
    content, data = path.read_bytes(), tmp_path / "decoder.onnx.data"
    weights = data.read_bytes()
    data.write_bytes(weights[:-1])
    refused(r"decoder.onnx.data does not hold tensor 'w'.*truncated", decoder=path)
    data.unlink()
    refused(r"keeps its weights in decoder.onnx.data, which is not in its folder", decoder=path)
    path.write_bytes(content.replace(b"decoder.onnx.data", b"../../etc/passwd."))
    refused(r"from '../../etc/passwd.', expected a file in its own folder", decoder=path)
    path.write_bytes(content[:-40])
    refused("damaged or truncated", decoder=path)
    model = onnx.load_model_from_string(content)
    model.graph.initializer[0].dims[:] = [1 << 40, 3]
    path.write_bytes(model.SerializeToString())
    refused(r"declares 12 TiB of tensors, over memory_cap = 1 GiB", decoder=path)
    model.graph.node[0].domain = "other.domain"
    path.write_bytes(model.SerializeToString())
    refused(r"operators of 'other.domain', which onnxruntime does not have", decoder=path)
    path.write_bytes(b"")
    refused("empty file", decoder=path)


def test_what_has_no_batch_axis_is_refused(tmp_path: Path) -> None:
    ends = [value("z", (2, *SIZE))], [value("x", (3, *SIZE))]
    weights = {"w": DECODE[..., None, None], "zero": np.array([0])}
    nodes = [("Unsqueeze", ["z", "zero"], "b", {}), ("Conv", ["b", "w"], "c", {}),
             ("Squeeze", ["c", "zero"], "x", {})]  # fmt: skip
    refused(
        r"one batch axis \(z: 2, x: 3\)", decoder=save(tmp_path / "a.onnx", nodes, *ends, weights)
    )


def test_an_operator_that_makes_a_huge_tensor_is_refused(tmp_path: Path) -> None:
    nodes = [("Shape", ["z"], "n", {"end": 1}), ("Concat", ["n", "size"], "s", {"axis": 0}),
             ("ConstantOfShape", ["s"], "big", {}),
             ("ReduceSum", ["big", "axis"], "sum", {}), ("Mul", ["z", "sum"], "x", {})]  # fmt: skip
    weights = {"size": np.array([1 << 33]), "axis": np.array([1])}
    ends = [value("z", ("n", 64))], [value("x", ("n", 64))]
    path = save(tmp_path / "a.onnx", nodes, *ends, weights)
    refused("makes 32 GiB of each sample", decoder=path)


def test_without_the_extra_a_sentence_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = conv(tmp_path / "decoder.onnx", DECODE)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    refused(r"needs onnx and onnxruntime .*pip install '.\[onnx\]'", decoder=path)


def test_other_files_are_no_onnx_models(tmp_path: Path) -> None:
    assert is_onnx(conv(tmp_path / "a", DECODE).read_bytes()[:64])
    for head in (b"", b"\x08", b"\x08\x01\x12\x04graph", b"PK\x03\x04", b"\x80\x04\x95", b"\n\x05"):
        assert not is_onnx(head)


EXPORT = """
import sys, numpy as np, torch
from torch import nn
torch.manual_seed(0)
class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.norm, self.conv = nn.GroupNorm(4, width), nn.Conv2d(width, width, 3, padding=1)
    def forward(self, x):
        return x + self.conv(nn.functional.silu(self.norm(x)))
encoder = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), Block(8),
                        nn.Conv2d(8, 8, 3, stride=2, padding=1), nn.Conv2d(8, 8, 1)).eval()
decoder = nn.Sequential(nn.Conv2d(4, 8, 3, padding=1), Block(8), nn.Upsample(scale_factor=2),
                        nn.Conv2d(8, 3, 3, padding=1)).eval()
folder, kind = sys.argv[1:]
x, z = torch.rand(5, 3, 16, 16) * 2 - 1, torch.randn(5, 4, 8, 8)
for name, half, given in (("encoder", encoder, x), ("decoder", decoder, z)):
    free = {"dynamic_shapes": ({0: torch.export.Dim("n")},)} if kind == "free" else {}
    old = {"dynamo": False, "dynamic_axes": {"x": {0: "n", 2: "h", 3: "w"}}}
    torch.onnx.export(half, (given[:2],), f"{folder}/{name}.onnx", input_names=["x"],
                      output_names=["y"], **(old if kind == "old" else free))
with torch.no_grad():
    np.savez(f"{folder}/torch.npz", x=x, z=z, heads=encoder(x), images=decoder(z))
"""


@pytest.mark.peers
@pytest.mark.skipif(not PYTHON, reason="VAE_BATCH_PEERS_PYTHON is not set")
@pytest.mark.parametrize("kind", ["fixed", "free", "old"])
def test_exports_of_torch(tmp_path: Path, kind: str) -> None:
    subprocess.run([PYTHON, "-c", EXPORT, str(tmp_path), kind], check=True, capture_output=True)
    files = {role: tmp_path / f"{role}.onnx" for role in ("encoder", "decoder")}
    vae, torch = vae_of(GAUSSIAN, (16, 16, 3), **files), np.load(tmp_path / "torch.npz")
    mean, logvar = vae.encode(np.moveaxis(torch["x"], 1, -1))
    np.testing.assert_allclose(np.concatenate([mean, logvar], 1), torch["heads"], atol=1e-5)
    decoded = np.moveaxis(vae.decode(torch["z"]), -1, 1)
    np.testing.assert_allclose(decoded, torch["images"], atol=1e-5)
