"""What equations of mutable arrays do with their values: loops carry those that bodies write."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from msckpt_jax._compat import ClosedJaxpr
from msckpt_jax.errors import UnsupportedError
from msckpt_jax.lowering.rewrites import calls
from msckpt_jax.lowering.rewrites.refs import Kept, primitive_of
from msckpt_jax.lowering.rewrites.views import (
    read,
    read_in_bounds,
    uninitialised,
    views,
    write,
    write_in_bounds,
)


class _Ref(NamedTuple):
    """An operand that is a mutable array: its place among those of an equation."""

    place: int


def of_values(*operands: Array, kept: Kept, bodies: Sequence[ClosedJaxpr], name: str) -> Any:
    """The new values of the mutable arrays that an equation writes, and its results."""
    position, count = operands[: 2 * kept.axes], len({*kept.places} - {None})
    state = list(operands[len(position) : len(position) + count])
    rest = iter(operands[len(position) + count :])
    given = [next(rest) if place is None else _Ref(place) for place in kept.places]
    params: dict[str, Any] = dict(kept.params)
    for (param, index), jaxpr, written in zip(kept.names, bodies, kept.written, strict=True):
        body = _Body(jaxpr, written, position)
        params[param] = body if index is None else (*params.get(param, ()), body)
    state, results = _RULES[name](state, given, **params)
    return [*(state[place] for place in kept.changed), *results]


class _Body(NamedTuple):
    """A body as a function of the values of mutable arrays and of operands."""

    jaxpr: ClosedJaxpr
    written: tuple[int, ...]
    position: Sequence[Array]

    def __call__(self, state: Sequence[Array], operands: Sequence[Any]) -> Any:
        """The new values of all mutable arrays, and the results."""
        values = [state[x.place] if isinstance(x, _Ref) else x for x in operands]
        out = calls.call_of_user(self.jaxpr, *self.position, *values)
        count, new = len(out) - len(self.written), list(state)
        for k, value in zip(self.written, out[count:], strict=True):
            new[operands[k].place] = value
        return new, out[:count]

    def writes(self, operands: Sequence[Any]) -> set[int]:
        return {operands[k].place for k in self.written}

    def types(self) -> list[Any]:
        """The types of the operands."""
        return self.jaxpr.in_avals[len(self.position) :]


def _with(state: Sequence[Array], places: Sequence[int], values: Sequence[Array]) -> list[Array]:
    new = list(state)
    for place, value in zip(places, values, strict=True):
        new[place] = value
    return new


def _get(state: list[Array], operands: Sequence[Any], *, tree: Any) -> Any:
    ref, *leaves = operands
    return state, [read(state[ref.place], views(tree, leaves))]


def _swap(state: list[Array], operands: Sequence[Any], *, tree: Any) -> Any:
    ref, value, *leaves = operands
    seen, x = views(tree, leaves), state[ref.place]
    return _with(state, [ref.place], [write(x, seen, value)]), [read(x, seen)]


def _add(state: list[Array], operands: Sequence[Any], *, tree: Any) -> Any:
    ref, value, *leaves = operands
    changed = write(state[ref.place], views(tree, leaves), value, add=True)
    return _with(state, [ref.place], [changed]), []


def _masked_load(state: list[Array], operands: Sequence[Any], *, args_tree: Any, **_: Any) -> Any:
    ref, given, mask, other = args_tree.unflatten(operands)
    out = read_in_bounds(state[ref.place], given)
    return state, [out if mask is None or other is None else jnp.where(mask, out, other)]


def _masked_swap(state: list[Array], operands: Sequence[Any], *, args_tree: Any, **_: Any) -> Any:
    ref, given, value, mask = args_tree.unflatten(operands)
    out = before = read_in_bounds(state[ref.place], given)
    if mask is not None:
        out, value = jnp.where(mask, before, value), jnp.where(mask, value, before)
    return _with(state, [ref.place], [write_in_bounds(state[ref.place], given, value)]), [out]


def _empty(state: list[Array], operands: Sequence[Any], *, ty: Any, **_: Any) -> Any:
    return state, [jnp.zeros(ty.shape, ty.dtype)]


def _call(state: list[Array], operands: Sequence[Any], **params: Any) -> Any:
    (body,) = (value for value in params.values() if isinstance(value, _Body))
    return body(state, operands[len(operands) - len(body.types()) :])


def _cond(
    state: list[Array], operands: Sequence[Any], *, branches: Sequence[_Body], **_: Any
) -> Any:
    index, *operands = operands
    if isinstance(index, np.ndarray):
        return branches[min(max(int(index), 0), len(branches) - 1)](state, operands)
    places = sorted({place for body in branches for place in body.writes(operands)})

    def branch(body: _Body) -> Callable[[], Any]:
        def run() -> Any:
            new, results = body(state, operands)
            return [new[place] for place in places], results

        return run

    runs = list(map(branch, branches))
    two = len(runs) == 2  # its index needs no clamping
    new, results = lax.cond(index == 1, *runs[::-1]) if two else lax.switch(index, runs)
    return _with(state, places, new), results


def _scan(
    state: list[Array], operands: Sequence[Any], *, jaxpr: _Body, length: int, reverse: bool,
    num_consts: int, num_carry: int, unroll: int = 1,
) -> Any:  # fmt: skip
    consts, rest = operands[:num_consts], operands[num_consts:]
    if any(isinstance(x, _Ref) for x in rest):
        raise UnsupportedError("a mutable array as an input of a scan: let the body refer to it")
    places = sorted(jaxpr.writes(operands))

    def step(carry: Any, xs: Any) -> Any:
        new, results = jaxpr(_with(state, places, carry[0]), [*consts, *carry[1], *xs])
        return ([new[place] for place in places], results[:num_carry]), results[num_carry:]

    start = [state[place] for place in places], list(rest[:num_carry])
    (new, carry), ys = lax.scan(step, start, list(rest[num_carry:]), length, reverse, unroll)
    return _with(state, places, new), [*carry, *ys]


def _while(
    state: list[Array], operands: Sequence[Any], *, cond_jaxpr: _Body, cond_nconsts: int,
    body_jaxpr: _Body, body_nconsts: int,
) -> Any:  # fmt: skip
    first, rest = operands[:cond_nconsts], operands[cond_nconsts:]
    consts, carried = rest[:body_nconsts], list(rest[body_nconsts:])
    if cond_jaxpr.written:
        raise UnsupportedError("the condition of a loop writes a mutable array: let the body do so")
    places = sorted(body_jaxpr.writes(rest))
    if any(isinstance(x, _Ref) and x.place in places for x in first):
        raise UnsupportedError(
            "the condition of a loop reads a mutable array that the body writes, and JAX itself "
            "reads what it was before the loop: carry it instead"
        )

    def goes_on(carry: Any) -> Array:
        return cond_jaxpr(_with(state, places, carry[0]), [*first, *carry[1]])[1][0]

    def step(carry: Any) -> Any:
        new, results = body_jaxpr(_with(state, places, carry[0]), [*consts, *carry[1]])
        return [new[place] for place in places], results

    start = [state[place] for place in places], carried
    new, results = lax.while_loop(goes_on, step, start)
    return _with(state, places, new), results


def _run_scoped(
    state: list[Array], operands: Sequence[Any], *, jaxpr: _Body, collective_axes: Any,
    ref_transforms: Any = (),
) -> Any:  # fmt: skip
    if collective_axes or any(ref_transforms):
        raise UnsupportedError("run_scoped of several programs or of views of memory")
    fresh = [uninitialised(t.shape, t.dtype) for t in jaxpr.types()[len(operands) :]]
    places = [_Ref(len(state) + k) for k in range(len(fresh))]
    new, results = jaxpr([*state, *fresh], [*operands, *places])
    return new[: len(state)], results


def _run_state(
    state: list[Array], operands: Sequence[Any], *, jaxpr: _Body, is_initialized: Any, **_: Any
) -> Any:
    if not all(is_initialized):
        raise UnsupportedError("run_state of memory without values")
    if any(isinstance(x, _Ref) for x in operands):
        raise UnsupportedError("run_state of a mutable array: pass its value")
    places = [_Ref(len(state) + k) for k in range(len(operands))]
    new, _ = jaxpr([*state, *operands], places)
    return new[: len(state)], new[len(state) :]


_RULES: Mapping[str, Callable[..., Any]] = {
    **dict.fromkeys(calls.CALLEE, _call),
    "addupdate": _add,
    "cond": _cond,
    "empty_ref": _empty,
    "free_ref": lambda state, operands: (state, []),
    "get": _get,
    "masked_load": _masked_load,
    "masked_swap": _masked_swap,
    "run_scoped": _run_scoped,
    "run_state": _run_state,
    "scan": _scan,
    "swap": _swap,
    "while": _while,
}


def _rewrite(name: str) -> Callable[..., Any]:
    def rewrite(*operands: Array, kept: Kept, bodies: Sequence[ClosedJaxpr]) -> Any:
        return of_values(*operands, kept=kept, bodies=bodies, name=name)

    return rewrite


def _of_a_chip(*operands: Array, **_: Any) -> Any:
    raise UnsupportedError(
        "a kernel uses what only one kind of chip has: export what it computes in plain JAX, as by "
        "jax.lax.platform_dependent(..., tpu=kernel, default=plain)"
    )


#: Primitives of kernels for the memory, the semaphores and the random numbers of a chip.
_OF_CHIPS = """
dma_start dma_wait get_barrier_semaphore semaphore_read semaphore_signal semaphore_wait prng_seed
prng_random_bits core_map get_global delay atomic_rmw atomic_cas elementwise_inline_asm
"""

REFUSED = dict.fromkeys(_OF_CHIPS.split(), _of_a_chip)
REWRITES = {
    **REFUSED,
    **{primitive_of(name).name: _rewrite(name) for name in _RULES},
    "broadcast_to": lambda x, *, shape: jnp.broadcast_to(x, shape),
}
