"""Rank files planned as records: boxes of the source's tensors, copied window by window."""

from __future__ import annotations

import contextlib
import hashlib
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import PurePath
from typing import Any, NamedTuple

import numpy as np

from msckpt_jax import boxes, display, dtypes
from msckpt_jax.checkpoint import (
    atomic,
    collector,
    copying,
    formats,
    paths,
    records,
    store_folder,
    writer,
)
from msckpt_jax.checkpoint.entries import Entry
from msckpt_jax.checkpoint.formats.format import How
from msckpt_jax.checkpoint.paths import AnyPath
from msckpt_jax.checkpoint.records import File, Record
from msckpt_jax.checkpoint.stores.uploads import Held
from msckpt_jax.errors import CheckpointError
from msckpt_jax.parallel import ordered, soundness
from msckpt_jax.parallel.layout import Layout
from msckpt_jax.parallel.merged import MergedCheckpoint, Source
from msckpt_jax.parallel.placement import Plan, Staged
from msckpt_jax.progress import Progress


class RankFile(NamedTuple):
    """A file of a rank, whose records are listed when they are asked for, and not kept.

    Attributes:
        target: the path to write to.
        cutting: what all ranks get.
        rank: the rank.
        nbytes: the bytes of its tensors.
    """

    target: Any
    cutting: Cutting
    rank: int
    nbytes: int

    @property
    def records(self) -> list[Record]:
        return self.cutting.records(self.rank)


def plan_files(
    source: Source, target: Plan | None, folder: AnyPath | PurePath, prefix: str, suffix: str
) -> list[RankFile]:
    """The files of all ranks of ``target``, each in its ``rank_N`` folder.

    A rank that holds nothing gets no file, because MindSpore cannot load an empty file.

    Raises:
        CheckpointError: a file could not be written, or files of the source are missing.
    """
    cutting = Cutting(source, target)
    cutting.check_whole()
    nbytes, counts = cutting.sizes()
    return [
        RankFile(folder / f"rank_{rank}" / f"{prefix}{rank}{suffix}", cutting, rank, size)
        for rank, (size, count) in enumerate(zip(nbytes.tolist(), counts.tolist(), strict=True))
        if count
    ]


def strings_left_out(source: Source, target: Plan | None) -> set[str]:
    """The names of strings, which rank files do not hold because they crash MindSpore's merge."""
    if target is None:
        return set()
    return {name for name, entry in source.entries.items() if entry.type == dtypes.STRING}


class Cutting:
    """A source as the records of each rank but for strings; without a target all entries, whole.

    Tensors of one shape and layout are cut alike: their boxes are computed once for each rank.

    Raises:
        CheckpointError: a tensor does not fit the target's layout, or cannot be written.
    """

    def __init__(self, source: Source, target: Plan | None) -> None:
        self._source, self._ranks = source, target.ranks if target else 1
        self._whole: dict[str, Record] = {}
        self._cuts: dict[tuple[Staged, tuple[int, ...]], int] = {}
        self._cut: dict[str, int] = {}  # the number of the cut of each tensor
        left_out = strings_left_out(source, target)
        self._entries = {n: e for n, e in source.entries.items() if n not in left_out}
        for name, entry in self._entries.items():
            staged = target.parameters.get(name) if target else None
            if staged is None:
                _check_known(source, target, name)
                self._whole[name] = copying.record_of(source, name)
            else:
                _check_layout(name, entry, staged.layout)
                cut = staged, entry.shape
                self._cut[name] = self._cuts.setdefault(cut, len(self._cuts))

    def check_whole(self) -> None:
        """Refuse names that no file can hold, and a source that lacks a part of a tensor.

        Raises:
            CheckpointError: with the name, and the ranks whose files are missing.
        """
        every = [
            Record(entry.tag, entry.type, entry.tensors[0].shape, b"")
            for entry in self._entries.values()
        ]
        records.check_tags(every)
        for name in self._cut:
            self._source.pieces(name)

    @collector.paused()
    def records(self, rank: int) -> list[Record]:
        """The records of a rank, whose windows are read from the source when they are written.

        Raises:
            CheckpointError: files of the source that the rank needs are missing.
        """
        cuts: list[boxes.Box | None] = []
        for staged, shape in self._cuts:
            local = staged.local(rank)
            cuts.append(None if local is None else staged.layout.box(local, shape))
        out = []
        for name, entry in self._entries.items():
            if name in self._whole:
                out.append(self._whole[name])
            elif (box := cuts[self._cut[name]]) is not None:  # else it belongs to another stage
                row = entry.row
                out.append(copying.part_of(entry, row, self._source.pieces(name, box), box))
        return out

    def sizes(self) -> tuple[np.ndarray, np.ndarray]:
        """The bytes and the number of the records of each rank."""
        nbytes = np.full(self._ranks, sum(record.nbytes for record in self._whole.values()))
        counts = np.full(self._ranks, len(self._whole))
        cuts = list(self._cuts)
        sizes = Counter(
            (cut, self._entries[name].row.stored.itemsize) for name, cut in self._cut.items()
        )
        for (cut, itemsize), count in sizes.items():
            staged, shape = cuts[cut]
            ranks, cells = staged.cells()
            nbytes[ranks] += count * itemsize * staged.layout.grid(shape).shapes(cells).prod(1)
            counts[ranks] += count
        return nbytes, counts


