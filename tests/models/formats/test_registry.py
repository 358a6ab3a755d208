"""The registry of formats, and the README's plug-in as a package of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from vae_batch.models.formats import registry
from vae_batch.models.formats.format import LoadOptions, Networks
from vae_batch.models.formats.load import load_networks
from vae_batch.plan.errors import CheckpointError
from vae_batch.plan.reading import Reading

EXAMPLE = Path(__file__).parents[2] / "plugins/vae_batch_onnx.py"
TERMS = LoadOptions(Reading(), trust=False, memory_cap=1 << 30)

Install = Callable[..., Path]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Puts a package with an entry point on Python's path, as pip would."""

    def put(name: str, module: str, content: str, target: str) -> Path:
        site = tmp_path / f"site-{module}"
        metadata = site / f"{module}-1.0.dist-info"
        metadata.mkdir(parents=True)
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
        (metadata / "entry_points.txt").write_text(
            f"[{registry.ENTRY_POINTS}]\n{name} = {module}:{target}\n"
        )
        (site / f"{module}.py").write_text(content)
        monkeypatch.syspath_prepend(str(site))
        return site

    return put


@pytest.fixture
def onnx_decoder(tmp_path: Path) -> tuple[Path, np.ndarray]:
    """sigmoid(z W) as an ONNX file, (n, 3) to (n, 2, 2, 1), and W."""
    onnx = pytest.importorskip("onnx", reason="the plug-in example needs onnx to write its file")
    pytest.importorskip("onnxruntime", reason="the plug-in example reads ONNX with onnxruntime")
    from onnx import TensorProto, helper, numpy_helper

    matrix = np.arange(12, dtype=np.float32).reshape(3, 4) / 10 - 0.5
    shape = np.array([-1, 2, 2, 1], np.int64)
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["z", "w"], ["logits"]),
            helper.make_node("Sigmoid", ["logits"], ["flat"]),
            helper.make_node("Reshape", ["flat", "shape"], ["images"]),
        ],
        "decoder",
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, ["n", 3])],
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["n", 2, 2, 1])],
        [numpy_helper.from_array(matrix, "w"), numpy_helper.from_array(shape, "shape")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    path = tmp_path / "decoder.onnx"
    onnx.save(model, path)
    return path, matrix


def test_shipped_formats_come_first_and_are_named_as_in_the_score_table() -> None:
    names = [known.name for known in registry.formats()][:5]
    assert names == ["saved_model", "tf_keras", "keras", "hdf5", "weights+builder"]


def test_suffixes_are_found_without_tensorflow() -> None:
    code = (
        "from vae_batch.models.formats.registry import suffixes; import sys; "
        "print(*suffixes(), {'tensorflow', 'keras', 'tf_keras'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [".keras", ".h5", ".hdf5", ".weights.h5", "set()"]


def test_the_readme_plug_in_scores_an_onnx_decoder(
    install: Install, onnx_decoder: tuple[Path, np.ndarray]
) -> None:
    path, matrix = onnx_decoder
    install("onnx", "vae_batch_onnx", EXAMPLE.read_text(), "OnnxFormat")
    assert ".onnx" in registry.suffixes()
    vae = load_networks({"model": str(path)}, TERMS)
    assert not isinstance(vae, Networks)
    assert (vae.latent_shape, vae.image_shape, vae.encode) == ((3,), (2, 2, 1), None)
    assert (vae.output, vae.format) == ("probabilities", "onnx")
    latents = np.array([[1, -2, 0.5], [0, 0, 0]], np.float32)
    expected = 1 / (1 + np.exp(-latents @ matrix)).reshape(2, 2, 2, 1)
    np.testing.assert_allclose(vae.decode(latents), expected, rtol=1e-6)


def test_the_readme_plug_in_becomes_an_autoencoder(
    install: Install, onnx_decoder: tuple[Path, np.ndarray]
) -> None:
    from vae_batch.models.autoencoder.assemble import assemble

    path, _ = onnx_decoder
    install("onnx", "vae_batch_onnx", EXAMPLE.read_text(), "OnnxFormat")
    vae = load_networks({"decoder": str(path)}, TERMS)
    scored = assemble(vae, Reading(), (2, 2, 1), None, batch_size=4)
    assert scored.description.format == "onnx"
    latents = np.zeros((1, 3), np.float32)
    np.testing.assert_allclose(scored.decode(latents), np.full((1, 2, 2, 1), 0.5), rtol=1e-6)


def test_a_plug_in_that_cannot_be_imported_fails_the_files_of_its_name_only(
    install: Install, tmp_path: Path
) -> None:
    install("toy", "broken_plug_in", "import no_such_library", "Format")
    theirs, ours = tmp_path / "a.toy", tmp_path / "a.other"
    for path in (theirs, ours):
        path.write_bytes(b"\x00\x01\x02\x03")
    with pytest.raises(CheckpointError, match=r"'toy'.*broken_plug_in.*no_such_library"):
        load_networks({"model": str(theirs)}, TERMS)
    with pytest.raises(CheckpointError) as caught:
        load_networks({"model": str(ours)}, TERMS)
    assert "broken_plug_in" not in str(caught.value)


def test_a_plug_in_is_named_when_it_raises(install: Install, tmp_path: Path) -> None:
    content = """
class Format:
    name = "toy"
    suffixes = (".toy",)
    def recognises(self, path, head):
        return path.endswith(self.suffixes)
    def load(self, files, terms):
        return 1 / 0
"""
    install("toy", "raising_plug_in", content, "Format")
    path = tmp_path / "a.toy"
    path.write_bytes(b"x")
    with pytest.raises(CheckpointError, match=r"'toy' of package raising_plug_in.*ZeroDivision"):
        load_networks({"model": str(path)}, TERMS)


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ("name = 'toy'\n    suffixes = ('.toy',)", "no recognises, load"),
        (
            "name = 'keras'\n    suffixes = ('.toy',)\n    recognises = load = print",
            "'keras' is a shipped format's",
        ),
    ],
)
def test_a_plug_in_outside_the_protocol_says_what_it_lacks(
    install: Install, tmp_path: Path, body: str, problem: str
) -> None:
    install("toy", f"odd_plug_in_{len(body)}", f"class Format:\n    {body}\n", "Format")
    path = tmp_path / "a.toy"
    path.write_bytes(b"x")
    with pytest.raises(CheckpointError, match=problem):
        load_networks({"model": str(path)}, TERMS)
