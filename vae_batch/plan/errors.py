"""The two errors that users meet: bad input, and one bad checkpoint."""

from __future__ import annotations


class InputError(ValueError):
    """Something the user gave cannot be used; nothing was computed (exit code 2).

    The message names the thing, what was expected, what was found and what to do.
    """


class CheckpointError(ValueError):
    """One checkpoint cannot be scored; its row fails with this message, the others go on."""
