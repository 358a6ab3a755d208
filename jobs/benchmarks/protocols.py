"""Numbers of named protocols beside those of the tools themselves, on equal weights and images.

    python jobs/benchmarks/protocols.py cifar10.npz --n 500
    python jobs/benchmarks/protocols.py FAKE/ REAL/

The first n images of an ``.npz`` file (``images`` or ``x_test``) are scored against the next n, or
a folder of PNG files against another. ``--weights`` is a state dict of the 2015 network; without
it random ones are made. pytorch-fid, clean-fid and torch-fidelity read the folders in an
environment of their own: the Python that VAE_BATCH_PEERS_PYTHON names has torch, torchvision and
these three. The tools that are no packages compute from our features, with the functions of their
sources: VAE_BATCH_PEERS_SOURCES names a folder with clones of guided-diffusion, TTUR and dgm-eval.
What is not there is left out.

Draws that a tool does not seed are seeded here as the protocols have them, by ``np.random.seed``.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

PEERS = ("pytorch-fid", "clean-fid", "torch-fidelity")
SOURCES = {"adm": "guided-diffusion", "ttur": "TTUR", "dgm-eval": "dgm-eval"}
SEED = 2020

Numbers = dict[str, float]


# --- in the environment of the peers ---------------------------------------------------------


def peer_numbers(tool: str, fake: str, real: str, weights: str) -> Numbers:
    """What an installed tool computes of two folders."""
    from contenders import declare_operators

    kept = declare_operators()  # noqa: F841
    functions = {"pytorch-fid": _pytorch_fid, "clean-fid": _clean_fid}
    functions["torch-fidelity"] = _torch_fidelity
    return functions[tool](fake, real, weights)


def _pytorch_network(weights: str) -> Any:  # noqa: ANN401
    import pytorch_fid.inception as peer
    import torch

    state = torch.load(weights, weights_only=True)
    peer.load_state_dict_from_url = lambda *_, **__: state
    return peer


def _pytorch_fid(fake: str, real: str, weights: str) -> Numbers:
    _pytorch_network(weights)
    from pytorch_fid.fid_score import calculate_fid_given_paths

    return {"fid": calculate_fid_given_paths([fake, real], 50, "cpu", 2048, num_workers=0)}


def _clean_fid(fake: str, real: str, weights: str) -> Numbers:
    """Its own resize, FID and KID; its TorchScript file is replaced by the same network."""
    import torch
    from cleanfid import fid

    peer = _pytorch_network(weights)
    network = peer.InceptionV3([3], resize_input=False, normalize_input=False).eval()

    def features(pixels: torch.Tensor) -> torch.Tensor:
        return network((pixels - 128) / 128)[0][:, :, 0, 0]

    def build(*_: object, **__: object) -> object:
        return features

    fid.build_feature_extractor = build
    options = {"device": torch.device("cpu"), "num_workers": 0, "verbose": False}
    distance = fid.compute_fid(fake, real, **options)
    np.random.seed(SEED)
    return {"fid": distance, "kid_subsets": fid.compute_kid(fake, real, **options)}


def _torch_fidelity(fake: str, real: str, weights: str) -> Numbers:
    from torch_fidelity import calculate_metrics

    few = min(len(list(Path(folder).iterdir())) for folder in (fake, real)) < 1000
    found = calculate_metrics(
        **{"input1": fake, "input2": real, "cuda": False, "verbose": False, "cache": False},
        **{"isc": True, "fid": True, "kid": not few, "prc": True},
        feature_extractor="inception-v3-compat",
        feature_extractor_weights_path=weights,
    )
    names = {
        "fid": "frechet_inception_distance",
        "inception_score": "inception_score_mean",
        "inception_score_std": "inception_score_std",
        "kid_subsets": "kernel_inception_distance_mean",
        "kid_subsets_std": "kernel_inception_distance_std",
        "precision": "precision",
        "recall": "recall",
    }
    return {column: found[name] for column, name in names.items() if name in found}


# --- functions of sources, on our features ------------------------------------------------------


def source_numbers(tool: str, folder: str, arrays: Mapping[str, np.ndarray]) -> Numbers:
    """What the functions of a tool's sources compute of features and probabilities."""
    if importlib.util.find_spec("torch") is None:  # imported, not used by these functions
        torch = types.ModuleType("torch")
        torch.Tensor = type("Tensor", (), {})  # type: ignore[attr-defined]
        sys.modules["torch"] = torch
    if importlib.util.find_spec("tqdm") is None:
        bar, auto = types.ModuleType("tqdm"), types.ModuleType("tqdm.auto")
        bar.tqdm = auto.tqdm = _Bar  # type: ignore[attr-defined]
        sys.modules |= {"tqdm": bar, "tqdm.auto": auto}
    functions = {"adm": _adm, "ttur": _ttur, "dgm-eval": _dgm_eval}
    return functions[tool](Path(folder), arrays)


