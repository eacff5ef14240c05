"""``msckpt recover``: the end of a save into a folder that was interrupted."""

from __future__ import annotations

import argparse

from msckpt_jax.checkpoint import paths, store_folder
from msckpt_jax.cli import common, sources

DESCRIPTION = (
    """\
End a save of several files into a folder (max_shard_size=) that was killed. Where it had written
all of its files, they take the place of the older ones; else what it had written is removed, and
the older files are as they were. The next save into the folder does the same. Nothing is done to a
folder in which no save was interrupted. In an object store there is nothing to finish: save anew.
"""
    + sources.STORES
)
EXAMPLES = """\
  msckpt recover Qwen3-0.6B/
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", metavar="FOLDER", help="the folder that was saved into")


def run(args: argparse.Namespace) -> int:
    done = store_folder.recover(paths.path_of(args.folder))
    common.say(f"{args.folder}: " + ("the interrupted save is finished" if done else "as it was"))
    return 0
