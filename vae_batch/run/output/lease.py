"""One run at a time per output store: ``lease.json`` names the run that holds it, with heartbeats.

Guarantees. On a local or shared file system with working ``flock``, at most one run proceeds. The
lock ends with its process, so another run on the same host can follow a killed run at once. Where
locks of another host are not visible, and on object stores, the lease file decides alone: a run
writes it, reads it again after a moment, and proceeds only if its own token is still there (pyarrow
offers no conditional write on any object store). Two runs can then proceed at the same time only if
one of them stalls between reading and writing for longer than that moment; the one that lost the
lease notices with its next heartbeat (``Lease.require``). Shards are written atomically and do not
depend on the run that writes them, so even then only time is lost. Clocks of hosts need not agree:
how old a lease is follows from the store's own times of the lease and of a file that is written
for the comparison.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import getpass
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from vae_batch.plan import InputError
from vae_batch.plan.quantities import Seconds
from vae_batch.storage import Store
from vae_batch.storage.checked_json import decode_as, encode_checked
from vae_batch.storage.store import Anchor, MovedError

LEASE_FILE = "lease.json"
LOCK_FILE = "lease.lock"

#: Written and deleted, to learn the store's time.
_CLOCK_FILE = "lease.clock"

#: A lease expires when its heartbeat is older than this many of its periods.
EXPIRY_PERIODS = 4

#: Seconds between heartbeats that a stored lease may name; a larger number is damage.
_LONGEST_PERIOD = 3600.0

#: Seconds between writing a lease and reading it again, where there is no lock.
SETTLE = 1.0


@dataclass(frozen=True)
class Holder:
    """The run that holds an output store, as ``lease.json`` names it.

    Attributes:
        token: Random identifier of this lease.
        host: Name of the machine.
        pid: Its process there.
        user: Who started the run.
        run: Identifier of the run.
        since: When the lease was taken, UTC.
        heartbeat: When it was last renewed, in seconds since 1970 by the holder's clock.
        period: Seconds from heartbeat to heartbeat.
    """

    token: str
    host: str
    pid: Annotated[int, Field(gt=0, lt=2**31)]
    user: str
    run: str
    since: str
    heartbeat: Seconds
    period: Annotated[float, Field(gt=0, le=_LONGEST_PERIOD)]

    @property
    def expires_after(self) -> float:
        """Seconds without a heartbeat after which the run is considered dead."""
        return EXPIRY_PERIODS * self.period

    @property
    def is_expired(self) -> bool:
        """Whether the heartbeat is overdue, by the clocks of the holder and of this machine."""
        return time.time() - self.heartbeat > self.expires_after

    def __str__(self) -> str:
        return f"run {self.run} of {self.user} on {self.host} (process {self.pid})"


class Lease:
    """A lease that this run holds; a background thread renews it."""

    def __init__(self, store: Store, holder: Holder) -> None:
        """Start to renew a lease that ``holder`` has just taken."""
        self._store, self._holder = store, holder
        self._ended, self._lost = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._renew, name="lease", daemon=True)
        self._thread.start()

    @property
    def anchor(self) -> Anchor:
        """The file by which this run knows its output folder."""
        return Anchor(self._store.root, LEASE_FILE, self._holder.token)

    @property
    def is_lost(self) -> bool:
        """Whether another run has taken over the output store."""
        return self._lost.is_set()

    def require(self) -> None:
        """Raise an error after another run has taken over, or the folder was moved or deleted.

        Raises:
            InputError: Names that run, or what was found.
        """
        moved: MovedError | None = None
        try:
            self.anchor.require()
        except MovedError as error:
            moved = error
        except OSError:  # an outage; whether it lasts too long, the heartbeats tell
            pass
        if not self.is_lost and moved is None:
            return
        other = _read(self._store)
        if other is None and moved is not None:
            raise InputError(str(moved))
        raise InputError(
            f"output {self._store.shown} was taken over by {other or 'another run'} while "
            "this run could not renew its lease; nothing is lost, run it again later"
        )

    def release(self) -> None:
        """Stop renewing the lease, and delete it if this run still holds it."""
        self._ended.set()
        self._thread.join()
        with contextlib.suppress(OSError):  # it then expires by itself
            if _is_held_by(self._store, self._holder):
                self._store.delete(LEASE_FILE)

    def _renew(self) -> None:
        renewed = time.monotonic()
        while not self._ended.wait(self._holder.period):
            with contextlib.suppress(OSError):  # the next heartbeat may come through
                if not _is_held_by(self._store, self._holder):
                    self._lost.set()
                    return
                _write(self._store, dataclasses.replace(self._holder, heartbeat=time.time()))
                renewed = time.monotonic()
            if time.monotonic() - renewed > self._holder.expires_after:
                self._lost.set()  # others may take it over by now


@contextlib.contextmanager
def output_lease(
    store: Store,
    *,
    wait_s: float = 0.0,
    run: str = "",
    period_s: float = 15.0,
    tell: Callable[[str], None] = lambda sentence: None,
) -> Iterator[Lease]:
    """Hold an output store for this run alone; the module's docstring says what is guaranteed.

    Args:
        store: The output folder; created where it does not exist.
        wait_s: Seconds to wait for another run to end.
        run: Identifier of this run; a random one when empty.
        period_s: Seconds between heartbeats.
        tell: Called once with a sentence that names the run that this one waits for.

    Yields:
        The lease, released at the end, after an exception too.

    Raises:
        InputError: Another run holds it (who, and since when), or it cannot be written.
    """
    with contextlib.ExitStack() as locked:
        lease = Lease(store, _wait_for(store, _holder(run, period_s), wait_s, locked, tell))
        try:
            yield lease
        finally:
            lease.release()


def _holder(run: str, period: float) -> Holder:
    token = secrets.token_hex(8)
    try:
        user = getpass.getuser()
    except (OSError, KeyError):  # a container's user may have no name
        user = str(os.getuid()) if hasattr(os, "getuid") else "unknown"
    since = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    host = socket.gethostname()
    return Holder(token, host, os.getpid(), user, run or token, since, time.time(), period)


def _wait_for(
    store: Store,
    holder: Holder,
    wait: float,
    locked: contextlib.ExitStack,
    tell: Callable[[str], None],
) -> Holder:
    """Take the lease as soon as it is free."""
    began, told = time.monotonic(), False
    while True:
        try:
            fresh = dataclasses.replace(holder, heartbeat=time.time())
            other = _take(store, fresh, locked)
        except OSError as error:
            raise InputError(f"output {store.shown} cannot be used: {error}") from None
        if other is None:
            return fresh
        left = began + wait - time.monotonic()
        if left <= 0:
            raise InputError(_refusal(store, other))
        if not told:
            told = True
            tell(f"output {store.shown} is in use by {other}: waiting up to {wait:.0f} s for it")
        time.sleep(min(left, max(0.02, min(1.0, holder.period / 4))))


def holder_of(store: Store) -> Holder | None:
    """The run that holds the lease of an output store, alive or not; None where none does.

    Its heartbeat is by the store's clock, where that tells it.

    Raises:
        OSError: The store cannot be read.
    """
    holder = _read(store)
    renewed = store.modified(LEASE_FILE) if holder is not None else None
    return dataclasses.replace(holder, heartbeat=renewed) if holder and renewed else holder


def _refusal(store: Store, other: Holder | str) -> str:
    if isinstance(other, str):
        return f"output {store.shown} is in use by {other}; try again, or use another --out"
    age = _seconds_since_sign(store, other)
    said = (
        f"output {store.shown} is in use by {other} since {other.since}, last heard of {age:.0f} s "
        "ago; "
    )
    if age <= other.expires_after:
        return (
            f"{said}wait for it (--wait), or use another --out; if that run is dead, its lease "
            f"ends {other.expires_after:.0f} s after its last sign"
        )
    return (
        f"{said}its process holds the folder's lock, so it is stopped or hangs: on {other.host} "
        f"let it go on (kill -CONT {other.pid}) or end it (kill -KILL {other.pid}), then run this "
        "again; or use another --out"
    )


def _seconds_since_sign(store: Store, holder: Holder) -> float:
    """Age of the lease by the store's clock; by the clocks of both hosts where it has none."""
    age = time.time() - holder.heartbeat
    if abs(age) <= holder.period:  # the clocks agree, and the store need not be asked
        return max(0.0, age)
    name = f"{_CLOCK_FILE}.{secrets.token_hex(4)}"
    store.write(name, b"")
    try:
        now, renewed = store.modified(name), store.modified(LEASE_FILE)
    finally:
        store.delete(name)
    return max(0.0, age if now is None or renewed is None else now - renewed)


