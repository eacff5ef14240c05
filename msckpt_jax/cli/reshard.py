"""``msckpt reshard``: rank files of one layout into those of another."""

from __future__ import annotations

import argparse
from pathlib import Path

from msckpt_jax.checkpoint import boxes, reader
from msckpt_jax.checkpoint.records import File
from msckpt_jax.cli import common
from msckpt_jax.errors import CheckpointError
from msckpt_jax.parallel import merged, meshspec, strategy, transform
from msckpt_jax.parallel.merged import MergedCheckpoint, Plan

DESCRIPTION = (
    """\
Turn the CheckPoints in rank_0, rank_1, ... of a folder into those of another layout. The new one
is a strategy file or a mesh specification, whose strategy is then written beside the new files:

"""
    + meshspec.DESCRIPTION
)
EXAMPLES = """\
  msckpt reshard old/ --from old/strategy.ckpt --to new_strategy.ckpt -o new/
  msckpt reshard old/ --from old/strategy.ckpt --to 'x=2,y=2; kernel$=x,y; embed=x+y' -o new/
  msckpt reshard old/ --from old/strategy.ckpt --to 'x=4; kernel$=,x' -o new/ --plan

Interrupted work is taken up where it was left when the command is given again.
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", metavar="DIR", help="folder of rank_N folders")
    parser.add_argument("--from", dest="source", metavar="FILE", help="strategy of the source "
                        "(default: one unsharded rank)")  # fmt: skip
    parser.add_argument("--to", metavar="FILE|MESHSPEC", required=True)
    parser.add_argument("-o", "--output", metavar="DIR", required=True)
    parser.add_argument("--prefix", default="rank", help="of the new files' names (default: rank)")
    parser.add_argument("--format", choices=["ckpt", "safetensors"], default="ckpt")
    parser.add_argument("--jobs", type=int, default=1, help="files written at a time (default 1)")
    parser.add_argument("--plan", action="store_true", help="only show what would be done")


def run(args: argparse.Namespace) -> int:
    source = merged.open_ranks(args.folder, args.source)
    layouts = None if "=" not in args.to else meshspec.parse(args.to, source.entries)
    target = merged.plan_of(layouts if layouts is not None else args.to)
    assert target is not None
    folder = Path(args.output)
    if folder.exists() and folder.samefile(args.folder):
        raise ValueError(f"{folder} is the source itself; write to another folder")
    files = transform.plan_files(source, target, folder, args.prefix, f".{args.format}")
    if args.plan:
        _print_plan(source, target)
        return 0
    newest = max(Path(file.path).stat().st_mtime for file in source.files.values())
    left = [file for file in files if not is_done(file, newest)]
    total = sum(record.nbytes for file in left for record in file.records)
    with common.progress("reshard", total) as advance:
        transform.write_files(left, args.jobs, advance)
    if layouts is not None:
        strategy.write(folder / "strategy.ckpt", layouts)
    done = f", {len(files) - len(left)} were there already" if len(left) < len(files) else ""
    print(f"{folder}: {len(left)} rank files, {common.size(total)}{done}")
    return 0


def is_done(file: File, newest: float) -> bool:
    """Whether an earlier run completed a file since the sources, last changed at ``newest``.

    A file appears under its name only when it is whole, so its index is proof enough.
    """
    if not file.target.exists() or file.target.stat().st_mtime < newest:
        return False
    try:
        entries = reader.open_checkpoint(file.target).entries.values()
    except CheckpointError:
        return False
    have = {entry.tag: (entry.type, entry.nbytes) for entry in entries}
    return have == {record.tag: (record.type, record.nbytes) for record in file.records}


def _print_plan(source: MergedCheckpoint, target: Plan) -> None:
    out = common.table(">rank", ">bytes", ">entries", "read from ranks")
    moved = 0
    for rank in range(target.ranks):
        found: dict[int, int] = {}
        total = count = 0
        for name, entry in source.entries.items():
            known = name in target.parameters
            box = target.box(name, rank, entry.shape) if known else boxes.whole(entry.shape)
            if box is None or not entry.is_array:
                continue
            size = entry.tensors[0].row.stored.itemsize
            for holder, elements in source.holders(name, box).items():
                found[holder] = found.get(holder, 0) + elements * size
            total += sum(source.holders(name, box).values()) * size
            count += 1
        moved += total - found.get(rank, 0)
        detail = ", ".join(f"{r}: {common.size(n)}" for r, n in sorted(found.items()))
        out.add_row(*map(common.plain, (str(rank), f"{total:,}", str(count), detail)))
    common.console().print(out)
    print(f"{target.ranks} files; {common.size(moved)} come from files of other ranks")
