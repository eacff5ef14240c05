"""Write files in the order of what they are read from, so that a chunk is decoded once.

A store keeps an array in chunks. A chunk of stacked layers holds a part of each of them, and the
layers are far apart in the files: written file by file, every chunk would be decoded once a layer.
Here the windows of all files are written by the cells of the store that they are read from (see
:mod:`~msckpt_jax.parallel.cells`). While the windows of some cells are rearranged and written to
their planned places, the store decodes the next ones.

The order is the same in each run. Hence a number tells what has been done: the log of a save that
goes on after a kill holds nothing else.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import threading
import zlib
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from msckpt_jax.checkpoint import atomic, writer
from msckpt_jax.checkpoint import plan as planning
from msckpt_jax.checkpoint.log import Done, Log
from msckpt_jax.checkpoint.naming import naming
from msckpt_jax.checkpoint.plan import Plan, Range
from msckpt_jax.checkpoint.records import Tensor
from msckpt_jax.parallel import cells, pieces
from msckpt_jax.parallel.cells import Cell

#: After so many bytes those that were written are made durable and noted down.
STEP_BYTES = 256 << 20
#: The most files that are open at a time.
OPEN_FILES = 64
#: Files whose bytes are written in turn: a file system lets one thread write a file at a time.
TOGETHER = 4


class Placed(NamedTuple):
    """A file of its full size, and the plan of its bytes."""

    path: Path
    plan: Plan


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


def pays(plan: Plan) -> bool:
    """Tell whether a tensor is read from chunks that have to be decoded."""
    return any(cells.are_read(part.tensor) for part in plan.parts if isinstance(part, Range))


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


def make(root: Path, files: Sequence[Placed], log: Log | None) -> None:
    """Make new files of their sizes below ``root``, unless a run that the log tells of left all."""
    names = {file.path for file in files}
    for path in {path for path in root.rglob("*") if not path.is_dir()} - names:
        path.unlink()  # an index that was not complete, say
    for folder in {path.parent for path in names}:
        folder.mkdir(exist_ok=True)
    if log is not None:
        if log.last.units and all(atomic.is_left(path, plan.nbytes) for path, plan in files):
            return
        log.clear()
    for path in names:
        path.unlink(missing_ok=True)
    create(files)


def create(files: Sequence[Placed]) -> None:
    """Make new files of their sizes."""
    for path, plan in files:
        fd = atomic.created(path)
        try:
            with naming(path):
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
    units = _left(files, done, options) if done.units else _units(files)
    if units is None:  # the log is of another order
        assert log is not None
        log.clear()
        done, units = log.last, _units(files)
    durable = options.durable or log is not None
    with _Files([file.path for file in files], durable) as opened:

        def write_unit(unit: Unit) -> Unit:
            with naming(files[unit.file].path):
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
    for unit in itertools.islice(units, done.units):
        before = _next(before, unit)
        nbytes += unit.nbytes
    if before != done:
        return None
    if options.progress is not None:
        options.progress(nbytes)
    return units


def _next(done: Done, unit: Unit) -> Done:
    text = repr((unit.file, unit.place, unit.nbytes)).encode()
    return Done(done.units + 1, zlib.crc32(text, done.order))


# Units


def _units(files: Sequence[Placed]) -> Iterator[Unit]:
    """Yield all units: first what is read from no store, then by stores and their cells."""
    groups: dict[tuple[Any, ...], list[_Tensor]] = {}

    def plain(number: int) -> Iterator[Unit]:
        plan = files[number].plan
        ranges = [part for part in plan.parts if isinstance(part, Range)]
        stored = {}
        for at, tensor in enumerate({id(r.tensor): r.tensor for r in ranges}.values()):
            sources = cells.sources_of(tensor)
            if sources:
                stored[id(tensor)] = tensor
                groups.setdefault(sources, []).append(_Tensor(number, at, tensor))
        for offset, parts in pieces.stretches(plan, {*stored}):
            for chunk in planning.chunks(parts):
                yield _plain(number, chunk._replace(offset=offset + chunk.offset))

    numbers = range(len(files))
    for start in numbers[::TOGETHER]:
        for units in itertools.zip_longest(*map(plain, numbers[start : start + TOGETHER])):
            yield from filter(None, units)
    places = [pieces.places(plan) for _, plan in files]
    for group in groups.values():
        for window in cells.windows_of([tensor for *_, tensor in group]):
            yield _window(group[window.number], window, places)


class _Tensor(NamedTuple):
    """A tensor in a file: the number of the file, and that of the tensor there."""

    file: int
    number: int
    tensor: Tensor


def _plain(file: int, chunk: planning.Chunk) -> Unit:
    def put(fd: int, options: writer.Options, local: threading.local) -> None:
        writer.write_chunk(fd, chunk, options, local)

    return Unit(file, chunk.offset, chunk.nbytes, put)


def _window(of: _Tensor, window: cells.Window, places: Sequence[pieces.Places]) -> Unit:
    piece = pieces.Piece(of.tensor, window.box)

    def put(fd: int, options: writer.Options, local: threading.local) -> None:
        pieces.write_runs(fd, piece, pieces.content(piece, local), places[of.file])
        if options.progress is not None:
            options.progress(piece.nbytes)

    return Unit(of.file, (of.number, window.box), piece.nbytes, put, window.cells)


# Batches


def _batches(units: Iterable[Unit]) -> Iterator[list[Unit]]:
    """Yield units that follow one another, as many as are written between two looks around."""
    batch: list[Unit] = []
    files: set[int] = set()
    held: set[Cell] = set()
    nbytes = 0
    for unit in units:
        full = nbytes >= STEP_BYTES or len(files | {unit.file}) > OPEN_FILES
        if not held.issuperset(unit.cells):
            size = sum(cell.nbytes for cell in held.union(unit.cells))
            full = full or size > cells.CELL_BYTES
        if batch and full:
            yield batch
            batch, files, held, nbytes = [], set(), set(), 0
        batch.append(unit)
        files.add(unit.file)
        held.update(unit.cells)
        nbytes += unit.nbytes
    if batch:
        yield batch


def _decoded(batches: Iterator[list[Unit]]) -> Generator[list[Unit]]:
    """Yield batches whose cells are held, while those of the next one are decoded already."""
    held: dict[Cell, None] = {}

    def keep(*wanted: list[Unit]) -> None:
        needed = dict.fromkeys(cell for batch in wanted for unit in batch for cell in unit.cells)
        for cell in held.keys() - needed.keys():
            cell.source.drop(cell.box)
            del held[cell]
        for cell in needed:
            if cell not in held:
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
            number, fd = self._open.popitem()
            try:
                if self._durable:
                    with naming(self._paths[number]):
                        os.fsync(fd)
            finally:
                os.close(fd)
