"""``jax.shard_map`` on one device: a ``vmap`` over each axis of the mesh that the body knows.

The rules by which ``vmap`` batches collectives say what these compute; nothing is left of the mesh.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.core import eval_jaxpr

from msckpt_jax import _compat
from msckpt_jax._compat import Atom, ClosedJaxpr, Equation, Literal, Var, opened
from msckpt_jax.lowering.rewrites.calls import NEVER

#: The sizes of the axes over which ``vmap`` runs, by their names.
_Axes: TypeAlias = Mapping[str, int]


def shard_map(
    *operands: Array, jaxpr: Any, mesh: Any, in_specs: Sequence[Any], out_specs: Sequence[Any],
    newly_manual_axes: Any, check_vma: bool, outer: Mapping[str, int] = {},
) -> list[Array]:  # fmt: skip
    """What the mesh computes, all shards one after another."""
    axes = {n: size for n, size in mesh.shape.items() if n in newly_manual_axes}
    body = _without_mesh(jaxpr, {**outer, **axes})
    function: Callable[..., Any] = functools.partial(eval_jaxpr, *opened(body))
    held = [_Place.of(spec, x.ndim, axes) for spec, x in zip(in_specs, operands, strict=True)]
    for name in reversed(axes):
        function = jax.vmap(function, [0 if name in place.names else None for place in held],
                            axis_name=name, axis_size=axes[name])  # fmt: skip
    results = function(*(place.cut(x) for place, x in zip(held, operands, strict=True)))
    made = (_Place.of(s, v.aval.ndim, axes)
            for s, v in zip(out_specs, opened(body)[0].outvars, strict=True))  # fmt: skip
    return [place.joined(x) for place, x in zip(made, results, strict=True)]


class _Place(NamedTuple):
    """The axes of a mesh that cut each dimension of an array, and the sizes of all axes."""

    dims: tuple[tuple[str, ...], ...]
    axes: _Axes

    @classmethod
    def of(cls, spec: Any, ndim: int, axes: _Axes) -> _Place:
        parts = [part if isinstance(part, tuple) else (part,) for part in spec]
        parts += [()] * (ndim - len(parts))
        return cls(tuple(tuple(n for n in part if n in axes) for part in parts), axes)

    @property
    def names(self) -> list[str]:
        """The axes of the mesh that cut the array, in the order of the mesh."""
        return [name for name in self.axes if any(name in part for part in self.dims)]

    @property
    def _split(self) -> list[str | None]:
        """The dimensions of the array cut into axes of the mesh and what is left."""
        return [name for part in self.dims for name in (*part, None)]

    def cut(self, x: Array) -> Array:
        """The shards of an array, on new axes in front."""
        sizes: list[int] = []
        for n, part in zip(x.shape, self.dims, strict=True):
            counts = [self.axes[name] for name in part]
            sizes += [*counts, n // math.prod(counts)]
        split = self._split
        order = [split.index(name) for name in self.names]
        order += [axis for axis, name in enumerate(split) if name is None]
        return lax.transpose(lax.reshape(x, sizes), order)

    def joined(self, x: Array) -> Array:
        """The array of shards that lie on an axis in front for each axis of the mesh.

        Along an axis that cuts no dimension all shards are equal: the first one is taken.
        """
        for axis, name in reversed([*enumerate(self.axes)]):
            if name not in self.names:
                x = lax.index_in_dim(x, 0, axis, keepdims=False)
        count = len(self.names)
        rest = iter(range(count, x.ndim))
        order = [next(rest) if n is None else self.names.index(n) for n in self._split]
        sizes = [n * math.prod(self.axes[name] for name in part)
                 for n, part in zip(x.shape[count:], self.dims, strict=True)]  # fmt: skip
        return lax.reshape(lax.transpose(x, order), sizes)


def _without_mesh(jaxpr: Any, axes: _Axes) -> ClosedJaxpr:
    """The body with types that say nothing of the mesh, and with collectives that vmap knows."""
    inner, consts = opened(jaxpr)
    env: dict[Var, Atom] = {}

    def declared(var: Var) -> Var:
        aval: _compat.Aval = var.aval
        if _compat.is_ref(aval):
            return env.setdefault(var, var)  # type: ignore[return-value]
        plain = _compat.ShapedArray(aval.shape, aval.dtype, weak_type=aval.weak_type)
        return env.setdefault(var, Var(plain))  # type: ignore[return-value]

    def read(atom: Atom) -> Atom:
        return atom if isinstance(atom, Literal) else env[atom]

    constvars, invars = map(declared, inner.constvars), map(declared, inner.invars)
    head = [*constvars], [*consts], [*invars]
    eqns = []
    for eqn in inner.eqns:
        operands = [read(atom) for atom in eqn.invars]
        if eqn.primitive.name in NEVER:
            env.update(zip(eqn.outvars, operands, strict=True))
        else:
            results = [declared(v) for v in eqn.outvars]
            eqns.append(_plain(eqn, operands, results, axes))
    return _compat.closed(jaxpr, *head, eqns, [read(atom) for atom in inner.outvars])


def _plain(eqn: Equation, operands: list[Atom], results: list[Var], axes: _Axes) -> Equation:
    if (function := _OWN.get(eqn.primitive.name)) is not None:
        call = functools.partial(function, **eqn.params)
        if eqn.primitive.name == "shard_map":
            call = functools.partial(call, outer=axes)
        types = [jax.ShapeDtypeStruct(a.aval.shape, a.aval.dtype) for a in operands]
        traced = jax.make_jaxpr(jax.jit(call), axis_env=[*axes.items()])(*types)
        primitive, params = traced.eqns[-1].primitive, traced.eqns[-1].params
    else:
        primitive = eqn.primitive
        params = {name: _params(name, value, axes) for name, value in eqn.params.items()}
    # A new equation: this one is bound to the mesh.
    return _compat.equation(primitive, operands, results, params, eqn.source_info)


def _params(name: str, value: Any, axes: _Axes) -> Any:
    if name in ("sharding", "out_sharding"):
        return None
    if hasattr(value, "eqns") and any(_compat.is_ref(v.aval) for v in value.invars):
        return value  # a kernel knows nothing of the mesh
    if isinstance(value, tuple) and type(value) is tuple:
        return tuple(_params("", each, axes) for each in value)
    is_jaxpr = isinstance(value, ClosedJaxpr) or hasattr(value, "eqns")
    return _without_mesh(value, axes) if is_jaxpr else value


def _all_to_all(
    x: Array, *, axis_name: Any, split_axis: int, concat_axis: int, axis_index_groups: Any,
    tiled: bool,
) -> Array:  # fmt: skip
    """The part of each shard that is for this one; vmap's own rule wants shards that differ."""
    if axis_index_groups is not None:
        raise NotImplementedError("all_to_all within groups")
    names = axis_name if isinstance(axis_name, tuple) else (axis_name,)
    shards = lax.all_gather(x, names)
    count, me = shards.shape[0], lax.axis_index(names)
    size = x.shape[split_axis] // count  # 1 where it is not tiled, with a new axis to join along
    own = lax.dynamic_slice_in_dim(shards, me * size, size, split_axis + 1)
    return jnp.concatenate([own[i] for i in range(count)], concat_axis)


