"""Control flow in terms of ``cond`` of two branches and ``while``, which targets have."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.extend import core

from msckpt_jax._compat import Atom, ClosedJaxpr, Equation, Literal, opened
from msckpt_jax.lowering.rewrites import effects
from msckpt_jax.lowering.rewrites.calls import call_of_user
from msckpt_jax.lowering.rewrites.ignoring import ignoring
from msckpt_jax.lowering.rewrites.peephole import Made, Shorter

#: Equations up to which a scan is written out: a loop costs targets more than a few operators.
UNROLLED = 128


def cond(index: Array, *operands: Array, branches: Sequence[ClosedJaxpr]) -> list[Array]:
    """Choose among any number of branches, one after the other; JAX has put the index in range."""
    if isinstance(index, np.ndarray):
        return call_of_user(branches[min(max(int(index), 0), len(branches) - 1)], *operands)
    first, *rest = branches
    if not rest:
        return call_of_user(first, *operands)

    def otherwise(*operands: Array) -> list[Array]:
        if len(rest) == 1:
            return call_of_user(rest[0], *operands)
        return cond(index - np.int32(1), *operands, branches=rest)

    return lax.cond(index == 0, lambda *xs: call_of_user(first, *xs), otherwise, *operands)


def known_branch(eqn: Equation, operands: list[Atom], made: Made) -> Shorter | None:
    """Call the branch where it is known, or where the others do nothing but raise."""
    if effects.checked(eqn):
        return (_without_errors, operands)
    if (platforms := eqn.params.get("branches_platforms")) is not None:
        index = _of_platform(platforms, [effects.foreign(b) for b in eqn.params["branches"]])
        return (lambda _, *xs, branches, **params: call_of_user(branches[index], *xs)), operands
    return (REWRITES["cond"], operands) if isinstance(operands[0], Literal) else None


def _without_errors(
    index: Array, *operands: Array, branches: Sequence[ClosedJaxpr], **params: Any
) -> list[Array]:
    (kept,) = (branch for branch in branches if not effects.raises(branch))
    return call_of_user(kept, *operands)


def platform_index(*, platforms: Sequence[Any]) -> np.int32:
    """The index of ``lax.platform_dependent``'s implementation for CPU, or for any platform."""
    return np.int32(_of_platform(platforms, [False] * len(platforms)))


def _of_platform(platforms: Sequence[Any], foreign: Sequence[bool]) -> int:
    """The implementation for CPU, else for any platform; first those that are plain JAX."""

    def order(index: int) -> tuple[bool, int]:
        names = platforms[index]
        return foreign[index], 1 if names is None else 0 if "cpu" in names else 2

    return min(range(len(platforms)), key=order)


def scan(
    *operands: Array,
    jaxpr: ClosedJaxpr,
    length: int,
    reverse: bool,
    num_consts: int,
    num_carry: int,
    unroll: int = 1,
) -> list[Array]:
    """A ``while`` over a counter, which cuts inputs and fills outputs; or the steps written out."""
    consts, carry = operands[:num_consts], operands[num_consts : num_consts + num_carry]
    xs = operands[num_consts + num_carry :]
    static = isinstance(length, int)
    if static and (length * _equations(jaxpr) <= UNROLLED or unroll == length):
        return _written_out(jaxpr, length, reverse, consts, carry, xs)
    types = [v.aval for v in opened(jaxpr)[0].outvars[num_carry:]]

    def step(state: Any) -> Any:
        count, carry, ys = state
        at = _number(length - 1) - count if reverse else count
        inputs = [_row(x, at) for x in xs]
        out = call_of_user(jaxpr, *consts, *carry, *inputs)
        ys = [_with_row(y, new, at) for y, new in zip(ys, out[num_carry:], strict=True)]
        return count + np.int32(1), out[:num_carry], ys

    ys = [_blank((length, *aval.shape), aval.dtype) for aval in types]
    start = (jnp.zeros((), np.int32), list(carry), ys)
    _, carry, ys = lax.while_loop(lambda state: state[0] < _number(length), step, start)
    return [*carry, *ys]


