"""What ``vae-batch score --dry-run`` prints: the work, its bytes and about how long it takes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

if TYPE_CHECKING:
    from vae_batch.plan import EvaluationSpec
    from vae_batch.run.progress.display import ProgressDisplay


def print_dry_run(spec: EvaluationSpec, progress: ProgressDisplay, *, as_json: bool) -> None:
    """Plan a run and print what it would cost, on stdout; nothing is computed nor written.

    Raises:
      InputError: Something given cannot be used.
    """
    from vae_batch.dry_run import dry_run
    from vae_batch.terminal.cost_view import dry_run_json, dry_run_view

    found = dry_run(spec, progress)
    if as_json:
        print(json.dumps(dry_run_json(found), indent=1))
        return
    console = Console()
    for part in dry_run_view(found):
        console.print(part, soft_wrap=isinstance(part, Text))
