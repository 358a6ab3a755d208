"""How far a run is, in words; plain characters only, since logs and mails may show no others."""

from __future__ import annotations

from collections.abc import Iterator

from vae_batch.run.progress.activity import Activity, faults_in_words
from vae_batch.run.progress.counters import Part, Standing

_MINUTE, _HOUR, _DAY = 60, 3600, 86_400


def duration(seconds: float) -> str:
    """Such as ``45 s``, ``3 min 20 s``, ``25 min``, ``2 h 05 min`` or ``3 d 4 h``."""
    whole = max(0, round(seconds))
    if whole < _MINUTE:
        return f"{whole} s"
    if whole < 10 * _MINUTE:
        return f"{whole // _MINUTE} min {whole % _MINUTE:02d} s"
    if whole < _HOUR:
        return f"{whole // _MINUTE} min"
    if whole < _DAY:
        return f"{whole // _HOUR} h {whole % _HOUR // _MINUTE:02d} min"
    return f"{whole // _DAY} d {whole % _DAY // _HOUR} h"


def shards(part: Part) -> str:
    """What a checkpoint under way has, such as ``7/9 shards, 1 retried``."""
    said = f"{part.done}/{part.total} shards"
    if part.retried:
        said += f", {part.retried} retried"
    return said if part.done < part.total else f"{said}, to be scored"


def checkpoints(standing: Standing) -> str:
    """Checkpoints by their state; what is none is left out."""
    parts_under_way = standing.checkpoints - standing.scored - standing.failed - standing.waiting
    counts = {
        "failed": standing.failed,
        "under way": parts_under_way,
        "waiting": standing.waiting,
    }
    plural = "" if standing.checkpoints == 1 else "s"
    scored = f"{standing.scored} of {standing.checkpoints} checkpoint{plural} scored"
    return ", ".join([scored, *(f"{count} {state}" for state, count in counts.items() if count)])


def pace(standing: Standing) -> str:
    """Images a second and time left, as far as they can be told."""
    said = []
    if standing.images_a_second is not None:
        said.append(f"{rate(standing.images_a_second)} images/s")
    if standing.seconds_left is not None and standing.shards_done < standing.shards_total:
        said.append(f"about {duration(standing.seconds_left)} left")
    return ", ".join(said)


def rate(images_a_second: float) -> str:
    """Three digits and no more: the next one is noise."""
    return f"{images_a_second:.0f}" if images_a_second >= 99.5 else f"{images_a_second:.3g}"


def workers(activity: Activity | None) -> str:
    """Workers with a shard in hand, and the faults survived; empty where nobody asked them."""
    if activity is None:
        return ""
    plural = "" if activity.workers == 1 else "s"
    said = f"{activity.at_work} of {activity.workers} worker{plural} at work"
    if activity.faults:
        said += f", survived: {faults_in_words(activity.faults)}"
    return said


def one_line(standing: Standing) -> str:
    """Everything of a run in one line."""
    return ", ".join(part for part in _parts(standing) if part)


def _parts(standing: Standing) -> Iterator[str]:
    yield f"{standing.shards_done}/{standing.shards_total} shards"
    yield checkpoints(standing)
    yield pace(standing)
    yield workers(standing.activity)