class _Bar:
    """As much of a progress bar as the sources use."""

    def __init__(self, items: Any = (), **_: object) -> None:  # noqa: ANN401
        self.items = items

    def __iter__(self) -> Any:  # noqa: ANN401
        return iter(self.items)

    def __enter__(self) -> _Bar:
        return self

    def __exit__(self, *_: object) -> None: ...

    def set_postfix(self, *_: object) -> None: ...


def _module(path: Path) -> Any:  # noqa: ANN401
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise SystemExit(f"{path} cannot be imported")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _adm(folder: Path, arrays: Mapping[str, np.ndarray]) -> Numbers:
    import tensorflow.compat.v1 as tf

    module = _module(folder / "evaluations" / "evaluator.py")
    fake, real = arrays["fake"], arrays["real"]
    evaluator = object.__new__(module.Evaluator)  # without its download
    given = iter(np.array_split(arrays["probabilities"], range(512, len(fake), 512)))
    session = types.SimpleNamespace(run=lambda *_, **__: next(given))
    evaluator.sess, evaluator.softmax_batch_size = session, 512
    evaluator.softmax = evaluator.softmax_input = "softmax"
    score = evaluator.compute_inception_score(fake)
    statistics = [evaluator.compute_statistics(rows) for rows in (fake, real)]
    evaluator.manifold_estimator = module.ManifoldEstimator(tf.Session(graph=tf.Graph()))
    precision, recall = evaluator.compute_prec_recall(real, fake)
    distance = statistics[0].frechet_distance(statistics[1])
    return {
        **{"fid": float(distance), "inception_score": score},
        **{"precision": precision, "recall": recall},
    }


def _ttur(folder: Path, arrays: Mapping[str, np.ndarray]) -> Numbers:
    module = _module(folder / "fid.py")
    module._get_inception_layer = lambda _: None
    moments: list[np.ndarray] = []
    for name in ("fake", "real"):
        rows = arrays[name]
        run = types.SimpleNamespace(run=lambda _, given, r=rows: r[next(iter(given.values()))])
        moments += module.calculate_activation_statistics(np.arange(len(rows)), run)
    return {"fid": float(module.calculate_frechet_distance(*moments))}


def _dgm_eval(folder: Path, arrays: Mapping[str, np.ndarray]) -> Numbers:
    parts = ("fd", "inception_score", "mmd", "prdc")
    fd, scores, mmd, prdc = (_module(folder / "dgm_eval" / "metrics" / f"{p}.py") for p in parts)
    fake, real, preds = (arrays[name].astype(float) for name in ("fake", "real", "probabilities"))
    mean, std = scores.calculate_score(preds, N=len(preds))
    np.random.seed(SEED)
    kernel = mmd.compute_mmd(real, fake)
    found = {"fid": fd.compute_FD_with_reps(real, fake)}
    found |= {"inception_score": mean, "inception_score_std": std}
    found |= {"kid_subsets": kernel.mean(), "kid_subsets_std": kernel.std()}
    count = min(len(fake), len(real))
    found |= prdc.compute_prdc(real[:count], fake[:count], nearest_k=5)
    return {name: float(value) for name, value in found.items()}


# --- ours ---------------------------------------------------------------------------------------


