"""Write files in the order of what they are read from, so that a chunk is decoded once.

A store keeps an array in chunks. A chunk of stacked layers holds a part of each of them, and the
layers are far apart in the files: written file by file, every chunk would be decoded once a layer.
Here the windows of all files are written by the cells of the store that they are read from. A
*cell* is a box of chunks, no more than it takes for long runs in the files. While the windows of
some cells are rearranged and written to their planned places, the store decodes the next ones.

The order is the same in each run. Hence a number tells what has been done: the log of a save that
goes on after a kill holds nothing else.
"""

from __future__ import annotations

import bisect
import contextlib
import itertools
import math
import os
import threading
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from msckpt_jax import boxes
from msckpt_jax.boxes import Box
from msckpt_jax.checkpoint import atomic, writer
from msckpt_jax.checkpoint import plan as planning
from msckpt_jax.checkpoint.log import Done, Log
from msckpt_jax.checkpoint.plan import Plan, Range
from msckpt_jax.checkpoint.records import Tensor
from msckpt_jax.parallel import pieces
from msckpt_jax.parallel.shares import Share

#: The bytes of a cell, unless a single chunk, or those of a run of ``RUN_BYTES``, have more.
CELL_BYTES = 16 << 20
#: The least bytes that are worth a write of their own.
RUN_BYTES = 4096
#: After so many bytes those that were written are made durable and noted down.
STEP_BYTES = 256 << 20
#: The most files that are open at a time.
OPEN_FILES = 64


class Placed(NamedTuple):
    """A file of its full size, and the plan of its bytes."""

    path: Path
    plan: Plan


class Cell(NamedTuple):
    """A box of an array in a store, which is decoded as a whole."""

    source: Any
    box: Box

    @property
    def nbytes(self) -> int:
        return boxes.size_of(self.box) * self.source.dtype.itemsize


class Unit(NamedTuple):
    """Bytes of a file that a thread writes at once, and the cells that it reads for them.

    Attributes:
        file: the number of the file.
        place: tells the unit from the others of the file.
    """

    file: int
    place: Any
    nbytes: int
    write: Callable[[int, writer.Options, threading.local], Any]
    cells: tuple[Cell, ...] = ()


def pays(plans: Iterable[Plan]) -> bool:
    """Tell whether a tensor is read from chunks that have to be decoded."""
    return any(_sources(part.tensor) for plan in plans for part in plan.parts
               if isinstance(part, Range))  # fmt: skip


def able(plan: Plan, options: writer.Options) -> bool:
    """Tell whether a plan can be written in any order: without check sum and cipher."""
    return plan.trailer is None and options.mode is None and hasattr(os, "pwritev")


def write_file(target: Path, plan: Plan, options: writer.Options, job: str | None = None) -> None:
    """Write a file that replaces ``target`` when it is complete.

    With ``job``, a name that only the same bytes have, it goes on where a run of the same job was
    interrupted. ``options.progress`` is also called for the bytes that were there already.
    """
    real = Path(os.path.realpath(target))
    if job is None:
        with atomic.replacing(real, durable=options.durable) as file:
            _reserve(file.fd, plan.nbytes)
            write([Placed(file.path, plan)], options)
        return
    with atomic.resuming(real, job) as file:
        if os.fstat(file.fd).st_size < plan.nbytes:
            _reserve(file.fd, plan.nbytes)
        write([Placed(file.path, plan)], options, Log(file.fd, plan.nbytes, job))
        os.ftruncate(file.fd, plan.nbytes)


def make(files: Sequence[Placed], log: Log | None) -> None:
    """Make new files of their sizes, unless a run that the log tells of has left them all."""
    names = {file.path for file in files}
    for path in {path for file in files for path in file.path.parent.iterdir()} - names:
        path.unlink()  # an index that was not complete, say
    if log is not None:
        if log.last.count and all(atomic.is_left(path, plan.nbytes) for path, plan in files):
            return
        log.clear()
    for path, plan in files:
        path.unlink(missing_ok=True)
        fd = atomic.created(path)
        try:
            _reserve(fd, plan.nbytes)
        finally:
            os.close(fd)


