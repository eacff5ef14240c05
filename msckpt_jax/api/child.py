"""The saving process of ``async_save="process"``: records and job come on stdin.

It completes its save whatever becomes of the process that began it.
"""

from __future__ import annotations

import pickle
import sys

from msckpt_jax.api import jobs
from msckpt_jax.checkpoint import snapshot


def main() -> None:
    shared, job = pickle.load(sys.stdin.buffer)
    jobs.run(snapshot.attach(shared), job)


if __name__ == "__main__":
    try:
        main()
    except Exception as error:
        sys.exit(f"{type(error).__name__}: {error}")
