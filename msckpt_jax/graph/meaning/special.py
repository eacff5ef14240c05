"""Functions and small operators that no other module has: Bessel's, medians, formats, bits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.core import Tracer

from msckpt_jax.errors import MindIRError
from msckpt_jax.graph.meaning import losses, positions
from msckpt_jax.graph.meaning.arrays import ints

_STEPS = 480


def _macdonald(order: int, scaled: bool) -> Callable[..., Any]:
    """Bessel's K by its integral, whose sum over equal steps converges faster than any power.

    ``K(x) exp(x)`` is the integral of ``exp(-x (cosh t - 1)) cosh(order t)`` over positive t.
    """

    def run(x: Any) -> Any:
        wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
        step = jnp.minimum(0.2, 0.5 / jnp.sqrt(jnp.maximum(wide, 1e-30)))

        def add(k: Any, total: Any) -> Any:
            t = k * step
            term = jnp.exp(order * t - wide * 2 * jnp.square(jnp.sinh(t / 2)))
            term = (term + jnp.exp(-order * t - wide * 2 * jnp.square(jnp.sinh(t / 2)))) / 2
            return total + jnp.where(jnp.isfinite(term), term, 0) * jnp.where(k == 0, 0.5, 1)

        total = lax.fori_loop(0, _STEPS, add, jnp.zeros_like(wide)) * step
        total = jnp.where(wide == 0, jnp.inf, jnp.where(wide < 0, jnp.nan, total))
        return (total if scaled else total * jnp.exp(-wide)).astype(x.dtype)

    return run


def _median(
    x: Any, *, global_median: bool = False, axis: int = 0, keep_dims: bool = False,
    ignore_nan: bool = False,
) -> Any:  # fmt: skip
    """The lower median, and where it is."""
    if ignore_nan:
        raise MindIRError("Median with ignore_nan is not supported")
    if global_median:
        value, place = _median_dim(jnp.ravel(x), 0, False)
        return value, jnp.zeros_like(place)  # like MindSpore's
    return _median_dim(x, axis, keep_dims)


def _median_dim(x: Any, dim: int = -1, keepdim: bool = False) -> Any:
    order = jnp.argsort(x, dim, stable=True)
    place = lax.index_in_dim(order, (x.shape[dim] - 1) // 2, dim)
    value = jnp.take_along_axis(x, place, dim)
    if jnp.issubdtype(x.dtype, jnp.floating):  # the first NaN is the median
        nan = jnp.isnan(x)
        some = jnp.any(nan, dim, keepdims=True)
        place = jnp.where(some, positions.argmax(nan, dim, keepdims=True), place)
        value = jnp.where(some, jnp.nan, value)
    if not keepdim:
        value, place = jnp.squeeze(value, dim), jnp.squeeze(place, dim)
    return value, place.astype(jax.dtypes.canonicalize_dtype(np.int64))


def _order(source: str, target: str) -> list[int]:
    return [source.index(letter) for letter in target]


def _dim_map(x: Any, *, src_format: str = "NHWC", dst_format: str = "NCHW") -> Any:
    table = jnp.asarray(_order(src_format, dst_format), x.dtype)
    return table[jnp.mod(x, 4)]


def _vec_permute(x: Any, *, src_format: str = "NHWC", dst_format: str = "NCHW") -> Any:
    return x[jnp.asarray(_order(src_format, dst_format))]


def _pack_bits(x: Any, threshold: Any) -> Any:
    bits = jnp.reshape(x > threshold, (*x.shape[:-1], -1, 8))
    order = "little" if x.dtype == bool else "big"  # MindSpore's kernels differ so
    return jnp.packbits(bits, -1, bitorder=order)[..., 0]


def _clip_by_norm(x: Any, limit: Any, *, axis: Any = None) -> Any:
    axes = None if axis is None else ints(axis) or None
    wide = x.astype(jnp.float32)
    norm = jnp.sqrt(jnp.sum(jnp.square(wide), axes, keepdims=True))
    limit = jnp.asarray(limit, jnp.float32)
    return jnp.where(norm > limit, wide * limit / jnp.where(norm > 0, norm, 1), wide)


def _padding(x: Any, *, pad_dim_size: int = 8) -> Any:
    return jnp.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, pad_dim_size - x.shape[-1])])


def _log_space(
    start: Any, end: Any, *, steps: int = 10, base: int = 10, dtype: Any = np.float32
) -> Any:
    return jnp.logspace(start, end, steps, base=base).astype(dtype)


def _masked_scatter(x: Any, mask: Any, source: Any) -> Any:
    """Put the numbers of ``source``, one after another, where the mask is true."""
    mask = jnp.broadcast_to(jnp.asarray(mask, bool), x.shape)
    place = jnp.cumsum(jnp.ravel(mask)) - 1
    picked = jnp.take(jnp.ravel(source), jnp.maximum(place, 0), mode="clip")
    return jnp.where(mask, jnp.reshape(picked, x.shape), x)


def _no_repeat(sequences: Any, log_probs: Any, *, ngram_size: int = 1) -> Any:
    """Take every word away that would end a run of words that was there before."""
    n, length = ngram_size, sequences.shape[-1]
    lowest = jnp.asarray(jnp.finfo(log_probs.dtype).min, log_probs.dtype)
    starts = np.arange(length - n + 1)
    runs = sequences[..., starts[:, None] + np.arange(n)]
    last = sequences[..., length - n + 1 :]
    same = jnp.all(runs[..., : n - 1] == last[..., None, :], -1)
    words = jax.nn.one_hot(runs[..., n - 1], log_probs.shape[-1], dtype=bool)
    return jnp.where(jnp.any(words & same[..., None], -2), lowest, log_probs)


def _margin(
    x: Any, target: Any, weight: Any = None, *, p: int = 1, margin: float = 1.0,
    reduction: str = "mean",
) -> Any:  # fmt: skip
    right = jnp.take_along_axis(x, losses.classes(target, x.shape[1])[:, None], 1)
    loss = jnp.maximum(margin - right + x, 0) ** p
    loss = loss if weight is None else loss * jnp.take(weight, target)[:, None]
    own = jax.nn.one_hot(target, x.shape[1], dtype=bool)
    return losses.reduced(jnp.sum(jnp.where(own, 0, loss), 1) / x.shape[1], reduction)


def _cosine_loss(x: Any, y: Any, target: Any, margin: float = 0.0, reduction: Any = 1) -> Any:
    near = jnp.sum(x * y, -1) + 1e-12
    size = jnp.sqrt((jnp.sum(x * x, -1) + 1e-12) * (jnp.sum(y * y, -1) + 1e-12))
    cosine = near / size
    loss = jnp.where(target == 1, 1 - cosine, jnp.maximum(cosine - margin, 0))
    return losses.reduced(jnp.where(jnp.abs(target) == 1, loss, 0), reduction)


def _unravel(index: Any, dims: Any) -> Any:
    rest, parts = index, []
    for size in reversed(jnp.unstack(dims)):
        parts.append(rest % size)
        rest = rest // size
    return jnp.stack(parts[::-1]).astype(index.dtype)


def _check_numerics(x: Any) -> Any:
    if not isinstance(x, Tracer) and not bool(jnp.all(jnp.isfinite(x))):
        raise MindIRError("CheckNumerics: the operand has NaN or infinity")
    return x


def _instance_norm(
    x: Any, gamma: Any, beta: Any, mean: Any, variance: Any, *, is_training: bool = True,
    momentum: float = 0.1, epsilon: float = 1e-5,
) -> Any:  # fmt: skip
    if is_training:
        raise MindIRError("InstanceNormV2 in training changes its statistics: export in eval mode")
    wide = x.astype(jnp.float32)
    out = (wide - mean) * lax.rsqrt(variance + epsilon) * gamma + beta
    return out.astype(x.dtype), jnp.zeros_like(mean), jnp.zeros_like(variance)


def _ragged_range(
    starts: Any, limits: Any, deltas: Any, *,
    Tsplits: Any = np.int64,  # noqa: N803 - MindSpore's name
) -> Any:  # fmt: skip
    if any(isinstance(v, Tracer) for v in (starts, limits, deltas)):
        raise MindIRError("the size of RaggedRange's result depends on numbers, which jit hides")
    rows = [np.atleast_1d(np.asarray(v)) for v in (starts, limits, deltas)]
    parts = [np.arange(a, b, c) for a, b, c in zip(*np.broadcast_arrays(*rows), strict=True)]
    splits = np.cumsum([0, *map(len, parts)])
    dtype = jax.dtypes.canonicalize_dtype(Tsplits)
    return jnp.asarray(splits, dtype), jnp.asarray(np.concatenate(parts), starts.dtype)


def _concat_offset(tensors: Any, *, axis: int = 0, **_: Any) -> Any:
    axis = axis % len(tensors[0].shape)
    sizes = [x.shape[axis] for x in tensors]
    out = np.zeros((len(tensors), len(tensors[0].shape)), np.int64)
    out[:, axis] = np.cumsum([0, *sizes[:-1]])
    return jnp.asarray(out, jax.dtypes.canonicalize_dtype(np.int64))


def _concat_offset_v1(axis: Any, shapes: Any) -> Any:
    stacked = jnp.stack(shapes)
    before = jnp.cumsum(stacked, 0) - stacked
    own = jnp.arange(stacked.shape[1]) == axis % stacked.shape[1]
    return tuple(jnp.where(own, before, 0).astype(jnp.int32))


TABLE: dict[str, Callable[..., Any]] = {
    "BesselK0": _macdonald(0, scaled=False),
    "BesselK0e": _macdonald(0, scaled=True),
    "BesselK1": _macdonald(1, scaled=False),
    "BesselK1e": _macdonald(1, scaled=True),
    "ApproximateEqual": lambda x, y, *, tolerance=1e-5: jnp.abs(x - y) < tolerance,
    "EqualExt": lambda x, y: jnp.array_equal(x, y),
    "Fmin": jnp.fmin,
    "Median": _median,
    "MedianDim": _median_dim,
    "MedianExt": lambda x: _median_dim(jnp.ravel(x), 0)[0],
    "DataFormatDimMap": _dim_map,
    "DataFormatVecPermute": _vec_permute,
    "CompareAndBitpack": _pack_bits,
    "ClipByNorm": _clip_by_norm,
    "Padding": _padding,
    "LogSpace": _log_space,
    "MaskedScatter": _masked_scatter,
    "NoRepeatNGram": _no_repeat,
    "MultiMarginLoss": _margin,
    "CosineEmbeddingLoss": _cosine_loss,
    "UnravelIndex": _unravel,
    "CheckNumerics": _check_numerics,
    "InstanceNormV2": _instance_norm,
    "RaggedRange": _ragged_range,
    "ConcatOffset": _concat_offset,
    "ConcatOffsetV1": _concat_offset_v1,
    "Eps": lambda x: jnp.full(x.shape, jnp.finfo(x.dtype).eps, x.dtype),
    "Expand": lambda x, shape: jnp.broadcast_to(
        x,
        [
            o if s == -1 else s
            for s, o in zip(ints(shape), (1,) * (len(ints(shape)) - x.ndim) + x.shape, strict=True)
        ],
    ),
    "ParallelConcat": lambda parts: jnp.concatenate(parts, 0),
    "RangeV2": lambda start, end, step, *, maxlen=0: jnp.arange(
        *(np.asarray(v).item() for v in (start, end, step))
    ),
    "ConvertToDynamic": lambda x, *_, is_dynamic_rank=False: x,
    "Fills": lambda x, value: jnp.full(x.shape, value, x.dtype),
    "NewFull": lambda x, size, value, dtype=None: jnp.full(ints(size), value, dtype or x.dtype),
    "InnerIndex": lambda x, indices: jnp.asarray(x)[tuple(indices)],
    "AShardIdentity": lambda x: x,
    "FormatCast": lambda x, *_: x,
    "ToDevice": lambda x, device=None, dtype=None, *_: x if dtype is None else x.astype(dtype),
    "ToOther": lambda x, other, *_: x.astype(other.dtype),
    "SparseSoftmaxCrossEntropyWithLogitsV2": lambda x, labels: (
        -jnp.take_along_axis(jax.nn.log_softmax(x), labels[:, None], 1)[:, 0],
        jax.nn.softmax(x) - jax.nn.one_hot(labels, x.shape[-1], dtype=x.dtype),
    ),
}
