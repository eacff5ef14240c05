"""Dynamic sizes of inputs: JAX's symbolic dimensions, and numbers that may stand for them."""

from __future__ import annotations

import contextlib
import operator
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, TypeAlias

import jax
from jax.extend import core
from jax.sharding import AxisType, NamedSharding

from msckpt_jax import _compat
from msckpt_jax.lowering.sizes import evaluated, names_in
from msckpt_jax.names import Unique

#: A number for each name of a dynamic size.
Sizes: TypeAlias = Mapping[str, int]

_CONSTRAINT = re.compile(r"(.*)(==|>=|<=)(.*)")
_COMPARED: dict[str, Callable[[int, int], bool]] = {
    "==": operator.eq, ">=": operator.ge, "<=": operator.le,
}  # fmt: skip
#: Small sizes are quick; the larger ones have many divisors.
_SMALL = (*range(1, 13), 16, 20, 24, 32, 48, 60, 64, 96, 120, 128)
#: Combinations of numbers that are looked at until the constraints are kept.
_MOST = 3000


def symbolic(inputs: Mapping[str, Any], constraints: Sequence[str] = ()) -> list[Any]:
    """The types of inputs by their names; sizes that are None or a name become symbolic.

    All are of one scope: that of JAX's symbolic sizes if there are any among them, else a new one
    with these constraints.

    Raises:
        ValueError: a text is no size or no constraint, a constraint is of no size of an input, or
            there are two scopes.
    """
    scope = _scope(inputs, constraints)
    dims = [dim for value in inputs.values() for dim in value.shape if dim is not None]
    names = names_in(" ".join(map(str, dims)))
    for text in constraints:
        if missing := [name for name in names_in(text) if name not in names]:
            raise ValueError(f"the constraint {text!r} is of {missing[0]}, a size of no input")
    unique, count = Unique([*names, *names_in(" ".join(_compat.constraints(scope)))]), 0
    out = []
    for name, value in inputs.items():
        dims = []
        for dim in value.shape:
            if dim is None:
                dim, count = unique(f"d{count}"), count + 1
            dims.append(_parsed(name, dim, scope) if isinstance(dim, str) else dim)
        dtype = jax.dtypes.canonicalize_dtype(value.dtype)
        out.append(jax.ShapeDtypeStruct(tuple(dims), dtype, sharding=explicit(value)))
    _check_possible([dim for spec in out for dim in spec.shape], constraints)
    return out


def _check_possible(dims: Sequence[Any], constraints: Sequence[str]) -> None:
    """Refuse constraints that contradict each other, as JAX does once it compares sizes."""
    for dim in filter(jax.export.is_symbolic_dim, dims):
        try:
            _positive(dim)
        except ValueError as error:
            reason = str(error).strip().partition("\n")[0]
            raise ValueError(f"no sizes keep constraints={list(constraints)!r}: {reason}") from None


def explicit(value: Any) -> NamedSharding | None:
    """The sharding of a value if it belongs to its type: functions may ask for it."""
    sharding = getattr(value, "sharding", None)
    if not isinstance(sharding, NamedSharding) or AxisType.Explicit not in sharding.mesh.axis_types:
        return None
    return sharding


def _scope(inputs: Mapping[str, Any], constraints: Sequence[str]) -> jax.export.SymbolicScope:
    """The scope of the sizes of all inputs."""
    is_list = isinstance(constraints, Sequence) and not isinstance(constraints, str)
    if not is_list or not all(isinstance(text, str) for text in constraints):
        raise TypeError(f"constraints must be a list of texts, not {constraints!r}")
    places: dict[Any, str] = {}
    for name, value in inputs.items():
        for dim in filter(jax.export.is_symbolic_dim, value.shape):
            places.setdefault(dim.scope, f"{dim} of {name}")
    if len(places) > 1:
        first, second = list(places.values())[:2]
        raise ValueError(
            f"the sizes {first} and {second} are of two scopes: make them by one call of "
            "jax.export.symbolic_shape, or give both calls one scope="
        )
    if not places:
        return _new_scope(constraints)
    if constraints:
        raise ValueError(
            f"the size {next(iter(places.values()))} has a scope of its own, whose constraints "
            "count: give them to jax.export.symbolic_shape"
        )
    return next(iter(places))


