"""The errors that users meet: bad input, one bad checkpoint, and a cluster that was lost."""

from __future__ import annotations

from collections.abc import Mapping

from vae_batch.plan.credentials import without_secrets


class InputError(ValueError):
    """Something the user gave cannot be used; nothing was computed (exit code 2).

    The message names the thing, what was expected, what was found and what to do; it never holds
    credentials.
    """

    def __init__(self, message: object = "") -> None:
        """Say what is wrong, with what, and what to do."""
        super().__init__(without_secrets(str(message)))


class ClusterLostError(RuntimeError):
    """The Ray cluster of a run is gone; finished work is kept, and the same command resumes it.

    The message says which part of the cluster does not answer (exit code 5).
    """


class CheckpointError(ValueError):
    """One checkpoint cannot be scored; its row fails with this message, the others go on.

    Attributes:
        declare: Spec keys that would make it readable, each with what it may be, for ``inspect``.
    """

    def __init__(self, message: str, declare: Mapping[str, object] | None = None) -> None:
        """Say what is wrong and what to do; and which keys, where keys can mend it."""
        super().__init__(without_secrets(message))
        self.declare = dict(declare or {})
