"""``vae-batch nightly`` as a script: ``python jobs/nightly.py nightly.toml``."""

import sys

from vae_batch.__main__ import main

if __name__ == "__main__":
    main("nightly", *sys.argv[1:])
