"""Why a row failed: its sentence, and the file that keeps the full traceback."""

from __future__ import annotations

import hashlib
import re
import traceback
from dataclasses import dataclass

from vae_batch.plan import CheckpointError
from vae_batch.plan.location import Location
from vae_batch.storage import ReasonCode, Store

TRACEBACKS = "tracebacks"

#: Characters of an error's text that a sentence keeps.
_LONGEST = 600


@dataclass(frozen=True)
class Failure:
    """Why something could not be computed.

    Attributes:
        reason: A sentence for people.
        traceback: The formatted traceback; empty where no exception was raised.
        code: What programs decide by.
    """

    reason: str
    traceback: str = ""
    code: ReasonCode = "unexpected"


def failure_of(error: BaseException) -> Failure:
    """The failure that an exception stands for.

    Args:
        error: A ``CheckpointError``, whose text is a sentence for people, or an unexpected
            exception. One that was raised on a worker carries the worker's traceback.
    """
    text = "".join(traceback.format_exception(error))
    if isinstance(error, CheckpointError):
        return Failure(str(error), text, "checkpoint_error")
    return Failure(f"{type(error).__name__}: {error}"[:_LONGEST], text)


def write_traceback(out: Store, label: str, text: str) -> str:
    """Write a traceback below the output folder; the same one is written once.

    Args:
        out: The output folder.
        label: Label of the checkpoint, which may be a path or a URI.
        text: The formatted traceback.

    Returns:
        Path of the file below the output folder.

    Raises:
        OSError: It cannot be written.
    """
    safe = re.sub(r"[^A-Za-z0-9._=-]+", "_", Location.parse(label).label)[-80:].strip("_.")
    digest = hashlib.sha256(f"{label}\0{text}".encode()).hexdigest()[:12]
    path = f"{TRACEBACKS}/{safe or 'checkpoint'}-{digest}.txt"
    out.write(path, text.encode())
    return path
