"""``msckpt reshard``: rank files of one layout into rank files of another layout."""

from __future__ import annotations

import argparse
from typing import Any

from msckpt_jax import display, progress
from msckpt_jax.checkpoint import atomic, formats, paths
from msckpt_jax.cli import common, sources
from msckpt_jax.parallel import checks, merged, meshspec, placement, preview, rank_records, strategy
from msckpt_jax.parallel.rank_records import RankFile

DESCRIPTION = (
    """\
Turn the CheckPoints in the folders rank_0, rank_1, ... into rank files of another layout. Both are
.ckpt or .safetensors files. The new layout is a strategy file, or a mesh, whose strategy is written
beside the new files. A mesh is given as

"""
    + meshspec.DESCRIPTION
    + sources.STORES
)
EXAMPLES = """\
  msckpt reshard old/ --from old/strategy.ckpt --to new_strategy.ckpt -o new/
  msckpt reshard old/ --from old/strategy.ckpt --to 'x=2,y=2; kernel$=x,y; embed=x+y' -o cut/
  msckpt reshard old/ --from old/strategy.ckpt --to 'x=4; kernel$=,x' -o new/ --plan

Interrupted work is taken up where it was left when the command is given again; in an object store
it begins anew.
"""
#: The file in the output folder that names the job whose results lie there.
_NOTE = ".msckpt-reshard"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", metavar="DIR", help="folder of the rank_N folders")
    parser.add_argument("--from", dest="source", metavar="FILE", help="strategy file of the "
                        "source (default: one unsharded rank)")  # fmt: skip
    parser.add_argument("--to", metavar="FILE|MESH", required=True, help="the new layout")
    parser.add_argument("-o", "--output", metavar="DIR", required=True, help="folder to write to")
    parser.add_argument(
        "--prefix", default="rank", help="beginning of the new files' names (default: rank)"
    )
    parser.add_argument("--format", choices=formats.WRITABLE, default=formats.DEFAULT,
                        help=f"format of the new files (default: {formats.DEFAULT})")  # fmt: skip
    parser.add_argument("--jobs", type=common.count, default=1, metavar="N",
                        help="files to write at a time (default: 1)")  # fmt: skip
    parser.add_argument("--plan", action="store_true", help="only tell what would be done")
    parser.add_argument("--json", action="store_true", help="with --plan: as JSON")
    common.key_arguments(parser)


def run(args: argparse.Namespace) -> int:
    if args.json and not args.plan:
        raise ValueError("--json goes with --plan")
    if not args.to:
        raise ValueError("--to must name a strategy file, or be a mesh specification")
    checks.check_prefix(args.prefix, "--prefix")
    with progress.waiting(f"open {args.folder}"):
        source = merged.open_ranks(args.folder, args.source, **common.rank_secrets(args))
    layouts = None if "=" not in args.to else meshspec.parse(args.to, source.entries)
    target = placement.plan_of(layouts if layouts is not None else args.to)
    assert target is not None
    folder = paths.path_of(args.output)
    checks.check_other_folder(args.folder, folder)
    common.warn_of_strings(rank_records.strings_left_out(source, target))
    suffix = formats.named(args.format).suffix
    files = rank_records.plan_files(source, target, folder, args.prefix, suffix)
    if args.plan:
        plan = preview.of(source, target)
        if args.json:
            common.say_json(plan.as_json())
        else:
            common.say(*repr(plan).splitlines())
        return 0
    job = rank_records.job_of(source, target)
    left = _left(folder, files, job)
    total = sum(file.nbytes for file in left)
    with progress.bar("reshard", total) as advance:
        rank_records.write_files(left, args.jobs, advance, job=job, save=job)
    if layouts is not None:
        strategy.write(folder / strategy.FILE, layouts)
    done = f", {len(files) - len(left)} were there already" if len(left) < len(files) else ""
    common.say(f"{folder}: {display.counted(len(left), 'rank file')}, {display.size(total)}{done}")
    return 0


def _left(folder: Any, files: list[RankFile], job: str) -> list[RankFile]:
    """The files that an earlier run of the same job has not completed.

    A file appears under its name only when it is whole, so that its existence is proof enough.
    """
    note = folder / _NOTE
    if note.is_file() and note.read_text() == job:
        return [file for file in files if not file.target.exists()]
    ranks = paths.below(folder, "rank_")
    strange = [file for rank in ranks for file in paths.below(rank) if file.name[0] != "."]
    if strange:
        raise ValueError(f"{folder} holds other rank files ({strange[0]}); write to a new folder")
    paths.make(folder)
    atomic.write(note, job.encode())
    return files