def _reserve(fd: int, size: int) -> None:
    """Give a file its size; what was in it is gone."""
    os.ftruncate(fd, 0)
    writer.reserve(fd, size)
    os.ftruncate(fd, size)


def write(files: Sequence[Placed], options: writer.Options, log: Log | None = None) -> None:
    """Write all bytes of ``files``; with a log those that it does not know to be written."""
    local = threading.local()
    done = log.last if log is not None else Done(0, 0)
    units = _left(files, done, options) if done.count else _units(files)
    if units is None:  # the log is of another order
        assert log is not None
        log.clear()
        done, units = log.last, _units(files)
    durable = options.durable or log is not None
    with _Files([file.path for file in files], durable) as opened:

        def write_unit(unit: Unit) -> Unit:
            unit.write(opened.fd(unit.file), options, local)
            return unit

        with contextlib.closing(_decoded(_batches(units))) as batches:
            for batch in batches:
                for unit in writer.in_threads(write_unit, batch, options.threads):
                    done = _next(done, unit)
                    opened.nbytes += unit.nbytes
                opened.begin_writeback()
                if opened.are_due:
                    opened.settle()
                    if log is not None:
                        log.add(done)


def _left(files: Sequence[Placed], done: Done, options: writer.Options) -> Iterator[Unit] | None:
    """The units that are left; None if those before them are not the ones that were done."""
    units, before = _units(files), Done(0, 0)
    nbytes = 0
    for unit in itertools.islice(units, done.count):
        before = _next(before, unit)
        nbytes += unit.nbytes
    if before != done:
        return None
    if options.progress is not None:
        options.progress(nbytes)
    return units


def _next(done: Done, unit: Unit) -> Done:
    text = repr((unit.file, unit.place, unit.nbytes)).encode()
    return Done(done.count + 1, zlib.crc32(text, done.order))


# Units


_Chosen: TypeAlias = tuple[int, int, Tensor]  # the file, the tensor's number, the tensor


def _units(files: Sequence[Placed]) -> Iterator[Unit]:
    """Yield all units: first what is read from no store, then by stores and their cells."""
    groups: dict[tuple[Any, ...], list[_Chosen]] = {}
    stored: list[dict[int, Tensor]] = []
    for number, (_, plan) in enumerate(files):
        tensors = {id(p.tensor): p.tensor for p in plan.parts if isinstance(p, Range)}
        sources = {key: _sources(tensor) for key, tensor in tensors.items()}
        stored.append({key: tensors[key] for key, read in sources.items() if read})
        for at, (key, tensor) in enumerate(stored[-1].items()):
            groups.setdefault(sources[key], []).append((number, at, tensor))
    for number, ((_, plan), tensors) in enumerate(zip(files, stored, strict=True)):
        for offset, parts in pieces.stretches(plan, set(tensors)):
            for chunk in planning.chunks(parts):
                yield _plain(number, chunk._replace(offset=offset + chunk.offset))
    places = [
        pieces.places(plan, [Share(tensor, 0, ()) for tensor in tensors.values()])
        for (_, plan), tensors in zip(files, stored, strict=True)
    ]
    for group in groups.values():
        for file, at, tensor, box, cells in _by_cells(group):
            piece = pieces.Piece(Share(tensor, 0, ()), box)
            yield _window(file, (at, box), piece, places[file], cells)


def _plain(file: int, chunk: planning.Chunk) -> Unit:
    def put(fd: int, options: writer.Options, local: threading.local) -> None:
        writer.write_chunk(fd, chunk, options, local)

    return Unit(file, chunk.offset, chunk.nbytes, put)


def _window(
    file: int, place: Any, piece: pieces.Piece, places: pieces.Places, cells: tuple[Cell, ...]
) -> Unit:
    def put(fd: int, options: writer.Options, local: threading.local) -> None:
        pieces.write_runs(fd, piece, pieces.content(piece, local), places)
        if options.progress is not None:
            options.progress(piece.nbytes)

    return Unit(file, place, piece.nbytes, put, cells)


