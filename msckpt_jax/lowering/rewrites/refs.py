"""Mutable arrays (``jax.new_ref``, and those of kernels) as values: a write makes a new value.

    r = new_ref x; r[0] <- y; z = freeze r
    r' = "swap of a ref" x y; z = r'

The equations of the user stay; one that takes a mutable array is replaced by one that takes and
returns its value, whose rewrite (``of_values``) says in JAX what it does. Loops carry the arrays
that their bodies write.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.extend import core

from msckpt_jax import _compat
from msckpt_jax._compat import Atom, ClosedJaxpr, Equation, Literal, Var, opened
from msckpt_jax.errors import UnsupportedError
from msckpt_jax.lowering import forms
from msckpt_jax.lowering.rewrites import calls
from msckpt_jax.lowering.rewrites.views import (
    read,
    read_in_bounds,
    uninitialised,
    views,
    write,
    write_in_bounds,
)


class Pure(NamedTuple):
    """A jaxpr that takes the values of mutable arrays in their place.

    Attributes:
        jaxpr: takes the position in the grid, and the operands; returns the results, then the new
            values of the mutable arrays that it writes.
        written: the operands that these are.
    """

    jaxpr: ClosedJaxpr
    written: tuple[int, ...]


class _Ref(NamedTuple):
    """An operand that is a mutable array: its place among those of an equation."""

    place: int


class _Bodies(NamedTuple):
    """What an equation that takes values keeps of the one that took mutable arrays.

    Attributes:
        params: its parameters, without the bodies.
        names: the parameters that are bodies; ``many`` whether they are several.
        written: the operands that each body writes.
        places: the place of each operand among the mutable arrays, or None for a value.
        changed: the mutable arrays that the equation writes.
        axes: the axes of the grid of the kernel.
    """

    params: Mapping[str, Any]
    names: tuple[tuple[str, int | None], ...]
    written: tuple[tuple[int, ...], ...]
    places: tuple[int | None, ...]
    changed: tuple[int, ...]
    axes: int


def stateful(jaxpr: Any) -> bool:
    """Tell whether equations of a jaxpr take or make mutable arrays."""
    return any(
        eqn.primitive.name in _MAKING or any(_compat.is_ref(v.aval) for v in eqn.invars)
        for eqn in jaxpr.eqns
    )


def pure(inner: Any, consts: Sequence[Any], axes: int = 0) -> Pure:
    """The jaxpr without mutable arrays.

    Args:
        inner: a jaxpr that is not closed.
        consts: its constants; without them they are operands.
        axes: the axes of the grid: the first operands of the result are the position on each axis
            and the size of each, where ``program_id`` asks for them.
    """
    free = inner.constvars if len(consts) < len(inner.constvars) else []
    walk = _Walk([Var(_POSITION) for _ in range(2 * axes)])
    constvars = [] if free else list(map(walk.declared, inner.constvars))
    invars = list(map(walk.declared, [*free, *inner.invars]))
    before = dict(walk.env)
    for eqn in inner.eqns:
        walk.equation(eqn)
    operands = [*free, *inner.invars]
    written = tuple(
        k for k, v in enumerate(operands) if _compat.is_ref(v.aval) and walk.env[v] is not before[v]
    )
    results = [walk.read(v) for v in (*inner.outvars, *(operands[k] for k in written))]
    values = [] if free else [c[...] if _compat.is_ref(v.aval) else c
                              for c, v in zip(consts, inner.constvars, strict=True)]  # fmt: skip
    head = constvars, values, [*walk.position, *invars]
    return Pure(_compat.closed(inner, *head, walk.eqns, results), written)


_POSITION = _compat.ShapedArray((), np.dtype(np.int32))


class _Walk:
    """Equations without mutable arrays, and the values that variables have by now."""

    def __init__(self, position: list[Var]):
        self.position = position
        self.env: dict[Var, Atom] = {}
        self.eqns: list[Equation] = []

    def declared(self, var: Var) -> Var:
        new = Var(_compat.value_of_ref(var.aval)) if _compat.is_ref(var.aval) else var
        return self.env.setdefault(var, new)  # type: ignore[return-value]

    def read(self, atom: Atom) -> Atom:
        return atom if isinstance(atom, Literal) else self.env.get(atom, atom)

    def equation(self, eqn: Equation) -> None:
        name = eqn.primitive.name
        if name in ("new_ref", "freeze"):
            self.env[eqn.outvars[0]] = self.read(eqn.invars[0])
        elif name == "program_id":
            self.env[eqn.outvars[0]] = self.position[eqn.params["axis"]]
        elif name == "num_programs":
            sizes = self.position[len(self.position) // 2 :]
            self.env[eqn.outvars[0]] = sizes[eqn.params["axis"]]
        elif (
            name in _MAKING
            or any(_compat.is_ref(v.aval) for v in eqn.invars)
            or (self.position and _asks(eqn))
        ):
            self.of_refs(eqn)
        else:
            self.eqns.append(eqn.replace(invars=[self.read(atom) for atom in eqn.invars]))

    def of_refs(self, eqn: Equation) -> None:
        """Emit the equation that takes values in the place of one that takes mutable arrays."""
        refs = list(dict.fromkeys(v for v in eqn.invars if _compat.is_ref(v.aval)))
        params: dict[str, Any] = dict(_compat.params_of(eqn))
        bodies = {}
        for param in [p for p in _BODIES.get(eqn.primitive.name, ()) if p in params]:
            value = params.pop(param)
            many = enumerate(value) if isinstance(value, tuple) else [(None, value)]
            bodies |= {(param, k): self.body(eqn, body) for k, body in many}
        places = tuple(refs.index(v) if _compat.is_ref(v.aval) else None for v in eqn.invars)
        changed = _changed(eqn, places, bodies)
        kept = _Bodies(params, tuple(bodies), tuple(body.written for body in bodies.values()),
                       places, changed, len(self.position) // 2)  # fmt: skip
        values = [self.read(v) for v in eqn.invars if not _compat.is_ref(v.aval)]
        made = [v for v in eqn.outvars if _compat.is_ref(v.aval)]
        new = [Var(_compat.value_of_ref(refs[place].aval)) for place in changed]
        results = [self.declared(v) if v in made else v for v in eqn.outvars]
        self.eqns.append(
            _compat.equation(
                _primitive(eqn.primitive.name),
                [*self.position, *map(self.read, refs), *values],
                [*new, *results],
                {"kept": kept, "bodies": tuple(body.jaxpr for body in bodies.values())},
                eqn.source_info,
            )
        )
        self.env |= {refs[place]: v for place, v in zip(changed, new, strict=True)}

    def body(self, eqn: Equation, body: Any) -> Pure:
        inner, consts = opened(body)
        # Its constants, where a JAX version has any, are tracers: they are the operands.
        own = () if eqn.primitive.name == "run_scoped" else consts
        return pure(inner, own, len(self.position) // 2)


def _primitive(name: str) -> core.Primitive:
    primitive = core.Primitive(f"{name} of a ref" if name in _RULES else name)
    primitive.multiple_results = True
    return primitive


def _asks(eqn: Equation) -> bool:
    """Tell whether the bodies of an equation ask for the position in the grid."""
    bodies = [opened(body)[0] for body in core.jaxprs_in_params(eqn.params)]
    return any(e.primitive.name in ("program_id", "num_programs") or _asks(e)
               for body in bodies for e in body.eqns)  # fmt: skip


def _changed(
    eqn: Equation, places: Sequence[int | None], bodies: Mapping[Any, Pure]
) -> tuple[int, ...]:
    """The mutable arrays that an equation writes."""
    if eqn.primitive.name in _WRITING:
        return (places[0],)  # type: ignore[return-value]
    shift = _SHIFTS.get(eqn.primitive.name, lambda eqn, param: 0)
    out = set()
    for (param, _), body in bodies.items():
        at = [k + shift(eqn, param) for k in body.written]
        out |= {places[k] for k in at if k < len(places) and places[k] is not None}
    return tuple(sorted(out))  # type: ignore[type-var]


def of_values(*operands: Array, kept: _Bodies, bodies: Sequence[ClosedJaxpr], name: str) -> Any:
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


#: Primitives that make mutable arrays, for themselves or for others.
_MAKING = frozenset({"new_ref", "empty_ref", "run_scoped", "run_state"})
#: Primitives that write their first operand.
_WRITING = frozenset({"swap", "addupdate", "masked_swap"})
#: The parameters that are bodies.
_BODIES = {
    **{name: (param,) for name, param in calls.CALLEE.items()},
    **forms.BODIES,
    "run_scoped": ("jaxpr",),
    "run_state": ("jaxpr",),
}
#: How far the operands of a body lie behind the first operand of its equation.
_SHIFTS: Mapping[str, Callable[[Equation, str], int]] = {
    "cond": lambda eqn, param: 1,
    "while": lambda eqn, param: eqn.params["cond_nconsts"] if param == "body_jaxpr" else 0,
}
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
    def rewrite(*operands: Array, kept: _Bodies, bodies: Sequence[ClosedJaxpr]) -> Any:
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

REWRITES = {
    **dict.fromkeys(_OF_CHIPS.split(), _of_a_chip),
    **{f"{name} of a ref": _rewrite(name) for name in _RULES},
    "broadcast_to": lambda x, *, shape: jnp.broadcast_to(x, shape),
}
