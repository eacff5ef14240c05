"""``msckpt reshard``: rank files of one layout into those of another."""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping
from pathlib import Path

from msckpt_jax.checkpoint import boxes, reader
from msckpt_jax.checkpoint.records import File
from msckpt_jax.cli import common
from msckpt_jax.errors import CheckpointError
from msckpt_jax.parallel import merged, strategy, transform
from msckpt_jax.parallel.layout import Layout
from msckpt_jax.parallel.merged import MergedCheckpoint, Plan

DESCRIPTION = """\
Turn the CheckPoints in rank_0, rank_1, ... of a folder into those of another layout. The new one
is a strategy file or a mesh specification, whose strategy is then written beside the new files:

  'AXIS=SIZE,...; REGEX=DIM,DIM,...; ...'

names the axes of the mesh (the last varies fastest over the ranks), then how the parameters are
split: the first regular expression that is found in a name counts, each DIM names the axis that
splits this dimension, several joined by '+', or nothing. Unmentioned parameters are replicated.
"""
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
    layouts = None if "=" not in args.to else parse_mesh(args.to, source)
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


def parse_mesh(text: str, source: MergedCheckpoint) -> dict[str, Layout]:
    """The layout of each parameter of ``source`` by a mesh specification."""
    head, *rules = (part.strip() for part in text.split(";") if part.strip())
    axes: dict[str, int] = {}
    for item in head.split(","):
        name, _, count = item.strip().partition("=")
        if not name or not count.isdigit() or not int(count):
            raise ValueError(f"--to: {item.strip()!r} must be AXIS=SIZE")
        axes[name] = int(count)
    compiled = []
    for rule in rules:
        pattern, equals, dims = rule.rpartition("=")
        if not equals:
            raise ValueError(f"--to: {rule!r} must be REGEX=DIM,DIM,...")
        try:
            compiled.append((re.compile(pattern), _tensor_map(dims, axes)))
        except re.error as error:
            raise ValueError(f"--to: {pattern!r}: {error}") from None
    out = {}
    for name, entry in source.entries.items():
        if entry.is_array and entry.shape:
            found = next((m for p, m in compiled if p.search(name)), ())
            if len(found) > len(entry.shape):
                raise CheckpointError("--to splits more dimensions than it has", name=name,
                                      found=list(entry.shape))  # fmt: skip
            splits = found + ((),) * (len(entry.shape) - len(found))
            out[name] = Layout(tuple(axes.values()), splits)
    return out


def _tensor_map(dims: str, axes: Mapping[str, int]) -> tuple[tuple[int, ...], ...]:
    order = list(axes)
    out = []
    for dim in dims.split(","):
        names = [name.strip() for name in dim.split("+") if name.strip()]
        unknown = [name for name in names if name not in axes]
        if unknown:
            raise ValueError(f"--to: {unknown[0]!r} is no axis of the mesh {dict(axes)}")
        out.append(tuple(len(order) - 1 - order.index(name) for name in names))
    used = [axis for dim in out for axis in dim]
    if len(set(used)) < len(used):
        raise ValueError(f"--to: {dims!r} uses an axis twice")
    return tuple(out)


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