def _sources(tensor: Tensor) -> tuple[Any, ...]:
    """The arrays in stores from which a tensor is read."""
    every = boxes.origins_of(tensor.pieces, boxes.whole(tensor.shape))
    return tuple(dict.fromkeys(source for _, source in every if hasattr(source, "hold")))


def _by_cells(group: Sequence[_Chosen]) -> Iterator[tuple[int, int, Tensor, Box, tuple[Cell, ...]]]:
    """Yield the windows of tensors that are read from the same arrays, by the cells of these."""
    grid = _Grid()
    tiles: dict[tuple[int, ...], tuple[int, ...]] = {}
    windows = []
    for number, (_, _, tensor) in enumerate(group):
        if tensor.shape not in tiles:
            tiles[tensor.shape] = grid.tile(tensor)
        limit = max(1, planning.CHUNK_BYTES // tensor.stored.itemsize)
        for tile in boxes.grid(tensor.shape, tiles[tensor.shape]):
            grid.settle(tensor, tile)
            for part in boxes.of_range(boxes.shape_of(tile), 0, boxes.size_of(tile), limit):
                box = tuple((a + o, b + o) for (a, b), (o, _) in zip(part, tile, strict=True))
                cells = grid.cells(tensor, box)
                windows.append((cells[-1:], cells[:1], cells, number, box))
    windows.sort()
    for *_, cells, number, box in windows:
        file, at, tensor = group[number]
        yield file, at, tensor, box, tuple(map(grid.cell, cells))


#: A cell as its array's number, and its first index on each axis.
_Key: TypeAlias = tuple[int, tuple[int, ...]]


class _Grid:
    """The cells of arrays, all of a size on each of them."""

    def __init__(self) -> None:
        self._numbers: dict[Any, int] = {}
        self._steps: list[tuple[int, ...]] = []

    def tile(self, tensor: Tensor) -> tuple[int, ...]:
        """The shape of a box of a tensor that is read from few chunks, in long runs."""
        shape = tensor.shape
        for axis, length in enumerate(shape):
            head, tail = shape[:axis], shape[axis + 1 :]
            least = RUN_BYTES / (math.prod(tail) * tensor.stored.itemsize)

            def read(n: int, head: Any = head, tail: Any = tail) -> int:
                return self._nbytes(tensor, (*head, n, *tail))

            able = [n for n in _halves(length) if n >= least] or [length]
            chosen = min(able, key=lambda n: max(read(n), CELL_BYTES))  # the first of these
            # It goes on to where other chunks begin.
            ends = range(chosen, length + 1)
            shape = *head, ends[bisect.bisect_right(ends, read(chosen), key=read) - 1], *tail
        return shape

    def _nbytes(self, tensor: Tensor, shape: tuple[int, ...]) -> int:
        """The bytes of the chunks that a box at the corner of a tensor is read from."""
        return sum(
            math.prod(_steps(source, box)) * source.dtype.itemsize
            for source, box in _around(tensor, boxes.whole(shape))
        )

    def settle(self, tensor: Tensor, box: Box) -> None:
        """Let the cells of arrays that have none yet hold what is read for a box."""
        for source, read in _around(tensor, box):
            if source not in self._numbers:
                self._numbers[source] = len(self._steps)
                self._steps.append(_steps(source, read))

    def cells(self, tensor: Tensor, box: Box) -> tuple[_Key, ...]:
        """The cells that are read for a box, in order."""
        out: dict[_Key, None] = {}
        for read, source in _read(tensor, box):
            number = self._numbers[source]
            sides = zip(read, self._steps[number], strict=True)
            starts = [range(a // step * step, b, step) for (a, b), step in sides]
            out.update(dict.fromkeys((number, at) for at in itertools.product(*starts)))
        return tuple(sorted(out))

    def cell(self, key: _Key) -> Cell:
        number, at = key
        source = next(itertools.islice(self._numbers, number, None))
        sides = zip(at, self._steps[number], source.shape, strict=True)
        return Cell(source, tuple((a, min(a + step, n)) for a, step, n in sides))


def _read(tensor: Tensor, box: Box) -> Iterator[boxes.Piece]:
    every = boxes.origins_of(tensor.pieces, box)
    return ((part, source) for part, source in every if hasattr(source, "hold"))


def _around(tensor: Tensor, box: Box) -> Iterable[tuple[Any, Box]]:
    """The least box of each source around what is read of it."""
    out: dict[Any, Box] = {}
    for read, source in _read(tensor, box):
        sides = zip(out.get(source, read), read, strict=True)
        out[source] = tuple((min(a, c), max(b, d)) for (a, b), (c, d) in sides)
    return out.items()


def _steps(source: Any, box: Box) -> tuple[int, ...]:
    """The shape of the least box of chunks that holds a box, as if it did not end at an edge."""
    sides = zip(box, source.chunk, strict=True)
    return tuple((-(-stop // n) - start // n) * n for (start, stop), n in sides)


def _halves(length: int) -> Iterator[int]:
    """Yield a length, half of it, and so on to 1."""
    while length > 1:
        yield length
        length = -(-length // 2)
    yield 1


# Batches


def _batches(units: Iterable[Unit]) -> Iterator[list[Unit]]:
    """Yield units that follow one another, as many as are written between two looks around."""
    batch: list[Unit] = []
    files: set[int] = set()
    cells: dict[Cell, None] = {}
    nbytes = 0
    for unit in units:
        new = [cell for cell in unit.cells if cell not in cells]
        held = sum(cell.nbytes for cell in (*cells, *new))
        full = nbytes >= STEP_BYTES or len(files | {unit.file}) > OPEN_FILES
        if batch and (full or (new and held > CELL_BYTES)):
            yield batch
            batch, files, cells, nbytes = [], set(), {}, 0
            new = list(unit.cells)
        batch.append(unit)
        files.add(unit.file)
        cells.update(dict.fromkeys(new))
        nbytes += unit.nbytes
    if batch:
        yield batch


def _decoded(batches: Iterator[list[Unit]]) -> Iterator[list[Unit]]:
    """Yield batches whose cells are held, while those of the next one are decoded already."""
    held: dict[Cell, None] = {}

    def keep(*wanted: list[Unit]) -> None:
        cells = dict.fromkeys(cell for batch in wanted for unit in batch for cell in unit.cells)
        for cell in [cell for cell in held if cell not in cells]:
            cell.source.drop(cell.box)
            del held[cell]
        for cell in [cell for cell in cells if cell not in held]:
            cell.source.hold(cell.box)
            held[cell] = None

    try:
        batch = next(batches, [])
        while batch:
            keep(batch)
            following = next(batches, [])
            keep(batch, following)
            yield batch
            batch = following
    finally:
        keep()


class _Files:
    """The files that are being written, each opened when a unit needs it."""

    def __init__(self, paths: Sequence[Path], durable: bool):
        self._paths, self._durable = paths, durable
        self._open: dict[int, int] = {}
        self._lock = threading.Lock()
        self.nbytes = 0

    def __enter__(self) -> _Files:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self.settle()
        for fd in self._open.values():
            os.close(fd)

    def fd(self, number: int) -> int:
        with self._lock:
            if number not in self._open:
                self._open[number] = atomic.opened_again(self._paths[number])
            return self._open[number]

    def begin_writeback(self) -> None:
        for fd in self._open.values() if self._durable else ():
            writer.begin_writeback(fd, 0, 0)

    @property
    def are_due(self) -> bool:
        return self.nbytes >= STEP_BYTES or len(self._open) > OPEN_FILES

    def settle(self) -> None:
        """Make durable what was written, if need be, and close the files."""
        self.nbytes = 0
        while self._open:
            _, fd = self._open.popitem()
            try:
                if self._durable:
                    os.fsync(fd)
            finally:
                os.close(fd)