def rank_records(source: Source, target: Plan | None, rank: int) -> list[Record]:
    """The records of one rank: see :class:`Cutting`."""
    return Cutting(source, target).records(rank)


def _check_layout(name: str, entry: Entry, layout: Layout) -> None:
    """Refuse a layout that cannot cut a tensor."""
    if len(entry.shape) != len(layout.tensor_map):
        raise CheckpointError(
            "the destination strategy gives it another number of dimensions",
            name=name,
            expected=list(entry.shape),
            found=display.counted(len(layout.tensor_map), "dimension"),
        )
    soundness.check_merge(name, layout)
    try:
        layout.grid(entry.shape)
    except CheckpointError as error:
        raise CheckpointError(error.problem, name=name) from None


def job_of(source: MergedCheckpoint, target: Plan | None) -> str:
    """A name for a job that changes when a source file, the strategies or the target do."""
    state = [(rank, *paths.stamp(paths.path_of(f.path))) for rank, f in source.files.items()]
    return hashlib.sha256(repr((state, source.plan, target)).encode()).hexdigest()[:16]


def write_files(
    files: Sequence[File | RankFile],
    jobs: int = 1,
    progress: Progress | None = None,
    *,
    job: str | None = None,
    threads: int = writer.THREADS,
    save: str | None = None,
    held: list[Held] | None = None,
) -> None:
    """Write files whose formats follow from their names, ``jobs`` at a time.

    Files without records are passed over. With ``job``, see :func:`job_of`, large files are
    continued where a killed run left them. ``save`` is the name of the save that they are marked
    with. In a store none appears before the bytes of all are there; ``held`` leaves that step to
    the caller.
    """
    files = [file for file in files if isinstance(file, RankFile) or file.records]
    for file in files:
        if isinstance(file, File):  # those of ranks are checked when they are planned
            records.check_tags(file.records)
    alone = held is not None or len(files) < 2
    with contextlib.nullcontext(held) if alone else store_folder.together() as uploads:
        options = writer.Options(progress=progress, threads=threads, held=uploads)
        _write_files(files, jobs, options, job, How(save=save))


def _write_files(
    files: Sequence[File | RankFile],
    jobs: int,
    options: writer.Options,
    job: str | None,
    how: How,
) -> None:
    def write(file: File | RankFile) -> None:
        target: Any = file.target
        plan = formats.plan(formats.of_target(target).name, file.records, how)
        in_order = paths.is_local(target) and ordered.able(plan, options)
        with atomic.making_folder(target.parent):
            if in_order and (job is not None or ordered.pays(plan)):
                ordered.write_file(target, plan, options, job)
            else:
                writer.write(target, plan, options)

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
