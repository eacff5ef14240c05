"""Rank files planned as records: boxes of the source's tensors, copied window by window."""

from __future__ import annotations

import contextlib
import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import PurePath

from msckpt_jax import dtypes
from msckpt_jax.checkpoint import copying, formats, paths, records, store_folder, writer
from msckpt_jax.checkpoint.formats.format import How
from msckpt_jax.checkpoint.paths import AnyPath
from msckpt_jax.checkpoint.records import File, Record
from msckpt_jax.checkpoint.stores.uploads import Held
from msckpt_jax.errors import CheckpointError
from msckpt_jax.parallel import ordered, soundness
from msckpt_jax.parallel.merged import MergedCheckpoint, Source
from msckpt_jax.parallel.placement import Plan
from msckpt_jax.progress import Progress


def plan_files(
    source: Source, target: Plan | None, folder: AnyPath | PurePath, prefix: str, suffix: str
) -> list[File]:
    """The files of all ranks of ``target``, each in its ``rank_N`` folder."""
    return [
        File(
            folder / f"rank_{rank}" / f"{prefix}{rank}{suffix}", rank_records(source, target, rank)
        )
        for rank in range(target.ranks if target else 1)
    ]


def strings_left_out(source: Source, target: Plan | None) -> set[str]:
    """The names of strings, which rank files do not hold because they crash MindSpore's merge."""
    if target is None:
        return set()
    return {name for name, entry in source.entries.items() if entry.type == dtypes.STRING}


def rank_records(source: Source, target: Plan | None, rank: int) -> list[Record]:
    """The records of a rank of ``target`` but for strings; without a target all entries, whole."""
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
                "the destination strategy gives it another number of dimensions",
                name=name,
                expected=list(entry.shape),
                found=f"{len(staged.layout.tensor_map)} dimensions",
            )
        soundness.check_merge(name, staged.layout)
        try:
            box = target.box(name, rank, entry.shape)
        except CheckpointError as error:
            raise CheckpointError(error.problem, name=name) from None
        if box is not None:  # else it belongs to another stage
            row = entry.row
            out.append(copying.part_of(entry, row, source.pieces(name, box), box))
    return out


def job_of(source: MergedCheckpoint, target: Plan | None) -> str:
    """A name for a job that changes when a source file, the strategies or the target do."""
    state = [(rank, *paths.stamp(paths.path_of(f.path))) for rank, f in source.files.items()]
    return hashlib.sha256(repr((state, source.plan, target)).encode()).hexdigest()[:16]


def write_files(
    files: list[File],
    jobs: int = 1,
    progress: Progress | None = None,
    *,
    job: str | None = None,
    threads: int = writer.THREADS,
    save: str | None = None,
    held: list[Held] | None = None,
) -> None:
    """Write files whose formats follow from their names, ``jobs`` at a time.

    A rank that holds nothing gets no file, because MindSpore cannot load an empty file. With
    ``job``, see :func:`job_of`, large files are continued where a killed run left them. ``save`` is
    the name of the save that they are marked with. In a store none appears before the bytes of all
    are there; ``held`` leaves that step to the caller.
    """
    files = [file for file in files if file.records]
    for file in files:
        records.check_tags(file.records)
    alone = held is not None or len(files) < 2
    with contextlib.nullcontext(held) if alone else store_folder.together() as uploads:
        options = writer.Options(progress=progress, threads=threads, held=uploads)
        _write_files(files, jobs, options, job, How(save=save))


def _write_files(
    files: list[File], jobs: int, options: writer.Options, job: str | None, how: How
) -> None:
    def write(file: File) -> None:
        paths.make(file.target.parent)
        plan = formats.plan(formats.of_target(file.target).name, file.records, how)
        in_order = paths.is_local(file.target) and ordered.able(plan, options)
        if in_order and (job is not None or ordered.pays([plan])):
            ordered.write_file(file.target, plan, options, job)
        else:
            writer.write(file.target, plan, options)

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
