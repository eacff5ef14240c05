"""A canonical jaxpr without complex numbers: each is a pair of real numbers.

Complex arguments and results become real arrays with a last axis of 2, real and imaginary part, as
ONNX's DFT has them; inside, the parts are arrays of their own. The rewrites in terms of parts are
in ``algorithms.complex``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import source_info_util

from msckpt_jax import _compat
from msckpt_jax._compat import Aval, ClosedJaxpr, Equation
from msckpt_jax.errors import UnsupportedError
from msckpt_jax.lowering import carrying, forms
from msckpt_jax.lowering.algorithms.complex import BY_PARTS, REWRITES, Pair
from msckpt_jax.lowering.carrying import Carrier
from msckpt_jax.lowering.problems import Problems
from msckpt_jax.lowering.rewrites.ignoring import ignoring

source_info_util.register_exclusion(__file__)


def needed(jaxpr: ClosedJaxpr) -> bool:
    """Tell whether a jaxpr has complex numbers."""
    return any(map(_is_complex, _compat.avals(jaxpr)))


def stored(array: Any) -> Any:
    """A complex array with its parts along a last axis; other arrays as they are."""
    if not np.iscomplexobj(array):
        return array
    array = np.asarray(array, order="C")
    return array[..., None].view(array.real.dtype)


def split(jaxpr: ClosedJaxpr) -> ClosedJaxpr:
    """The jaxpr of real numbers; it has to be made canonical again.

    Raises:
        ExportError: equations on complex numbers have no rewrite.
    """
    problems = Problems()

    def whole(*arrays: Any) -> list[Any]:
        operands = [
            Pair(x[..., 0], x[..., 1]) if _is_complex(aval) else x
            for x, aval in zip(arrays, jaxpr.in_avals, strict=True)
        ]
        results = carrying.computed(jaxpr, operands, _PAIRS, problems)
        return [jnp.stack(x, -1) if isinstance(x, Pair) else x for x in results]

    with jax.enable_x64(_compat.is_wide(jaxpr)), jax.numpy_dtype_promotion("standard"):
        result = jax.make_jaxpr(whole)(*map(_whole_type, jaxpr.in_avals))
    problems.refuse()
    return result


def _results(eqn: Equation, operands: list[Any], problems: Problems) -> list[Any]:
    name = eqn.primitive.name
    kinds = [_is_complex(v.aval) for v in (*eqn.invars, *eqn.outvars)]
    if name in forms.BODIES:
        return _control(eqn, operands, problems)
    if not any(kinds):
        result = eqn.primitive.bind(*operands, **eqn.params)
    elif name in REWRITES:
        rewrite = ignoring(REWRITES[name])
        result = rewrite.function(*operands, **rewrite.arguments(eqn.params))
    elif name in BY_PARTS:
        real, imaginary = (
            eqn.primitive.bind(*(x[part] if isinstance(x, Pair) else x for x in operands),
                               **eqn.params)
            for part in range(2)
        )  # fmt: skip
        if eqn.primitive.multiple_results:
            return [Pair(*parts) for parts in zip(real, imaginary, strict=True)]
        result = Pair(real, imaginary)
    else:
        raise UnsupportedError("it has no rewrite for complex numbers")
    return [result] if isinstance(result, Pair) or not eqn.primitive.multiple_results else result


def _control(eqn: Equation, operands: list[Any], problems: Problems) -> list[Any]:
    """The bodies take parts instead of complex numbers."""
    params = forms.with_bodies(eqn, lambda body: _of_parts(body, problems))
    if "cond_nconsts" in params:
        first = params["cond_nconsts"]
        both = first + params["body_nconsts"]
        params["cond_nconsts"] = len(_leaves(operands[:first]))
        params["body_nconsts"] = len(_leaves(operands[first:both]))
    results = eqn.primitive.bind(*_leaves(operands), **params)
    return _pairs(results, [v.aval for v in eqn.outvars])


def _of_parts(jaxpr: ClosedJaxpr, problems: Problems) -> ClosedJaxpr:
    def flat(*parts: Any) -> list[Any]:
        operands = _pairs(parts, jaxpr.in_avals)
        return _leaves(carrying.computed(jaxpr, operands, _PAIRS, problems))

    types = [
        jax.ShapeDtypeStruct(aval.shape, _part_of(aval.dtype) if _is_complex(aval) else aval.dtype)
        for aval in jaxpr.in_avals
        for _ in range(1 + _is_complex(aval))
    ]
    return jax.make_jaxpr(flat)(*types)


def _leaves(values: Sequence[Any]) -> list[Any]:
    return [x for value in values for x in (value if isinstance(value, Pair) else (value,))]


def _pairs(parts: Sequence[Any], avals: Sequence[Aval]) -> list[Any]:
    rest = iter(parts)
    return [Pair(next(rest), next(rest)) if _is_complex(aval) else next(rest) for aval in avals]


def _known(value: Any) -> Any:
    return Pair(value.real, value.imag) if np.iscomplexobj(value) else value


def _nothing(aval: Aval) -> Any:
    """Zeros in the place of a result that cannot be computed, so that later equations are seen."""
    if _is_complex(aval):
        part = jnp.zeros(aval.shape, _part_of(aval.dtype))
        return Pair(part, part)
    return jnp.zeros(aval.shape, aval.dtype)


def _whole_type(aval: Aval) -> jax.ShapeDtypeStruct:
    if not _is_complex(aval):
        return jax.ShapeDtypeStruct(aval.shape, aval.dtype)
    return jax.ShapeDtypeStruct((*aval.shape, 2), _part_of(aval.dtype))


def _is_complex(aval: Aval) -> bool:
    dtype = getattr(aval, "dtype", None)
    return isinstance(dtype, np.dtype) and dtype.kind == "c"


def _part_of(dtype: np.dtype) -> np.dtype:
    return np.dtype(f"f{dtype.itemsize // 2}")


_PAIRS = Carrier(_known, _results, _nothing)
