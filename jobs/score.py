"""The main job: score the checkpoints of a TOML spec (``python jobs/score.py nightly.toml``).

This is what ``ray job submit --working-dir . -- python jobs/score.py nightly.toml`` runs: it
joins the cluster it was submitted to, or starts a local one. Arguments are those of
``vae-batch score``; exit codes: 0 all scored, 3 some checkpoints failed, 2 bad input, 143 stopped
by SIGTERM (``ray job stop``), after which the same job goes on from there.
"""

from __future__ import annotations

import sys

from vae_batch.cli import app
from vae_batch.commands.exit_codes import run_process

if __name__ == "__main__":
    run_process(lambda: app(["score", *sys.argv[1:]]))
