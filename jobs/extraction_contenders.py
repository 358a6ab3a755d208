"""One contender of ``benchmark_extraction.py`` in a process of its own; a script, not a module.

    python extraction_contenders.py NAME BATCH SIDE WEIGHTS

It loads its network, then reads a number of images a line from stdin, extracts so many grey
images of SIDE x SIDE pixels, and answers a JSON line: wall seconds, CPU seconds, peak memory.
It needs its own library only, so that it runs in a peer's environment as well as in ours.
``weights`` as NAME writes seeded random weights of the published state dict's layout (torch).
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable

import numpy as np

#: uint8 NHWC images, a multiple of the batch, to features; probabilities are computed on the way
#: where the tool can give them in the same pass.
Extract = Callable[[np.ndarray], np.ndarray]


def ours(batch: int, weights: str) -> Extract:
    """``InceptionExtractor`` as workers call it: features and probabilities, resize included."""
    from vae_batch.models.batching import map_batches
    from vae_batch.models.extractors.inception.extractor import (
        InceptionExtractor,
        identify_inception,
    )

    name = "inception-2015" if weights else "inception-random"
    given = [weights] if weights else []
    extractor = InceptionExtractor(identify_inception(name, given, allow_unverified=True), batch)
    at_once = extractor.concurrent_batches
    return lambda images: map_batches(extractor.extract, batch, images, concurrency=at_once)[0]


def book_predict(batch: int, weights: str) -> Extract:
    """The book's way: ``keras.applications.InceptionV3`` and ``predict``, features only.

    Resized with TensorFlow first; the book's two models (features, softmax) would pay twice.
    """
    import keras
    import tensorflow as tf

    network = keras.applications.InceptionV3(weights=None, include_top=False, pooling="avg")

    def extract(images: np.ndarray) -> np.ndarray:
        pixels = tf.image.resize(tf.cast(images, tf.float32), (299, 299)) / 127.5 - 1
        return network.predict(pixels, batch_size=batch, verbose=0)

    return extract


def plain_function(batch: int, weights: str) -> Extract:
    """``tf.function`` over ``keras.applications.InceptionV3``, features and softmax in one pass."""
    import keras
    import tensorflow as tf

    network = keras.applications.InceptionV3(weights=None)
    both = keras.Model(network.input, [network.get_layer("avg_pool").output, network.output])

    @tf.function(autograph=False)
    def graph(images: tf.Tensor) -> tf.Tensor:
        pixels = tf.image.resize(tf.cast(images, tf.float32), (299, 299)) / 127.5 - 1
        return both(pixels, training=False)

    return by_batch(lambda images: graph(tf.constant(images))[0].numpy(), batch)


def pytorch_fid(batch: int, weights: str) -> Extract:
    """pytorch-fid's network as shipped, with its own resize."""
    import pytorch_fid.inception as peer
    import torch

    state = torch.load(weights, weights_only=True)
    peer.load_state_dict_from_url = lambda *_, **__: state
    network = peer.InceptionV3([peer.InceptionV3.BLOCK_INDEX_BY_DIM[2048]]).eval()

    def extract(images: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
            return network(pixels)[0][:, :, 0, 0].numpy()

    return by_batch(extract, batch)


def torch_fidelity(batch: int, weights: str) -> Extract:
    """torch-fidelity's extractor, with its own resize; features and logits in one pass."""
    import torch
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    names = ["2048", "logits_unbiased"]
    network = FeatureExtractorInceptionV3("inception-v3-compat", names, weights)

    def extract(images: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return network(torch.from_numpy(images).permute(0, 3, 1, 2).contiguous())[0].numpy()

    return by_batch(extract, batch)


def by_batch(extract: Extract, batch: int) -> Extract:
    """Batch after batch."""

    def extract_all(images: np.ndarray) -> np.ndarray:
        starts = range(0, len(images), batch)
        return np.concatenate([extract(images[start : start + batch]) for start in starts])

    return extract_all


CONTENDERS: dict[str, Callable[[int, str], Extract]] = {
    "ours": ours,
    "predict": book_predict,
    "predict+onednn": book_predict,
    "tf.function": plain_function,
    "pytorch-fid": pytorch_fid,
    "torch-fidelity": torch_fidelity,
}


def declare_operators() -> object:
    """Declare two operators that a torchvision built for another device lacks; none is called.

    Returns:
      What must be kept as long as they are needed.
    """
    import torch

    library = torch.library.Library("torchvision", "FRAGMENT")
    for name in ("nms", "qnms"):
        try:
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        except RuntimeError:  # a whole torchvision has them
            break
    return library


def write_weights(path: str) -> None:
    """Random weights with sane activations in the published state dict's layout."""
    import pytorch_fid.inception as peer
    import torch

    torch.manual_seed(0)
    peer.load_state_dict_from_url = lambda *_, **__: None
    network = _unloaded_network(peer)
    for name, value in network.state_dict().items():
        if name.endswith("running_mean"):
            value.normal_(0, 0.1)
        elif name.endswith("running_var"):
            value.uniform_(0.5, 1.5)
        elif name.endswith("conv.weight"):
            value.normal_(0, (2 / value[0].numel()) ** 0.5)
    torch.save(network.state_dict(), path)


def _unloaded_network(peer: object) -> object:
    """The FID network as constructed, before weights are read into it."""
    import torch

    load = torch.nn.Module.load_state_dict
    torch.nn.Module.load_state_dict = lambda *_, **__: None  # type: ignore[method-assign]
    try:
        return peer.fid_inception_v3()  # type: ignore[attr-defined]
    finally:
        torch.nn.Module.load_state_dict = load  # type: ignore[method-assign]


def serve(extract: Extract, batch: int, side: int) -> None:
    """Answer requests until stdin closes."""
    grey = np.random.default_rng(0).integers(0, 256, (batch, side, side, 1)).astype(np.uint8)
    images = np.repeat(grey, 3, axis=-1)
    features = extract(images)
    _answer({"ready": True, "mean": float(np.mean(features)), "shape": list(features.shape)})
    for line in sys.stdin:
        many = np.tile(images, (-(-int(line) // batch), 1, 1, 1))
        wall, cpu = time.perf_counter(), time.process_time()
        extract(many)
        _answer({"seconds": time.perf_counter() - wall, "cpu": time.process_time() - cpu})


def _answer(values: dict[str, object]) -> None:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({**values, "peak_bytes": peak}), flush=True)


if __name__ == "__main__":
    name, batch_size, image_side, weights_path = sys.argv[1:]
    kept = declare_operators() if name in ("weights", "pytorch-fid", "torch-fidelity") else None
    if name == "weights":
        write_weights(weights_path)
    else:
        chosen = CONTENDERS[name](int(batch_size), weights_path)
        serve(chosen, int(batch_size), int(image_side))
