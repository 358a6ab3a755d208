"""The contenders of ``end_to_end.py``: each is started as its user would start it, and timed.

Ours is one command for any number of checkpoints, so each number is a run of its own. The others
process one checkpoint after another, so one run gives the time of every number of checkpoints.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import re
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from measuring import finish, timed_lines, untouched_environment
from random_inception import KERAS_FILE, STATE_DICT_ARRAYS

from vae_batch.storage import Store, read_score_rows

Scores = dict[str, float]

#: What is compared, where a contender computes it.
COMPARED = ("fid", "inception_score", "reconstruction_nll", "kl")

_HERE = Path(__file__).parent
_CONTENDERS = str(_HERE / "contenders.py")
_GROUPS = "losses,fid,inception_score"
_STATE_DICT = "inception.pth"

#: Where pytorch-fid looks for its weights before it downloads them.
_PYTORCH_FID_WEIGHTS = "hub/checkpoints/pt_inception-2015-12-05-6726825d.pth"


@dataclass(frozen=True)
class Task:
    """What all contenders score.

    Attributes:
        checkpoints: Folders with ``encoder.keras`` and ``decoder.keras``.
        reference: Real images, as for `vae-batch score`.
        samples: Generated images per checkpoint.
        references: Number of real images, from the first.
        splits: Splits of the Inception Score.
        seed: Seed of all draws.
        folder: Holds the inputs that are made here, and outputs.
        keras_weights: File for ``keras.applications.InceptionV3``.
        workers: Workers of ours; None leaves the choice to it.
        peers_python: Interpreter that has pytorch-fid and torch-fidelity.
    """

    checkpoints: tuple[Path, ...]
    reference: str
    samples: int
    references: int
    splits: int
    seed: int
    folder: Path
    keras_weights: Path
    workers: int | None = None
    peers_python: str | None = None

    @property
    def state_dict(self) -> Path:
        """Weights of the 2015 network."""
        return self.folder / _STATE_DICT

    @property
    def reference_images(self) -> Path:
        """The real images as (n, H, W, C) uint8."""
        return self.folder / "reference.npy"

    @property
    def reference_pngs(self) -> Path:
        """The real images as a folder."""
        return self.folder / "reference"

    @property
    def generated_pngs(self) -> list[Path]:
        """Generated images of each checkpoint as a folder."""
        return [self.folder / f"generated-{place}" for place in range(len(self.checkpoints))]

    def write(self, count: int) -> Path:
        """The task of the first ``count`` checkpoints, for ``book_procedure.py``."""
        path = self.folder / f"task-{count}.json"
        content = {
            "checkpoints": [str(path) for path in self.checkpoints[:count]],
            "reference_images": str(self.reference_images),
            "samples": self.samples,
            "splits": self.splits,
            "seed": self.seed,
            "keras_weights": str(self.keras_weights),
            "reference_pngs": str(self.reference_pngs),
            "generated_pngs": [str(path) for path in self.generated_pngs[:count]],
        }
        path.write_text(json.dumps(content))
        return path


@dataclass(frozen=True)
class Reached:
    """The scores of a contender, and its time.

    Attributes:
        checkpoints: Number of checkpoints that were scored.
        seconds: Seconds since its start.
        scores: Scores of each checkpoint.
        drawing_seconds: Seconds of these that ours took for figures and page.
    """

    checkpoints: int
    seconds: float
    scores: tuple[Scores, ...]
    drawing_seconds: float | None = None


#: Scores the first few checkpoints, for each of some numbers of them.
Run = Callable[[Task, Sequence[int]], list[Reached]]


def make_inputs(task: Task, with_peers: bool) -> None:
    """Make the weights that were not given, and the state dict that the other tools read."""
    if not with_peers and task.keras_weights.exists():
        return
    finish([sys.executable, str(_HERE / "random_inception.py"), str(task.folder)])
    if with_peers and task.peers_python:
        arrays = str(task.folder / STATE_DICT_ARRAYS)
        command = [task.peers_python, _CONTENDERS, "state-dict", arrays, str(task.state_dict)]
        finish(command)
        cached = task.folder / _PYTORCH_FID_WEIGHTS
        cached.parent.mkdir(parents=True)
        cached.symlink_to(task.state_dict)


def made_weights(folder: Path) -> Path:
    """Where ``make_inputs`` writes weights for Keras."""
    return folder / KERAS_FILE


def ours(
    task: Task, counts: Sequence[int], extractor: str, weights: Path, *, known: bool = False
) -> list[Reached]:
    """``vae-batch score``, from its start to its end: table, figures and page are written.

    Args:
        task: What is scored.
        counts: Numbers of checkpoints.
        extractor: Name of an Inception extractor.
        weights: Its weights.
        known: Whether to reuse the reference's activations of an earlier run.
    """
    if not known:
        return [_ours(task, count, extractor, weights) for count in counts]
    cache = task.folder / f"known-{extractor}"
    if not cache.exists():
        _ours(task, 1, extractor, weights, cache)
    return [_ours(task, count, extractor, weights, cache) for count in counts]


def _ours(
    task: Task, count: int, extractor: str, weights: Path, cache: Path | None = None
) -> Reached:
    checkpoints = task.checkpoints[:count]
    with tempfile.TemporaryDirectory(dir=task.folder) as out:
        words = [sys.executable, "-m", "vae_batch.cli", "score", *map(str, checkpoints)]
        words += ["--reference", task.reference, "--reference-samples", str(task.references)]
        words += ["--samples", str(task.samples), "--splits", str(task.splits)]
        words += ["--seed", str(task.seed), "--metrics", _GROUPS, "--extractor", extractor]
        words += ["--weights", str(weights), "--allow-unverified-weights", "--out", out]
        if cache is not None:
            words += ["--reference-cache", str(cache)]
        if task.workers is not None:
            words += ["--workers", str(task.workers)]
        drawing = None
        for seconds, line in timed_lines(words, untouched_environment()):
            if line.startswith("drawing"):
                drawing = seconds
        rows = {row.checkpoint: row for row in read_score_rows(Store.open(out))}
    found = [rows[path.as_posix()] for path in checkpoints]
    scores = tuple({name: row.value(name) for name in COMPARED} for row in found)
    return Reached(count, seconds, scores, None if drawing is None else seconds - drawing)


def book(task: Task, counts: Sequence[int]) -> list[Reached]:
    """``book_procedure.py``; TensorFlow chooses its kernels itself."""
    return _plain_keras(task, counts, "score")


def png_export(task: Task, counts: Sequence[int]) -> list[Reached]:
    """The images that other tools read; their own times do not contain it."""
    return _plain_keras(task, counts, "export")


def _plain_keras(task: Task, counts: Sequence[int], verb: str) -> list[Reached]:
    script = str(_HERE / "book_procedure.py")
    command = [sys.executable, script, verb, str(task.write(max(counts)))]
    lines = timed_lines(command, untouched_environment())
    answers = [(seconds, json.loads(line)) for seconds, line in lines if line.startswith("{")]
    return _after(counts, answers)


def pytorch_fid(task: Task, counts: Sequence[int]) -> list[Reached]:
    """The reference's statistics once with ``--save-stats``, then one command per checkpoint."""
    with tempfile.TemporaryDirectory(dir=task.folder) as folder:
        real = f"{folder}/reference.npz"
        words = ["pytorch_fid", "--device", "cpu"]
        so_far, _ = _peer(task, [*words, "--save-stats", str(task.reference_pngs), real])
        answers = []
        for generated in task.generated_pngs[: max(counts)]:
            seconds, text = _peer(task, [*words, str(generated), real])
            so_far += seconds
            fid = re.search(r"FID:\s+(\S+)", text)
            if fid is None:
                raise RuntimeError(f"pytorch-fid printed no FID:\n{text}")
            answers.append((so_far, {"fid": float(fid[1])}))
    return _after(counts, answers)


