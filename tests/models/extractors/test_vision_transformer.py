"""DINOv2 and CLIP: seeded random weights in the layout of transformers, beside its own code."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from vae_batch.models.extractors.inception.resize import bicubic_table
from vae_batch.models.extractors.registry import identify_extractor, load_extractor
from vae_batch.models.extractors.vision_transformer import (
    is_vision_transformer,
    torch_bicubic_table,
)
from vae_batch.models.inputs.safetensors_file import SafetensorsFile
from vae_batch.plan import make_spec
from vae_batch.plan.errors import InputError

PYTHON = os.environ.get("VAE_BATCH_PEERS_PYTHON", "")
peers = pytest.mark.skipif(not PYTHON, reason="VAE_BATCH_PEERS_PYTHON is not set")
SPEC = make_spec({"checkpoints": ["a"], "reference": "mnist"})
WIDTH, LAYERS, PATCH, GRID = 24, 2, 14, 4
IMAGES = np.random.default_rng(5).integers(0, 256, (5, 20, 20, 3), dtype=np.uint8)


def shapes(family: str) -> dict[str, tuple[int, ...]]:
    """Names and shapes in the files that transformers saves."""
    d, tokens = WIDTH, GRID**2 + 1
    if family == "dinov2":
        found: dict[str, tuple[int, ...]] = {
            "embeddings.cls_token": (1, 1, d),
            "embeddings.mask_token": (1, d),
            "embeddings.position_embeddings": (1, tokens, d),
            "embeddings.patch_embeddings.projection.weight": (d, 3, PATCH, PATCH),
            "embeddings.patch_embeddings.projection.bias": (d,),
        }
        norms, layer = ["layernorm", "{}norm1", "{}norm2"], "encoder.layer.{}."
        dense = [f"{{}}attention.attention.{name}" for name in ("query", "key", "value")]
        dense.append("{}attention.output.dense")
    else:
        found = {
            "vision_model.embeddings.class_embedding": (d,),
            "vision_model.embeddings.patch_embedding.weight": (d, 3, PATCH, PATCH),
            "vision_model.embeddings.position_embedding.weight": (tokens, d),
            "visual_projection.weight": (16, d),
        }
        norms = ["vision_model.pre_layrnorm", "vision_model.post_layernorm"]
        norms += ["{}layer_norm1", "{}layer_norm2"]
        dense = [f"{{}}self_attn.{name}" for name in ("q_proj", "k_proj", "v_proj", "out_proj")]
        layer = "vision_model.encoder.layers.{}."
    for i in range(LAYERS):
        prefix = layer.format(i)
        for name in norms:
            found |= {f"{name.format(prefix)}.{part}": (d,) for part in ("weight", "bias")}
        for name in dense:
            found |= {f"{name.format(prefix)}.weight": (d, d), f"{name.format(prefix)}.bias": (d,)}
        for name, out, inside in (("mlp.fc1", 4 * d, d), ("mlp.fc2", d, 4 * d)):
            found |= {f"{prefix}{name}.weight": (out, inside), f"{prefix}{name}.bias": (out,)}
        if family == "dinov2":
            found |= {f"{prefix}layer_scale{which}.lambda1": (d,) for which in (1, 2)}
    return found


def write_safetensors(path: Path, arrays: dict[str, np.ndarray], dtype: str = "F32") -> None:
    header, parts, start = {}, [], 0
    for name, array in arrays.items():
        content = array.astype({"F32": "<f4", "F16": "<f2"}[dtype]).tobytes()
        offsets = [start, start + len(content)]
        header[name] = {"dtype": dtype, "shape": array.shape, "data_offsets": offsets}
        parts.append(content)
        start += len(content)
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + b"".join(parts))


def config_of(family: str) -> dict[str, object]:
    own = {"hidden_size": WIDTH, "num_hidden_layers": LAYERS, "num_attention_heads": 3,
           "patch_size": PATCH, "image_size": PATCH * GRID}  # fmt: skip
    if family == "dinov2":
        return own | {"model_type": "dinov2", "mlp_ratio": 4}
    vision = own | {"intermediate_size": 4 * WIDTH, "projection_dim": 16}
    return {"model_type": "clip", "projection_dim": 16, "vision_config": vision}


def folder_of(family: str, path: Path, **settings: str) -> str:
    rng = np.random.default_rng(11)
    arrays = {
        name: rng.normal(float("norm" in name and name.endswith("weight")), 0.2, shape)
        for name, shape in shapes(family).items()
    }
    path.mkdir()
    (path / "config.json").write_text(json.dumps(config_of(family)))
    write_safetensors(path / "model.safetensors", arrays, **settings)
    return str(path)


def features(path: str, images: np.ndarray = IMAGES) -> np.ndarray:
    identity = identify_extractor(path, SPEC, lambda: pytest.fail("nothing is probed"))
    found, classes = load_extractor(identity, 8).extract(images)
    assert classes.shape == (len(images), 0)
    assert found.shape == (len(images), identity.feature_dim)
    return found


@pytest.mark.parametrize(
    ("family", "name", "dimension"),
    [("dinov2", "dinov2-vit-24-14@", WIDTH), ("clip", "clip-vit-24-14-56@", 16)],
)
def test_a_folder_is_an_extractor(family: str, name: str, dimension: int, tmp_path: Path) -> None:
    path = folder_of(family, tmp_path / "net")
    identity = identify_extractor(path, SPEC, lambda: pytest.fail("nothing is probed"))
    assert identity.name.startswith(name)
    assert (identity.feature_dim, identity.class_count) == (dimension, 0)
    assert identity.network == family
    found = features(path)
    np.testing.assert_array_equal(found[:2], features(path, IMAGES[:2]))
    if family == "clip":
        np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, rtol=1e-5)
    half = features(folder_of(family, tmp_path / "half", dtype="F16"))
    np.testing.assert_allclose(found, half, atol=0.02)
    assert not np.array_equal(found, half)


def test_what_is_damaged_or_another_network_is_refused(tmp_path: Path) -> None:
    path = Path(folder_of("dinov2", tmp_path / "net"))
    before = identify_extractor(str(path), SPEC, lambda: pytest.fail("nothing is probed"))
    weights, config = path / "model.safetensors", path / "config.json"
    content = weights.read_bytes()

    def refused(message: str) -> None:
        with pytest.raises(InputError, match=message):
            identify_extractor(str(path), SPEC, lambda: pytest.fail("nothing is probed"))

    weights.write_bytes(content[:-4])
    refused("truncated or damaged")
    weights.write_bytes((1 << 60).to_bytes(8, "little") + content[8:])
    refused("no safetensors file, or is truncated")
    weights.write_bytes(content.replace(b"layernorm.weight", b"layernurm.weight"))
    with pytest.raises(InputError, match=r"has changed since the run began"):
        load_extractor(before, 8)
    now = identify_extractor(str(path), SPEC, lambda: pytest.fail("nothing is probed"))
    with pytest.raises(InputError, match=r"no tensor 'layernorm.weight'"):
        load_extractor(now, 8)
    weights.write_bytes(content)
    config.write_text(json.dumps(config_of("dinov2") | {"use_swiglu_ffn": True}))
    refused("gated feed-forward")
    weights.unlink()
    refused("expected a folder of transformers with config.json and model.safetensors")
    config.write_text('{"model_type": "bert"}')
    assert not is_vision_transformer(str(path))


def test_tensors_of_half_the_bits(tmp_path: Path) -> None:
    numbers = np.array([1.5, -2.0, 0.0078125], np.float32)
    header = {"a": {"dtype": "BF16", "shape": [3], "data_offsets": [0, 6]}}
    text = json.dumps(header).encode()
    upper = (numbers.view(np.uint32) >> 16).astype("<u2").tobytes()
    path = tmp_path / "a.safetensors"
    path.write_bytes(len(text).to_bytes(8, "little") + text + upper)
    np.testing.assert_array_equal(SafetensorsFile(path).read("a"), numbers)


def apply(table: object, values: np.ndarray) -> np.ndarray:
    return (values[table.sources] * table.weights).sum(axis=1)


@pytest.mark.peers
@peers
def test_torch_resizes_alike(tmp_path: Path) -> None:
    script = (
        "import sys, numpy as np, torch; from torch.nn.functional import interpolate as f; "
        "x = torch.from_numpy(np.load(sys.argv[1])).reshape(1, 1, -1, 1).repeat(1, 1, 1, 37); "
        "made = dict(up=f(x, size=100, mode='bicubic'), down=f(x, size=9, mode='bicubic'), "
        "offset=f(x, scale_factor=16.1 / 37, mode='bicubic'), "
        "smooth=f(x, size=9, mode='bicubic', antialias=True)); "
        "np.savez(sys.argv[2], **{k: v.numpy()[0, 0, :, 0] for k, v in made.items()})"
    )
    values = np.random.default_rng(2).normal(size=37)
    np.save(tmp_path / "x.npy", values)
    files = [str(tmp_path / "x.npy"), str(tmp_path / "y.npz")]
    subprocess.run([PYTHON, "-c", script, *files], check=True)
    theirs = np.load(files[1])
    tables = {
        "up": torch_bicubic_table(37, 100),
        "down": torch_bicubic_table(37, 9),
        "offset": torch_bicubic_table(37, 16, 16.1 / 37),
        "smooth": bicubic_table(37, 9),
    }
    for name, table in tables.items():
        np.testing.assert_allclose(apply(table, values), theirs[name], atol=1e-6, err_msg=name)


TRANSFORMERS = """
import sys, json, numpy as np, torch
from torch.nn.functional import interpolate
from transformers import CLIPVisionModelWithProjection, Dinov2Model
folder, family, images, out = sys.argv[1:]
x = torch.from_numpy(np.load(images)).permute(0, 3, 1, 2).float()
kinds = {"dinov2": Dinov2Model, "clip": CLIPVisionModelWithProjection}
model = kinds[family].from_pretrained(folder, attn_implementation="eager").eval()
with torch.no_grad():
    if family == "dinov2":
        x = interpolate(x, size=(224, 224), mode="bicubic", antialias=True) / 255
        mean, std = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
        grid = model.embeddings.position_embeddings[:, 1:]
        side = int(grid.shape[1] ** 0.5)
        grid = grid.reshape(1, side, side, -1).permute(0, 3, 1, 2)
        grid = interpolate(grid, scale_factor=(16.1 / side,) * 2, mode="bicubic")
        grid = grid.permute(0, 2, 3, 1).reshape(1, 256, -1)
        first = model.embeddings.position_embeddings[:, :1]
        model.embeddings.interpolate_pos_encoding = lambda *_: torch.cat([first, grid], 1)
    else:
        size = model.config.image_size
        x = interpolate(x / 255, size=(size, size), mode="bicubic")
        mean, std = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]
    x = (x - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]
    if family == "dinov2":
        y = model(x).last_hidden_state[:, 0]
    else:
        y = model(x).image_embeds
        y = y / y.norm(dim=-1, keepdim=True)
np.save(out, y.numpy())
"""


@pytest.mark.peers
@peers
@pytest.mark.parametrize("family", ["dinov2", "clip"])
def test_transformers_gives_the_same_features(family: str, tmp_path: Path) -> None:
    path = folder_of(family, tmp_path / "net")
    np.save(tmp_path / "x.npy", IMAGES)
    files = [str(tmp_path / "x.npy"), str(tmp_path / "y.npy")]
    subprocess.run([PYTHON, "-c", TRANSFORMERS, path, family, *files], check=True)
    theirs = np.load(files[1])
    np.testing.assert_allclose(features(path), theirs, atol=1e-5 * np.abs(theirs).max())
