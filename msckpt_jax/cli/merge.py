"""``msckpt merge``: rank files into one file."""

from __future__ import annotations

import argparse
from typing import NamedTuple

from msckpt_jax import display, progress
from msckpt_jax.checkpoint import formats, paths, writer
from msckpt_jax.checkpoint.records import File
from msckpt_jax.cli import common, sources
from msckpt_jax.parallel import merged, preview, rank_records

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
    parser.add_argument("--json", action="store_true", help="with --plan: as JSON")
    common.limit_argument(parser)
    common.key_arguments(parser)


def run(args: argparse.Namespace) -> int:
    if args.json and not args.plan:
        raise ValueError("--json goes with --plan")
    target = paths.path_of(args.output)
    formats.of_target(target)  # refuse a wrong name before anything is opened
    with progress.waiting(f"open {args.folder}"):
        source = merged.open_ranks(args.folder, args.strategy, **common.rank_secrets(args))
    records = rank_records.rank_records(source, None, 0)
    total = sum(record.nbytes for record in records)
    size = display.size(total)
    summary = (
        f"{display.counted(len(records), 'entry', 'entries')}, {size}, "
        f"from {display.counted(len(source.files), 'rank file')}"
    )
    if args.json:
        plan = {"output": args.output, "entries": len(records), "bytes": total}
        common.say_json(plan | {"files": [read._asdict() for read in _reads(source)]})
        return 0
    if args.plan:
        common.show(args.limit, (">rank", ">bytes read", "file"), _reads(source), _row)
        common.say(f"{args.output}: {summary}")
        return 0
    job = rank_records.job_of(source, None)
    with progress.bar("merge", total) as advance:
        files = [File(target, records)]
        rank_records.write_files(files, progress=advance, job=job, threads=args.jobs)
    common.say(f"{args.output}: {summary}")
    return 0


class Read(NamedTuple):
    """The bytes that are read from the file of a rank."""

    rank: int
    bytes: int
    file: str


def _reads(source: merged.MergedCheckpoint) -> list[Read]:
    read = preview.of(source, None).shares[0].read
    return [Read(rank, read.get(rank, 0), file.path) for rank, file in source.files.items()]


def _row(read: Read) -> tuple[str, ...]:
    return str(read.rank), f"{read.bytes:,}", read.file
