"""What GE's operators compute, in JAX: the judge of AIR files, and the way to run one.

Written from the operators' definitions in CANN's headers, not from the rows that we export by. A
meaning is ``meaning(a, *inputs)``: ``a`` has the operator's attributes, defaults filled in; inputs
are in the prototype's order, None where an optional one is not given, a tuple for a dynamic one.
A result that the definition leaves open is None; operands for which it does are a ValueError.
What must be constant (a shape, axes, paddings) is read with :func:`_ints`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.core import Tracer
from jax.scipy import special

from msckpt_jax.dtypes import BY_GE_TYPE

Meaning = Callable[..., Any]


def _ints(value: Any) -> tuple[int, ...]:
    """A constant operand as Python integers."""
    if isinstance(value, Tracer):
        raise ValueError("this operand has to be a constant when the file runs in JAX")
    return tuple(int(item) for item in np.asarray(value).reshape(-1))


def _axes(value: Any, rank: int) -> tuple[int, ...]:
    return tuple(axis % rank for axis in _ints(value)) if rank else ()


def _dtype(number: Any) -> np.dtype:
    return jax.dtypes.canonicalize_dtype(BY_GE_TYPE[int(number)].array)


def _one(function: Callable[..., Any]) -> Meaning:
    return lambda a, *inputs: function(*inputs)


def _alike(function: Callable[..., Any]) -> Meaning:
    """Operands of one dtype, which GE does not promote, broadcast."""

    def meaning(a: Any, *inputs: Any) -> Any:
        dtypes = {jnp.asarray(x).dtype.name for x in inputs}
        if len(dtypes) > 1:
            raise ValueError(f"operands of {' and '.join(sorted(dtypes))}; GE takes one dtype")
        return function(*jnp.broadcast_arrays(*inputs))

    return meaning


def _where(a: Any, condition: Any, *branches: Any) -> Any:
    return _alike(lambda *found: jnp.where(condition, *found))(a, *branches)


def _in_range(indices: Any, size: Any) -> Any:
    """Indices; GE does not say what ones out of range give, so there must be none."""
    if not isinstance(indices, Tracer):
        wrong = (np.asarray(indices) < 0) | (np.asarray(indices) >= np.asarray(size))
        if wrong.any():
            raise ValueError(f"indices out of range, such as {np.asarray(indices)[wrong][0]}")
    return indices


def _reduce(function: Callable[..., Any]) -> Meaning:
    def meaning(a: Any, x: Any, axes: Any) -> Any:
        where = _axes(axes, jnp.ndim(x))
        return function(x, axis=where, keepdims=a["keep_dims"])

    return meaning


def _scan(function: Callable[..., Any], identity: int) -> Meaning:
    def meaning(a: Any, x: Any, axis: Any) -> Any:
        (axis,) = _axes(axis, x.ndim)
        out = function(jnp.flip(x, axis) if a["reverse"] else x, axis=axis, dtype=x.dtype)
        if a["exclusive"]:
            first = jnp.full_like(lax.slice_in_dim(out, 0, 1, axis=axis), identity)
            out = jnp.concatenate([first, lax.slice_in_dim(out, 0, -1, axis=axis)], axis)
        return jnp.flip(out, axis) if a["reverse"] else out

    return meaning


def _running(name: str, best: Callable[..., Any]) -> Meaning:
    """Cummax and Cummin: values, and the positions of the last element that equals them."""

    def meaning(a: Any, x: Any) -> Any:
        axis = a[name] % x.ndim
        values = best(x, axis=axis)
        index = jnp.where(x == values, lax.broadcasted_iota(jnp.int32, x.shape, axis), 0)
        return values, lax.cummax(index, axis=axis)

    return meaning


def _exp(a: Any, x: Any) -> Any:
    power = a["scale"] * x + a["shift"] if (a["scale"], a["shift"]) != (1.0, 0.0) else x
    return jnp.exp(power) if a["base"] == -1.0 else jnp.power(a["base"], power).astype(x.dtype)


def _log(a: Any, x: Any) -> Any:
    inner = a["scale"] * x + a["shift"] if (a["scale"], a["shift"]) != (1.0, 0.0) else x
    return jnp.log(inner) if a["base"] == -1.0 else jnp.log(inner) / np.log(a["base"])


def _cast(a: Any, x: Any) -> Any:
    return lax.convert_element_type(x, _dtype(a["dst_type"]))


def _right_shift(x: Any, y: Any) -> Any:
    signed = jnp.issubdtype(x.dtype, jnp.signedinteger)
    return (lax.shift_right_arithmetic if signed else lax.shift_right_logical)(x, y)


def _matmul(left: str, right: str) -> Meaning:
    """``adj`` conjugates, too."""

    def turned(flag: str, x: Any) -> Any:
        return jnp.swapaxes(jnp.conj(x) if flag.startswith("adj") else x, -1, -2)

    def meaning(a: Any, x: Any, y: Any, bias: Any = None, offset: Any = None) -> Any:
        x = turned(left, x) if a[left] else x
        y = turned(right, y) if a[right] else y
        wide = jnp.int32 if x.dtype == jnp.int8 else None
        out = jnp.matmul(x, y, preferred_element_type=wide)
        return out if bias is None else out + bias

    return meaning


def _spatial(data_format: str) -> tuple[str, str, str]:
    """The layouts of data, filter and result in lax's letters."""
    weights = "OIDHW" if "D" in data_format else "OIHW"
    if data_format[1] != "C":
        weights = "DHWIO" if "D" in data_format else "HWIO"
    return data_format, weights, data_format


