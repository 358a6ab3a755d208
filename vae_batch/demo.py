"""The demo: trains small VAEs on bundled digits and scores them; no network, no GPU."""

from __future__ import annotations

from pathlib import Path

from vae_batch.plan import EvaluationSpec, make_spec
from vae_batch.plan.quantities import plural
from vae_batch.run.execute.executor import Executor
from vae_batch.run.progress.events import EventSink, say

EPOCHS = (2, 8, 32, 128)
SAMPLES = 2000
_REFERENCE = "digits"
_SEED = 0
_BATCH = 32  # small: with fewer steps per epoch the posterior collapses before the decoder learns


def demo_spec(
    out: str, extractors: list[str], workers: int | None, samples: int | None
) -> EvaluationSpec:
    """Spec of the demo.

    Args:
        out: Folder of models and results.
        extractors: Names; if empty, the digit classifier that the demo trains.
        workers: As in the spec.
        samples: Images generated per checkpoint; None for :data:`SAMPLES`.

    Raises:
        InputError: A value cannot be used.
    """
    return make_spec(
        {
            "checkpoints": [f"{out}/checkpoints"],
            "reference": _REFERENCE,
            "extractors": extractors or [classifier_path(out)],
            "samples": samples or SAMPLES,
            "out": f"{out}/results",
            "workers": workers,
        },
        source="the demo",
    )


def train_demo(executor: Executor, out: str, emit: EventSink) -> None:
    """Train the VAEs and the classifier of the demo, unless they exist already."""
    say(emit, f"training VAEs for {', '.join(map(str, EPOCHS))} epochs on bundled digits")
    tasks = [executor.submit(_train_vae, out), executor.submit(_train_classifier, out)]
    for task in tasks:
        say(emit, task.result())


def classifier_path(out: str) -> str:
    """Path of the demo's digit classifier."""
    return f"{out}/digits-classifier.keras"


def _train_vae(out: str) -> str:
    from vae_batch.models.references.reference import open_reference
    from vae_batch.models.training.vae import train_vae

    folder = Path(out) / "checkpoints"
    if len(list(folder.glob("step-*"))) == len(EPOCHS):
        return f"{folder}: trained before"
    images = open_reference(_REFERENCE, "train")
    pixels = images.read(0, len(images))
    paths = train_vae(pixels, str(folder), epochs=EPOCHS, batch_size=_BATCH, seed=_SEED)
    return f"{folder}: {plural(len(paths), 'checkpoint')} trained on {len(images):,} images"


def _train_classifier(out: str) -> str:
    from vae_batch.models.references.reference import open_reference
    from vae_batch.models.training.classifier import train_classifier

    path = classifier_path(out)
    if Path(path).exists():
        return f"{path}: trained before"
    images = open_reference(_REFERENCE, "train")
    labels = images.labels
    assert labels is not None  # the bundled digits have them
    accuracy = train_classifier(images.read(0, len(images)), labels, path, seed=_SEED)
    return f"{path}: digit classifier, held-out accuracy {accuracy:.3f}"