def _ppermute(x: Array, *, axis_name: Any, perm: Sequence[tuple[int, int]]) -> Array:
    """What another shard sends to this one, or zeros; vmap's own rule wants that all receive."""
    names = axis_name if isinstance(axis_name, tuple) else (axis_name,)
    shards = lax.all_gather(x, names)
    sources = np.full(shards.shape[0], -1, np.int32)
    for source, target in perm:
        sources[target] = source
    mine = jnp.asarray(sources)[lax.axis_index(names)]
    sent = lax.dynamic_index_in_dim(shards, jnp.maximum(mine, 0), keepdims=False)
    return jnp.where(mine < 0, jnp.zeros_like(x), sent)


def _psum_invariant(*operands: Array, axes: Any) -> Any:
    return [lax.psum(x, axes) for x in operands]


def _all_gather_invariant(
    x: Array, *, all_gather_dimension: int, axis_name: Any, axis_size: int, tiled: bool
) -> Array:
    return lax.all_gather(x, axis_name, axis=all_gather_dimension, tiled=tiled)


_OWN: dict[str, Callable[..., Any]] = {
    "all_gather_invariant": _all_gather_invariant,
    "all_to_all": _all_to_all,
    "ppermute": _ppermute,
    "psum_invariant": _psum_invariant,
    "shard_map": shard_map,
}
REWRITES = {"shard_map": shard_map}