def _conv(a: Any, x: Any, weights: Any, bias: Any = None, offset: Any = None) -> Any:
    layout = _spatial(a["data_format"])
    at = [i for i, letter in enumerate(a["data_format"]) if letter not in "NC"]
    pads = list(a["pads"])
    out = lax.conv_general_dilated(
        x,
        weights,
        window_strides=[a["strides"][i] for i in at],
        padding=list(zip(pads[0::2], pads[1::2], strict=True)),
        rhs_dilation=[a["dilations"][i] for i in at],
        dimension_numbers=layout,
        feature_group_count=a["groups"],
    )
    channel = a["data_format"].index("C")
    return out if bias is None else out + _along(bias, out.ndim, channel)


def _along(vector: Any, rank: int, axis: int) -> Any:
    return jnp.reshape(vector, [-1 if i == axis else 1 for i in range(rank)])


def _bias_add(a: Any, x: Any, bias: Any) -> Any:
    channel = 1 if a["data_format"].startswith("NC") else x.ndim - 1
    return x + _along(bias, x.ndim, channel)


def _window(a: Any, x: Any, key: str = "padding_mode") -> tuple[Any, ...]:
    """Window, strides and paddings of a pooling operator, over all axes of ``x``."""
    at = [i for i, letter in enumerate(a["data_format"]) if letter not in "NC"]
    size, strides = list(a["ksize"]), list(a["strides"])
    if len(size) < x.ndim:  # given for the spatial axes only
        size, strides = ([1, 1, *values] for values in (size, strides))
    mode = a.get(key, "CALCULATED")
    if a.get("global_pooling"):
        size = [x.shape[i] if i in at else 1 for i in range(x.ndim)]
    if mode in ("SAME", "VALID"):
        return size, strides, lax.padtype_to_pads(x.shape, size, strides, mode)
    pads = list(a["pads"])
    padding = [(0, 0)] * x.ndim
    for axis, low, high in zip(at, pads[0::2], pads[1::2], strict=True):
        padding[axis] = (low, high)
    return size, strides, padding


def _pool(function: Callable[..., Any], key: str = "padding_mode") -> Meaning:
    def meaning(a: Any, x: Any) -> Any:
        if a.get("ceil_mode"):
            raise ValueError("ceil_mode is not run in JAX")
        return function(a, x, *_window(a, x, key))

    return meaning


def _max_window(a: Any, x: Any, size: Any, strides: Any, padding: Any) -> Any:
    least = -jnp.inf if jnp.issubdtype(x.dtype, jnp.floating) else jnp.iinfo(x.dtype).min
    return lax.reduce_window(x, np.asarray(least, x.dtype), lax.max, size, strides, padding)


def _sum_window(x: Any, size: Any, strides: Any, padding: Any) -> Any:
    return lax.reduce_window(x, np.asarray(0, x.dtype), lax.add, size, strides, padding)


def _mean_window(a: Any, x: Any, size: Any, strides: Any, padding: Any) -> Any:
    total = _sum_window(x, size, strides, padding)
    if a.get("divisor_override"):
        return total / a["divisor_override"]
    only_real = a.get("exclusive", not a.get("count_include_pad", False))
    if only_real:
        return total / _sum_window(jnp.ones_like(x), size, strides, padding)
    return total / np.prod(size)


