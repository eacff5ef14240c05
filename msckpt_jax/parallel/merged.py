"""A set of rank files as one CheckPoint: full tensors whose pieces lie in the files."""

from __future__ import annotations

import functools
import math
from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from msckpt_jax import boxes, display
from msckpt_jax.checkpoint import copying, formats, one_save, paths, settled
from msckpt_jax.checkpoint.entries import Entry, Stored
from msckpt_jax.checkpoint.file import CheckpointFile
from msckpt_jax.checkpoint.formats import shards
from msckpt_jax.checkpoint.int4 import to_int4
from msckpt_jax.checkpoint.paths import AnyPath, PathLike, regular
from msckpt_jax.errors import CheckpointError
from msckpt_jax.parallel import opened, soundness
from msckpt_jax.parallel.grid import Tiles
from msckpt_jax.parallel.held import NONE, Held, Holders
from msckpt_jax.parallel.placement import Parts, Plan, plan_of
from msckpt_jax.parallel.strategy import StrategyLike
from msckpt_jax.visible import visible


class Source(copying.Readable, Protocol):
    """A source that can be cut into rank files: rank files, or any other opened CheckPoint."""

    @property
    def plan(self) -> Plan | None: ...

    def pieces(self, name: str, box: boxes.Box | None = None) -> Sequence[boxes.Piece]: ...


def rank_files(folder: PathLike, suffix: str | None = None) -> dict[int, AnyPath]:
    """The file of each ``rank_N`` folder: the last in lexicographic order, as in MindSpore.

    Where a rank has several safetensors files and their index, it is the index.

    Raises:
        CheckpointError: there are no such files, or files of both formats.
        NotADirectoryError: ``folder`` is no folder.
    """
    folder = paths.path_of(folder)
    if not folder.is_dir():
        raise NotADirectoryError(visible(f"{folder} is not a folder of rank_N folders"))
    by_rank: dict[int, AnyPath] = {}
    for part in paths.below(folder, "rank_"):
        number = part.name.removeprefix("rank_")
        files = [
            f
            for f in paths.below(part)
            if f.suffix in formats.SUFFIXES and f.stem.endswith(suffix or "")
        ]
        index = part / shards.INDEX
        if number.isdigit() and index.exists():
            by_rank[int(number)] = regular(index)
        elif number.isdigit() and files:
            by_rank[int(number)] = regular(files[-1])
            if len({f.suffix for f in (*files, *by_rank.values())}) > 1:
                problem = f"both {' and '.join(formats.SUFFIXES)} files are there"
                raise CheckpointError(problem, file=part)
    if not by_rank:
        settled.check_all_settled(folder)
        raise CheckpointError(
            "no rank_N folder with a CheckPoint in it (convert takes other folders)", file=folder
        )
    return by_rank


