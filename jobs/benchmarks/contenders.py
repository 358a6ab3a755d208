"""Tools that the benchmarks compare, each in a process of its own; a script, not a module.

    python contenders.py extract NAME BATCH SIDE WEIGHTS
    python contenders.py state-dict ARRAYS.npz WEIGHTS.pth
    python contenders.py run MODULE ARGUMENT ...

``extract`` loads the network of NAME, then reads one number of images per line from stdin,
extracts that many grey images of SIDE x SIDE pixels, and answers with a JSON line: wall seconds,
CPU seconds, peak memory. ``state-dict`` writes arrays as ``torch.save`` writes a state dict.
``run`` runs a module as ``python -m`` does, with the arguments that follow it.

Every verb needs NumPy and the tool's own library only, so that it runs in the environment of
another tool as well as in ours.
"""

from __future__ import annotations

import json
import runpy
import sys
import time
from collections.abc import Callable

import numpy as np
from measuring import peak_memory

#: Maps uint8 NHWC images, a multiple of the batch, to features. Probabilities are computed in the
#: same pass where the tool can do so.
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
    """``keras.applications.InceptionV3`` and ``predict``, as the book does; features only.

    Images are resized with TensorFlow first. The book's two models (features, softmax) would take
    twice as long.
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
    """Extract batch after batch."""

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
        An object to keep as long as the operators are needed.
    """
    import torch

    library = torch.library.Library("torchvision", "FRAGMENT")
    for name in ("nms", "qnms"):
        try:
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        except RuntimeError:  # A complete torchvision has them.
            break
    return library


def run_module(name: str, *arguments: str) -> None:
    """Run a module of a tool's environment as ``python -m`` does."""
    try:
        import torchvision  # noqa: F401
    except RuntimeError:
        kept = declare_operators()  # noqa: F841
    sys.argv = [name, *arguments]
    runpy.run_module(name, run_name="__main__", alter_sys=True)


def write_state_dict(arrays_path: str, path: str) -> None:
    """Write a ``.npz`` of arrays by name as ``torch.save`` writes a network's state dict."""
    import torch

    with np.load(arrays_path) as arrays:
        state = {name: torch.from_numpy(np.ascontiguousarray(arrays[name])) for name in arrays}
    torch.save(state, path)


def serve(extract: Extract, batch: int, side: int) -> None:
    """Answer requests until stdin is closed."""
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
    print(json.dumps({**values, "peak_bytes": peak_memory()}), flush=True)


def extract_on_demand(name: str, batch: str, side: str, weights: str) -> None:
    """Load a contender and serve it."""
    kept = declare_operators() if name in ("pytorch-fid", "torch-fidelity") else None  # noqa: F841
    serve(CONTENDERS[name](int(batch), weights), int(batch), int(side))


if __name__ == "__main__":
    verb, *words = sys.argv[1:]
    verbs = {"extract": extract_on_demand, "state-dict": write_state_dict, "run": run_module}
    verbs[verb](*words)
