"""A jaxpr without numbers of 4 bits and floats of 8, in which no runtime computes.

Each such number is carried by a wider dtype that holds it, float16 or an integer of 8 bits. XLA on
CPU computes in those, too, and rounds after each operation (measured with jaxlib 0.10.2, all pairs
of numbers); so does the jaxpr that is made here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
from jax import Array, lax
from jax.core import Tracer
from jax.extend import source_info_util

from msckpt_jax import _compat
from msckpt_jax._compat import Aval, ClosedJaxpr, Equation
from msckpt_jax.errors import UnsupportedError
from msckpt_jax.lowering import carrying, forms
from msckpt_jax.lowering.carrying import Carrier
from msckpt_jax.lowering.problems import Problems

source_info_util.register_exclusion(__file__)

FLOATS = frozenset(
    np.dtype(each)
    for each in (
        ml_dtypes.float8_e4m3fn, ml_dtypes.float8_e4m3fnuz, ml_dtypes.float8_e5m2,
        ml_dtypes.float8_e5m2fnuz,
    )
)  # fmt: skip
INT4, _UINT4 = np.dtype(ml_dtypes.int4), np.dtype(ml_dtypes.uint4)
#: The dtypes, and those that carry them.
CARRIERS: Mapping[np.dtype, np.dtype] = {
    **dict.fromkeys(FLOATS, np.dtype(np.float16)),
    INT4: np.dtype(np.int8),
    _UINT4: np.dtype(np.uint8),
}

#: Primitives whose results are among their operands.
_MOVING = frozenset((
    "broadcast_in_dim", "clamp", "concatenate", "copy", "copy_p", "cummax", "cummin",
    "dynamic_slice", "dynamic_update_slice", "gather", "max", "min", "pad", "reduce_max",
    "reduce_min", "reshape", "rev", "scatter", "select_n", "slice", "sort", "split", "squeeze",
    "stack", "stop_gradient", "tile", "transpose", "unstack",
))  # fmt: skip
#: Primitives whose results are of other dtypes.
_JUDGING = frozenset(
    ("argmax", "argmin", "eq", "ge", "gt", "is_finite", "le", "lt", "ne", "shape_as_value")
)
#: Primitives whose results are rounded once.
_COMPUTING = frozenset((
    "abs", "add", "add_any", "ceil", "div", "exp", "floor", "log", "mul", "neg", "rem", "round",
    "sign", "sqrt", "square", "sub", "tanh",
))  # fmt: skip
#: Those of integers, besides; they work modulo 16.
_MODULAR = frozenset((
    "and", "cumprod", "cumsum", "integer_pow", "not", "or", "reduce_prod", "reduce_sum",
    "shift_left", "xor",
))  # fmt: skip
#: Which shift to the right has the bits that move in.
_SHIFTS = {INT4: "shift_right_arithmetic", _UINT4: "shift_right_logical"}


def touches(eqn: Equation) -> bool:
    """Tell whether an equation takes or gives such numbers."""
    return any(_dtype(v.aval) in CARRIERS for v in (*eqn.invars, *eqn.outvars))


def needed(jaxpr: ClosedJaxpr) -> bool:
    """Tell whether a jaxpr has such numbers."""
    return any(_dtype(aval) in CARRIERS for aval in _compat.avals(jaxpr))


def carried(
    jaxpr: ClosedJaxpr, weights: Mapping[str, Any], stored: AbstractSet[np.dtype]
) -> tuple[ClosedJaxpr, dict[str, Any]]:
    """Return the jaxpr without such numbers, and its weights.

    Args:
        jaxpr: its calls are inlined. Its arguments are the weights, then the inputs.
        weights: the arrays by name.
        stored: the dtypes that weights keep in the file.

    Raises:
        UnsupportedError: inputs or results are of such dtypes, or an operation is not rounded as
            XLA rounds: all of them.
    """
    problems = Problems()
    _check_ends(jaxpr, len(weights), problems)

    def whole(*arrays: Array) -> list[Array]:
        return carrying.computed(jaxpr, list(map(_as_carrier, arrays)), _CARRIER, problems)

    types = [_type_of(aval, stored) for aval in jaxpr.in_avals]
    with jax.enable_x64(_compat.is_wide(jaxpr)), jax.numpy_dtype_promotion("standard"):
        result = jax.make_jaxpr(whole)(*types)
    problems.refuse()
    given = zip(weights.items(), types, strict=False)
    return result, {n: w if w.dtype == t.dtype else w.astype(t.dtype) for (n, w), t in given}


def notes(weights: Mapping[str, Any], stored: AbstractSet[np.dtype], where: str) -> list[str]:
    """Return lines about weights that take more bytes in a file than in memory."""
    wide = {name: w.dtype for name, w in weights.items() if w.dtype in CARRIERS.keys() - stored}
    return [
        f"the weights of {dtype.name} are written as {CARRIERS[dtype].name}, which {where} has: "
        + ", ".join(name for name, its in wide.items() if its == dtype)
        for dtype in dict.fromkeys(wide.values())
    ]


def _check_ends(jaxpr: ClosedJaxpr, weights: int, problems: Problems) -> None:
    ends = [(f"input {n}", aval) for n, aval in enumerate(jaxpr.in_avals[weights:])]
    ends += [(f"result {n}", aval) for n, aval in enumerate(jaxpr.out_avals)]
    for end, aval in ends:
        if (dtype := _dtype(aval)) in CARRIERS:
            wider = CARRIERS[dtype].name
            advice = f"numbers of {dtype.name} stay inside the file; let it be {wider}, and cast it"
            problems.note("", f"the {end}", "rewrite", UnsupportedError(advice))


def _type_of(aval: Aval, stored: AbstractSet[np.dtype]) -> jax.ShapeDtypeStruct:
    dtype = aval.dtype
    return jax.ShapeDtypeStruct(
        aval.shape, dtype if dtype in stored else CARRIERS.get(dtype, dtype)
    )


def _as_carrier(value: Any) -> Any:
    dtype = _dtype(value)
    if dtype not in CARRIERS:
        return value
    if isinstance(value, Tracer):
        return lax.convert_element_type(value, CARRIERS[dtype])
    return np.asarray(value).astype(CARRIERS[dtype])


def _nothing(aval: Aval) -> Array:
    """Zeros in the place of a result that is refused, so that later equations are seen."""
    return jnp.zeros(aval.shape, CARRIERS.get(aval.dtype, aval.dtype))


def _results(eqn: Equation, operands: list[Any], problems: Problems) -> list[Any]:
    name, params = eqn.primitive.name, eqn.params
    if name in forms.BODIES:
        params = forms.with_bodies(eqn, lambda body: _of_carriers(body, problems))
    elif touches(eqn):
        return _of_tiny(eqn, operands)
    return _bound(eqn, operands, params)


def _bound(eqn: Equation, operands: Sequence[Any], params: Mapping[str, Any]) -> list[Any]:
    result = eqn.primitive.bind(*operands, **params)
    return list(result) if eqn.primitive.multiple_results else [result]


def _of_carriers(jaxpr: ClosedJaxpr, problems: Problems) -> ClosedJaxpr:
    def flat(*operands: Any) -> list[Any]:
        return carrying.computed(jaxpr, operands, _CARRIER, problems)

    return jax.make_jaxpr(flat)(*(_type_of(aval, frozenset()) for aval in jaxpr.in_avals))


def _of_tiny(eqn: Equation, operands: list[Any]) -> list[Any]:
    name, result = eqn.primitive.name, eqn.outvars[0].aval.dtype
    whole = result in CARRIERS and result not in FLOATS
    if name == "convert_element_type":
        (x,) = operands
        return [rounded(x, result) if result in CARRIERS else lax.convert_element_type(x, result)]
    if name in _MOVING or (name in _JUDGING and result not in CARRIERS):
        return _bound(eqn, operands, eqn.params)
    if name == "iota" and whole:
        return [rounded(lax.broadcasted_iota(np.int32, eqn.outvars[0].aval.shape,
                                             eqn.params["dimension"]), result)]  # fmt: skip
    if name == "dot_general":
        return [_product(eqn, operands, result)]
    modular = whole and (name in _MODULAR or name == _SHIFTS.get(result))
    if name in _COMPUTING or modular:
        return [rounded(x, result) for x in _bound(eqn, operands, eqn.params)]
    dtype = next(d for v in (*eqn.invars, *eqn.outvars) if (d := _dtype(v.aval)) in CARRIERS)
    raise UnsupportedError(
        f"of {dtype.name}: XLA rounds within it, or it asks for the bits; compute it in "
        f"{'float32' if dtype in FLOATS else 'int8'}: x.astype(...) before it"
    )


def _product(eqn: Equation, operands: Sequence[Any], result: np.dtype) -> Array:
    """The product of matrices in float32 or int32, rounded once."""
    wide = np.dtype(np.int32 if operands[0].dtype.kind in "iu" else np.float32)
    left, right = (lax.convert_element_type(x, wide) for x in operands)
    numbers, precision = eqn.params["dimension_numbers"], eqn.params["precision"]
    product = lax.dot_general(left, right, numbers, precision, wide)
    if result in CARRIERS:
        return rounded(product, result)
    return lax.convert_element_type(product, result)


def rounded(x: Array, dtype: np.dtype) -> Array:
    """Return the numbers of a dtype nearest to ``x``, in its carrier, as XLA converts.

    Floats become NaN, or infinite where the dtype has infinities, beyond the largest number.
    Integers wrap around; floats that become integers stop at the ends, and NaN is 0.
    """
    carrier = CARRIERS[dtype]
    if dtype in FLOATS:
        return _nearest(x, dtype).astype(carrier)
    info = ml_dtypes.iinfo(dtype)
    if jnp.issubdtype(x.dtype, np.floating):
        x = jnp.where(jnp.isnan(x), jnp.zeros_like(x), x)
        return lax.clamp(x.dtype.type(info.min), x, x.dtype.type(info.max)).astype(carrier)
    x = x.astype(carrier)
    if dtype == _UINT4:
        return x & np.uint8(15)
    return lax.shift_right_arithmetic(lax.shift_left(x, np.int8(4)), np.int8(4))


def _nearest(x: Array, dtype: np.dtype) -> Array:
    """Round to multiples of the unit at each number, which is found by bisection; ties to even."""
    info = ml_dtypes.finfo(dtype)
    wide = np.float64 if x.dtype == np.float64 else np.float32
    x = x.astype(wide)
    size = jnp.abs(x) * wide(2.0**-info.minexp)
    unit = jnp.full(x.shape, 2.0 ** (info.minexp - info.nmant), wide)
    for power in (16, 8, 4, 2, 1):
        large = size >= wide(2.0**power)
        size = jnp.where(large, size * wide(2.0**-power), size)
        unit = jnp.where(large, unit * wide(2.0**power), unit)
    near = lax.round(x / unit, lax.RoundingMethod.TO_NEAREST_EVEN) * unit
    infinite = np.isinf(np.array(np.inf, np.float32).astype(dtype).astype(np.float32))
    beyond = x * wide(np.inf) if infinite else jnp.full_like(x, np.nan)
    near = jnp.where(jnp.abs(near) > wide(float(info.max)), beyond, near)
    signed = bool(np.signbit(np.array(-0.0, np.float32).astype(dtype).astype(np.float32)))
    return near if signed else jnp.where(near == 0, jnp.zeros_like(near), near)


def _dtype(aval: Any) -> Any:
    return getattr(aval, "dtype", None)


_CARRIER = Carrier(_as_carrier, _results, _nothing)