class MergedCheckpoint(Mapping[str, Any]):
    """Rank files as a mapping from names to full tensors, which are read when asked for.

    The file of a single rank stands for all its replicas; files that nothing needs may be absent.
    The interface is that of :class:`~msckpt_jax.checkpoint.file.CheckpointFile`.

    Args:
        files: the file of each rank.
        strategy_file: their strategy; None when nothing is sharded.
        **options: further arguments of :func:`open_checkpoint`, such as ``dec_key``.

    Raises:
        CheckpointError: the files do not fit the strategy, or are of different saves.

    Example:
        >>> mesh = jax.make_mesh((2,), ("x",), devices=jax.devices()[:2])
        >>> w = jax.device_put(np.arange(4, dtype=np.float32), jax.NamedSharding(mesh, jax.P("x")))
        >>> ms.save_checkpoint({"w": w}, "net.ckpt", integrated_save=False)
        >>> files = {rank: f"rank_{rank}/net.ckpt" for rank in (0, 1)}
        >>> ms.MergedCheckpoint(files, "strategy.ckpt")["w"]
        array([0., 1., 2., 3.], dtype=float32)
    """

    def __init__(
        self, files: Mapping[int, PathLike], strategy_file: StrategyLike | None, **options: Any
    ):
        if not isinstance(files, Mapping) or not files:
            raise TypeError(f"files must be a dict of a file for each rank, not {files!r}")
        if (rank := next((r for r in files if not isinstance(r, int)), None)) is not None:
            raise TypeError(f"the ranks of files must be ints, not {rank!r}")
        with settled.reading_ranks(files.values(), strategy_file):
            self.plan = plan_of(strategy_file)
            self.files = opened.open_files(files, **options)
        _check_saves(self.files, self.plan)
        first = next(iter(self.files.values()))
        self.path = str(paths.path_of(first.path).parent.parent) if len(files) > 1 else first.path
        self.format = first.format
        self._holders = Holders(opened.grouped(self.files), self.plan.ranks if self.plan else 0)
        self._held: dict[str, Held] = {}  # the tensors of the strategy
        self.entries: dict[str, Entry] = {}
        for name in self._holders:
            self._add(name)
        if self.plan is not None and not self._held:
            name = next(iter(self.plan.parameters))
            raise CheckpointError(f"the files have no parameter of the strategy ({name!r}, ...)",
                                  file=self.path)  # fmt: skip

    def __getitem__(self, name: str) -> Any:
        if name not in self._held:
            return self._holder(name)[name]
        entry = self.entries[name]
        out = np.empty(entry.shape, entry.row.stored)
        boxes.gather(self.pieces(name), boxes.whole(entry.shape), out)
        return to_int4(out, name, self.path) if entry.type == "Int4" else out

    def __iter__(self) -> Iterator[str]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)

    def __contains__(self, name: object) -> bool:
        return name in self.entries

    def pieces(self, name: str, box: boxes.Box | None = None) -> Sequence[boxes.Piece]:
        """The pieces of the rank files that hold a tensor, or its part ``box``.

        Raises:
            CheckpointError: the files of some ranks are missing.
        """
        if name not in self._held:
            return self._holder(name).pieces(name)
        held = self._held[name]
        if missing := held.missing(held.box if box is None else box):
            raise CheckpointError(
                f"the files of ranks {missing[:8]} (or of their replicas) are needed",
                file=self.path,
                name=name,
            )
        return Tiles(held.grid, lambda cell: self.files[held.rank(cell)].pieces(name), held.box)

    def parts(self, name: str) -> Parts:
        """The ranks that hold each part of a tensor."""
        shape = self.entries[name].shape
        if name in self._held and self.plan is not None:
            return self.plan.parts(name, shape)
        return {boxes.whole(shape): self._holders.ranks(name)}

    def read(self, name: str, box: boxes.Box) -> list[tuple[int, int]]:
        """The ranks from whose files a box of an array is read, and the elements of each."""
        if name in self._held:
            return list(self._held[name].read(box))
        return [(self._holders.first(name), boxes.size_of(box))]

    def source(self, name: str) -> Hashable:
        """A value that two tensors of one shape share if :meth:`read` is the same for both."""
        if name not in self._held:
            return self._holders.first(name)
        held = self._held[name]
        return held.staged, id(held.ranks)

    def __repr__(self) -> str:
        total = display.size(sum(e.nbytes for e in self.entries.values()))
        files = display.counted(len(self.files), "file")
        entries = display.counted(len(self), "entry", "entries")
        return visible(f"<MergedCheckpoint {self.path}: {files}, {entries}, {total}>")

    def _repr_html_(self) -> str:
        rows = [
            [e.name, e.type, str(list(e.shape)), display.Size(e.nbytes),
             display.sharding(e.shape, self.parts(e.name))]
            for e in self.entries.values()
        ]  # fmt: skip
        columns = ["name", "dtype", "shape", "size", "ranks"]
        return display.page(repr(self)[1:-1], display.table(columns, rows))

    def close(self) -> None:
        for file in self.files.values():
            file.close()
        self.entries = {}

    def _holder(self, name: str) -> CheckpointFile:
        return self.files[self._holders.first(name)]

    def _add(self, name: str) -> None:
        entry = self._holder(name).entries[name]
        staged = self.plan.parameters.get(name) if self.plan else None
        if staged is None or not entry.is_array or entry.unknown:
            self._check_same(name)
            self.entries[name] = entry
            return
        layout = staged.layout
        where: dict[str, Any] = {"file": self.path, "name": name}
        if len(entry.shape) != len(layout.tensor_map):
            raise CheckpointError(
                "the strategy gives it another number of dimensions",
                expected=display.counted(len(layout.tensor_map), "dimension"),
                found=list(entry.shape),
                **where,
            )
        soundness.check_merge(name, layout, self.path)
        shape = layout.full_shape(entry.shape)
        grid = layout.grid(shape)
        rank = self._holders.misfit(name, staged, grid, entry.type)
        if rank is not None:
            part, box = self.files[rank].entries[name], layout.box(rank, shape)
            raise CheckpointError(
                f"the part of rank {rank} does not fit the strategy",
                expected=f"{entry.type}{list(boxes.shape_of(box))}",
                found=f"{part.type}{list(part.shape)}",
                **where,
            )
        ranks = self._holders.of_cells(name, staged)
        is_whole = bool((ranks != NONE).all())
        self._held[name] = Held(staged, grid, ranks, is_whole, boxes.whole(shape))
        nbytes = math.prod(shape) * entry.row.stored.itemsize
        self.entries[name] = entry._replace(tensors=(Stored(entry.type, shape, ((0, nbytes),)),))

    def _check_same(self, name: str) -> None:
        """Refuse a parameter without a layout that is not the same on all ranks.

        MindSpore silently takes the part of one rank for the whole.
        """
        if len(self.files) == 1:
            return
        first, *others = (self.files[rank] for rank in self._holders.ranks(name))
        # The name of an optimizer's state ends with the name of its parameter, whose layout it has.
        ends = (name[at + 1 :] for at, character in enumerate(name) if character == ".")
        likely = next((end for end in ends if end in self._cut), None)
        if likely is not None and first.entries[name].shape:
            why = f"{likely!r} is sharded"
        elif all(_equal(first, other, name) for other in others):
            return
        else:
            why = "its values differ from rank to rank"
        problem = "the strategy does not say how it is sharded, but {}; add it to the strategy"
        if self.plan is None:
            problem = "no strategy says how it is sharded, but {}; give the strategy of the source"
        raise CheckpointError(
            problem.format(why),
            file=self.path,
            name=name,
        )

    @functools.cached_property
    def _cut(self) -> set[str]:
        """The parameters that the strategy splits."""
        known = self.plan.parameters if self.plan else {}
        return {name for name, s in known.items() if max(s.layout.splits, default=1) > 1}


