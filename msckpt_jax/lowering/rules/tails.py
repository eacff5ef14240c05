"""Functions whose kernel in MindSpore loses digits, by operators of the same dtype that do not.

MindSpore 2.10.0 on CPU, float32: Tanh errs by 3 units of the last place up to 2, and by 1e-4 at 5;
Log by 6 units, but by 100 % below 1; Log1p is log(1 + x) and Expm1 exp(x) - 1, with the rounding
of the sum. These forms err by 6 units at most. Nothing is computed in float64, which neither
Ascend nor MindSpore Lite have.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from msckpt_jax.graph.values import Tensor
from msckpt_jax.lowering.context import Array, Context
from msckpt_jax.lowering.rule import Rule, rule
from msckpt_jax.lowering.rules.elementwise import ACCURACY, kind_of, shaped

#: Emits an operator of arrays in the dtype at hand and of numbers.
_Emit: TypeAlias = Callable[..., Array]


def _tanh(f: _Emit, x: Array) -> Array:
    """2 t / (1 + t²) of the half's t: where t is off, near 1, the result does not depend on it."""
    t = f("Tanh", f("Mul", x, 0.5))
    return f("Div", f("Add", t, t), f("Add", f("Mul", t, t), 1))


def _expm1(f: _Emit, x: Array) -> Array:
    """2 t / (1 - t) near 0, t the hyperbolic tangent of the half."""
    t = f("Tanh", f("Mul", x, 0.5))
    near = f("Div", f("Add", t, t), f("Sub", 1, t))
    return f("Select", f("Less", f("Abs", x), 0.5), near, f("Expm1", x))


def _log(f: _Emit, x: Array) -> Array:
    """Log1p of x - 1, which is exact near 1, or as good as that beyond 0.1."""
    return f("Select", f("Greater", x, 0.1), f("Log1p", f("Sub", x, 1)), f("Log", x))


def _log1p(f: _Emit, x: Array) -> Array:
    """Add the part of x that 1 + x has lost, over 1 + x, or about that: 2 - (1 + x) times."""
    small = f("Minimum", x, 1)
    u = f("Add", small, 1)
    lost = f("Sub", small, f("Sub", u, 1))
    result = f("Add", f("Log1p", x), f("Mul", lost, f("Sub", 2, u)))
    return f("Select", f("Equal", u, 1), x, result)


_COMPARISONS = ("Equal", "Greater", "Less")


def _by(op: str, function: Callable[[_Emit, Array], Array], *more: str, wide: bool = False) -> Rule:
    """The rule for ``op`` by a function of operators, for float64 if ``wide``.

    Floats of 16 bits are computed in float32.
    """

    def emit(ctx: Context, x: Array) -> Array:
        dtype = ctx.result.dtype
        if not ctx.options.kernels or kind_of(dtype) != "f" or (dtype == np.float64 and not wide):
            return ctx(op, x)
        x = ctx.cast(x, np.float32) if dtype.itemsize == 2 else x
        type = Tensor(ctx.type(x).dtype, ctx.result.shape)

        def f(name: str, *operands: Any) -> Array:
            arrays = [ctx.like(v, x) if isinstance(v, int | float) else v for v in operands]
            return ctx(name, *arrays, type=shaped(ctx) if name in _COMPARISONS else type)

        return ctx.cast(function(f, x), dtype)

    return rule(emit, op, *more, ignores=ACCURACY)


RULES: dict[str, Rule] = {
    "expm1": _by(
        "Expm1", _expm1, "Tanh", "Mul", "Div", "Add", "Sub", "Select", "Less", "Abs", wide=True
    ),
    "log": _by("Log", _log, "Log1p", "Sub", "Greater", "Select"),
    "log1p": _by("Log1p", _log1p, "Minimum", "Add", "Sub", "Mul", "Equal", "Select", wide=True),
    "tanh": _by("Tanh", _tanh, "Mul", "Add", "Div"),
}
