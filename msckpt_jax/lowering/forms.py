"""The forms of canonical equations, at which ``canonicalise`` aims and which ``lower`` trusts.

A form is a predicate over an equation. A primitive that is not in the table has none.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.lax import GatherScatterMode as Mode

from msckpt_jax._compat import Aval, ClosedJaxpr, Equation, opened

Form: TypeAlias = Callable[[Equation], bool]


def canonical(eqn: Equation) -> bool:
    form = FORMS.get(eqn.primitive.name)
    return form is not None and form(eqn)


#: The parameters that are bodies of control flow.
BODIES = {"cond": ("branches",), "while": ("cond_jaxpr", "body_jaxpr"), "scan": ("jaxpr",)}


def with_bodies(eqn: Equation, function: Callable[[ClosedJaxpr], ClosedJaxpr]) -> dict[str, Any]:
    """The parameters of an equation, with a function applied to its bodies."""
    params = dict(eqn.params)
    for param in BODIES.get(eqn.primitive.name, ()):
        body = params[param]
        params[param] = tuple(map(function, body)) if isinstance(body, tuple) else function(body)
    return params


def _always(eqn: Equation) -> bool:
    return True


def _dot(eqn: Equation) -> bool:
    (lhs_contract, rhs_contract), (lhs_batch, rhs_batch) = eqn.params["dimension_numbers"]
    lhs, rhs = (v.aval for v in eqn.invars)
    batch = tuple(range(len(lhs_batch)))
    return (
        tuple(lhs_batch) == tuple(rhs_batch) == batch
        and lhs.ndim == rhs.ndim == len(batch) + 2
        and tuple(lhs_contract) == (lhs.ndim - 1,)
        and tuple(rhs_contract) == (rhs.ndim - 2,)
        and lhs.dtype == rhs.dtype == eqn.outvars[0].aval.dtype
    )


def _of_one_predicate(eqn: Equation) -> bool:
    return not opened(eqn.params["cond_jaxpr"])[0].outvars[0].aval.shape


def _select(eqn: Equation) -> bool:
    return len(eqn.invars) == 3 and eqn.invars[0].aval.dtype == np.bool_


def _broadcast(eqn: Equation) -> bool:
    """Tell whether anything is repeated: a reshape adds axes of size 1."""
    before, after = (tuple(n for n in v.aval.shape if n != 1) for v in (*eqn.invars, *eqn.outvars))
    return before != after


def _pad(eqn: Equation) -> bool:
    config = eqn.params["padding_config"]
    return not any(is_negative(low) or is_negative(high) or gap for low, high, gap in config)


def is_negative(size: Any) -> bool:
    """Tell whether a padding is negative at some sizes, or may be as far as JAX knows."""
    try:
        return bool(size < 0)
    except jax.errors.InconclusiveDimensionOperation:
        return True


def outwards(padding: Sequence[Sequence[Any]]) -> bool:
    """Tell whether a padding has known sizes and cuts nothing off."""
    return all(isinstance(n, int) and n >= 0 for pair in padding for n in pair)


def _conv(eqn: Equation) -> bool:
    params, (lhs, rhs) = eqn.params, (v.aval for v in eqn.invars)
    return (
        lhs.ndim in (4, 5)
        and all(_is_axes(spec, range(lhs.ndim)) for spec in params["dimension_numbers"])
        and _ones(params["lhs_dilation"])
        and params["batch_group_count"] == 1
        and outwards(params["padding"])
        and lhs.dtype == rhs.dtype == eqn.outvars[0].aval.dtype
        and _of_reals(eqn)
    )


def _pool(eqn: Equation) -> bool:
    params, x = eqn.params, eqn.invars[0].aval
    return (
        x.ndim == 4
        and jnp.issubdtype(x.dtype, np.floating)
        and _ones(params["window_dimensions"][:2])
        and _ones(params["window_strides"][:2])
        and _ones((*params["base_dilation"], *params["window_dilation"]))
        and outwards(params["padding"])
        and not any(n for pair in params["padding"][:2] for n in pair)
    )


def _sort(eqn: Equation) -> bool:
    key, *carried = (v.aval for v in eqn.invars)
    return (
        eqn.params["dimension"] == key.ndim - 1
        and eqn.params["num_keys"] == 1
        and eqn.params["is_stable"]
        and [aval.dtype for aval in carried] in ([], [np.int32])  # counting from 0
    )


def _top_k(eqn: Equation) -> bool:
    return eqn.params["axis"] == eqn.invars[0].aval.ndim - 1


def _of_bools(eqn: Equation) -> bool:
    return eqn.invars[0].aval.dtype == np.bool_


def _ones(sizes: Sequence[int]) -> bool:
    return all(n == 1 for n in sizes)


def _gather(eqn: Equation) -> bool:
    dims = eqn.params["dimension_numbers"]
    operand, indices = (v.aval for v in eqn.invars)
    leading, rest = _leading(operand, indices)
    batch = indices.ndim - 1
    return (
        _is_axes(dims.start_index_map, leading)
        and _is_axes(dims.collapsed_slice_dims, leading)
        and _is_axes(dims.offset_dims, range(batch, batch + len(rest)))
        and not dims.operand_batching_dims
        and tuple(eqn.params["slice_sizes"][len(leading) :]) == rest
        and eqn.params["mode"] == Mode.PROMISE_IN_BOUNDS
        and indices.dtype in (np.int32, np.int64)
    )


def _scatter(eqn: Equation) -> bool:
    dims = eqn.params["dimension_numbers"]
    operand, indices, updates = (v.aval for v in eqn.invars)
    leading, rest = _leading(operand, indices)
    batch = indices.ndim - 1
    return (
        _is_axes(dims.scatter_dims_to_operand_dims, leading)
        and _is_axes(dims.inserted_window_dims, leading)
        and _is_axes(dims.update_window_dims, range(batch, batch + len(rest)))
        and not dims.operand_batching_dims
        and updates.shape[batch:] == rest
        and eqn.params["mode"] == Mode.PROMISE_IN_BOUNDS
        and indices.dtype in (np.int32, np.int64)
        and (eqn.primitive.name != "scatter" or eqn.params["update_jaxpr"] is None)
    )


def _leading(operand: Aval, indices: Aval) -> tuple[range, tuple]:
    """The axes that indices point into, and the sizes of the remaining axes."""
    count = indices.shape[-1]
    return range(count), operand.shape[count:]


def _is_axes(axes: Sequence[int], expected: range) -> bool:
    return tuple(axes) == tuple(expected)


def _square(eqn: Equation) -> bool:
    rows, columns = eqn.invars[0].aval.shape[-2:]
    return rows == columns


def _forwards(eqn: Equation) -> bool:
    return not eqn.params["reverse"]


def _of_reals(eqn: Equation) -> bool:
    return not jnp.issubdtype(eqn.invars[0].aval.dtype, np.complexfloating)


def _forwards_of_reals(eqn: Equation) -> bool:
    return _forwards(eqn) and _of_reals(eqn)


_ELEMENTWISE = """
abs acos acosh add add_any and asin asinh atan atan2 atanh cbrt ceil clamp complex
convert_element_type cos cosh digamma div eq erf erfc exp exp2 expm1 floor ge gt igamma
igamma_grad_a igammac imag
is_finite le lgamma log log1p logistic lt max min ne neg not or population_count
pow real rem round rsqrt shift_left shift_right_arithmetic shift_right_logical sign sin sinh sqrt
square sub tan tanh xor zeta bessel_i0e bessel_i1e regularized_incomplete_beta integer_pow
"""
ELEMENTWISE = frozenset((*_ELEMENTWISE.split(), "mul", "select_n", "nextafter"))
_SHAPE = """
transpose squeeze concatenate rev slice iota split stack
unstack tile dynamic_slice dynamic_update_slice
"""
_REDUCTIONS = """
reduce_sum reduce_prod reduce_max reduce_min argmax argmin
"""
_POOLS = "reduce_window_max reduce_window_min reduce_window_sum"
_SCATTERS = "scatter scatter-add scatter-sub scatter-mul scatter-min scatter-max"
_LINALG = """
cholesky qr householder_product svd triangular_solve fft
"""

_AS_THEY_ARE = _ELEMENTWISE + _SHAPE + _REDUCTIONS + _LINALG
FORMS: dict[str, Form] = dict.fromkeys(_AS_THEY_ARE.split(), _always)
FORMS |= {
    "ms_op": _always,
    "broadcast_in_dim": _broadcast,
    "mul": lambda eqn: eqn.params.get("out_dtype") in (None, eqn.invars[0].aval.dtype),
    "conj": lambda eqn: jnp.issubdtype(eqn.invars[0].aval.dtype, np.complexfloating),
    "eigh": lambda eqn: eqn.params["lower"] and eqn.params["subset_by_index"] is None,
    "lu": _square,
    "reshape": lambda eqn: eqn.params["dimensions"] is None,
    "erf_inv": lambda eqn: eqn.invars[0].aval.dtype == np.float64,
    "nextafter": lambda eqn: eqn.invars[0].aval.dtype in (np.float32, np.float64),
    **dict.fromkeys(("cumsum", "cumprod"), _forwards),
    **dict.fromkeys(("cummax", "cummin"), _forwards_of_reals),
    **dict.fromkeys(("clamp", "max", "min", "reduce_max", "reduce_min"), _of_reals),
    "select_n": _select,
    "dot_general": _dot,
    "conv_general_dilated": _conv,
    **dict.fromkeys(_POOLS.split(), _pool),
    "pad": _pad,
    "sort": _sort,
    "top_k": _top_k,
    "reduce_and": _of_bools,
    "reduce_or": _of_bools,
    "gather": _gather,
    **dict.fromkeys(_SCATTERS.split(), _scatter),
    "cond": lambda eqn: len(eqn.params["branches"]) == 2,  # the index is 0 or 1, int32
    "while": _of_one_predicate,
    "dim_as_value": _always,  # the size of a dynamic dimension
}

_BINARY = """
add and atan2 div eq ge gt le lt max min mul ne nextafter or pow rem
shift_left shift_right_arithmetic shift_right_logical sub xor
"""
#: Take a scalar beside an array.
BROADCASTING = frozenset(_BINARY.split())