def open_ranks(
    folder: PathLike | Mapping[int, PathLike],
    strategy_file: StrategyLike | None,
    suffix: str | None = None,
    **options: Any,
) -> MergedCheckpoint:
    """Open the rank folders in ``folder``, or files given by rank, as a single CheckPoint."""
    files = folder if isinstance(folder, Mapping) else rank_files(folder, suffix)
    return MergedCheckpoint(files, strategy_file, **options)


def _check_saves(files: Mapping[int, CheckpointFile], plan: Plan | None) -> None:
    """Refuse files of different saves; pipeline stages may have been saved by themselves."""
    stage = plan.stage_ranks if plan is not None else len(files)
    saves: dict[int, dict[int, str | None]] = {}
    for rank, file in files.items():
        if file.format in formats.WRITABLE:  # not a folder, which has a save of its own
            saves.setdefault(rank // stage if plan else 0, {})[rank] = file.save
    for members in saves.values():
        first = paths.path_of(next(iter(files.values())).path)
        one_save.check(members, "rank", first.parent.parent)


def _equal(left: CheckpointFile, right: CheckpointFile, name: str) -> bool:
    a, b = left.entries[name], right.entries[name]
    return (a.type, a.shape) == (b.type, b.shape) and all(
        left.raw_bytes(x) == right.raw_bytes(y) for x, y in zip(a.tensors, b.tensors, strict=True)
    )