def _batch_norm(a: Any, x: Any, scale: Any, offset: Any, mean: Any, variance: Any) -> Any:
    if a["is_training"]:
        raise ValueError("BatchNorm in training is not run in JAX")
    channel = 1 if a["data_format"].startswith("NC") else x.ndim - 1
    along = partial(_along, rank=x.ndim, axis=channel)
    factor = along(scale) * lax.rsqrt(along(variance) + a["epsilon"])
    out = (x - along(mean)) * factor + along(offset)
    return out, mean, variance, mean, variance, None


def _layer_norm(a: Any, x: Any, gamma: Any, beta: Any) -> Any:
    axes = tuple(range(a["begin_norm_axis"] % x.ndim, x.ndim))
    mean = jnp.mean(x, axes, keepdims=True)
    variance = jnp.var(x, axes, keepdims=True)
    out = (x - mean) * lax.rsqrt(variance + a["epsilon"]) * gamma + beta
    return out, mean, variance


def _layer_norm_v3(a: Any, x: Any, gamma: Any, beta: Any) -> Any:
    out, mean, variance = _layer_norm(a, x, gamma, beta)
    return out, mean, lax.rsqrt(variance + a["epsilon"])


def _layer_norm_v4(a: Any, x: Any, shape: Any, gamma: Any = None, beta: Any = None) -> Any:
    one = jnp.ones(_ints(shape), x.dtype)
    begin = {"begin_norm_axis": x.ndim - one.ndim, "epsilon": a["epsilon"]}
    return _layer_norm_v3(begin, x, one if gamma is None else gamma, 0 if beta is None else beta)


def _gather(a: Any, x: Any, indices: Any, axis: Any) -> Any:
    (axis,) = _axes(axis, x.ndim)
    batch = a["batch_dims"] % x.ndim
    _in_range(indices, x.shape[axis])
    take = partial(jnp.take, axis=axis - batch, mode="clip")
    for _ in range(batch):
        take = jax.vmap(take)
    return take(x, indices)


def _points(x: Any, indices: Any) -> tuple[Any, ...]:
    """The positions in ``x`` that the last axis of ``indices`` names."""
    return tuple(jnp.moveaxis(_in_range(indices, x.shape[: indices.shape[-1]]), -1, 0))


def _gather_nd(a: Any, x: Any, indices: Any) -> Any:
    return jnp.asarray(x)[_points(x, indices)]


def _gather_elements(a: Any, x: Any, index: Any) -> Any:
    axis = a["dim"] % x.ndim
    grid = list(jnp.indices(index.shape, sparse=True))
    grid[axis] = _in_range(index, x.shape[axis])
    return jnp.asarray(x)[tuple(grid)]


def _scatter_nd(method: str) -> Meaning:
    def meaning(a: Any, x: Any, indices: Any, updates: Any) -> Any:
        return getattr(jnp.asarray(x).at[_points(x, indices)], method)(updates)

    return meaning


def _scatter_elements(a: Any, x: Any, indices: Any, updates: Any) -> Any:
    axis = a["axis"] % x.ndim
    grid = list(jnp.indices(indices.shape, sparse=True))
    grid[axis] = _in_range(indices, x.shape[axis])
    method = {"none": "set", "add": "add", "mul": "multiply"}[a["reduction"]]
    return getattr(jnp.asarray(x).at[tuple(grid)], method)(updates)


def _slice(a: Any, x: Any, offsets: Any, size: Any) -> Any:
    size = _ints(size)
    if isinstance(offsets, Tracer):
        return lax.dynamic_slice(x, list(offsets), size)
    begin = _ints(offsets)
    ends = [s if n == -1 else b + n for b, n, s in zip(begin, size, x.shape, strict=True)]
    return lax.slice(x, begin, ends)


def _strided_slice(a: Any, x: Any, begin: Any, end: Any, strides: Any) -> Any:
    index: list[Any] = []
    for i, parts in enumerate(zip(_ints(begin), _ints(end), _ints(strides), strict=True)):
        bit = 1 << i
        first = None if a["begin_mask"] & bit else parts[0]
        last = None if a["end_mask"] & bit else parts[1]
        if a["ellipsis_mask"] & bit:
            index.append(Ellipsis)
        elif a["new_axis_mask"] & bit:
            index.append(None)
        elif a["shrink_axis_mask"] & bit:
            index.append(parts[0])
        else:
            index.append(slice(first, last, parts[2]))
    return x[tuple(index)]


