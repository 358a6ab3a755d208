"""``race.json``: how a race went, and a digest of its inputs, so that it is not run twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass

from vae_batch.plan import InputError
from vae_batch.run.compare.best_checkpoint import level_in_words, title_of
from vae_batch.storage import Store
from vae_batch.storage.checked_json import decode_as, encode_checked

RACE = "race.json"


@dataclass(frozen=True)
class Leaving:
    """A checkpoint that was dropped.

    Attributes:
        checkpoint: Its label.
        count: Samples after which it was dropped.
        leader: Label of the best checkpoint at that look.
        difference: Of its score from the leader's over those samples, in the metric's unit.
        standard_error: Of the difference, paired.
        p: One-sided p-value of being no worse than the leader, for that look and rival alone.
    """

    checkpoint: str
    count: int
    leader: str
    difference: float
    standard_error: float
    p: float


@dataclass(frozen=True)
class RaceOutcome:
    """How a race went.

    Attributes:
        metric: Column of the score table that checkpoints were compared by.
        extractor: Under which it was measured; None for losses.
        alpha: Upper bound of the probability that the truly best checkpoint was dropped, if at
            least a share ``rare`` of the images carries its advantage.
        rare: That share; 0 where an advantage that few images carry was not guarded against.
        level: Significance level of each single test.
        looks: Samples at each look.
        left: Dropped checkpoints, in order.
        best: The best of the others, by the last look.
        members: Checkpoints not distinguishable from the best at the last look, itself included.
        stayed: Checkpoints that were not dropped; they are scored in full.
        outside: Checkpoints that did not race, by label, and why; they are scored in full, too.
        failed: Checkpoints that failed during the race.
        images: Samples that the checkpoints of the race are scored by.
        images_in_full: Samples of their full evaluation.
        run_of: Digest of everything that the race depends on.
    """

    metric: str
    extractor: str | None
    alpha: float
    rare: float
    level: float
    looks: tuple[int, ...]
    left: tuple[Leaving, ...]
    best: str | None
    members: tuple[str, ...]
    stayed: tuple[str, ...]
    outside: dict[str, str]
    failed: tuple[str, ...]
    images: int
    images_in_full: int
    run_of: str

    @property
    def left_at(self) -> dict[str, int]:
        """Samples after which each checkpoint was dropped, by label."""
        return {leaving.checkpoint: leaving.count for leaving in self.left}

    @property
    def sentence(self) -> str:
        """The outcome for a person."""
        title = title_of(self.metric, self.extractor)
        entered = len(self.left) + len(self.stayed) + len(self.failed)
        share = self.images / self.images_in_full if self.images_in_full else 1.0
        said = [f"race of {entered} by {title}: {self._ending()}"]
        said += (
            [f"{len(self.left)} dropped ({_counts(self.left)})"] if self.left else ["none dropped"]
        )
        said += [f"{len(self.failed)} failed"] if self.failed else []
        said += [f"{len(self.outside)} did not race"] if self.outside else []
        said += [f"{self.images:,} of {self.images_in_full:,} images ({share:.1%})"]
        said += [f"the best of all was dropped with a probability of at most {self.alpha:g}"]
        return f"{'; '.join(said)}, {self.condition}"

    @property
    def condition(self) -> str:
        """Under which ``alpha`` holds, in words."""
        if self.rare:
            return f"if its advantage is carried by at least {self.rare:.2%} of the images"
        return "if its advantage is not carried by few images"

    def _ending(self) -> str:
        if self.best is None:
            return "no checkpoint could be compared"
        if len(self.stayed) == 1:
            return f"won by {self.best}"
        rivals = [name for name in self.members if name != self.best]
        if not rivals:
            return f"won by {self.best} at the last look"
        return f"{self.best} leads; {level_in_words(rivals)}"


def write_race(out: Store, outcome: RaceOutcome) -> None:
    """Write ``race.json``."""
    out.write(RACE, encode_checked({**asdict(outcome), "sentence": outcome.sentence}))


def read_race(out: Store) -> RaceOutcome | None:
    """The last race of an output folder; None where there was none.

    Raises:
        InputError: The file is damaged.
    """
    found = out.find(RACE)
    if found is None:
        return None
    try:
        # Races of version 0.1 had no guard.
        return decode_as(RaceOutcome, found, lambda fields: {"rare": 0.0, **fields})
    except ValueError as error:
        raise InputError(
            f"{out.shown_path(RACE)} is damaged ({error}); `vae-batch verify {out.shown} --mend` "
            "deletes it, and `vae-batch score` runs the race again from what is stored"
        ) from None


def _counts(left: Iterable[Leaving]) -> str:
    counts = sorted(Counter(leaving.count for leaving in left).items())
    return ", ".join(f"{number} at {count:,}" for count, number in counts)