def _written_out(
    jaxpr: ClosedJaxpr, length: int, reverse: bool, consts: Sequence[Array],
    carry: Sequence[Array], xs: Sequence[Array],
) -> list[Array]:  # fmt: skip
    rows: list[Any] = [None] * length
    for i in reversed(range(length)) if reverse else range(length):
        inputs = [lax.index_in_dim(x, i, keepdims=False) for x in xs]
        out = call_of_user(jaxpr, *consts, *carry, *inputs)
        carry, rows[i] = out[: len(carry)], out[len(carry) :]
    types = [v.aval for v in opened(jaxpr)[0].outvars[len(carry) :]]
    ys = [
        jnp.stack([row[k] for row in rows]) if rows else _blank((0, *aval.shape), aval.dtype)
        for k, aval in enumerate(types)
    ]
    return [*carry, *ys]


def _equations(jaxpr: ClosedJaxpr | core.Jaxpr) -> int:
    eqns = opened(jaxpr)[0].eqns
    return sum(1 + sum(map(_equations, core.jaxprs_in_params(eqn.params))) for eqn in eqns)


def _number(size: Any) -> Array | np.int32:
    return np.int32(size) if isinstance(size, int) else jnp.asarray(size, np.int32)


def _row(x: Array, at: Array | np.int32) -> Array:
    """The row of an array at a place within it, by Gather: a Slice there is cut to what is left."""
    if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
        return lax.dynamic_index_in_dim(x, at, keepdims=False, allow_negative_indices=False)
    rest = tuple(range(x.ndim - 1))
    numbers = lax.GatherDimensionNumbers(rest, collapsed_slice_dims=(0,), start_index_map=(0,))
    place, sizes = lax.reshape(at, (1,)), (1, *x.shape[1:])
    return lax.gather(x, place, numbers, sizes, mode=lax.GatherScatterMode.PROMISE_IN_BOUNDS)


def _with_row(x: Array, row: Array, at: Array | np.int32) -> Array:
    starts = [at] + [np.int32(0)] * (x.ndim - 1)
    row = lax.expand_dims(row, (0,))
    return lax.dynamic_update_slice(x, row, starts, allow_negative_indices=False)


def _blank(shape: tuple[Any, ...], dtype: Any) -> Array:
    if jnp.issubdtype(dtype, jax.dtypes.prng_key):
        words = jax.eval_shape(jax.random.key_data, jax.ShapeDtypeStruct(shape, dtype))
        return lax.bitcast_convert_type(jnp.zeros(words.shape, words.dtype), dtype)
    return jnp.zeros(shape, dtype)


def custom_linear_solve(*operands: Array, const_lengths: Any, jaxprs: Any) -> list[Array]:
    """The solution, by the user's solver; the equation itself matters to derivatives only."""
    before = const_lengths.matvec + const_lengths.vecmat
    consts = operands[before : before + const_lengths.solve]
    right_sides = operands[sum(const_lengths) :]
    return call_of_user(jaxprs.solve, *consts, *right_sides)


def while_of_batches(
    *operands: Array,
    cond_jaxpr: ClosedJaxpr,
    cond_nconsts: int,
    body_jaxpr: ClosedJaxpr,
    body_nconsts: int,
) -> list[Array]:
    """A loop with a predicate for each element of a batch: elements that are done stay."""
    first, second = cond_nconsts, cond_nconsts + body_nconsts

    def goes_on(carry: Sequence[Array]) -> Array:
        return call_of_user(cond_jaxpr, *operands[:first], *carry)[0]

    def step(carry: list[Array]) -> list[Array]:
        more = goes_on(carry)
        new = call_of_user(body_jaxpr, *operands[first:second], *carry)
        masks = [lax.broadcast_in_dim(more, x.shape, range(more.ndim)) for x in new]
        return list(map(lax.select, masks, new, carry))

    return lax.while_loop(lambda carry: goes_on(carry).any(), step, list(operands[second:]))


REWRITES = {
    "cond": ignoring(cond, "branches_platforms"),
    "custom_linear_solve": custom_linear_solve,
    "platform_index": platform_index,
    "scan": scan,
    "while": while_of_batches,
}