def _pad(a: Any, x: Any, paddings: Any, value: Any = None) -> Any:
    pairs = np.asarray(_ints(paddings)).reshape(-1, 2)
    if not a.get("paddings_contiguous", True):  # all the low ones come first
        pairs = pairs.reshape(2, -1).T
    if len(pairs) < np.ndim(x):
        raise ValueError(f"paddings of {len(pairs)} axes for a tensor of rank {np.ndim(x)}")
    fill = 0 if value is None else value
    mode = a.get("mode", "constant")
    if mode != "constant":
        return jnp.pad(x, pairs, mode={"reflect": "reflect", "edge": "edge"}[mode])
    return lax.pad(x, jnp.asarray(fill, x.dtype).reshape(()), [(lo, hi, 0) for lo, hi in pairs])


def _split_sizes(a: Any, x: Any, sizes: Any, axis: Any) -> Any:
    (axis,) = _axes(axis, x.ndim)
    return tuple(jnp.split(x, np.cumsum(_ints(sizes))[:-1], axis))


def _split(a: Any, axis: Any, x: Any) -> Any:
    (axis,) = _axes(axis, x.ndim)
    return tuple(jnp.split(x, a["num_split"], axis))


def _unpack(a: Any, x: Any) -> Any:
    axis = a["axis"] % x.ndim
    return tuple(jnp.squeeze(part, axis) for part in jnp.split(x, a["num"], axis))


def _concat(a: Any, parts: Sequence[Any], axis: Any) -> Any:
    (axis,) = _axes(axis, parts[0].ndim)
    return jnp.concatenate(parts, axis)


def _squeeze(a: Any, x: Any) -> Any:
    axes = [axis % x.ndim for axis in a["axis"]] or None
    return jnp.squeeze(x, None if axes is None else tuple(axes))


def _unsqueeze(a: Any, x: Any) -> Any:
    return jnp.expand_dims(x, tuple(a["axes"]))


def _reshape(a: Any, x: Any, shape: Any) -> Any:
    dims = [np.shape(x)[i] if dim == 0 and x.size else dim for i, dim in enumerate(_ints(shape))]
    return jnp.reshape(x, dims)


def _sort(a: Any, x: Any) -> Any:
    axis = a["axis"] % x.ndim
    index = lax.broadcasted_iota(jnp.int32, x.shape, axis)
    key = ~x if jnp.issubdtype(x.dtype, jnp.integer) or x.dtype == bool else -x
    _, values, order = lax.sort(
        (key if a["descending"] else x, x, index), dimension=axis, num_keys=1, is_stable=True
    )
    return values, order


def _top_k(a: Any, x: Any, k: Any) -> Any:
    axis = a["dim"] % x.ndim
    (count,) = _ints(k)
    moved = jnp.moveaxis(x, axis, -1)
    values, order = lax.top_k(moved if a["largest"] else -moved, count)
    values = values if a["largest"] else -values
    return jnp.moveaxis(values, -1, axis), jnp.moveaxis(order, -1, axis)


def _arg(function: Callable[..., Any]) -> Meaning:
    def meaning(a: Any, x: Any, axis: Any) -> Any:
        (axis,) = _axes(axis, x.ndim)
        return function(x, axis).astype(_dtype(a["dtype"]))

    return meaning


def _arg_with_value(function: Callable[..., Any]) -> Meaning:
    """The index, int32, and the element there."""

    def meaning(a: Any, x: Any) -> Any:
        axis = a["dimension"] % x.ndim
        index = function(x, axis, keepdims=True)
        found = index.astype(jnp.int32), jnp.take_along_axis(x, index, axis)
        return found if a["keep_dims"] else tuple(jnp.squeeze(part, axis) for part in found)

    return meaning


def _one_hot(a: Any, x: Any, depth: Any, on: Any, off: Any) -> Any:
    (depth,) = _ints(depth)
    axis = a["axis"] if a["axis"] != -1 else jnp.ndim(x)
    hot = jnp.expand_dims(x, axis) == _along(jnp.arange(depth, dtype=x.dtype), x.ndim + 1, axis)
    return jnp.where(hot, on, off)


