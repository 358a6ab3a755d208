"""Retries of object-store operations: which errors are transient, and how long to wait."""

from __future__ import annotations

import contextlib
import logging
import random
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from vae_batch.plan.credentials import without_credentials

Result = TypeVar("Result")

_log = logging.getLogger(__name__)

#: pyarrow raises a plain OSError for all of them. Its text names S3's errors by the SDK's name or
#: the HTTP status, Google's by status name, Azure's by error code.
_TRANSIENT = re.compile(
    r"AWS Error (INTERNAL_FAILURE|SERVICE_UNAVAILABLE|SLOW_DOWN|THROTTLING|REQUEST_TIMEOUT"
    r"|REQUEST_EXPIRED|NETWORK_CONNECTION|NO_SUCH_UPLOAD)\b"  # completed; the answer was lost
    r"|HTTP status (408|429|5\d\d)\b"
    r"|HTTP status -1\).*XML_ERROR"  # a listing that was cut short
    r"|\b(UNAVAILABLE|DEADLINE_EXCEEDED|RESOURCE_EXHAUSTED|ABORTED|INTERNAL): "
    r"|\b(ServerBusy|OperationTimedOut|InternalError)\b"
)

#: Retries do not help an untrusted certificate, which S3 reports as a network error.
_LASTING = re.compile(r"curlCode: (51|58|60|77|83|90|91)\b")


class StoreError(OSError):
    """An object store refused, or failed for too long: no fault of a checkpoint or shard."""


class OutageError(StoreError):
    """An object store failed in every attempt."""


@dataclass(frozen=True)
class Retries:
    """How often an operation is tried, and how long to wait in between.

    The wait before attempt k + 1 is uniform between half and all of
    ``min(longest, first * 2**(k - 1))``, so that many workers do not retry at once.

    Attributes:
        attempts: Number of attempts.
        first: Longest wait before the second attempt, in seconds.
        longest: Of any wait, in seconds.
    """

    attempts: int = 6
    first: float = 1.0
    longest: float = 20.0

    def wait(self, failures: int) -> float:
        """Random number of seconds to wait after so many failures."""
        most = min(self.longest, self.first * 2.0 ** (failures - 1))
        return most * random.uniform(0.5, 1.0)


#: pyarrow's S3 client itself tries a failing request 31 times within 6 s before it raises; so
#: these add up to an outage of about a minute.
RETRIES = Retries()


@contextlib.contextmanager
def asking_once() -> Iterator[None]:
    """Within the context, an operation of this process is tried once: for questions of people.

    Who asks again by hand need not wait for a store that is down.
    """
    global RETRIES
    before, RETRIES = RETRIES, Retries(attempts=1)
    try:
        yield
    finally:
        RETRIES = before


#: Seconds between reads of a file that is missing or old, perhaps only in a stale replica.
_SECOND_LOOKS = (0.2, 1.0)


def looks(*, again: bool) -> Iterator[int]:
    """Count reads, from 1, of a file that may be missing or old only in a stale replica.

    Args:
        again: Whether to read more than once, with waits in between.
    """
    yield 1
    for number, seconds in enumerate(_SECOND_LOOKS if again else (), 2):
        time.sleep(seconds)
        yield number


def is_transient(error: BaseException) -> bool:
    """Whether the same operation may succeed in a moment.

    Missing files and refused permissions are not transient, whatever their text.
    """
    if isinstance(error, FileNotFoundError | PermissionError | IsADirectoryError):
        return False
    if isinstance(error, ConnectionError | TimeoutError):
        return True
    text = str(error)
    return (
        isinstance(error, OSError) and bool(_TRANSIENT.search(text)) and not _LASTING.search(text)
    )


def retrying(
    operation: Callable[[], Result],
    what: str,
    retries: Retries | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> Result:
    """Call an operation, and retry it while its error is transient.

    Args:
        operation: Must be safe to repeat.
        what: What it does, for messages; credentials of URIs in it are not shown.
        retries: How often; None for :data:`RETRIES`, which :func:`asking_once` changes.
        sleep: Waits a number of seconds.

    Returns:
        The operation's result.

    Raises:
        OutageError: Every attempt failed; the message names the last error.
        Exception: What the operation raised, where that is not transient.
    """
    policy = retries or RETRIES
    for failures in range(1, policy.attempts + 1):
        try:
            return operation()
        except OSError as error:
            if not is_transient(error):
                raise
            said, last = without_credentials(f"{what}: {error}"), error
        if failures < policy.attempts:
            seconds = policy.wait(failures)
            _log.warning("attempt %d of %d failed, the next in %.1f s: %s",
                         failures, policy.attempts, seconds, said)  # fmt: skip
            sleep(seconds)
    failed = f"failed {policy.attempts} times; last" if policy.attempts > 1 else "does not answer"
    raise OutageError(f"the object store {failed}, {said}") from last
