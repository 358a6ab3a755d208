"""The registry of formats, and the documented plug-in as a package of its own."""

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

EXAMPLE = Path(__file__).parents[2] / "plugins/vae_batch_pca.py"
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
def linear(tmp_path: Path) -> tuple[Path, np.ndarray, np.ndarray]:
    """A file of the example, (n, 3) to (n, 2, 2, 1), with its mean and components."""
    mean = np.full((2, 2, 1), 0.5, np.float32)
    components = np.arange(12, dtype=np.float32).reshape(3, 4) / 100
    path = tmp_path / "decoder.pca"
    with path.open("wb") as file:
        file.write(b"PCA 1\n")
        np.save(file, mean)
        np.save(file, components)
    return path, mean, components


def test_shipped_formats_come_first_and_are_named_as_in_the_score_table() -> None:
    names = [known.name for known in registry.formats()][:6]
    assert names == ["saved_model", "tf_keras", "keras", "hdf5", "weights+builder", "onnx"]


def test_suffixes_are_found_without_tensorflow() -> None:
    code = (
        "from vae_batch.models.formats.registry import suffixes; import sys; "
        "print(*suffixes(), {'tensorflow', 'keras', 'tf_keras'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [".keras", ".h5", ".hdf5", ".weights.h5", ".onnx", "set()"]


def test_the_readme_plug_in_scores_a_linear_decoder(
    install: Install, linear: tuple[Path, np.ndarray, np.ndarray]
) -> None:
    path, mean, components = linear
    install("pca", "vae_batch_pca", EXAMPLE.read_text(), "PcaFormat")
    assert ".pca" in registry.suffixes()
    vae = load_networks({"model": str(path)}, TERMS)
    assert not isinstance(vae, Networks)
    assert (vae.latent_shape, vae.image_shape, vae.encode) == ((3,), (2, 2, 1), None)
    assert (vae.output, vae.format) == ("mean", "pca")
    latents = np.array([[1, -2, 0.5], [0, 0, 0]], np.float32)
    expected = mean + (latents @ components).reshape(2, 2, 2, 1)
    np.testing.assert_allclose(vae.decode(latents), expected, rtol=1e-6)


def test_the_readme_plug_in_becomes_an_autoencoder(
    install: Install, linear: tuple[Path, np.ndarray, np.ndarray]
) -> None:
    from vae_batch.models.autoencoder.assemble import assemble

    path, mean, _ = linear
    install("pca", "vae_batch_pca", EXAMPLE.read_text(), "PcaFormat")
    vae = load_networks({"decoder": str(path)}, TERMS)
    reading = Reading(likelihood="gaussian", sigma=0.1)
    scored = assemble(vae, reading, (2, 2, 1), None, batch_size=4)
    assert scored.description.format == "pca"
    latents = np.zeros((1, 3), np.float32)
    np.testing.assert_allclose(scored.decode(latents), mean[None], rtol=1e-6)


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