def _triangular_solve(a: Any, matrix: Any, rhs: Any) -> Any:
    return lax.linalg.triangular_solve(
        matrix,
        rhs,
        left_side=True,
        lower=a["lower"],
        transpose_a=a["adjoint"],
        conjugate_a=a["adjoint"],
    )


def _inverse(a: Any, x: Any) -> Any:
    return jnp.linalg.inv(jnp.conj(jnp.swapaxes(x, -1, -2)) if a["adjoint"] else x)


def _eigh(a: Any, x: Any) -> Any:
    """Of the lower triangle."""
    vectors, values = lax.linalg.eigh(x, lower=True, symmetrize_input=False)
    return values.astype(x.dtype), vectors if a["compute_v"] else None


def _svd(a: Any, x: Any) -> Any:
    if not a["compute_uv"]:
        sigma = jnp.linalg.svd(x, compute_uv=False)
        return sigma, None, None
    u, sigma, v = jnp.linalg.svd(x, full_matrices=a["full_matrices"])
    return sigma, u, jnp.conj(jnp.swapaxes(v, -1, -2))


def _lu(a: Any, x: Any) -> Any:
    packed, _, order = lax.linalg.lu(x)
    return packed, order.astype(_dtype(a["output_idx_type"]))


def _range(a: Any, start: Any, limit: Any, delta: Any) -> Any:
    bounds = (np.asarray(bound).item() for bound in (start, limit, delta))
    return jnp.arange(*bounds, dtype=jnp.result_type(start))


def _gelu(a: Any, x: Any) -> Any:
    return jax.nn.gelu(x, approximate=True)


def _logical_shape(a: Any, x: Any) -> Any:
    return np.asarray(x.shape, _dtype(a["dtype"]))


#: Results whose dtype no attribute says, only the file: int32 or int64.
POSITIONS = {"Cummax": 1, "Cummin": 1}

