"""``python -m msckpt_jax``: the command line."""

import sys

from msckpt_jax.cli import main

if __name__ == "__main__":
    sys.exit(main())
