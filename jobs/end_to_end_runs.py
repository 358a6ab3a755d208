"""The contenders of ``benchmark_end_to_end.py``: each is started as its user would, and timed.

Ours is one command for any number of checkpoints, so each number is a run of its own. The others
take one checkpoint after another, so what they had after the first few is also what a run of those
alone gives; one run tells the time of every number.
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

_JOBS = Path(__file__).parent
_GROUPS = "losses,fid,inception_score"
_STATE_DICT = "inception.pth"

#: Where pytorch-fid looks for its weights before it downloads them.
_PYTORCH_FID_WEIGHTS = "hub/checkpoints/pt_inception-2015-12-05-6726825d.pth"


@dataclass(frozen=True)
class Task:
    """What all contenders score.

    Attributes:
      checkpoints: Folders with ``encoder.keras`` and ``decoder.keras``.
      reference: Real images as our command takes them.
      samples: Generated images a checkpoint.
      references: Real images, from the first.
      splits: Of the Inception Score.
      seed: Of all draws.
      folder: Of inputs that are made here, and of outputs.
      keras_weights: File for ``keras.applications.InceptionV3``.
      workers: Of ours; None leaves the choice to it.
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
    """What a contender had, and when.

    Attributes:
      checkpoints: That were scored.
      seconds: Since its start.
      scores: Of each checkpoint.
      drawing_seconds: Of these, what ours took for figures and page, to its end.
    """

    checkpoints: int
    seconds: float
    scores: tuple[Scores, ...]
    drawing_seconds: float | None = None


#: Scores the first few checkpoints, for each of some numbers of them.
Run = Callable[[Task, Sequence[int]], list[Reached]]


def make_inputs(task: Task, with_peers: bool) -> None:
    """Weights that were not given; for peers the state dict that their tools read."""
    if not with_peers and task.keras_weights.exists():
        return
    command = [sys.executable, str(_JOBS / "random_inception.py"), str(task.folder)]
    finish(command)
    if with_peers and task.peers_python:
        arrays = str(task.folder / STATE_DICT_ARRAYS)
        command = [task.peers_python, str(_JOBS / "peer_commands.py"), "weights", arrays]
        finish([*command, str(task.state_dict)])
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
      extractor: One of Inception's.
      weights: For it.
      known: Whether the reference's activations are those of an earlier run.
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
        rows = {row["checkpoint"]: row for row in read_score_rows(Store.open(out))}
    found = [rows[path.as_posix()] for path in checkpoints]
    scores = tuple({name: row[name] for name in COMPARED} for row in found)
    return Reached(count, seconds, scores, None if drawing is None else seconds - drawing)


def book(task: Task, counts: Sequence[int], onednn: str | None = None) -> list[Reached]:
    """``book_procedure.py``; TensorFlow chooses its kernels itself unless ``onednn`` is 0 or 1."""
    changes = {} if onednn is None else {"TF_ENABLE_ONEDNN_OPTS": onednn}
    return _plain_keras(task, counts, "score", untouched_environment(**changes))


def png_export(task: Task, counts: Sequence[int]) -> list[Reached]:
    """What a tool that takes folders needs beforehand; peers' own times are without it."""
    return _plain_keras(task, counts, "export", untouched_environment())


def _plain_keras(
    task: Task, counts: Sequence[int], verb: str, environment: dict[str, str]
) -> list[Reached]:
    script = str(_JOBS / "book_procedure.py")
    command = [sys.executable, script, verb, str(task.write(max(counts)))]
    lines = timed_lines(command, environment)
    answers = [(seconds, json.loads(line)) for seconds, line in lines if line.startswith("{")]
    return _after(counts, answers)


def pytorch_fid(task: Task, counts: Sequence[int]) -> list[Reached]:
    """The reference's statistics once with ``--save-stats``, then a command a checkpoint."""
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
    """A command a checkpoint, FID and Inception Score; it keeps the reference's activations."""
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
    command = [str(task.peers_python), str(_JOBS / "peer_commands.py"), *words]
    lines = list(timed_lines(command, untouched_environment(TORCH_HOME=str(task.folder))))
    return lines[-1][0], "\n".join(line for _, line in lines)


def _after(counts: Sequence[int], answers: Sequence[tuple[float, Scores]]) -> list[Reached]:
    """What there was after each number of checkpoints, from times and scores of one after another.

    Raises:
      RuntimeError: There are fewer answers than checkpoints.
    """
    if len(answers) < max(counts):
        raise RuntimeError(f"{max(counts)} checkpoints but {len(answers)} answers")
    scores = [found for _, found in answers]
    return [Reached(count, answers[count - 1][0], tuple(scores[:count])) for count in counts]


def our_fid_as_pytorch_fid(task: Task) -> float:
    """Our FID of the first checkpoint's PNG files under pytorch-fid's resize and range; not timed.

    ``inception-2015`` stands for the literature's resize, which torch-fidelity has, too.
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
    from vae_batch.models.quiet_import import import_tensorflow
    from vae_batch.models.references.reference import open_reference

    os.environ |= untouched_environment(TF_ENABLE_ONEDNN_OPTS="1")
    import_tensorflow()
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
