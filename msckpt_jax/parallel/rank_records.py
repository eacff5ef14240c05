"""Rank files planned as records: boxes of the source's tensors, copied window by window."""

from __future__ import annotations

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from msckpt_jax import dtypes
from msckpt_jax.checkpoint import atomic, copying, formats, records, writer
from msckpt_jax.checkpoint.formats.format import How
from msckpt_jax.checkpoint.records import File, Record
from msckpt_jax.errors import CheckpointError
from msckpt_jax.parallel import ordered, soundness
from msckpt_jax.parallel.merged import MergedCheckpoint, Source
from msckpt_jax.parallel.placement import Plan
from msckpt_jax.progress import Progress


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
            row = entry.tensors[0].row
            out.append(copying.part_of(entry, row, source.pieces(name, box), box))
    return out


def job_of(source: MergedCheckpoint, target: Plan | None) -> str:
    """A name for a job that changes when a source file, the strategies or the target do."""
    files = [(r, os.path.realpath(f.path), os.stat(f.path)) for r, f in source.files.items()]
    state = [(rank, path, stat.st_size, stat.st_mtime_ns) for rank, path, stat in files]
    return hashlib.sha256(repr((state, source.plan, target)).encode()).hexdigest()[:16]


def write_files(
    files: list[File],
    jobs: int = 1,
    progress: Progress | None = None,
    *,
    job: str | None = None,
    threads: int = writer.THREADS,
    save: str | None = None,
) -> None:
    """Write files whose formats follow from their names, ``jobs`` at a time.

    A rank that holds nothing gets no file, because MindSpore cannot load an empty file. With
    ``job``, see :func:`job_of`, large files are continued where a killed run left them. ``save`` is
    the name of the save that they are marked with.
    """
    files = [file for file in files if file.records]
    options = writer.Options(progress=progress, threads=threads)

    for file in files:
        records.check_tags(file.records)

    def write(file: File) -> None:
        plan = formats.plan(formats.of_target(file.target).name, file.records, How(save=save))
        with atomic.making_folder(file.target.parent):
            if ordered.able(plan, options) and (job is not None or ordered.pays([plan])):
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
