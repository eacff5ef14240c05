"""A MindSpore operator as a JAX primitive, which fusions put into a canonical jaxpr.

The primitive computes what ``reference`` computes, so a jaxpr with operators in it still runs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
from jax.core import ShapedArray
from jax.extend import core
from jax.interpreters import mlir

ms_op_p = core.Primitive("ms_op")
ms_op_p.multiple_results = True


def operator(op: str, reference: Callable[..., Any], *operands: Any, **attrs: Any) -> Any:
    """Apply MindSpore's operator ``op``.

    Args:
        op: MindSpore's name.
        reference: computes the same of the operands; returns an array or a sequence of arrays.
        operands: the arrays.
        attrs: its other arguments by MindSpore's names, hashable, in the order of its definition.

    Returns:
        The result of ``reference``; a sequence becomes a list.
    """
    results = ms_op_p.bind(*operands, op=op, attrs=tuple(attrs.items()), reference=reference)
    several = isinstance(jax.eval_shape(reference, *operands), list | tuple)
    return results if several else results[0]


def _results(*operands: Any, op: str, attrs: tuple, reference: Callable[..., Any]) -> list:
    return jax.tree.leaves(reference(*operands))


def _avals(*avals: Any, **params: Any) -> list:
    arguments = [jax.ShapeDtypeStruct(aval.shape, aval.dtype) for aval in avals]
    results = jax.eval_shape(lambda *xs: _results(*xs, **params), *arguments)
    return [ShapedArray(r.shape, r.dtype) for r in results]


ms_op_p.def_impl(_results)
ms_op_p.def_abstract_eval(_avals)
mlir.register_lowering(ms_op_p, mlir.lower_fun(_results, multiple_results=True))
