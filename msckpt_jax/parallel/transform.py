"""MindSpore's transform functions: merge and reshard rank files, streaming, never gathering.

A destination file is planned as records whose pieces are boxes of the source files; the writer
copies byte ranges window by window, so that no tensor of either side is ever held whole.
"""

from __future__ import annotations

import hashlib
import math
import os
import warnings
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from msckpt_jax import dtypes
from msckpt_jax import progress as meters
from msckpt_jax.checkpoint import boxes, copying, records, resume, writer
from msckpt_jax.checkpoint import plan as planning
from msckpt_jax.checkpoint.records import File, Record
from msckpt_jax.errors import CheckpointError
from msckpt_jax.interop import safetensors
from msckpt_jax.parallel import merged, strategy
from msckpt_jax.parallel.merged import MergedCheckpoint, Source
from msckpt_jax.parallel.placement import Plan, plan_of

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
    progress: writer.Progress | bool | None = None,
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


def check_prefix(prefix: Any, argument: str) -> None:
    if not isinstance(prefix, str) or not prefix or "/" in prefix:
        raise ValueError(f"{argument} must be a name without '/', not {prefix!r}")


def check_count(count: Any, argument: str) -> None:
    if not isinstance(count, int) or count < 1:
        raise ValueError(f"{argument} must be a positive number, not {count!r}")


def check_rank(rank: Any, plan: Plan | None) -> None:
    if not isinstance(rank, int):
        raise TypeError(f"rank_id must be int, not {type(rank).__name__}")
    count = plan.ranks if plan else 1
    if not 0 <= rank < count:
        raise ValueError(f"rank_id must be below the {count} ranks of the strategy, not {rank}")


def check_other_folder(source: Any, target: Any) -> None:
    """Refuse to write among the rank files that are read: they would be taken for them later."""
    if Path(target).exists() and Path(target).samefile(source):
        raise ValueError(f"{target} is the source itself; write to another folder")


def plan_files(
    source: Source, target: Plan | None, folder: Path, prefix: str, suffix: str
) -> list[File]:
    """The files of all ranks of ``target``, each in its ``rank_N`` folder."""
    return [
        File(
            folder / f"rank_{rank}" / f"{prefix}{rank}{suffix}", rank_records(source, target, rank)
        )
        for rank in range(target.ranks if target else 1)
    ]


def strings_left_out(source: Source, target: Plan | None) -> set[str]:
    """The strings, which rank files do not hold: they crash MindSpore's merge."""
    if target is None:
        return set()
    return {name for name, entry in source.entries.items() if entry.type == dtypes.STRING}


def rank_records(source: Source, target: Plan | None, rank: int) -> list[Record]:
    """What one rank of ``target`` holds, but no strings; all and whole if there is no target."""
    out = []
    left_out = strings_left_out(source, target)
    for name, entry in source.entries.items():
        if name in left_out:
            continue
        staged = target.parameters.get(name) if target else None
        if staged is None:
            _check_known(source, target, name)
            out.append(copying.record_of(source, name))
            continue
        assert target is not None
        if len(entry.shape) != len(staged.layout.tensor_map):
            raise CheckpointError(
                "the destination strategy has other dimensions",
                name=name,
                expected=list(entry.shape),
                found=f"{len(staged.layout.tensor_map)} dimensions",
            )
        try:
            box = target.box(name, rank, entry.shape)
        except CheckpointError as error:
            raise CheckpointError(error.problem, name=name) from None
        if box is not None:  # else it belongs to another stage
            row = entry.tensors[0].row
            out.append(copying.part_of(entry, row, source.pieces(name, box), box))
    return out


def job_of(source: MergedCheckpoint, target: Plan | None) -> str:
    """A name that work has only while its sources stay as they are and its target is the same."""
    files = [(r, os.path.realpath(f.path), os.stat(f.path)) for r, f in source.files.items()]
    state = [(rank, path, stat.st_size, stat.st_mtime_ns) for rank, path, stat in files]
    return hashlib.sha256(repr((state, source.plan, target)).encode()).hexdigest()[:16]


def write_files(
    files: list[File],
    jobs: int = 1,
    progress: writer.Progress | None = None,
    *,
    job: str | None = None,
    threads: int = writer.THREADS,
) -> None:
    """Write files whose formats follow from their names, ``jobs`` at a time.

    A rank that holds nothing gets no file: MindSpore cannot load an empty one. With ``job``, see
    :func:`job_of`, large files go on where a killed run has left them.
    """
    files = [file for file in files if file.records]
    options = writer.Options(progress=progress, threads=threads)

    for file in files:
        records.check_tags(file.records)

    def write(file: File) -> None:
        file.target.parent.mkdir(parents=True, exist_ok=True)
        make = safetensors.plan if file.target.suffix == ".safetensors" else planning.ckpt
        if job is None or not hasattr(os, "pwritev"):
            writer.write(file.target, make(file.records), options)
        else:
            resume.write(file.target, make(file.records), options, job)

    with ThreadPoolExecutor(max(1, jobs)) as pool:
        list(pool.map(write, files))


def _check_known(source: Source, target: Plan | None, name: str) -> None:
    """Refuse to write a sharded parameter whole to ranks whose strategy does not know it."""
    if target is None or source.plan is None:
        return
    staged = source.plan.parameters.get(name)
    if staged is not None and max(staged.layout.splits, default=1) > 1:
        raise CheckpointError(
            "it is sharded in the source, and the destination strategy omits it; add it there",
            name=name,
        )


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
