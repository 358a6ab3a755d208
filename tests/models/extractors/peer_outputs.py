"""Runs another tool's own Inception in the environment of the peers; a script, not a test.

    python peer_outputs.py {pytorch-fid,torch-fidelity} WEIGHTS.pth IMAGES.npy OUT.npz

Writes ``features`` (n, 2048) and ``probabilities`` (n, 1008), and where there are two halves of
at least 2 images, ``fid`` between them and ``is`` of all (10 splits, unshuffled), each as the
tool itself computes it. pytorch-fid has no classifier output: the weights' own layer is applied
to its features, as its network would, without bias.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

BATCH = 16


def _allow_torchvision_without_operators() -> None:
    """Declare two operators that a torchvision built for another device lacks; none is called."""
    library = torch.library.Library("torchvision", "FRAGMENT")
    for name in ("nms", "qnms"):
        try:
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        except RuntimeError:
            return
    _KEPT.append(library)


_KEPT: list[object] = []


def pytorch_fid(weights: str, images: np.ndarray) -> dict[str, np.ndarray]:
    """Its own network class and resize; images become floats in [0, 1] as by ToTensor."""
    import pytorch_fid.inception as peer
    from pytorch_fid.fid_score import calculate_frechet_distance

    state = torch.load(weights, weights_only=True)
    peer.load_state_dict_from_url = lambda *_, **__: state
    network = peer.InceptionV3([peer.InceptionV3.BLOCK_INDEX_BY_DIM[2048]]).eval()
    features = []
    with torch.no_grad():
        for start in range(0, len(images), BATCH):
            batch = torch.from_numpy(images[start : start + BATCH]).permute(0, 3, 1, 2)
            features.append(network(batch.float() / 255)[0][:, :, 0, 0].numpy())
    pooled = np.concatenate(features)
    logits = torch.from_numpy(pooled) @ state["fc.weight"].T

    def score() -> float:
        halves = np.array_split(pooled, 2)
        moments = [m for half in halves for m in (half.mean(axis=0), np.cov(half, rowvar=False))]
        return calculate_frechet_distance(*moments)

    fid = _unless_few(images, score)
    return {"features": pooled, "probabilities": logits.softmax(dim=1).numpy(), "fid": fid}


def torch_fidelity(weights: str, images: np.ndarray) -> dict[str, np.ndarray]:
    """Its own extractor, FID and Inception Score."""
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
    from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric
    from torch_fidelity.metric_isc import KEY_METRIC_ISC_MEAN, isc_features_to_metric

    names = ["2048", "logits_unbiased"]
    network = FeatureExtractorInceptionV3("inception-v3-compat", names, weights)
    outputs = []
    with torch.no_grad():
        for start in range(0, len(images), BATCH):
            batch = torch.from_numpy(images[start : start + BATCH]).permute(0, 3, 1, 2)
            outputs.append([output.numpy() for output in network(batch)])
    features, logits = (np.concatenate(column) for column in zip(*outputs, strict=True))
    halves = [torch.from_numpy(half) for half in np.array_split(features, 2)]

    def fid() -> float:
        moments = [fid_features_to_statistics(half) for half in halves]
        return fid_statistics_to_metric(*moments, verbose=False)["frechet_inception_distance"]

    splits = min(10, len(logits))
    score = isc_features_to_metric(torch.from_numpy(logits), splits=splits, shuffle=False)
    return {
        "features": features,
        "probabilities": torch.from_numpy(logits).softmax(dim=1).numpy(),
        "fid": _unless_few(images, fid),
        "is": np.array(score[KEY_METRIC_ISC_MEAN]),
    }


def _unless_few(images: np.ndarray, score: Callable[[], float]) -> np.ndarray:
    return np.array(score() if len(images) >= 32 else np.nan)


if __name__ == "__main__":
    tool, weights_path, images_path, out_path = sys.argv[1:]
    _allow_torchvision_without_operators()
    run = {"pytorch-fid": pytorch_fid, "torch-fidelity": torch_fidelity}[tool]
    np.savez(Path(out_path), **run(weights_path, np.load(images_path)))
