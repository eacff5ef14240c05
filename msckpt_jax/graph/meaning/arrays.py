"""Operators that make arrays, and that move elements without looking at them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.core import Tracer

from msckpt_jax.errors import MindIRError


def ints(value: Any) -> tuple[int, ...]:
    """The sizes in an int, a tuple, or a constant tensor."""
    return tuple(int(part) for part in np.ravel(np.asarray(value)))


def _broadcast(x: Any, shape: Any) -> Any:
    shape = ints(shape)
    own = (1,) * (len(shape) - x.ndim) + x.shape
    return jnp.broadcast_to(x, [o if s == -1 else s for s, o in zip(shape, own, strict=True)])


def _squeeze(x: Any, axis: Any = ()) -> Any:
    return jnp.squeeze(x, ints(axis) or None)


def _flatten_ext(x: Any, start_dim: int = 1, end_dim: int = -1) -> Any:
    if x.ndim == 0:
        return jnp.reshape(x, (1,))
    start, stop = start_dim % x.ndim, end_dim % x.ndim + 1
    return jnp.reshape(x, (*x.shape[:start], -1, *x.shape[stop:]))


def _flatten(x: Any) -> Any:
    return jnp.reshape(x, (x.shape[0], -1)) if x.ndim > 1 else jnp.reshape(x, (-1, 1))


def _tile(x: Any, repeats: Any) -> Any:
    return jnp.tile(x, ints(repeats))


def _concat(tensors: Any, axis: Any = 0) -> Any:
    return jnp.concatenate(tensors, axis)


def _stack(tensors: Any, *rest: Any, axis: int = 0, **_: Any) -> Any:
    parts = tensors if isinstance(tensors, tuple) else (tensors, *rest)
    return jnp.stack(parts, axis)


def _unstack(x: Any, *, axis: int = 0, **_: Any) -> Any:
    return tuple(jnp.unstack(x, axis=axis))


def _split(x: Any, axis: int = 0, output_num: int = 1) -> Any:
    return tuple(jnp.split(x, output_num, axis))


def _split_tensor(x: Any, split_size: int, dim: int = 0) -> Any:
    return tuple(jnp.split(x, list(range(split_size, x.shape[dim], split_size)), dim))


def _split_sizes(x: Any, sizes: Any, dim: int = 0) -> Any:
    return tuple(jnp.split(x, np.cumsum(ints(sizes))[:-1], dim))


def _chunk(x: Any, chunks: int, dim: int = 0) -> Any:
    return _split_tensor(x, -(-x.shape[dim] // chunks), dim)


def _splitv(x: Any, *, size_splits: Any, split_dim: int, **_: Any) -> Any:
    sizes = list(size_splits)
    if -1 in sizes:
        sizes[sizes.index(-1)] = x.shape[split_dim] - sum(sizes) - 1
    return _split_sizes(x, sizes, split_dim)


def _slice(x: Any, begin: Any, size: Any) -> Any:
    size = ints(size)
    if isinstance(begin, tuple | np.ndarray):
        start = ints(begin)
        size = tuple(n - b if s == -1 else s for b, s, n in zip(start, size, x.shape, strict=True))
        return lax.slice(x, start, [b + s for b, s in zip(start, size, strict=True)])
    return lax.dynamic_slice(x, jnp.unstack(begin), size)


def _slice_ext(x: Any, dim: int, start: Any, end: Any, step: int = 1) -> Any:
    index: list[Any] = [slice(None)] * x.ndim
    index[dim] = slice(start, min(end, x.shape[dim]), step)
    return x[tuple(index)]


def _narrow(x: Any, dim: int, start: Any, length: int) -> Any:
    return lax.dynamic_slice_in_dim(x, start, int(length), dim)


def _strided_slice(
    x: Any, begin: Any, end: Any, strides: Any, begin_mask: int = 0, end_mask: int = 0,
    ellipsis_mask: int = 0, new_axis_mask: int = 0, shrink_axis_mask: int = 0,
) -> Any:  # fmt: skip
    """Index as NumPy does; bit k of a mask concerns entry k of begin, end and strides.

    A single place may be known at run time only, where a slice has to be known while tracing.
    """
    index: list[Any] = []
    for k, (start, stop, step) in enumerate(
        zip(_entries(begin), _entries(end), ints(strides), strict=True)
    ):
        bit = 1 << k
        if ellipsis_mask & bit:
            index.append(...)
        elif new_axis_mask & bit:
            index.append(None)
        elif shrink_axis_mask & bit:
            index.append(start)
        else:
            index.append(slice(None if begin_mask & bit else int(start),
                               None if end_mask & bit else int(stop), step))  # fmt: skip
    return x[tuple(index)]


def _entries(places: Any) -> Sequence[Any]:
    """The entries of a tuple or an array, as ints where they are known while tracing."""
    if isinstance(places, Tracer):
        return jnp.unstack(jnp.ravel(places))
    parts = places if isinstance(places, tuple) else np.ravel(np.asarray(places))
    return [part if isinstance(part, Tracer) else int(part) for part in parts]


def _select(x: Any, dim: int, index: Any) -> Any:
    if isinstance(index, Tracer):
        return lax.dynamic_index_in_dim(x, index, dim, keepdims=False)
    return lax.index_in_dim(x, index, dim, keepdims=False)


def _fill(shape: Any, value: Any, dtype: Any = None) -> Any:
    return jnp.full(ints(shape), jnp.asarray(value), dtype)


def _range(start: Any, end: Any, step: Any, maxlen: int = 0) -> Any:
    values = [v.item() if isinstance(v, np.ndarray) else v for v in (start, end, step)]
    return jnp.arange(*values)


def _arange(start: Any, end: Any, step: Any, dtype: Any = None) -> Any:
    return jnp.arange(start, end, step, dtype)


def _linspace(start: Any, stop: Any, num: Any, dtype: Any = None) -> Any:
    return jnp.linspace(start, stop, int(num), dtype=dtype)


def _like(value: int) -> Callable[..., Any]:
    return lambda x, dtype=None, *_: jnp.full(jnp.shape(x), value, dtype or jnp.result_type(x))


def _filled(value: int) -> Callable[..., Any]:
    return lambda shape, dtype=None: jnp.full(ints(shape), value, dtype or jnp.float32)


def _new(value: int) -> Callable[..., Any]:
    return lambda x, size, dtype=None: jnp.full(ints(size), value, dtype or x.dtype)


def _triangle(fn: Callable[..., Any]) -> Callable[..., Any]:
    return lambda x, diagonal=0: fn(x, diagonal)


def _reverse(x: Any, axis: Any) -> Any:
    return jnp.flip(x, ints(axis))


def _roll(x: Any, shifts: Any, dims: Any = (), **_: Any) -> Any:
    axes = ints(dims)
    return jnp.roll(x, ints(shifts), axes) if axes else jnp.roll(x, ints(shifts)[0])


def _roll_attrs(
    x: Any, shifts: Any = None, dims: Any = None, *, shift: Any = None, axis: Any = None
):
    return _roll(x, shift if shifts is None else shifts, axis if dims is None else dims)


_MODES = {"constant": "constant", "reflect": "reflect", "edge": "edge", "circular": "wrap",
          "symmetric": "symmetric", "replicate": "edge"}  # fmt: skip


def pairs(x: Any, paddings: Any, contiguous: bool = True) -> list[tuple[int, int]]:
    """The padding of each axis; PyTorch lists pairs for the last axes, the last axis first."""
    flat = ints(paddings)
    half = len(flat) // 2
    pairs = [flat[2 * k : 2 * k + 2] for k in range(half)] if contiguous else [
        (flat[k], flat[half + k]) for k in range(half)
    ]  # fmt: skip
    return [(0, 0)] * (x.ndim - half) + [(low, high) for low, high in reversed(pairs)]


def pad(x: Any, pairs: Sequence[tuple[int, int]], mode: str = "constant", value: Any = 0) -> Any:
    """Pad as NumPy does; negative widths cut."""
    if mode == "constant":
        value = jnp.asarray(0 if value is None else value, x.dtype)
        return lax.pad(x, jnp.reshape(value, ()), [(low, high, 0) for low, high in pairs])
    x = jnp.pad(x, [(max(low, 0), max(high, 0)) for low, high in pairs], _MODES[mode])
    return lax.pad(x, jnp.zeros((), x.dtype), [(min(a, 0), min(b, 0), 0) for a, b in pairs])


def _pad_v3(
    x: Any, paddings: Any, value: Any = 0, *, mode: str = "constant",
    paddings_contiguous: bool = True,
) -> Any:  # fmt: skip
    return pad(x, pairs(x, paddings, paddings_contiguous), mode, value)


def _mirror_pad(x: Any, paddings: Any, *, mode: str) -> Any:
    rows = np.reshape(np.asarray(paddings), (-1, 2))
    return pad(x, [(int(a), int(b)) for a, b in rows], mode.lower())


def _pad_nd(mode: str) -> Callable[..., Any]:
    return lambda x, padding, value=0: pad(x, pairs(x, padding), mode, value)


def _meshgrid(inputs: Any, indexing: Any = 1) -> Any:
    name = str({0: "ij", 1: "xy"}.get(indexing, indexing))
    return tuple(jnp.meshgrid(*inputs, indexing=name))


def depth_to_space(x: Any, block: int) -> Any:
    """Spread NCHW channels over blocks; the place in a block varies slowest, as in TensorFlow."""
    n, c, h, w = x.shape
    x = jnp.reshape(x, (n, block, block, c // block**2, h, w))
    x = jnp.transpose(x, (0, 3, 4, 1, 5, 2))
    return jnp.reshape(x, (n, c // block**2, h * block, w * block))


def space_to_depth(x: Any, block: int) -> Any:
    """Undo :func:`depth_to_space`."""
    n, c, h, w = x.shape
    x = jnp.reshape(x, (n, c, h // block, block, w // block, block))
    x = jnp.transpose(x, (0, 3, 5, 1, 2, 4))
    return jnp.reshape(x, (n, c * block**2, h // block, w // block))


def _pixel_shuffle(x: Any, upscale_factor: int) -> Any:
    r = upscale_factor
    *lead, c, h, w = x.shape
    x = jnp.reshape(x, (-1, c // r**2, r, r, h, w))
    x = jnp.transpose(x, (0, 1, 4, 2, 5, 3))
    return jnp.reshape(x, (*lead, c // r**2, h * r, w * r))


def _channel_shuffle(x: Any, *, group: int) -> Any:
    n, c, *rest = x.shape
    x = jnp.swapaxes(jnp.reshape(x, (n, group, c // group, *rest)), 1, 2)
    return jnp.reshape(x, (n, c, *rest))


def _space_to_batch(x: Any, *, block_shape: Any, paddings: Any) -> Any:
    block = ints(block_shape)
    m = len(block)
    x = pad(x, [(0, 0)] * (x.ndim - m) + [tuple(p) for p in paddings])
    n, *rest = x.shape
    lead, sizes = rest[: len(rest) - m], rest[len(rest) - m :]
    split = [part for s, b in zip(sizes, block, strict=True) for part in (s // b, b)]
    x = jnp.reshape(x, (n, *lead, *split))
    first = 1 + len(lead)
    order = [*range(first + 1, first + 2 * m, 2), 0, *range(1, first),
             *range(first, first + 2 * m, 2)]  # fmt: skip
    x = jnp.transpose(x, order)
    out = [s // b for s, b in zip(sizes, block, strict=True)]
    return jnp.reshape(x, (n * int(np.prod(block)), *lead, *out))


def _batch_to_space(x: Any, *, block_shape: Any, crops: Any) -> Any:
    block = ints(block_shape)
    m = len(block)
    n, *rest = x.shape
    lead, sizes = rest[: len(rest) - m], rest[len(rest) - m :]
    x = jnp.reshape(x, (*block, n // int(np.prod(block)), *lead, *sizes))
    first = m + 1 + len(lead)
    order = [m, *range(m + 1, first)] + [a for k in range(m) for a in (first + k, k)]
    x = jnp.transpose(x, order)
    x = jnp.reshape(x, (x.shape[0], *lead, *(s * b for s, b in zip(sizes, block, strict=True))))
    return pad(x, [(0, 0)] * (x.ndim - m) + [(-a, -b) for a, b in crops])


def _diag_ext(x: Any, diagonal: int = 0) -> Any:
    return jnp.diag(x, diagonal)


def _diag(x: Any) -> Any:
    flat = jnp.diag(jnp.ravel(x))
    return jnp.reshape(flat, x.shape * 2)


def _repeat(x: Any, repeats: Any, dim: Any = None, output_size: Any = None) -> Any:
    if not isinstance(repeats, int | tuple | np.ndarray):
        raise MindIRError("RepeatInterleave with computed counts has no static shape")
    return jnp.repeat(x, np.asarray(repeats), dim)


def _diagonal_part(x: Any) -> Any:
    """The diagonal of a tensor whose first half of axes is as its second."""
    sizes = x.shape[: x.ndim // 2]
    return jnp.reshape(jnp.diagonal(jnp.reshape(x, (math.prod(sizes),) * 2)), sizes)


TABLE: dict[str, Callable[..., Any]] = {
    "Reshape": lambda x, shape: jnp.reshape(x, ints(shape)),
    "View": lambda x, shape: jnp.reshape(x, ints(shape)),
    "ViewAs": lambda x, like: jnp.reshape(x, like.shape),
    "Flatten": _flatten,
    "FlattenExt": _flatten_ext,
    "ExpandDims": lambda x, axis: jnp.expand_dims(x, int(axis)),
    "ExpandDimsView": lambda x, axis: jnp.expand_dims(x, axis),
    "Squeeze": _squeeze,
    "Transpose": lambda x, dims: jnp.transpose(x, ints(dims)),
    "TransposeView": lambda x, dims: jnp.transpose(x, ints(dims)),
    "TransposeExtView": jnp.swapaxes,
    "TExt": lambda x: x.T,
    "BroadcastTo": _broadcast,
    "BroadcastToView": _broadcast,
    "DynamicBroadcastTo": _broadcast,
    "ExpandAs": lambda x, like: jnp.broadcast_to(x, like.shape),
    "Tile": _tile,
    "Repeat": _tile,
    "RepeatInterleaveInt": _repeat,
    "RepeatInterleaveTensor": _repeat,
    "Concat": _concat,
    "Stack": _stack,
    "StackExt": lambda tensors, dim=0: jnp.stack(tensors, dim),
    "Unstack": _unstack,
    "UnstackExtView": lambda x, dim=0: tuple(jnp.unstack(x, axis=dim)),
    "Split": _split,
    "SplitTensor": _split_tensor,
    "SplitTensorView": _split_tensor,
    "SplitWithSize": _split_sizes,
    "SplitWithSizeView": _split_sizes,
    "SplitV": _splitv,
    "Chunk": _chunk,
    "ChunkView": _chunk,
    "Slice": _slice,
    "SliceExt": _slice_ext,
    "SliceExtView": _slice_ext,
    "Narrow": _narrow,
    "NarrowView": _narrow,
    "StridedSlice": _strided_slice,
    "SelectExtView": _select,
    "Fill": lambda dtype, shape, value: _fill(shape, value, dtype),
    "FillV2": _fill,
    "FillScalar": _fill,
    "FillTensor": _fill,
    "FullLike": lambda x, value, dtype=None: jnp.full(x.shape, value, dtype or x.dtype),
    "Zeros": _filled(0),
    "Ones": _filled(1),
    "ZerosLike": _like(0),
    "OnesLike": _like(1),
    "ZerosLikeExt": _like(0),
    "OnesLikeExt": _like(1),
    "NewZeros": _new(0),
    "NewOnes": _new(1),
    "Eye": lambda n, m=None, dtype=None: jnp.eye(n, m, dtype=dtype or jnp.float32),
    "Range": _range,
    "Arange": _arange,
    "LinSpace": _linspace,
    "LinSpaceExt": _linspace,
    "Triu": _triangle(jnp.triu),
    "Tril": _triangle(jnp.tril),
    "TrilExt": _triangle(jnp.tril),
    "ReverseV2": _reverse,
    "Roll": _roll_attrs,
    "Pad": lambda x, *, paddings: pad(x, [(a, b) for a, b in paddings]),
    "PadV3": _pad_v3,
    "MirrorPad": _mirror_pad,
    "ConstantPadND": _pad_nd("constant"),
    **{f"ReflectionPad{n}D": _pad_nd("reflect") for n in (1, 2, 3)},
    **{f"ReplicationPad{n}D": _pad_nd("edge") for n in (1, 2, 3)},
    "Meshgrid": _meshgrid,
    "Diag": _diag,
    "DiagExt": _diag_ext,
    "DiagPart": _diagonal_part,
    "Diagonal": lambda x, offset=0, dim1=0, dim2=1: jnp.diagonal(x, offset, dim1, dim2),
    "DiagonalView": lambda x, offset=0, dim1=0, dim2=1: jnp.diagonal(x, offset, dim1, dim2),
    "DepthToSpace": lambda x, *, block_size, **_: depth_to_space(x, block_size),
    "SpaceToDepth": lambda x, *, block_size, **_: space_to_depth(x, block_size),
    "PixelShuffle": _pixel_shuffle,
    "ChannelShuffle": _channel_shuffle,
    "SpaceToBatchND": _space_to_batch,
    "BatchToSpaceND": _batch_to_space,
    "TensorShape": lambda x: np.asarray(x.shape, np.int64),
    "DynamicShape": lambda x: np.asarray(x.shape, np.int64),
    "Rank": jnp.ndim,
    "Size": jnp.size,
}
