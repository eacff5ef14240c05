"""MindSpore's transform functions: merge and reshard rank files, streaming, never gathering.

A destination file is planned as records whose pieces are boxes of the source files; the writer
copies byte ranges window by window, so that no tensor of either side is ever held whole.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from msckpt_jax import boxes
from msckpt_jax import progress as meters
from msckpt_jax.checkpoint.records import File
from msckpt_jax.errors import CheckpointError
from msckpt_jax.parallel import merged, strategy
from msckpt_jax.parallel.checks import check_count, check_other_folder, check_prefix, check_rank
from msckpt_jax.parallel.merged import MergedCheckpoint
from msckpt_jax.parallel.placement import Plan, plan_of
from msckpt_jax.parallel.rank_records import plan_files, rank_records, strings_left_out, write_files
from msckpt_jax.progress import Progress

# What MindSpore does not count when it compares the parameters of two strategies.
_UNCOUNTED = ("accu_grads", "adam_v", "adam_m")
FORMATS = ("ckpt", "safetensors")


def transform_checkpoints(
    src_checkpoints_dir: Any,
    dst_checkpoints_dir: Any,
    ckpt_prefix: str,
    src_strategy_file: Any = None,
    dst_strategy_file: Any = None,
    process_num: int = 1,
    output_format: str = "ckpt",
    *,
    progress: Progress | bool | None = None,
) -> None:
    """Turn the rank files of one strategy into those of another.

    Reads ``src/rank_N/*`` (the last in lexicographic order), CheckPoints or safetensors, also
    de-duplicated ones; writes ``dst/rank_N/<prefix>N.<output_format>``. When both strategies have
    one stage and the destination has more parameters, the source is a part of a model, and
    ``_part<stage>`` is appended to the names, as MindSpore does.

    Args:
        src_checkpoints_dir: folder of ``rank_N`` folders.
        dst_checkpoints_dir: folder to write to; made if need be.
        ckpt_prefix: begins the names of the files.
        src_strategy_file: strategy of the source; None is one unsharded rank.
        dst_strategy_file: strategy of the destination; None likewise.
        process_num: how many files are written at a time.
        output_format: ``"ckpt"`` or ``"safetensors"``.
        progress: True shows a bar, in terminals and notebooks. Or a function, called with the
            size in bytes of each written piece, from any thread.

    Raises:
        CheckpointError: the files of needed ranks are missing, or do not fit the strategy; a
            sharded parameter is in no strategy (MindSpore cuts it to one shard in silence).
        NotADirectoryError: the source is no folder.
        ValueError: ``ckpt_prefix``, ``process_num`` or ``output_format`` is not usable, or the
            destination is the source.
    """
    check_prefix(ckpt_prefix, "ckpt_prefix")
    check_count(process_num, "process_num")
    if output_format not in FORMATS:
        raise ValueError(f"output_format must be 'ckpt' or 'safetensors', not {output_format!r}")
    check_other_folder(src_checkpoints_dir, dst_checkpoints_dir)
    source = merged.open_ranks(src_checkpoints_dir, src_strategy_file)
    target = plan_of(dst_strategy_file)
    if dropped := strings_left_out(source, target):
        warnings.warn(
            f"strings are left out of rank files, they crash MindSpore's merge: {sorted(dropped)}",
            stacklevel=2,
        )
    files = plan_files(
        source,
        target,
        Path(dst_checkpoints_dir),
        ckpt_prefix,
        f"{_part_suffix(src_strategy_file, source.plan, dst_strategy_file)}.{output_format}",
    )
    total = sum(record.nbytes for file in files for record in file.records)
    with meters.meter("transform", total, progress) as advance:
        write_files(files, process_num, advance)


def transform_checkpoint_by_rank(
    rank_id: int,
    checkpoint_files_map: Mapping[int, Any],
    save_checkpoint_file_name: Any,
    src_strategy_file: Any = None,
    dst_strategy_file: Any = None,
) -> None:
    """Make the file of one destination rank from ``{source rank: file}``.

    The map needs the ranks that :func:`rank_list_for_transform` names.

    Raises:
        CheckpointError: as :func:`transform_checkpoints`.
        ValueError: no such rank, or the name does not end with ``.ckpt`` or ``.safetensors``.
    """
    if not isinstance(checkpoint_files_map, Mapping) or not checkpoint_files_map:
        raise TypeError("checkpoint_files_map must be a dict of rank to file")
    target = plan_of(dst_strategy_file)
    check_rank(rank_id, target)
    path = Path(save_checkpoint_file_name)
    if path.suffix.removeprefix(".") not in FORMATS:
        raise ValueError(f"{path} must end with .ckpt or .safetensors")
    source = MergedCheckpoint(checkpoint_files_map, src_strategy_file)
    write_files([File(path, rank_records(source, target, rank_id))])


def rank_list_for_transform(
    rank_id: int, src_strategy_file: Any = None, dst_strategy_file: Any = None
) -> list[int]:
    """The source ranks whose files destination rank ``rank_id`` needs, in descending order.

    Of replicas one that is needed anyway is taken, else the rank itself, else the lowest. The list
    may be shorter than MindSpore's, which also names ranks that its operators pass through.

    Raises:
        CheckpointError: a strategy file is damaged. ValueError: no such rank. TypeError: no int.
    """
    source, target = plan_of(src_strategy_file), plan_of(dst_strategy_file)
    check_rank(rank_id, target)
    if source is None:
        return [0]
    holders = _holders_of_parts(rank_id, source, target)
    needed = {ranks[0] for ranks in holders if len(ranks) == 1}
    for ranks in holders:
        if needed.isdisjoint(ranks):
            needed.add(rank_id if rank_id in ranks else ranks[0])
    return sorted(needed, reverse=True)


def _holders_of_parts(rank: int, source: Plan, target: Plan | None) -> list[list[int]]:
    """For each part of each parameter that ``rank`` of ``target`` needs the ranks that hold it."""
    out = []
    for name, staged in source.parameters.items():
        other = target.parameters.get(name) if target else None
        if target is not None and other is None:
            continue
        splits = [staged.layout.splits, *([other.layout.splits] if other else [])]
        shape = tuple(math.lcm(*sides) for sides in zip(*splits, strict=True))
        box = target.box(name, rank, shape) if target else boxes.whole(shape)
        if box is None:
            continue
        parts: dict[boxes.Box, list[int]] = {}
        for holder, local in staged.ranks():
            parts.setdefault(staged.layout.box(local, shape), []).append(holder)
        out += [ranks for part, ranks in parts.items() if boxes.intersect(part, box) is not None]
    return out


def merge_pipeline_strategys(src_strategy_dirs: Any, dst_strategy_file: Any) -> None:
    """Join the strategy files of all pipeline stages in a folder into one.

    Names become ``<stage>-<name>``; of files of one stage the first counts.
    """
    folder = Path(src_strategy_dirs)
    if not folder.is_dir():
        raise NotADirectoryError(f"{folder} is not a folder of strategy files")
    files = sorted([*folder.glob("*.ckpt"), *folder.glob("*.json")])
    if len({f.suffix for f in files}) != 1:
        raise CheckpointError("the strategy files must all be .ckpt or all .json", file=folder)
    stages: dict[int, strategy.Strategy] = {}
    for file in files:
        layouts, stage = strategy.read(file)
        stages.setdefault(stage, layouts)
    joined = {f"{s}-{n}": layout for s, found in stages.items() for n, layout in found.items()}
    strategy.write(dst_strategy_file, joined, staged=True)


# The parts, which the command line uses, too


def _part_suffix(src: Any, source: Plan | None, dst: Any) -> str:
    target = plan_of(dst)
    if source is None or target is None:
        return ""
    mine, theirs = (
        {n for n in p.parameters if not n.startswith(_UNCOUNTED)} for p in (source, target)
    )
    one_stage = all(
        len(s.first_ranks) == 1 and p.ranks == s.layout.ranks
        for p in (source, target)
        for s in p.parameters.values()
    )
    stage = 0 if isinstance(src, Mapping) else strategy.read(src)[1]
    return f"_part{stage}" if mine < theirs and one_stage else ""
