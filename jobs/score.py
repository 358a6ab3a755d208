"""``vae-batch score`` for ``ray job submit --working-dir . -- python jobs/score.py spec.toml``.

It joins the cluster it was submitted to, or starts a local one. After ``ray job stop`` (exit code
143) the same job goes on from there.
"""

import sys

from vae_batch.__main__ import main

if __name__ == "__main__":
    main("score", *sys.argv[1:])
