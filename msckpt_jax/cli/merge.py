"""``msckpt merge``: rank files into one file."""

from __future__ import annotations

import argparse
from pathlib import Path

from msckpt_jax import boxes, progress
from msckpt_jax.checkpoint import formats, writer
from msckpt_jax.checkpoint.records import File
from msckpt_jax.cli import common
from msckpt_jax.parallel import merged, rank_records

DESCRIPTION = """\
Join the CheckPoints in rank_0, rank_1, ... of a folder into one file of full tensors, as a
strategy file says. Both formats are read and written (.ckpt, .safetensors); de-duplicated files
and missing replicas are fine. Tensors are copied piece by piece and never held whole.
"""
EXAMPLES = """\
  msckpt merge ckpts/ --strategy ckpts/strategy.ckpt -o model.ckpt
  msckpt merge ckpts/ --strategy strategy.json -o model.safetensors --jobs 4
  msckpt merge ckpts/ --strategy ckpts/strategy.ckpt -o model.ckpt --plan

Interrupted work is taken up where it was left when the command is given again.
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", metavar="DIR", help="folder of rank_N folders")
    parser.add_argument("--strategy", metavar="FILE", required=True, help="binary, or .json")
    parser.add_argument("-o", "--output", metavar="FILE", required=True)
    parser.add_argument("--jobs", type=common.count, default=writer.THREADS, metavar="N",
                        help=f"pieces copied at a time (default {writer.THREADS})")  # fmt: skip
    parser.add_argument("--plan", action="store_true", help="only show what would be done")
    common.key_arguments(parser)


def run(args: argparse.Namespace) -> int:
    target = Path(args.output)
    formats.of_target(target)  # refused before anything is opened
    source = merged.open_ranks(args.folder, args.strategy, **common.rank_secrets(args))
    found = rank_records.rank_records(source, None, 0)
    total = sum(record.nbytes for record in found)
    what = f"{len(found)} entries, {common.size(total)}, from {len(source.files)} rank files"
    if args.plan:
        _print_plan(source)
        print(f"{args.output}: {what}")
        return 0
    job = rank_records.job_of(source, None)
    with progress.bar("merge", total) as advance:
        files = [File(target, found)]
        rank_records.write_files(files, progress=advance, job=job, threads=args.jobs)
    print(f"{args.output}: {what}")
    return 0


def _print_plan(source: merged.MergedCheckpoint) -> None:
    """How many bytes are read from the file of each rank."""
    table = common.table(">rank", ">bytes read", "file")
    read = source.bytes_by_rank({n: boxes.whole(e.shape) for n, e in source.entries.items()})
    for rank, file in source.files.items():
        table.add_row(*map(common.plain, (str(rank), f"{read.get(rank, 0):,}", file.path)))
    common.console().print(table)
