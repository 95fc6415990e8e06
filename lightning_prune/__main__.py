"""``python -m lightning_prune``: the same as the command ``lightning-prune``."""

import sys

from lightning_prune.command import main

if __name__ == "__main__":
    sys.exit(main())
