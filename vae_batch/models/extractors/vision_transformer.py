"""DINOv2 and CLIP as extractors, from a local folder of Hugging Face's ``transformers``.

The folder holds ``config.json`` and ``model.safetensors``; nothing is downloaded. Both networks are
one vision transformer (Dosovitskiy et al. 2021, arXiv:2010.11929), fed and read as the metrics'
authors do:

``dinov2``
    224 pixels by torch's antialiased bicubic, ImageNet's mean and standard deviation, the class
    token behind the last normalisation (Stein et al. 2023, arXiv:2306.04675; EDM2). Position
    embeddings are interpolated as ``facebookresearch/dinov2`` does, with its offset of 0.1.
``clip``
    The network's own size by torch's bicubic, CLIP's mean and standard deviation, the projected
    class token at unit length (CMMD: Jayasumana et al. 2024, arXiv:2401.09603).
"""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vae_batch.models.extractors.extractor import ExtractorIdentity
from vae_batch.models.extractors.inception.resize import ResizeTable, bicubic_table, cubic_kernel
from vae_batch.models.inputs.files import LocalCopy, content_sha256, sha256_of_roles
from vae_batch.models.inputs.safetensors_file import SafetensorsFile
from vae_batch.plan.errors import InputError
from vae_batch.plan.location import Location

Floats = npt.NDArray[np.float32]
Tensor = Any  # TensorFlow's classes have no types

_CONFIG, _WEIGHTS = "config.json", "model.safetensors"
_LARGEST_CONFIG = 1 << 20
_TORCH_CUBIC = -0.75  # torch's kernel without antialiasing; with it and in Pillow -0.5
_NO_CLASSES = "the extractor gives features alone, no class probabilities"
_LETTERS = {384: "s", 768: "b", 1024: "l", 1280: "h"}  # widths of the published sizes


@dataclass(frozen=True, kw_only=True)
class _Family:
    """How one family is fed and read, and how ``transformers`` names its tensors.

    Attributes:
        size: Pixels of a side; None for the network's own.
        resize: Name of the resize.
        normalisation: Name of the mean and standard deviation.
        mean: Of each channel, in 0..1.
        std: The same.
        features: What the features are, in words.
        epsilon: Of the normalisations, where the configuration says none.
        activation: Alike.
        heads: Attention heads, alike.
        class_token: Name of the class token.
        patches: Of the convolution that makes tokens.
        has_patch_bias: Whether that has a bias.
        positions: Of the position embeddings.
        block: Prefix of the tensors of a block, before its number.
        norm: Of a block's normalisations, before their number.
        attention: Of its query, key and value, in this order.
        out: Of the attention's output.
        scale: Of its layer scales, with a place for their number; None where there are none.
        first: Of the normalisation before the blocks; None for none.
        last: Of the one behind them.
        projection: Of the features' projection; None for none.
    """

    size: int | None
    resize: str
    normalisation: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    features: str
    epsilon: float
    activation: str
    heads: int = 12
    class_token: str
    patches: str
    has_patch_bias: bool
    positions: str
    block: str
    norm: str
    attention: tuple[str, str, str]
    out: str
    scale: str | None
    first: str | None
    last: str
    projection: str | None


