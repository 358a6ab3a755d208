"""A small run whose stored files are written by arithmetic that is exact on every CPU.

Inputs are multiples of powers of two from a counter-based generator, so that only the library's
own reductions and scores decide the numbers. ``python -m support.runs.golden_run`` (from the
``tests`` folder) writes ``tests/run/scoring/golden_scores.json`` anew.
"""

from __future__ import annotations

import json
import os
import platform
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vae_batch.metrics.images.diagnostics import sharpness
from vae_batch.metrics.images.reconstruction import (
    mean_absolute_error,
    mean_squared_error,
    peak_signal_to_noise_ratio,
)
from vae_batch.metrics.likelihood.elbo import bernoulli_nll, gaussian_kl
from vae_batch.models.autoencoder.description import Description
from vae_batch.plan import SCORING_VERSION, Unit, make_spec
from vae_batch.run.execute.worker import write_shard
from vae_batch.run.output.stores import RunStores
from vae_batch.run.planning.run_plan import RunPlan, find_jobs, make_plan
from vae_batch.run.reference.images import describe_references
from vae_batch.run.scoring.row import score_row
from vae_batch.run.scoring.stored import reduce_unit
from vae_batch.run.stages.pixel_statistics import picture_statistics
from vae_batch.storage import ScoreRow, is_activations

GOLDEN = Path(__file__).parents[2] / "run/scoring/golden_scores.json"

SETTINGS: dict[str, Any] = {
    "checkpoints": ["step-7.keras"],
    "reference": "digits",
    "reference_samples": 100,
    "training": "train",
    "training_samples": 60,
    "extractors": ["inception-random"],
    "samples": 96,
    "shard_size": 32,
    "batch_size": 16,
    "splits": 3,
    "seed": 5,
    "beta": 2.0,
    "iwae_draws": 32,
    "iwae_images": 40,
    "metrics": "all",
    "out": "out",
}

_CLASSES, _DIMENSIONS, _LATENTS, _SIDE = 10, 8, 3, 8

Arrays = dict[str, npt.NDArray[Any]]


def golden_plan() -> RunPlan:
    """The plan of the run, below the present working folder; its checkpoint is no model."""
    Path("step-7.keras").write_bytes(b"the bytes that fingerprints are of")
    spec = make_spec(SETTINGS)
    reference, training = describe_references(spec)
    return make_plan(spec, RunStores.of(spec), find_jobs(spec), reference, training)


def golden_row() -> ScoreRow:
    """The row of the run, from files that are written here."""
    plan = golden_plan()
    (row,) = plan.rows
    for number, unit in enumerate(row.units.values()):
        store = plan.stores.holding(unit)
        for shard in unit.shards():
            random = np.random.Philox(key=[number, shard.start])
            content = _content(unit, len(shard), random)
            write_shard(store, unit, shard, content, device="cpu", batch_size=16)
        if is_activations(unit):
            splits = plan.spec.splits if unit.kind == "generated" else 1
            assert reduce_unit(store, unit, splits) is None
    # Its probabilities are as good as those of weights that were trained.
    extractor = replace(row.extractor, inception_score_reason=None)
    scored = score_row(plan, replace(row, extractor=extractor))
    assert isinstance(scored, ScoreRow)
    return scored


def golden_values() -> dict[str, Any]:
    """What the golden file holds, computed in the present working folder."""
    row, plan = golden_row(), golden_plan()
    (planned,) = plan.rows
    return {
        "scoring_version": SCORING_VERSION,
        "made_with": f"NumPy {np.__version__} on {platform.machine()}",
        "fingerprints": {
            "run": plan.identity["fingerprint"],
            "row": planned.fingerprint,
            **{kind: unit.fingerprint for kind, unit in planned.units.items()},
        },
        "scores": {
            column: [score.value, score.standard_error] if score.reason is None else
            score.reason.text
            for column, score in row.scores.items()
        },
    }  # fmt: skip


def _content(unit: Unit, count: int, random: np.random.Philox) -> Arrays | bytes:
    def uniform(*shape: int) -> npt.NDArray[np.float32]:
        """Multiples of 2**-10 in -1..1, which float32 holds exactly."""
        words = random.random_raw(int(np.prod(shape))) >> np.uint64(53)
        return ((words.astype(np.float64) - 1024.0) / 1024.0).astype(np.float32).reshape(shape)

    def pixels(offset: float) -> npt.NDArray[np.uint8]:
        values = 128.0 + 96.0 * uniform(count, _SIDE, _SIDE, 1) + offset
        return values.astype(np.uint8)

    if unit.kind == "description":
        return _DESCRIPTION.to_json()
    if unit.kind == "gallery":
        return {"samples": pixels(0.0)}
    if unit.kind in ("pictures", "reference_pictures"):
        own = {"path_change": uniform(count).astype(np.float64) ** 2}
        return picture_statistics(pixels(8.0)) | (own if unit.kind == "pictures" else {})
    index = np.arange(count)
    if unit.kind == "losses":
        return {"index": index, **_losses(uniform, pixels(0.0), pixels(4.0))}
    if unit.kind == "importance":
        draws = uniform(count, SETTINGS["iwae_draws"]).astype(np.float64)
        nll = 40.0 + 8.0 * uniform(count, SETTINGS["iwae_draws"]).astype(np.float64)
        return {"index": index, "log_ratio": -20.0 + 4.0 * draws, "reconstruction_nll": nll}
    shift = np.float32(0.25 if unit.checkpoint is None else 0.0)
    features = uniform(count, _DIMENSIONS) * np.float32(2.0) + shift
    chosen = (uniform(count, 64) * 5.0 + 5.0).astype(np.int64)
    counts = np.stack([(chosen == label).sum(axis=1) for label in range(_CLASSES)], axis=1)
    return {
        "index": index,
        "features": features,
        "probabilities": (counts / 64.0).astype(np.float32),
    }


def _losses(uniform: Any, real: npt.NDArray[np.uint8], found: npt.NDArray[np.uint8]) -> Arrays:
    count = len(real)
    mean, logvar = uniform(count, _LATENTS), uniform(count, _LATENTS)
    images, decoded = (picture.astype(np.float64) / 256.0 for picture in (real, found))
    logits = 4.0 * uniform(count, _SIDE, _SIDE, 1)
    return {
        "mean": mean,
        "logvar": logvar,
        "kl": gaussian_kl(mean, logvar),
        "reconstruction_nll": bernoulli_nll(logits, images.astype(np.float32)),
        "reconstruction_nll_at_mean": bernoulli_nll(logits * 0.5, images.astype(np.float32)),
        "clipped_pixels": np.zeros(count, np.int64),
        "mse": mean_squared_error(decoded, images, 1.0),
        "mae": mean_absolute_error(decoded, images, 1.0),
        "psnr": peak_signal_to_noise_ratio(decoded, images, 1.0),
        "reconstruction_sharpness": sharpness(found),
    }


_DESCRIPTION = Description(
    format="keras",
    latent_shape=(_LATENTS,),
    image_shape=(_SIDE, _SIDE, 1),
    value_range="0..1",
    likelihood="bernoulli",
    output="logits",
    second_head="logvar",
    condition=None,
    input_fit=None,
)


def main() -> None:
    """Write the golden file."""
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        GOLDEN.write_text(json.dumps(golden_values(), indent=1) + "\n")
        os.chdir("/")


if __name__ == "__main__":
    main()