#: GE's operator -> what it computes.
MEANINGS: Mapping[str, Meaning] = {
    # Element by element.
    "Abs": _one(jnp.abs),
    "Acos": _one(jnp.arccos),
    "Acosh": _one(jnp.arccosh),
    "Asin": _one(jnp.arcsin),
    "Asinh": _one(jnp.arcsinh),
    "Atan": _one(jnp.arctan),
    "Atanh": _one(jnp.arctanh),
    "BesselI0e": _one(special.i0e),
    "BesselI1e": _one(special.i1e),
    "Ceil": _one(jnp.ceil),
    "Conj": _one(jnp.conj),
    "Cos": _one(jnp.cos),
    "Cosh": _one(jnp.cosh),
    "Digamma": _one(special.digamma),
    "Erf": _one(special.erf),
    "Erfc": _one(special.erfc),
    "Erfinv": _one(special.erfinv),
    "Exp": _exp,
    "Expm1": _one(jnp.expm1),
    "Floor": _one(jnp.floor),
    "Invert": _one(jnp.invert),
    "IsFinite": _one(jnp.isfinite),
    "IsInf": _one(jnp.isinf),
    "IsNan": _one(jnp.isnan),
    "Lgamma": _one(special.gammaln),
    "Log": _log,
    "Log1p": _one(jnp.log1p),
    "LogicalNot": _one(jnp.logical_not),
    "Neg": _one(jnp.negative),
    "PopulationCount": lambda a, x: lax.population_count(x).astype(jnp.uint8),
    "Reciprocal": _one(jnp.reciprocal),
    "Rint": _one(jnp.rint),
    "Round": lambda a, x: jnp.round(x, a["decimals"]),
    "Rsqrt": _one(lax.rsqrt),
    "Sigmoid": _one(jax.nn.sigmoid),
    "Sign": _one(jnp.sign),
    "Sin": _one(jnp.sin),
    "Sinh": _one(jnp.sinh),
    "Sqrt": _one(jnp.sqrt),
    "Square": _one(jnp.square),
    "Tan": _one(jnp.tan),
    "Tanh": _one(jnp.tanh),
    "Trunc": _one(jnp.trunc),
    # Two or three operands, broadcast.
    "Add": _alike(jnp.add),
    "AddN": lambda a, parts: sum(parts[1:], parts[0]),
    "Adds": lambda a, x: x + jnp.asarray(a["value"], x.dtype),
    "Atan2": _alike(jnp.arctan2),
    "Betainc": _alike(special.betainc),
    "BitwiseAnd": _alike(jnp.bitwise_and),
    "BitwiseOr": _alike(jnp.bitwise_or),
    "BitwiseXor": _alike(jnp.bitwise_xor),
    "ClipByValue": _alike(lambda x, low, high: jnp.minimum(jnp.maximum(x, low), high)),
    "ClipByValueV2": _alike(lambda x, low, high: jnp.minimum(jnp.maximum(x, low), high)),
    "Div": _alike(lax.div),
    "Equal": _alike(jnp.equal),
    "FloorDiv": _alike(jnp.floor_divide),
    "FloorMod": _alike(jnp.mod),
    "Greater": _alike(jnp.greater),
    "GreaterEqual": _alike(jnp.greater_equal),
    "Igamma": _alike(special.gammainc),
    "Igammac": _alike(special.gammaincc),
    "LeftShift": _alike(lax.shift_left),
    "Less": _alike(jnp.less),
    "LessEqual": _alike(jnp.less_equal),
    "LogicalAnd": _alike(jnp.logical_and),
    "LogicalOr": _alike(jnp.logical_or),
    "Maximum": _alike(jnp.maximum),
    "Minimum": _alike(jnp.minimum),
    "Mod": _alike(lax.rem),
    "Mul": _alike(jnp.multiply),
    "Muls": lambda a, x: x * jnp.asarray(a["value"], x.dtype),
    "NextAfter": _alike(jnp.nextafter),
    "NotEqual": _alike(jnp.not_equal),
    "Pow": _alike(jnp.power),
    "RealDiv": _alike(jnp.true_divide),
    "RightShift": _alike(_right_shift),
    "Select": _where,
    "SelectV2": _where,
    "Sub": _alike(jnp.subtract),
    "TruncateDiv": _alike(lax.div),
    "TruncateMod": _alike(lax.rem),
    "Zeta": _alike(special.zeta),
    # Activations.
    "Elu": lambda a, x: a["scale"] * jax.nn.elu(x * a["input_scale"], a["alpha"]),
    "Gelu": _gelu,
    "HardSigmoid": lambda a, x: jnp.clip(a["alpha"] * x + a["beta"], 0, 1),
    "HardSwish": _one(jax.nn.hard_swish),
    "LeakyRelu": lambda a, x: jax.nn.leaky_relu(x, a["negative_slope"]),
    "LogSoftmaxV2": lambda a, x: jax.nn.log_softmax(x, tuple(a["axes"])),
    "Mish": _one(jax.nn.mish),
    "PRelu": lambda a, x, w: jnp.where(x > 0, x, x * (w if w.size == 1 else _along(w, x.ndim, 1))),
    "Relu": _one(jax.nn.relu),
    "Relu6": _one(jax.nn.relu6),
    "Selu": _one(jax.nn.selu),
    "SoftmaxV2": lambda a, x: jax.nn.softmax(x, tuple(a["axes"])),
    "Softplus": _one(jax.nn.softplus),
    "Softsign": _one(jax.nn.soft_sign),
    "Swish": lambda a, x: x * jax.nn.sigmoid(a["scale"] * x),
    # Dtypes and complex numbers.
    "Bitcast": lambda a, x: lax.bitcast_convert_type(x, _dtype(a["type"])),
    "Cast": _cast,
    "Complex": lambda a, real, imag: lax.complex(real, imag),
    "ComplexAbs": _one(jnp.abs),
    "Imag": _one(jnp.imag),
    "Real": _one(jnp.real),
    # Shapes.
    "BroadcastTo": lambda a, x, shape: jnp.broadcast_to(x, _ints(shape)),
    "Concat": lambda a, axis, parts: _concat(a, parts, axis),
    "ConcatV2": _concat,
    "ExpandDims": lambda a, x, axis: jnp.expand_dims(x, _ints(axis)),
    "Fill": lambda a, dims, value: jnp.full(_ints(dims), value),
    "Flatten": lambda a, x: x.reshape((int(np.prod(x.shape[: a["axis"]])), -1)),
    "Identity": lambda a, x: x,
    "IdentityN": lambda a, parts: tuple(parts),
    "OneHot": _one_hot,
    "Pack": lambda a, parts: jnp.stack(parts, a["axis"]),
    "Pad": _pad,
    "PadV2": _pad,
    "PadV3": _pad,
    "Range": _range,
    "Reshape": _reshape,
    "ReverseV2": lambda a, x, axis: jnp.flip(x, _axes(axis, x.ndim)),
    "Shape": _logical_shape,
    "Slice": _slice,
    "Split": _split,
    "SplitV": _split_sizes,
    "Squeeze": _squeeze,
    "StridedSlice": _strided_slice,
    "TensorMove": lambda a, x: x,
    "Tile": lambda a, x, times: jnp.tile(x, _ints(times)),
    "Transpose": lambda a, x, order: jnp.transpose(x, _ints(order)),
    "Unpack": _unpack,
    "Unsqueeze": _unsqueeze,
    # Indices.
    "ArgMaxWithValue": _arg_with_value(jnp.argmax),
    "ArgMinWithValue": _arg_with_value(jnp.argmin),
    "ArgMaxV2": _arg(jnp.argmax),
    "ArgMin": _arg(jnp.argmin),
    "GatherElements": _gather_elements,
    "GatherNd": _gather_nd,
    "GatherV2": _gather,
    "ScatterElements": _scatter_elements,
    "ScatterNd": lambda a, indices, x, shape: _scatter_nd("add")(
        a, jnp.zeros(_ints(shape), x.dtype), indices, x
    ),
    "ScatterNdAdd": _scatter_nd("add"),
    "ScatterNdUpdate": _scatter_nd("set"),
    "Sort": _sort,
    "TensorScatterAdd": _scatter_nd("add"),
    "TensorScatterMax": _scatter_nd("max"),
    "TensorScatterMin": _scatter_nd("min"),
    "TensorScatterSub": _scatter_nd("subtract"),
    "TensorScatterUpdate": _scatter_nd("set"),
    "TopK": _top_k,
    "TopKV2": _top_k,
    # Reductions.
    "Cummax": _running("dim", lax.cummax),
    "Cummin": _running("axis", lax.cummin),
    "Cumprod": _scan(jnp.cumprod, 1),
    "Cumsum": _scan(jnp.cumsum, 0),
    "ReduceAll": _reduce(jnp.all),
    "ReduceAny": _reduce(jnp.any),
    "ReduceMax": _reduce(jnp.max),
    "ReduceMean": _reduce(jnp.mean),
    "ReduceMin": _reduce(jnp.min),
    "ReduceProd": _reduce(lambda x, **k: jnp.prod(x, dtype=x.dtype, **k)),
    "ReduceSum": _reduce(lambda x, **k: jnp.sum(x, dtype=x.dtype, **k)),
    # Networks.
    "AvgPool": _pool(_mean_window, "padding"),
    "AvgPool3D": _pool(_mean_window, "padding"),
    "AvgPoolV2": _pool(_mean_window),
    "BatchMatMul": _matmul("adj_x1", "adj_x2"),
    "BatchMatMulV2": _matmul("adj_x1", "adj_x2"),
    "BatchNorm": _batch_norm,
    "BiasAdd": _bias_add,
    "Conv2D": _conv,
    "Conv3D": _conv,
    "LayerNorm": _layer_norm,
    "LayerNormV3": _layer_norm_v3,
    "LayerNormV4": _layer_norm_v4,
    "MatMul": _matmul("transpose_x1", "transpose_x2"),
    "MatMulV2": _matmul("transpose_x1", "transpose_x2"),
    "MaxPool": _pool(_max_window, "padding"),
    "MaxPool3D": _pool(_max_window, "padding"),
    "MaxPoolV3": _pool(_max_window),
    # Linear algebra, Fourier transforms.
    "Cholesky": _one(partial(lax.linalg.cholesky, symmetrize_input=False)),
    "FFT": lambda a, x: jnp.fft.fft(x),
    "IFFT": lambda a, x: jnp.fft.ifft(x),
    "IRFFT": lambda a, x, length: jnp.fft.irfft(x, _ints(length)[-1]),
    "Lu": _lu,
    "MatrixDeterminant": _one(jnp.linalg.det),
    "MatrixInverse": _inverse,
    "MatrixTriangularSolve": _triangular_solve,
    "Qr": lambda a, x: tuple(
        jnp.linalg.qr(x, mode="complete" if a["full_matrices"] else "reduced")
    ),
    "RFFT": lambda a, x, length: jnp.fft.rfft(x, _ints(length)[-1]),
    "SelfAdjointEig": _eigh,
    "Svd": _svd,
}