FAMILIES = {
    "dinov2": _Family(
        size=224,
        resize="torch-bicubic-antialias",
        normalisation="imagenet",
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
        features="class token",
        epsilon=1e-6,
        activation="gelu",
        class_token="embeddings.cls_token",
        patches="embeddings.patch_embeddings.projection",
        has_patch_bias=True,
        positions="embeddings.position_embeddings",
        block="encoder.layer.",
        norm="norm",
        attention=(
            "attention.attention.query",
            "attention.attention.key",
            "attention.attention.value",
        ),
        out="attention.output.dense",
        scale="layer_scale{}.lambda1",
        first=None,
        last="layernorm",
        projection=None,
    ),
    "clip": _Family(
        size=None,
        resize="torch-bicubic",
        normalisation="clip",
        mean=(0.48145466, 0.4578275, 0.40821073),
        std=(0.26862954, 0.26130258, 0.27577711),
        features="image embedding of unit length",
        epsilon=1e-5,
        activation="quick_gelu",
        class_token="vision_model.embeddings.class_embedding",
        patches="vision_model.embeddings.patch_embedding",
        has_patch_bias=False,
        positions="vision_model.embeddings.position_embedding.weight",
        block="vision_model.encoder.layers.",
        norm="layer_norm",
        attention=("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
        out="self_attn.out_proj",
        scale=None,
        first="vision_model.pre_layrnorm",
        last="vision_model.post_layernorm",
        projection="visual_projection.weight",
    ),
}


def is_vision_transformer(path: str) -> bool:
    """Whether a path or URI is a folder of ``transformers`` with one of these networks."""
    try:
        return _family_of(_read_config(Location.parse(path))) is not None
    except (OSError, ValueError):
        return False


def identify_vision_transformer(path: str) -> ExtractorIdentity:
    """Identify a network by its configuration and weights, without TensorFlow.

    Raises:
        InputError: The folder is not complete, or holds another network.
    """
    location = Location.parse(path)
    try:
        digests = [
            (name, content_sha256((location / name).address)) for name in (_CONFIG, _WEIGHTS)
        ]
    except OSError as error:
        raise InputError(
            f"extractor {location.label} cannot be read ({error}); expected a folder of "
            f"transformers with {_CONFIG} and {_WEIGHTS}"
        ) from None
    architecture = _Architecture.of(LocalCopy(path, _is_wanted).path, location.label)
    family, digest = FAMILIES[architecture.family], sha256_of_roles(digests)
    size = family.size or architecture.own_size
    return ExtractorIdentity(
        name=f"{architecture.name}@{digest[:8]}",
        weights_path=path,
        weights_sha256=digest,
        protocol=(
            f"{architecture.family}/{family.resize}/{size}/uint8/{family.normalisation}/"
            f"{family.features}"
        ),
        feature_dim=architecture.feature_dim,
        class_count=0,
        inception_score_reason=_NO_CLASSES,
        resize=family.resize,
        normalisation=family.normalisation,
        network=architecture.family,
    )


def _is_wanted(name: str) -> bool:
    return name in (_CONFIG, _WEIGHTS)


def _read_config(folder: Location) -> dict[str, Any]:
    path = LocalCopy((folder / _CONFIG).address).path
    if path.stat().st_size > _LARGEST_CONFIG:
        raise ValueError(f"{path} is too large for a configuration")
    found = json.loads(path.read_bytes())
    return found if isinstance(found, dict) else {}


def _family_of(config: Mapping[str, Any]) -> str | None:
    kind = config.get("model_type")
    kind = "clip" if kind == "clip_vision_model" else kind
    return kind if kind in FAMILIES else None


@dataclass(frozen=True)
class _Architecture:
    """What decides how the weights are used.

    Attributes:
        family: A key of ``FAMILIES``.
        layers: Blocks.
        heads: Attention heads of each.
        width: Of a token.
        patch: Pixels of a patch's side.
        grid: Patches of a side for which there are position embeddings.
        feature_dim: Of the features.
        epsilon: Of the normalisations.
        activation: ``gelu`` or ``quick_gelu``.
    """

    family: str
    layers: int
    heads: int
    width: int
    patch: int
    grid: int
    feature_dim: int
    epsilon: float
    activation: str

    @property
    def own_size(self) -> int:
        """Pixels of a side that the position embeddings are for."""
        return self.grid * self.patch

    @property
    def name(self) -> str:
        """Such as ``dinov2-vit-l-14`` and ``clip-vit-l-14-336``."""
        letter = _LETTERS.get(self.width, str(self.width))
        own = f"-{self.own_size}" if FAMILIES[self.family].size is None else ""
        return f"{self.family}-vit-{letter}-{self.patch}{own}"

    @classmethod
    def of(cls, folder: Path, label: str) -> _Architecture:
        """That of a local folder, from its configuration and the shapes of its weights.

        Raises:
            InputError: It is another network, or weights are missing.
        """
        try:
            config = _read_config(Location.parse(str(folder)))
            file = SafetensorsFile(folder / _WEIGHTS)
        except (OSError, ValueError) as error:
            raise InputError(f"extractor {label}: {error}; copy the folder again") from None
        name = _family_of(config)
        if name is None:
            raise InputError(
                f"extractor {label} is of the kind {config.get('model_type')!r}, expected "
                f"{' or '.join(FAMILIES)}"
            )
        family, vision = FAMILIES[name], config.get("vision_config", config)
        weights = _Weights(file, family.class_token, label)
        patches = weights.shape(family.patches + ".weight")
        positions = weights.shape(family.positions)[-2]
        width, patch, grid = patches[0], patches[-1], math.isqrt(positions - 1)
        heads = int(vision.get("num_attention_heads", family.heads))
        activation = str(vision.get("hidden_act", family.activation))
        wrong = [
            words
            for is_wrong, words in (
                (vision.get("use_swiglu_ffn"), "a gated feed-forward network (use_swiglu_ffn)"),
                (activation not in ("gelu", "quick_gelu"), f"the activation {activation!r}"),
                (width % heads, f"{heads} heads for tokens of {width} values"),
                (grid * grid + 1 != positions, f"{positions} position embeddings"),
            )
            if is_wrong
        ]
        if wrong:
            raise InputError(f"extractor {label} has {wrong[0]}, which is not supported")
        layers = sum(f"{family.block}{i}.{family.norm}1.weight" in weights for i in range(999))
        projected = weights.shape(family.projection)[0] if family.projection else width
        epsilon = float(vision.get("layer_norm_eps", family.epsilon))
        return cls(name, layers, heads, width, patch, grid, projected, epsilon, activation)


class _Weights:
    """Tensors by their names in ``transformers``, whatever prefix a task's head gave them."""

    def __init__(self, file: SafetensorsFile, known: str, label: str) -> None:
        self._file, self._label = file, label
        ends = [name for name in file.names if name.endswith(known)]
        self._prefix = ends[0].removesuffix(known) if len(ends) == 1 else ""

    def __contains__(self, name: str) -> bool:
        return self._full(name) in self._file.names

    def _full(self, name: str) -> str:
        return name if name in self._file.names else self._prefix + name

    def shape(self, name: str) -> tuple[int, ...]:
        if name not in self:
            raise InputError(f"extractor {self._label}: {_WEIGHTS} has no tensor {name!r}")
        return self._file.shape(self._full(name))

    def read(self, name: str) -> Floats:
        self.shape(name)
        values = self._file.read(self._full(name))
        if not np.isfinite(values).all():
            raise InputError(f"extractor {self._label}: {name} holds NaN or infinity")
        return values


def torch_bicubic_table(size_in: int, size_out: int, scale: float | None = None) -> ResizeTable:
    """Table of ``torch.nn.functional.interpolate(mode="bicubic")`` without antialiasing.

    Args:
        size_in: Length before.
        size_out: Length after.
        scale: As ``scale_factor``; None for ``size``.
    """
    step = size_in / size_out if scale is None else 1 / scale
    centre = (np.arange(size_out) + 0.5) * step - 0.5
    taps = np.floor(centre)[:, None] + np.arange(-1, 3)
    weights = np.vectorize(cubic_kernel)(taps - centre[:, None], _TORCH_CUBIC)
    return ResizeTable(np.clip(taps, 0, size_in - 1).astype(np.int32), weights)


def _matrix(table: ResizeTable, size_in: int) -> Floats:
    """(out, in) of a table."""
    matrix = np.zeros((len(table.sources), size_in))
    np.add.at(matrix, (np.arange(len(matrix))[:, None], table.sources), table.weights)
    return matrix.astype(np.float32)


class VisionTransformerExtractor:
    """DINOv2 or CLIP as an ``Extractor``.

    Args:
        identity: From ``identify_vision_transformer``.
        batch_size: Images per pass; every pass has this shape, so that results do not depend on
            how images are split into batches.

    Raises:
        InputError: The weights are missing here, or are not those of the identity.
    """

    concurrent_batches = 1

    def __init__(self, identity: ExtractorIdentity, batch_size: int) -> None:
        import tensorflow as tf

        self._tf = tf
        path = str(identity.weights_path)
        if identify_vision_transformer(path).weights_sha256 != identity.weights_sha256:
            raise InputError(f"extractor {identity.name}: {path} has changed since the run began")
        copy = LocalCopy(path, _is_wanted)
        self._own = architecture = _Architecture.of(copy.path, path)
        self._family = family = FAMILIES[architecture.family]
        self._batch_size = batch_size
        self._size = family.size or architecture.own_size
        self._weights = weights = _Weights(
            SafetensorsFile(copy.path / _WEIGHTS), family.class_token, path
        )
        self._blocks = [self._block(f"{family.block}{i}.") for i in range(architecture.layers)]
        self._patches = weights.read(family.patches + ".weight").transpose(2, 3, 1, 0)
        self._bias = weights.read(family.patches + ".bias") if family.has_patch_bias else None
        self._token = weights.read(family.class_token).reshape(1, 1, -1)
        self._positions = self._interpolated(weights.read(family.positions))
        self._first = self._pair(family.first) if family.first else None
        self._last = self._pair(family.last)
        self._projection = weights.read(family.projection).T if family.projection else None
        self._runs: dict[tuple[int, ...], Any] = {}
        self._compiling = threading.Lock()

    def extract(self, images: npt.NDArray[np.uint8]) -> tuple[Floats, Floats]:
        """See ``Extractor.extract``."""
        shape = (self._batch_size, *images.shape[1:])
        with self._compiling:
            if shape not in self._runs:
                self._runs = {shape: self._compiled(shape)}
            run = self._runs[shape]
        batch = np.zeros(shape, np.uint8)
        batch[: len(images)] = images
        features: Floats = run(batch).numpy()[: len(images)]
        return features, np.zeros((len(images), 0), np.float32)

    def _tensor(self, values: Floats) -> Tensor:
        """A tensor that graphs take as an input: as constants, large weights would be compiled."""
        return self._tf.constant(values)

    def _pair(self, name: str) -> tuple[Tensor, Tensor]:
        kernel, bias = (self._weights.read(f"{name}.{part}") for part in ("weight", "bias"))
        return self._tensor(kernel), self._tensor(bias)

    def _dense(self, name: str) -> tuple[Tensor, Tensor]:
        kernel, bias = self._pair(name)
        return self._tf.transpose(kernel), bias

    def _block(self, prefix: str) -> dict[str, Any]:
        family = self._family
        return {
            "norms": [self._pair(f"{prefix}{family.norm}{which}") for which in (1, 2)],
            "projections": [self._dense(prefix + name) for name in family.attention],
            "out": self._dense(prefix + family.out),
            "mlp": [self._dense(f"{prefix}mlp.fc{which}") for which in (1, 2)],
            "scales": [
                self._weights.read(prefix + family.scale.format(which)) if family.scale else None
                for which in (1, 2)
            ],
        }

    def _interpolated(self, positions: Floats) -> Floats:
        """(1, 1 + n, width) for the patches of the size in use."""
        own, positions = self._own, positions.reshape(-1, self._own.width)
        grid = self._size // own.patch
        if grid == own.grid:
            return positions[None]
        scale = (grid + 0.1) / own.grid  # as facebookresearch/dinov2 interpolates
        matrix = _matrix(torch_bicubic_table(own.grid, grid, scale), own.grid)
        square = positions[1:].reshape(own.grid, own.grid, own.width)
        square = np.einsum("yh,hwd,xw->yxd", matrix, square, matrix, optimize=True)
        return np.concatenate([positions[:1], square.reshape(-1, own.width)])[None]

    def _compiled(self, shape: tuple[int, ...]) -> Any:  # noqa: ANN401
        tf = self._tf
        table = bicubic_table if self._family.resize.endswith("antialias") else torch_bicubic_table
        rows, columns = (_matrix(table(side, self._size), side) for side in shape[1:3])
        mean, std = (np.asarray(part, np.float32) for part in (self._family.mean, self._family.std))

        def features(images: Tensor) -> Tensor:
            x = tf.cast(images, tf.float32) / 255
            if shape[1:3] != (self._size, self._size):
                x = tf.einsum("yh,nhwc->nywc", rows, x)
                x = tf.einsum("xw,nywc->nyxc", columns, x)
            x = self._tokens((x - mean) / std)
            for block in self._blocks:
                x = self._after(block, x)
            x = self._normalised(x[:, 0], self._last)
            if self._projection is not None:
                x = tf.linalg.l2_normalize(x @ self._projection, axis=-1)
            return x

        return tf.function(features, input_signature=[tf.TensorSpec(shape, tf.uint8)])

    def _tokens(self, images: Tensor) -> Tensor:
        tf, own = self._tf, self._own
        x = tf.nn.conv2d(images, self._patches, own.patch, "VALID")
        x = x if self._bias is None else x + self._bias
        x = tf.reshape(x, (self._batch_size, -1, own.width))
        token = tf.repeat(tf.constant(self._token), self._batch_size, axis=0)
        x = tf.concat([token, x], axis=1) + self._positions
        return x if self._first is None else self._normalised(x, self._first)

    def _normalised(self, x: Tensor, pair: tuple[Tensor, Tensor]) -> Tensor:
        tf = self._tf
        mean, variance = tf.nn.moments(x, axes=-1, keepdims=True)
        return (x - mean) * tf.math.rsqrt(variance + self._own.epsilon) * pair[0] + pair[1]

    def _after(self, block: Mapping[str, Any], x: Tensor) -> Tensor:
        """Tokens behind one block: attention, then a network of each token, both added."""
        first, second = block["scales"]
        made = self._attention(block, self._normalised(x, block["norms"][0]))
        x = x + (made if first is None else made * first)
        (kernel, bias), (back, back_bias) = block["mlp"]
        made = self._activated(self._normalised(x, block["norms"][1]) @ kernel + bias)
        made = made @ back + back_bias
        return x + (made if second is None else made * second)

    def _attention(self, block: Mapping[str, Any], x: Tensor) -> Tensor:
        tf, heads = self._tf, self._own.heads
        split = (self._batch_size, -1, heads, self._own.width // heads)
        query, key, value = (
            tf.transpose(tf.reshape(x @ kernel + bias, split), (0, 2, 1, 3))
            for kernel, bias in block["projections"]
        )
        scores = tf.matmul(query, key, transpose_b=True) / math.sqrt(split[-1])
        mixed = tf.transpose(tf.nn.softmax(scores) @ value, (0, 2, 1, 3))
        kernel, bias = block["out"]
        return tf.reshape(mixed, (self._batch_size, -1, self._own.width)) @ kernel + bias

    def _activated(self, x: Tensor) -> Tensor:
        if self._own.activation == "quick_gelu":
            return x * self._tf.sigmoid(1.702 * x)
        return self._tf.nn.gelu(x, approximate=False)
