"""One checkpoint: its name, its step, its files and the hash of their content."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Checkpoint:
    """A VAE's saved state.

    Attributes:
      label: Path as the user knows it, without a URI's query; the ``checkpoint`` column.
      step: Training step that its pattern captured or that its name tells, or None.
      files: Role to path or URI, sorted by role: ``{"model": ...}`` for one file or SavedModel
        folder, or ``{"encoder": ..., "decoder": ...}`` for a pair (a half may be missing).
      sha256: Of the roles and the files' content; moving or renaming them does not change it.
    """

    label: str
    step: int | None
    files: tuple[tuple[str, str], ...]
    sha256: str

    @property
    def identifier(self) -> str:
        """File-safe name in stored paths: the label's end and the content's hash."""
        slug = re.sub(r"[^A-Za-z0-9]+", "-", self.label.rsplit("/", 1)[-1]).strip("-")
        return f"{slug[-40:].strip('-') or 'checkpoint'}-{self.sha256[:12]}"
