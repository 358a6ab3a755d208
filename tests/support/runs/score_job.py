"""``jobs/score.py`` without figures and page."""

from __future__ import annotations

import sys

from vae_batch.cli import app
from vae_batch.commands.exit_codes import run_process
from vae_batch.report import bundle

if __name__ == "__main__":
    bundle.write_report = lambda _: []
    run_process(lambda: app(["score", *sys.argv[1:]]))
