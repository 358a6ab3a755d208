"""Shards that were begun and not ended, and checkpoints that have failed: the attempt ledger.

A shard that takes its process down is tried again, since machines and memory fail, but not for
ever. Two shards are in flight in a worker: one computes while another is written. When the process
dies, either may be the cause. So they, and the other shards of their checkpoints, are tried *alone*
until one of the checkpoint's ends well; only what dies again and again without company is given
up. A neighbour is never blamed, and a checkpoint that kills every worker which loads it costs each
of them one death at most, and :data:`MAX_ATTEMPTS` - 1 more.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from vae_batch.plan import Shard, Unit
from vae_batch.run.progress.activity import Activity

#: Times a shard may take its worker down, or be stuck, before it is given up.
MAX_ATTEMPTS = 3

#: Machines that a shard may be lost with. Spot machines come and go and no shard is to blame, but
#: a shard that takes whole machines down must end, too.
MAX_MACHINES = 9


@dataclass(frozen=True)
class Permit:
    """The ledger's answer to a shard that would begin.

    Attributes:
      refusal: Why it must not be tried; empty where it may.
      alone: It may be tried only with nothing else in the process, and was not noted as begun:
        ask again when that is so.
    """

    refusal: str = ""
    alone: bool = False


@dataclass(frozen=True)
class Place:
    """Where a shard is in flight.

    Attributes:
      node: The machine.
      worker: The worker, which keeps its name when its process is replaced.
      process: The process.
    """

    node: str = ""
    worker: str = ""
    process: str = ""


#: A shard that was given to a worker, and whether it may be tried.
Taken = tuple[Unit, Shard, Permit]


class AttemptLedger(Protocol):
    """Shards in flight and failed checkpoints, as every worker of a run sees them."""

    def begin(self, shard: Shard, checkpoint: str | None, *, alone: bool = False) -> Permit:
        """Note a beginning, or learn why there must be none.

        Shards of a checkpoint that has failed are refused with the reason it failed for.
        """
        ...

    def end(self, shard: Shard) -> None:
        """Note that a shard left its process alive: written, or failed with a sentence."""
        ...

    def fail(self, checkpoint: str, reason: str) -> None:
        """Give up a checkpoint: no worker tries its other shards."""
        ...

    def stuck(self, shard: Shard, seconds: float) -> None:
        """Note that the calling process ends because of this shard; its others are not blamed."""
        ...


@dataclass
class _Losses:
    """How often a shard was lost; or shards of a checkpoint, since one of them ended well.

    Attributes:
      crashes: With a worker that died.
      stuck: With a worker that ended itself for it.
      certain: Of these, those that no neighbour can have caused.
      machines: With a machine.
      seconds: That it was stuck for.
    """

    crashes: int = 0
    stuck: int = 0
    certain: int = 0
    machines: int = 0
    seconds: float = 0.0

    @property
    def too_many(self) -> bool:
        """Of those that a neighbour may have caused, one counts."""
        doubtful = self.crashes + self.stuck > self.certain
        return self.certain + doubtful >= MAX_ATTEMPTS or self.machines >= MAX_MACHINES


@dataclass(frozen=True)
class _Flight:
    """A shard that was begun and has not ended."""

    checkpoint: str | None
    place: Place
    alone: bool


class Attempts:
    """The ledger itself: in this process for serial runs, inside an actor for Ray."""

    def __init__(self, is_lost: Callable[[str], bool] = lambda node: False) -> None:
        """Begin an empty ledger.

        Args:
          is_lost: Whether a machine is gone; shards lost with their machine are not blamed.
        """
        self._is_lost = is_lost
        self._flights: dict[Shard, _Flight] = {}
        #: Of shards, and of checkpoints by their identifiers.
        self._losses: dict[Shard | str, _Losses] = {}
        self._failed: dict[str, str] = {}
        self._workers: set[Place] = set()
        self._machines: set[str] = set()
        self._retried: Counter[str] = Counter()
        self._stuck = 0

    def begin(
        self,
        shard: Shard,
        checkpoint: str | None,
        *,
        alone: bool = False,
        place: Place = Place(),
    ) -> Permit:
        """See ``AttemptLedger.begin``."""
        self._note_losses(shard, place)
        reason = self._failed.get(checkpoint or "") or self._given_up(shard, checkpoint)
        if reason:
            return Permit(refusal=reason)
        if not alone and not self._losses.keys().isdisjoint({shard, checkpoint}):
            return Permit(alone=True)
        self._flights[shard] = _Flight(checkpoint, place, alone)
        return Permit()

    def end(self, shard: Shard) -> None:
        """See ``AttemptLedger.end``."""
        flight = self._flights.pop(shard, None)
        if flight is not None:
            self._losses.pop(shard, None)
            self._losses.pop(flight.checkpoint or "", None)

    def fail(self, checkpoint: str, reason: str) -> None:
        """See ``AttemptLedger.fail``; the first reason stays."""
        self._failed.setdefault(checkpoint, reason)

    def stuck(self, shard: Shard, seconds: float) -> None:
        """See ``AttemptLedger.stuck``."""
        flight = self._flights.get(shard, _Flight(None, Place(), alone=True))
        flights = self._flights.items()
        self._flights = {other: f for other, f in flights if f.place != flight.place}
        for losses in self._losses_of(shard, flight.checkpoint):
            losses.stuck, losses.certain = losses.stuck + 1, losses.certain + 1
            losses.seconds = seconds
        self._stuck += 1

    def faults(self) -> dict[str, int]:
        """Faults survived, by their kind; those that did not happen are left out."""
        counts = {
            "workers lost": len(self._workers),
            "machines lost": len(self._machines),
            "shards stuck": self._stuck,
        }
        return {kind: count for kind, count in counts.items() if count}

    def activity(self) -> Activity:
        """Workers with a shard in hand, among them as many as may be; and what befell them."""
        at_work = len({flight.place for flight in self._flights.values()})
        return Activity(at_work, at_work, self.faults(), dict(self._retried))

    def _note_losses(self, shard: Shard, place: Place) -> None:
        """What is still in flight was lost with its process, if it begins again or a worker does.

        A worker that was replaced may be given another shard before the one it was lost with.
        """
        lost = {
            other: flight
            for other, flight in self._flights.items()
            if other == shard or (flight.place.worker == place.worker and flight.place != place)
        }
        for other, flight in lost.items():
            del self._flights[other]
            self._note_loss(other, flight)

    def _note_loss(self, shard: Shard, flight: _Flight) -> None:
        if self._is_lost(flight.place.node):
            self._machines.add(flight.place.node)
            for losses in self._losses_of(shard, None):
                losses.machines += 1
            return
        self._workers.add(flight.place)
        for losses in self._losses_of(shard, flight.checkpoint):
            losses.crashes += 1
            losses.certain += flight.alone

    def _losses_of(self, shard: Shard, checkpoint: str | None) -> list[_Losses]:
        """Those of a shard and of its checkpoint, for one more."""
        self._retried[shard.unit] += 1
        keys = (shard,) if checkpoint is None else (shard, checkpoint)
        return [self._losses.setdefault(key, _Losses()) for key in keys]

    def _given_up(self, shard: Shard, checkpoint: str | None) -> str:
        """Why a shard is not tried again; empty where it is."""
        words = _words(shard)
        for key, what, where in ((shard, words, ""), (checkpoint, "it", f", at last {words}")):
            losses = self._losses.get(key) if key is not None else None
            if losses is not None and losses.too_many:
                reason = f"{what} {_fault(losses)}{where}; see the worker's log"
                if checkpoint is not None:
                    self.fail(checkpoint, reason)
                return reason
        return ""


def _words(shard: Shard) -> str:
    kind = shard.unit.partition("/")[0]
    return "loading it" if kind == "description" else f"{kind} {shard.start} to {shard.stop}"


def _fault(losses: _Losses) -> str:
    said = []
    if losses.crashes:
        said.append(
            f"took {losses.crashes} workers down (out of memory, or a crash in the model's code)"
        )
    if losses.stuck:
        said.append(f"took longer than shard_timeout, {losses.seconds:g} s, {losses.stuck} times")
    if losses.machines >= MAX_MACHINES:
        said.append(f"was lost with {losses.machines} machines")
    return " and ".join(said)
