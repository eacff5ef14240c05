"""``msckpt merge``: rank files into one file."""

from __future__ import annotations

import argparse

from msckpt_jax import boxes, display, progress
from msckpt_jax.checkpoint import formats, paths, writer
from msckpt_jax.checkpoint.records import File
from msckpt_jax.cli import common, sources
from msckpt_jax.parallel import merged, rank_records

DESCRIPTION = (
    """\
Join the CheckPoints in the folders rank_0, rank_1, ... into a file of full tensors, as their
strategy file says. Both the rank files and the result are .ckpt or .safetensors files. Rank files
may be de-duplicated, and replicas may be missing. Tensors are copied piece by piece and never held
whole.
"""
    + sources.STORES
)
EXAMPLES = """\
  msckpt merge ckpts/ --strategy ckpts/strategy.ckpt -o model.ckpt
  msckpt merge ckpts/ --strategy strategy.json -o model.safetensors --jobs 4
  msckpt merge ckpts/ --strategy ckpts/strategy.ckpt -o model.ckpt --plan

Interrupted work is taken up where it was left when the command is given again, but in a store.
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", metavar="DIR", help="folder of the rank_N folders")
    parser.add_argument("--strategy", metavar="FILE", required=True,
                        help="strategy file: binary, or JSON if its name says so")  # fmt: skip
    parser.add_argument("-o", "--output", metavar="FILE", required=True, help="the file to write")
    parser.add_argument("--jobs", type=common.count, default=writer.THREADS, metavar="N",
                        help=f"pieces to copy at a time (default: {writer.THREADS})")  # fmt: skip
    parser.add_argument("--plan", action="store_true", help="only tell what would be done")
    common.key_arguments(parser)


def run(args: argparse.Namespace) -> int:
    target = paths.path_of(args.output)
    formats.of_target(target)  # refuse a wrong name before anything is opened
    source = merged.open_ranks(args.folder, args.strategy, **common.rank_secrets(args))
    records = rank_records.rank_records(source, None, 0)
    total = sum(record.nbytes for record in records)
    size = display.size(total)
    summary = (
        f"{display.counted(len(records), 'entry', 'entries')}, {size}, "
        f"from {display.counted(len(source.files), 'rank file')}"
    )
    if args.plan:
        _print_plan(source)
        common.say(f"{args.output}: {summary}")
        return 0
    job = rank_records.job_of(source, None)
    with progress.bar("merge", total) as advance:
        files = [File(target, records)]
        rank_records.write_files(files, progress=advance, job=job, threads=args.jobs)
    common.say(f"{args.output}: {summary}")
    return 0


def _print_plan(source: merged.MergedCheckpoint) -> None:
    """Print the number of bytes that are read from the file of each rank."""
    table = common.table(">rank", ">bytes read", "file")
    read = source.bytes_by_rank({n: boxes.whole(e.shape) for n, e in source.entries.items()})
    for rank, file in source.files.items():
        table.add_row(*map(common.plain, (str(rank), f"{read.get(rank, 0):,}", file.path)))
    common.console().print(table)
