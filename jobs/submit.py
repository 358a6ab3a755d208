"""``vae-batch submit`` as a script: ``python jobs/submit.py nightly.toml --address ...``."""

import sys

from vae_batch.__main__ import main

if __name__ == "__main__":
    main("submit", *sys.argv[1:])
