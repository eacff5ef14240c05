"""Kernels of Pallas as loops over their grids, as ``interpret=True`` runs them.

Each step cuts blocks from the arrays, runs the kernel on their values, and puts back the blocks
that the kernel has written. What no step writes is NaN, or the lowest integer, and so are elements
beyond an array. An input and an output of one memory see each other's writes, as they do in JAX's
interpreter from JAX 0.11 on.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from msckpt_jax import _compat
from msckpt_jax._compat import Literal, opened
from msckpt_jax.errors import UnsupportedError
from msckpt_jax.lowering.rewrites import refs
from msckpt_jax.lowering.rewrites.calls import call_of_user
from msckpt_jax.lowering.rewrites.ignoring import ignoring
from msckpt_jax.lowering.rewrites.views import uninitialised


def pallas_call(
    *operands: Array, jaxpr: Any, grid_mapping: Any,
    input_output_aliases: Sequence[tuple[int, int]], mesh: Any = None,
) -> list[Array]:  # fmt: skip
    """What the kernel writes, all programs of the grid one after another."""
    call = _compat.kernel_of(grid_mapping)
    if mesh is not None or call.unknown:
        raise UnsupportedError("a kernel for the cores of a chip, which has a mesh or named axes")
    bounds, operands = operands[: call.dynamic], operands[call.dynamic :]
    rest = iter(bounds)
    grid = [size if isinstance(size, int) else next(rest) for size in call.grid]
    scalars, inputs = operands[: call.scalars], operands[call.scalars :]
    blocks = [_Block.of(mapping) for mapping in call.blocks]
    shared = {k - len(scalars): len(inputs) + out for k, out in input_output_aliases}
    given = {k: inputs[source] for source, k in shared.items()}
    outputs = [given.get(len(inputs) + k, uninitialised(block.array, block.dtype))
               for k, block in enumerate(blocks[len(inputs) :])]  # fmt: skip
    arrays = [block.padded(x) for block, x in zip(blocks, [*inputs, *outputs], strict=True)]
    memory = [uninitialised(aval.shape, aval.dtype) for aval in call.scratch]
    loop = _Loop(jaxpr, grid, call.batched, scalars, blocks, shared)
    arrays = loop.run([*arrays, *memory])[len(inputs) : len(blocks)]
    return [block.cut(x) for block, x in zip(blocks[len(inputs) :], arrays, strict=True)]


class _Block(NamedTuple):
    """The blocks into which the grid cuts an array.

    Attributes:
        array: the shape of the array. dtype: its dtype.
        sizes: the sizes of a block.
        steps: elements by which an index moves it: its size, or 1 where it counts elements.
        squeezed: the axes that the kernel does not see.
        padding: what is put around the array.
        index_map: a jaxpr: the position in the grid, then scalars, to indices.
        signed: whether an index on an axis may be negative: it counts from the end.
    """

    array: tuple[int, ...]
    dtype: Any
    sizes: tuple[int, ...]
    steps: tuple[int, ...]
    squeezed: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]
    index_map: Any
    signed: tuple[bool, ...]

    @classmethod
    def of(cls, mapping: Any) -> _Block:
        kinds = [type(dim).__name__ for dim in mapping.block_shape]
        unknown = [*mapping.transforms, *({*kinds} - {"Blocked", "Element", "Squeezed"})]
        if unknown:
            raise UnsupportedError(f"blocks by {unknown[0]}: cut them by sizes and an index map")
        sizes = [getattr(dim, "block_size", 1) for dim in mapping.block_shape]
        steps = [n if kind == "Blocked" else 1 for kind, n in zip(kinds, sizes, strict=True)]
        padding = [getattr(dim, "padding", (0, 0)) for dim in mapping.block_shape]
        squeezed = tuple(axis for axis, kind in enumerate(kinds) if kind == "Squeezed")
        inner, _ = opened(mapping.index_map_jaxpr)
        signed = tuple(
            x.val < 0 if isinstance(x, Literal) else x not in inner.invars for x in inner.outvars
        )
        return cls(mapping.array_aval.shape, mapping.array_aval.dtype, tuple(sizes), tuple(steps),
                   squeezed, tuple(padding), mapping.index_map_jaxpr, signed)  # fmt: skip

    def padded(self, x: Array) -> Array:
        """The array with its padding, and filled up to whole blocks."""
        config = []
        for n, size, (low, high) in zip(self.array, self.sizes, self.padding, strict=True):
            full = low + n + high
            config.append((low, high + -full % size, 0))
        if not any(low or high for low, high, _ in config):
            return x
        return lax.pad(x, uninitialised((), self.dtype), config)

    def cut(self, x: Array) -> Array:
        """The array without its padding."""
        if x.shape == self.array:
            return x
        lows = [low for low, _ in self.padding]
        return lax.slice(x, lows, [low + n for low, n in zip(lows, self.array, strict=True)])

    def starts(self, position: Sequence[Any], scalars: Sequence[Array]) -> list[Any]:
        pure = refs.pure(*opened(self.index_map)).jaxpr
        indices = call_of_user(pure, *position, *scalars)[: len(self.steps)]
        return [i * np.int32(step) if step != 1 else i
                for i, step in zip(map(jnp.int32, indices), self.steps, strict=True)]  # fmt: skip

    def get(self, x: Array, starts: Sequence[Any]) -> Array:
        if self.sizes != x.shape:
            x = lax.dynamic_slice(x, starts, self.sizes, allow_negative_indices=self.signed)
        return lax.squeeze(x, self.squeezed)

    def put(self, x: Array, block: Array, starts: Sequence[Any]) -> Array:
        block = lax.expand_dims(block, self.squeezed)
        if self.sizes == x.shape:
            return block
        return lax.dynamic_update_slice(x, block, starts, allow_negative_indices=self.signed)


class _Loop:
    """The loop over a grid.

    Args:
        jaxpr: the kernel: takes scalars, blocks and memory, all mutable.
        grid: the sizes of its axes, of which those that are ``batched`` are not seen by the kernel.
        scalars: arrays that index maps may read.
        blocks: how the arrays are cut.
        shared: inputs with the outputs that have the same memory.
    """

    def __init__(
        self, jaxpr: Any, grid: Sequence[Any], batched: Sequence[int], scalars: Sequence[Array],
        blocks: Sequence[_Block], shared: Mapping[int, int],
    ):  # fmt: skip
        self.grid, self.scalars, self.blocks, self.shared = grid, scalars, blocks, shared
        self.seen = [axis for axis in range(len(grid)) if axis not in batched]
        self.kernel = refs.pure(*opened(jaxpr), len(self.seen))
        self.written = [k - len(scalars) for k in self.kernel.written if k >= len(scalars)]
        self.carried = sorted({*self.written, *self._copies()})

    def run(self, arrays: list[Array]) -> list[Array]:
        """The arrays, memory among them, after all steps."""

        def step(count: Any, carry: list[Array]) -> list[Array]:
            now = list(arrays)
            for k, x in zip(self.carried, carry, strict=True):
                now[k] = x
            new = self._step(self._position(count), now)
            return [new[k] for k in self.carried]

        count = functools.reduce(operator.mul, self.grid, 1)
        out = lax.fori_loop(np.int32(0), jnp.int32(count), step, [arrays[k] for k in self.carried])
        arrays = list(arrays)
        for k, x in zip(self.carried, out, strict=True):
            arrays[k] = x
        return arrays

    def _copies(self) -> dict[int, int]:
        """The arrays that take over the writes to the array with which they share memory."""
        pairs = [pair for i, o in self.shared.items() for pair in ((i, o), (o, i))]
        return {to: of for to, of in pairs
                if of in self.written and (to not in self.written or to > of)}  # fmt: skip

    def _position(self, count: Any) -> list[Any]:
        out = []
        for axis in range(len(self.grid)):
            after = functools.reduce(operator.mul, self.grid[axis + 1 :], 1)
            index = lax.div(count, jnp.int32(after)) if axis < len(self.grid) - 1 else count
            out.append(lax.rem(index, jnp.int32(self.grid[axis])) if axis else index)
        return out

    def _step(self, position: Sequence[Any], arrays: list[Array]) -> list[Array]:
        starts = [block.starts(position, self.scalars) for block in self.blocks]
        count = len(self.blocks)
        parts = [b.get(x, s) for b, x, s in zip(self.blocks, arrays[:count], starts, strict=True)]
        seen = [position[axis] for axis in self.seen]
        sizes = [jnp.int32(self.grid[axis]) for axis in self.seen]
        given = [*self.scalars, *parts, *arrays[count:]]
        results = call_of_user(self.kernel.jaxpr, *seen, *sizes, *given, surely=True)
        new = results[len(results) - len(self.kernel.written) :]
        for place, value in zip(self.kernel.written, new, strict=True):
            k = place - len(self.scalars)
            if k >= count:
                arrays[k] = value
            elif k >= 0:
                arrays[k] = self.blocks[k].put(arrays[k], value, starts[k])
        before = list(arrays)
        for to, of in self._copies().items():
            arrays[to] = before[of]
        return arrays


REWRITES = {
    "pallas_call": ignoring(
        pallas_call, "backend", "compiler_params", "cost_estimate", "debug", "interpret",
        "metadata", "name", "out_avals",
    ),
    "max_contiguous": lambda x, *, values: x,
    "multiple_of": lambda x, *, values: x,
    "roll": lambda x, shift, *, axis, stride, stride_axis: _rolled(x, shift, axis, stride),
    "reciprocal": ignoring(lambda x, *, approx: _reciprocal(x, approx), "full_range"),
}  # fmt: skip


def _rolled(x: Array, shift: Array, axis: int, stride: int | None) -> Array:
    if stride is not None:
        raise UnsupportedError("a roll by other steps for each row: roll each row by itself")
    return jnp.roll(x, shift, axis)


def _reciprocal(x: Array, approx: bool) -> Array:
    return 1 / x.astype(jnp.bfloat16).astype(jnp.float32) if approx else 1 / x
