"""A set of rank files as one CheckPoint: full tensors whose pieces lie in the files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import numpy as np

from msckpt_jax import boxes, display
from msckpt_jax.checkpoint import copying, formats, one_save, paths, settled
from msckpt_jax.checkpoint.entries import Entry, Stored
from msckpt_jax.checkpoint.file import CheckpointFile, open_checkpoint
from msckpt_jax.checkpoint.formats import shards
from msckpt_jax.checkpoint.int4 import to_int4
from msckpt_jax.checkpoint.paths import AnyPath, PathLike, regular
from msckpt_jax.errors import CheckpointError
from msckpt_jax.parallel import soundness
from msckpt_jax.parallel.placement import Parts, Plan, plan_of
from msckpt_jax.parallel.strategy import StrategyLike
from msckpt_jax.visible import visible


class Source(copying.Readable, Protocol):
    """A source that can be cut into rank files: rank files, or any other opened CheckPoint."""

    @property
    def plan(self) -> Plan | None: ...

    def pieces(self, name: str, box: boxes.Box | None = None) -> list[boxes.Piece]: ...


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
        if paths.is_local(folder):
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
        with settled.reading_ranks(files.values(), strategy_file):
            self.plan = plan_of(strategy_file)
            self.files: dict[int, CheckpointFile] = {
                rank: open_checkpoint(path, **options) for rank, path in sorted(files.items())
            }
        _check_saves(self.files, self.plan)
        first = next(iter(self.files.values()))
        self.path = str(paths.path_of(first.path).parent.parent) if len(files) > 1 else first.path
        self.format = first.format
        self._parts: dict[str, dict[boxes.Box, int]] = {}  # a rank that holds each distinct part
        self.entries: dict[str, Entry] = {}
        for name in dict.fromkeys(name for file in self.files.values() for name in file):
            self._add(name)
        if self.plan is not None and not self._parts:
            name = next(iter(self.plan.parameters))
            raise CheckpointError(f"the files have no parameter of the strategy ({name!r}, ...)",
                                  file=self.path)  # fmt: skip

    def __getitem__(self, name: str) -> Any:
        if name not in self._parts:
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

    def pieces(self, name: str, box: boxes.Box | None = None) -> list[boxes.Piece]:
        """The pieces of the rank files that hold a tensor, or its part ``box``.

        Raises:
            CheckpointError: the files of some ranks are missing.
        """
        if name not in self._parts:
            return self._holder(name).pieces(name)
        box = boxes.whole(self.entries[name].shape) if box is None else box
        out: list[boxes.Piece] = []
        covered = 0
        for part, rank in self._parts[name].items():
            common = boxes.intersect(part, box)
            if common is not None:
                covered += boxes.size_of(common)
                out += [(_moved(b, part), s) for b, s in self.files[rank].pieces(name)]
        if covered != boxes.size_of(box):
            raise CheckpointError(
                f"the files of ranks {self._missing(name, box)} (or of their replicas) are needed",
                file=self.path,
                name=name,
            )
        return out

    def holders(self, name: str, box: boxes.Box) -> dict[int, int]:
        """The number of elements of ``box`` that are read from the file of each rank."""
        if name not in self._parts:
            return {next(r for r, f in self.files.items() if name in f): boxes.size_of(box)}
        out: dict[int, int] = {}
        for part, rank in self._parts[name].items():
            common = boxes.intersect(part, box)
            if common is not None:
                out[rank] = out.get(rank, 0) + boxes.size_of(common)
        return out

    def parts(self, name: str) -> Parts:
        """The ranks that hold each part of a tensor."""
        shape = self.entries[name].shape
        if name in self._parts and self.plan is not None:
            return self.plan.parts(name, shape)
        return {boxes.whole(shape): [rank for rank, file in self.files.items() if name in file]}

    def bytes_by_rank(self, wanted: Mapping[str, boxes.Box]) -> dict[int, int]:
        """The number of bytes that boxes of the named tensors take from the file of each rank."""
        out: Counter[int] = Counter()
        for name, box in wanted.items():
            entry = self.entries[name]
            if not entry.is_array:  # read whole from one rank
                holder = next(rank for rank, file in self.files.items() if name in file)
                out[holder] += entry.nbytes
                continue
            size = entry.row.stored.itemsize
            out.update({rank: n * size for rank, n in self.holders(name, box).items()})
        return dict(out)

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
        return next(file for file in self.files.values() if name in file)

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
                expected=f"{len(layout.tensor_map)} dimensions",
                found=list(entry.shape),
                **where,
            )
        soundness.check_merge(name, layout, self.path)
        shape = layout.full_shape(entry.shape)
        parts: dict[boxes.Box, int] = {}
        for rank, local in staged.ranks():
            if rank not in self.files or name not in self.files[rank]:
                continue
            box = layout.box(local, shape)
            part = self.files[rank].entries[name]
            if (part.type, part.shape) != (entry.type, boxes.shape_of(box)):
                raise CheckpointError(
                    f"the part of rank {rank} does not fit the strategy",
                    expected=f"{entry.type}{list(boxes.shape_of(box))}",
                    found=f"{part.type}{list(part.shape)}",
                    **where,
                )
            parts.setdefault(box, rank)
        self._parts[name] = parts
        nbytes = boxes.size_of(boxes.whole(shape)) * entry.row.stored.itemsize
        self.entries[name] = entry._replace(tensors=(Stored(entry.type, shape, ((0, nbytes),)),))

    def _missing(self, name: str, box: boxes.Box) -> list[int]:
        assert self.plan is not None
        staged, shape = self.plan.parameters[name], self.entries[name].shape
        parts = {rank: staged.layout.box(local, shape) for rank, local in staged.ranks()}
        return [
            rank
            for rank, part in parts.items()
            if part not in self._parts[name] and boxes.intersect(part, box) is not None
        ][:8]

    def _check_same(self, name: str) -> None:
        """Refuse a parameter without a layout that is not the same on all ranks.

        MindSpore silently takes the part of one rank for the whole.
        """
        if len(self.files) == 1:
            return
        holders = [file for file in self.files.values() if name in file]
        known = self.plan.parameters if self.plan else {}
        cut = [p for p, s in known.items() if max(s.layout.splits, default=1) > 1]
        # The name of an optimizer's state ends with the name of its parameter, whose layout it has.
        likely = next((p for p in cut if name.endswith(f".{p}")), None)
        if likely is not None and holders[0].entries[name].shape:
            why = f"{likely!r} is sharded"
        elif all(_equal(holders[0], holder, name) for holder in holders[1:]):
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


def _moved(box: boxes.Box, by: boxes.Box) -> boxes.Box:
    return tuple((a + o, b + o) for (a, b), (o, _) in zip(box, by, strict=True))


def _equal(left: CheckpointFile, right: CheckpointFile, name: str) -> bool:
    a, b = left.entries[name], right.entries[name]
    return (a.type, a.shape) == (b.type, b.shape) and all(
        left.raw_bytes(x) == right.raw_bytes(y) for x, y in zip(a.tensors, b.tensors, strict=True)
    )