def _two_folders(source: str, count: int, temporary: str) -> list[str]:
    """PNG files of the first images of an ``.npz`` file, and of those that follow."""
    from PIL import Image

    with np.load(source) as arrays:
        images = arrays["images" if "images" in arrays else "x_test"]
    folders = [Path(temporary, name) for name in ("fake", "real")]
    for folder, start in zip(folders, (0, count), strict=True):
        folder.mkdir()
        for i, image in enumerate(images[start : start + count]):
            Image.fromarray(image).convert("RGB").save(folder / f"{i:05d}.png")
    return [str(folder) for folder in folders]


def _random_weights(python: str, temporary: str) -> str:
    from random_inception import STATE_DICT_ARRAYS, state_dict_arrays

    arrays, weights = Path(temporary, STATE_DICT_ARRAYS), Path(temporary, "random.pth")
    np.savez(arrays, **state_dict_arrays())  # type: ignore[arg-type]
    script = str(Path(__file__).with_name("contenders.py"))
    subprocess.run([python, script, "state-dict", str(arrays), str(weights)], check=True)
    return str(weights)


def main() -> None:
    """Score, ask the tools, print a table."""
    from vae_batch.evaluation import evaluate
    from vae_batch.metrics.samples.protocols import PROTOCOLS
    from vae_batch.plan import make_spec
    from vae_batch.run.output.run_record import open_record, scored_rows
    from vae_batch.run.scoring.samples import reference_features
    from vae_batch.terminal.progress import TerminalProgress

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sources", nargs="+", help="One .npz file, or two folders of PNG files.")
    parser.add_argument("--n", type=int, default=500, help="Images of either set of a file.")
    parser.add_argument("--weights", help="State dict (default: random; needs the peers' Python).")
    parser.add_argument("--out", help="Output folder of our run (default: a temporary one).")
    given = parser.parse_args()
    python, sources = (os.environ.get(f"VAE_BATCH_PEERS_{n}") for n in ("PYTHON", "SOURCES"))
    with tempfile.TemporaryDirectory() as temporary:
        out = given.out or f"{temporary}/out"
        folders = given.sources
        if len(folders) == 1:
            folders = _two_folders(folders[0], given.n, temporary)
        fake, real = folders
        weights = given.weights or _random_weights(python or "", temporary)
        settings = {
            **{"checkpoints": [fake], "reference": real, "out": out, "workers": 0},
            **{"protocols": list(PROTOCOLS), "weights": [weights]},
            **{"allow_unverified_weights": True, "metrics": "fid,inception_score,kid,precision"},
        }
        with TerminalProgress() as progress:
            evaluate(make_spec(settings), progress)
        rows = {row.row.conditions.tool: row for row in scored_rows(out, open_record(out))}
        print("| protocol | number | tool | ours | relative difference |\n|---|---|--:|--:|--:|")
        for tool in PROTOCOLS:
            if tool in PEERS and python:
                command = [python, __file__, "peer", tool, fake, real, weights]
            elif tool in SOURCES and sources:
                parts = rows[tool].parts
                arrays = parts.columns("generated")
                theirs = reference_features(parts.stores.reference, parts.units["reference"])
                file = f"{temporary}/{tool}.npz"
                both = {"fake": arrays["features"], "real": theirs}
                np.savez(file, probabilities=arrays["probabilities"], **both)
                command = [sys.executable, __file__, "source", tool]
                command += [f"{sources}/{SOURCES[tool]}", file]
            else:
                continue
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            _print(tool, json.loads(done.stdout.splitlines()[-1]), rows[tool].row)


def _print(tool: str, numbers: Numbers, row: Any) -> None:  # noqa: ANN401
    for column, value in numbers.items():
        ours = row.value(column)
        if ours is None:
            reason = row.score(column).reason
            shown = reason.text if reason else "null"
            print(f"| {tool} | {column} | {value:.10g} | {shown} | |", flush=True)
            continue
        difference = abs(ours - value) / abs(value) if value else abs(ours)
        print(f"| {tool} | {column} | {value:.10g} | {ours:.10g} | {difference:.1e} |", flush=True)


if __name__ == "__main__":
    verb, *rest = sys.argv[1:] or ["--help"]
    if verb == "peer":
        print(json.dumps({n: float(v) for n, v in peer_numbers(*rest).items()}))
    elif verb == "source":
        with np.load(rest[2]) as held:
            print(json.dumps(source_numbers(rest[0], rest[1], dict(held))))
    else:
        main()