def _take(store: Store, holder: Holder, locked: contextlib.ExitStack) -> Holder | str | None:
    """Take the lease if it is free.

    Returns:
        Who holds it otherwise, or None where it was taken; ``locked`` then holds the lock.
    """
    with contextlib.ExitStack() as attempt:
        lock = _lock(store, attempt)
        other = _read(store)
        if lock == "held":
            return other or "another process of this machine"
        # If that process of this machine were alive, it would hold the lock.
        dead = lock == "taken" and other is not None and other.host == holder.host
        if not (other is None or dead or _seconds_since_sign(store, other) > other.expires_after):
            return other
        if other is not None or not _create(store, holder):
            _write(store, holder)
        if lock != "taken" or (other is not None and not dead):
            time.sleep(SETTLE)
        if not _is_held_by(store, holder):
            return _read(store) or "another run that came at the same time"
        locked.push(attempt.pop_all())
    return None


def _lock(store: Store, stack: contextlib.ExitStack) -> str:
    """Lock a local folder until ``stack`` ends: ``taken``, ``held`` by another, or ``none``."""
    folder = store.local_folder
    if folder is None:
        return "none"
    folder.mkdir(parents=True, exist_ok=True)
    try:
        import fcntl
    except ImportError:  # this system has none
        return "none"
    file = stack.enter_context((folder / LOCK_FILE).open("ab"))
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return "held"
    except OSError:  # a file system without locks
        return "none"
    return "taken"


def _create(store: Store, holder: Holder) -> bool:
    """Create the lease where there is none; whether that succeeded, which needs a local store."""
    folder = store.local_folder
    if folder is None:
        return False
    try:
        with (folder / LEASE_FILE).open("xb") as file:
            file.write(_to_json(holder))
    except FileExistsError:
        # Unreadable, or created in the meantime: only the former may be overwritten.
        return _read(store) is not None
    return True


def _read(store: Store) -> Holder | None:
    """The holder of the lease; None where there is none, or the file cannot be read."""
    try:
        found = store.find(LEASE_FILE)
        return None if found is None else decode_as(Holder, found)
    except ValueError:
        return None


def _write(store: Store, holder: Holder) -> None:
    store.write(LEASE_FILE, _to_json(holder))


def _to_json(holder: Holder) -> bytes:
    return encode_checked(dataclasses.asdict(holder))


def _is_held_by(store: Store, holder: Holder) -> bool:
    found = _read(store)
    return found is not None and found.token == holder.token
