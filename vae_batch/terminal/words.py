"""How far a run is, in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from vae_batch.plan.quantities import duration, file_size, plural
from vae_batch.run.progress.snapshot import WITHOUT_IMAGES, Part, Snapshot, faults_in_words

#: What kinds of work are called.
KINDS: Mapping[str, str] = {
    "images": "reference images",
    "reference": "reference activations",
    "reference_pictures": "reference pixel statistics",
    "description": "loading checkpoints",
    "losses": "losses",
    "importance": "importance weights",
    "gallery": "galleries",
    "pictures": "generated pixel statistics",
    "generated": "generated activations",
    "reconstructed": "reconstructed activations",
    "reductions": "moments",
    "scores": "scores",
}


def shards(part: Part) -> str:
    """Progress of a running checkpoint, such as ``7/9 shards, 1 retried``."""
    said = f"{part.done}/{part.total} shards"
    if part.retried:
        said += f", {part.retried} retried"
    return said if part.done < part.total else f"{said}, waiting for its score"


def checkpoints(snapshot: Snapshot) -> str:
    """Checkpoints by state; zero counts are omitted."""
    running = snapshot.checkpoints - snapshot.scored - snapshot.failed - snapshot.waiting
    counts = {"failed": snapshot.failed, "running": running, "waiting": snapshot.waiting}
    scored = f"{snapshot.scored} of {plural(snapshot.checkpoints, 'checkpoint')} scored"
    return ", ".join([scored, *(f"{count} {state}" for state, count in counts.items() if count)])


def pace(snapshot: Snapshot) -> str:
    """Images per second and time left, if known."""
    said = []
    if snapshot.images_per_second is not None:
        said.append(f"{rate(snapshot.images_per_second)} images/s")
    if snapshot.seconds_left is not None and snapshot.shards_done < snapshot.shards_total:
        said.append(f"about {duration(snapshot.seconds_left)} left")
    return ", ".join(said)


def rate(images_per_second: float) -> str:
    """Three significant digits; the next one is noise."""
    return f"{images_per_second:.0f}" if images_per_second >= 99.5 else f"{images_per_second:.3g}"


def workers(snapshot: Snapshot) -> str:
    """Busy workers and faults survived; empty if there is nothing to say."""
    said = []
    if snapshot.at_work is not None and snapshot.workers:
        said.append(f"{snapshot.at_work} of {plural(snapshot.workers, 'worker')} busy")
    return ", ".join([*said, *faults(snapshot)])


def faults(snapshot: Snapshot) -> list[str]:
    """Faults survived, as one sentence or none."""
    return [f"survived: {faults_in_words(snapshot.faults)}"] if snapshot.faults else []


def one_line(snapshot: Snapshot) -> str:
    """All of it in one line."""
    parts = (
        f"{snapshot.shards_done}/{snapshot.shards_total} shards",
        checkpoints(snapshot),
        pace(snapshot),
        workers(snapshot),
    )
    return ", ".join(part for part in parts if part)


def times(snapshot: Snapshot) -> Iterator[str]:
    """What a run computed, and its seconds by kind of work and by phase; two sentences or none."""
    if not snapshot.work:
        return
    images = sum(one.images for one in snapshot.work if one.kind not in WITHOUT_IMAGES)
    size = sum(one.size for one in snapshot.work)
    seconds: dict[str, float] = {}
    for one in snapshot.work:
        name = KINDS.get(one.kind, one.kind)
        seconds[name] = seconds.get(name, 0.0) + one.seconds
    longest = sorted(seconds.items(), key=lambda item: -item[1])
    spent = ", ".join(f"{name} {duration(spent)}" for name, spent in longest if spent >= 0.5)
    yield f"computed: {plural(images, 'image')}, {file_size(size)}" + (f"; {spent}" * bool(spent))
    phases = ", ".join(f"{name} {duration(spent)}" for name, spent in snapshot.phases.items())
    yield f"phases: {phases}"