def _new_scope(constraints: Sequence[str]) -> jax.export.SymbolicScope:
    try:
        return jax.export.SymbolicScope(constraints)
    except (ValueError, NotImplementedError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise ValueError(f"constraints={list(constraints)!r}: {reason}") from None


def _parsed(name: str, text: str, scope: jax.export.SymbolicScope) -> Any:
    try:
        dims = jax.export.symbolic_shape(text, scope=scope)
    except ValueError as error:
        reason = str(error).strip().partition("\n")[0]
        raise ValueError(f"the size {text!r} of the input {name} is no size: {reason}") from None
    if len(dims) != 1:
        raise ValueError(f"the size {text!r} of the input {name} is {len(dims)} sizes")
    if isinstance(dims[0], int) and dims[0] < 0:
        raise ValueError(f"the size {text!r} of the input {name} is negative: dynamic is None")
    return dims[0]


def names_of(jaxpr: Any) -> list[str]:
    """The names of the sizes of all values, and of those in parameters of equations."""
    dims = [*_of_values(jaxpr), *_of_parameters(jaxpr)]
    return names_in(" ".join(map(str, filter(jax.export.is_symbolic_dim, dims))))


def perhaps_empty(jaxpr: Any) -> list[str]:
    """The sizes of values that JAX does not know to be at least 1."""
    dims = filter(jax.export.is_symbolic_dim, _of_values(jaxpr))
    return [text for text, dim in {str(dim): dim for dim in dims}.items() if not _positive(dim)]


def _positive(dim: Any) -> bool:
    try:
        return bool(dim >= 1)
    except jax.errors.InconclusiveDimensionOperation:
        return False


def _of_values(jaxpr: Any) -> Iterator[Any]:
    return (dim for aval in _compat.avals(jaxpr) for dim in getattr(aval, "shape", ()))


def _of_parameters(jaxpr: Any) -> Iterator[Any]:
    for eqn in _compat.opened(jaxpr)[0].eqns:
        yield from jax.tree.leaves(eqn.params)
        for body in core.jaxprs_in_params(eqn.params):
            yield from _of_parameters(body)


def at(shape: Sequence[Any], sizes: Sizes) -> tuple[int, ...]:
    """A shape with numbers for the names of its sizes."""
    return tuple(evaluated(str(dim), sizes) for dim in shape)


def tried(types: Sequence[Any], jaxpr: Any) -> list[Sizes]:
    """Numbers at which a function with inputs of these types is tried: one set if none is dynamic.

    Two sets differ in each name, in their order, and from the other sizes of the inputs; the third
    has the smallest numbers. All keep the constraints, and if they can, no array is empty.

    Raises:
        ValueError: no small numbers do that.
    """
    dims = [dim for type in types for dim in type.shape]
    dynamic = [dim for dim in dims if jax.export.is_symbolic_dim(dim)]
    if not dynamic:
        return [{}]
    names = names_in(" ".join(map(str, dynamic)))
    known = {dim for dim in dims if isinstance(dim, int)}
    constraints = _compat.constraints(dynamic[0].scope)
    inner = filter(jax.export.is_symbolic_dim, _of_values(jaxpr))
    filled = [f"{dim} >= 1" for dim in dict.fromkeys(map(str, inner)) if dim not in names]
    try:
        return _tried(names, constraints + filled, known)
    except ValueError:
        return _tried(names, constraints + [f"{dim} >= 1" for dim in map(str, dynamic)], known)


def _tried(names: Sequence[str], constraints: Sequence[str], taken: set[int]) -> list[Sizes]:
    pool = _pool(constraints)
    first = _chosen(names, constraints, [*pool[2:], *pool[:2]], taken)
    second = _chosen(names[::-1], constraints, [*pool[4:], *pool[3::-1]], taken | {*first.values()})
    least = _kept(names, constraints, pool, frozenset(), False)
    return list({tuple(sorted(s.items())): s for s in (first, second, least or first)}.values())


def _pool(constraints: Sequence[str]) -> list[int]:
    """Numbers to choose from: small ones, and those about the numbers in the constraints."""
    numbers = {int(text) for each in constraints for text in re.findall(r"\d+", each)}
    about = {n * times + more for n in numbers for times in (1, 2, 3, 4, 5) for more in (-1, 0, 1)}
    return sorted(n for n in {*_SMALL, *about} if n > 0)


def _chosen(names: Sequence[str], constraints: Sequence[str], pool: Sequence[int],
            taken: set[int]) -> Sizes:  # fmt: skip
    """Sizes that keep the constraints; different ones, and none that is taken, if there are."""
    for avoided, apart in ((frozenset(taken), True), (frozenset(), True), (frozenset(), False)):
        if sizes := _kept(names, constraints, pool, avoided, apart):
            return sizes
    known = f" with {', '.join(constraints)}" if constraints else ""
    raise ValueError(f"no sizes were found for {', '.join(names)}{known}")


def _kept(names: Sequence[str], constraints: Sequence[str], pool: Sequence[int],
          avoided: frozenset[int], apart: bool) -> Sizes | None:  # fmt: skip
    """The first combination of numbers that keeps the constraints, or None."""

    def combinations(sizes: dict[str, int], rest: Sequence[str]) -> Iterator[Sizes | None]:
        """The combinations that do, and None for each that does not."""
        if not rest:
            yield sizes
            return
        for number in pool:
            if number in avoided or (apart and number in sizes.values()):
                continue
            more = {**sizes, rest[0]: number}
            if _possible(constraints, more):
                yield from combinations(more, rest[1:])
            else:
                yield None

    return next(filter(None, islice(combinations({}, names), _MOST)), None)


def _possible(constraints: Sequence[str], sizes: Sizes) -> bool:
    """Tell whether numbers for some names break no constraint."""
    matches = map(_CONSTRAINT.fullmatch, constraints)
    parts = [(match[1], match[2], match[3]) for match in matches if match]
    known = dict(sizes)
    for left, kind, right in parts:  # a name that inputs do not have: JAX puts the other in place
        with contextlib.suppress(KeyError):
            if kind == "==" and left.strip().isidentifier():
                known.setdefault(left.strip(), evaluated(right, known))
    return not any(_broken(*part, known) for part in parts)


def _broken(left: str, kind: str, right: str, sizes: Sizes) -> bool:
    try:
        return not _COMPARED[kind](evaluated(left, sizes), evaluated(right, sizes))
    except KeyError:
        return False


def shown(sizes: Sizes) -> str:
    """`` at b = 3, s = 4``, or nothing."""
    text = ", ".join(f"{name} = {size}" for name, size in sorted(sizes.items()))
    return f" at {text}" if text else ""