def torch_fidelity(task: Task, counts: Sequence[int]) -> list[Reached]:
    """One command per checkpoint, FID and Inception Score; the reference is cached."""
    with tempfile.TemporaryDirectory(dir=task.folder) as cache:
        words = ["torch_fidelity.fidelity", "--isc", "--fid", "--json", "--cpu", "--silent"]
        words += ["--feature-extractor-weights-path", str(task.state_dict), "--cache-root", cache]
        words += ["--input2", str(task.reference_pngs), "--input2-cache-name", "reference"]
        words += ["--isc-splits", str(task.splits), "--no-samples-shuffle"]
        so_far, answers = 0.0, []
        for generated in task.generated_pngs[: max(counts)]:
            seconds, text = _peer(task, [*words, "--input1", str(generated)])
            so_far += seconds
            found = json.loads(text[text.index("{") : text.rindex("}") + 1])
            names = {"fid": "frechet_inception_distance", "inception_score": "inception_score_mean"}
            answers.append((so_far, {name: found[theirs] for name, theirs in names.items()}))
    return _after(counts, answers)


def _peer(task: Task, words: Sequence[str]) -> tuple[float, str]:
    """Seconds and output of a peer's command."""
    command = [str(task.peers_python), _CONTENDERS, "run", *words]
    lines = list(timed_lines(command, untouched_environment(TORCH_HOME=str(task.folder))))
    return lines[-1][0], "\n".join(line for _, line in lines)


def _after(counts: Sequence[int], answers: Sequence[tuple[float, Scores]]) -> list[Reached]:
    """Return what was reached after each number of checkpoints.

    Raises:
        RuntimeError: There are fewer answers than checkpoints.
    """
    if len(answers) < max(counts):
        raise RuntimeError(f"{max(counts)} checkpoints but {len(answers)} answers")
    scores = [found for _, found in answers]
    return [Reached(count, answers[count - 1][0], tuple(scores[:count])) for count in counts]


def our_fid_as_pytorch_fid(task: Task) -> float:
    """Compute our FID of the first checkpoint's PNG files under pytorch-fid's resize; not timed.

    ``inception-2015`` has the resize of the literature, as torch-fidelity does.
    """
    folders = [task.generated_pngs[0], task.reference_pngs]
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_fid_of_folders, (folders, task.state_dict))


def _fid_of_folders(folders: Sequence[Path], weights: Path) -> float:
    from vae_batch.metrics import frechet_distance
    from vae_batch.models.batching import map_batches
    from vae_batch.models.extractors.inception.extractor import (
        InceptionExtractor,
        identify_inception,
    )
    from vae_batch.models.image_range import to_three_channels
    from vae_batch.models.references.reference import open_reference
    from vae_batch.run.execute.worker_environment import drop_log_lines_of_tensorflow

    os.environ |= untouched_environment(TF_ENABLE_ONEDNN_OPTS="1")
    drop_log_lines_of_tensorflow()
    identity = identify_inception(
        *("inception-2015", [str(weights)]),
        allow_unverified=True,
        resize="tf2-bilinear",
        normalisation="x/127.5-1",
    )
    extractor = InceptionExtractor(identity, batch_size=32)
    features = []
    for folder in folders:
        images = open_reference(str(folder), "all", None)
        pixels = to_three_channels(images.read(0, len(images)))
        features.append(map_batches(extractor.extract, 32, pixels)[0])
    return float(frechet_distance(*(np.asarray(rows) for rows in features)))
