"""Files in the order of a store: the bytes are those of any other order, memory is a few cells."""

from __future__ import annotations

import math
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from msckpt_jax import boxes
from msckpt_jax.boxes import Box
from msckpt_jax.checkpoint import formats, plan, writer
from msckpt_jax.checkpoint.formats.format import How
from msckpt_jax.checkpoint.records import Record, Tensor
from msckpt_jax.conventions import notation, sources, transform
from msckpt_jax.parallel import cells, ordered


class Store:
    """An array in chunks, as those of Orbax; it notes what is decoded and what is held."""

    def __init__(self, array: np.ndarray, chunk: tuple[int, ...]):
        self.array, self.chunk = array, chunk
        self.shape, self.dtype = array.shape, array.dtype
        self.held: dict[Box, np.ndarray] = {}
        self.decoded: list[Box] = []
        self.lock = threading.Lock()

    def hold(self, box: Box) -> None:
        assert box not in self.held
        self.decoded.append(box)
        self.held = self.held | {box: self.array[boxes.slices(box, boxes.whole(self.shape))].copy()}

    def drop(self, box: Box) -> None:
        self.held = {held: part for held, part in self.held.items() if held != box}

    def __getitem__(self, index: tuple[slice, ...]) -> np.ndarray:
        box, held = boxes.from_index(index, self.shape), [*self.held.items()]
        out = np.empty(boxes.shape_of(box), self.dtype)
        try:
            boxes.gather(held, box, out)
        except ValueError:
            with self.lock:
                self.decoded.append(box)
            return self.array[index]
        return out

    @property
    def times(self) -> np.ndarray:
        """How often each element was decoded: with it its whole chunk."""
        out = np.zeros(self.shape, int)
        for box in self.decoded:
            cells = [slice(a // n * n, -(-b // n) * n)
                     for (a, b), n in zip(box, self.chunk, strict=True)]  # fmt: skip
            out[tuple(cells)] += 1
        return out


def of_layers(store: Store, axis: int, steps: str) -> list[Record]:
    """A tensor for each layer of a stacked leaf, rearranged."""
    layers = store.shape[axis]
    shape = (*store.shape[:axis], *store.shape[axis + 1 :])
    out = []
    for layer in range(layers):
        work = notation.Builder(shape, {})
        for call in notation.parse(steps):
            work.take(call)
        work_mine = notation.Builder(shape, {})
        work_mine.right.insert(axis, [transform.Slot(None, layers, layer)])
        how = transform.between(work_mine.built(), work.built())
        whole = sources.Assembled(
            [([(boxes.whole(store.shape), store)], how)], how.shape(), store.dtype, f"w{layer}"
        )
        content = Tensor(how.shape(), store.dtype, ((boxes.whole(how.shape()), whole),))
        out.append(Record(f"{id(store)}.{layer}", "Float32", how.shape(), content))
    return out


@st.composite
def stores(draw: Any) -> tuple[Store, int]:
    shape = tuple(draw(st.lists(st.integers(1, 9), min_size=2, max_size=4)))
    chunk = tuple(draw(st.integers(1, n)) for n in shape)
    array = np.arange(math.prod(shape), dtype=np.float32).reshape(shape)
    return Store(array, chunk), draw(st.integers(0, len(shape) - 1))


def written(plans: list[plan.Plan], threads: int) -> Iterator[bytes]:
    with tempfile.TemporaryDirectory() as folder:
        files = [ordered.Placed(Path(folder) / f"{n}", each) for n, each in enumerate(plans)]
        ordered.make(Path(folder), files, None)
        ordered.write(files, writer.Options(threads=threads, durable=False))
        for path, _ in files:
            yield path.read_bytes()


@hypothesis.given(
    drawn=st.lists(stores(), min_size=1, max_size=3), cell=st.integers(1, 1000),
    run=st.integers(1, 64), chunk=st.integers(16, 200), threads=st.integers(1, 3),
    turned=st.booleans(), format=st.sampled_from(["ckpt", "safetensors"]),
    slice_bytes=st.integers(4, 100),
)  # fmt: skip
def test_the_order_changes_no_byte(
    drawn: list[tuple[Store, int]], cell: int, run: int, chunk: int, threads: int, turned: bool,
    format: str, slice_bytes: int,
) -> None:  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cells, "CELL_BYTES", cell)
        patch.setattr(cells, "RUN_BYTES", run)
        patch.setattr(plan, "CHUNK_BYTES", chunk)
        patch.setattr(ordered, "OPEN_FILES", 1)
        groups: list[list[Record]] = [[], []]
        for store, axis in drawn:
            turns = turned and len(store.shape) > 2
            for number, record in enumerate(of_layers(store, axis, "T" if turns else "")):
                groups[number % 2].append(record)
        plans = [formats.plan(format, group, How(slice_bytes)) for group in groups if group]
        found = [*written(plans, threads)]
        for each, data in zip(plans, found, strict=True):
            parts = [b"".join(map(bytes, plan.buffers(c, np.empty(1 << 16, np.uint8))))
                     for c in plan.chunks(each.parts)]  # fmt: skip
            assert b"".join(parts) == data[: each.nbytes]
    assert not any(store.held for store, _ in drawn)


@pytest.mark.parametrize("chunk", [(8, 6, 4), (16, 6, 6), (8, 3, 24), (4, 6, 24), (5, 6, 24)])
@pytest.mark.parametrize("axis", [1, 0])
def test_a_chunk_is_decoded_once(
    monkeypatch: pytest.MonkeyPatch, chunk: tuple[int, ...], axis: int
) -> None:
    """At any size of the cells; two cells are held, that at hand and the next."""
    monkeypatch.setattr(cells, "RUN_BYTES", 16)
    array = np.arange(16 * 6 * 24, dtype=np.float32).reshape(16, 6, 24)
    if axis == 0:
        array, chunk = array.swapaxes(0, 1), (chunk[1], chunk[0], chunk[2])
    for cell in (1, 1000, 1 << 20):
        monkeypatch.setattr(cells, "CELL_BYTES", cell)
        store = Store(array, chunk)
        most = [0]
        hold = store.hold

        def noted(box: Box, store: Store = store, hold: Any = hold, most: list = most) -> None:
            hold(box)
            most[0] = max(most[0], sum(part.nbytes for part in store.held.values()))

        store.hold = noted  # type: ignore[method-assign]
        made = formats.plan("safetensors", of_layers(store, axis, "T"), How())
        assert len(next(written([made], 1))) == made.nbytes
        assert (store.times == 1).all()
        largest = max(map(boxes.size_of, store.decoded)) * 4
        assert most[0] <= 2 * max(cell, largest)
