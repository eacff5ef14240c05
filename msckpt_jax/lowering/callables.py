"""Callables as users write them: the arrays in them by their paths, and copies of their modules.

Functions are traced whole; what they hold is found beside the trace, where arrays are known by
identity.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from msckpt_jax import names
from msckpt_jax.lowering.kinds import Part, Variable, is_array, is_module, kind_of


def _parts(value: Any) -> list[Part]:
    """The parts of an object; none of those of strangers whose attributes fail."""
    try:
        kind = None if is_array(value) else kind_of(value)
        return [] if kind is None else [*kind.parts(value)]
    except Exception:
        return []


class Look:
    """A look into callables, at whose objects one may look again.

    Some callables make their parts anew each time that they are asked for them; here they are made
    once.
    """

    def __init__(self, *nets: Any):
        self._nets = nets
        self._parts: dict[int, tuple[Any, list[Part]]] = {}  # the objects live as long as numbers

    def parts(self, value: Any) -> list[Part]:
        """Return the parts of an object in which arrays may be."""
        if id(value) not in self._parts:
            self._parts[id(value)] = value, _parts(value)
        return self._parts[id(value)][1]

    def walk(self, *nets: Any) -> Iterator[tuple[tuple[str, ...], Any]]:
        """Yield each object in the callables, or in some, with the first path that leads to it."""
        seen: set[int] = set()
        waiting: list[tuple[tuple[str, ...], Any]] = []
        waiting += [((), net) for net in reversed(nets or self._nets)]
        while waiting:
            path, value = waiting.pop()
            if id(value) in seen:
                continue
            seen.add(id(value))
            yield path, value
            inner = [((*path, s) if s else path, part) for s, part in self.parts(value)]
            waiting += reversed(inner)

    def modules(self) -> dict[str, Any]:
        """Return the modules of Flax nnx and of Equinox, the outermost, by their names."""
        held: list[tuple[tuple[str, ...], Any]] = []
        inner: set[int] = set()
        for path, value in self.walk():
            if is_module(value) and id(value) not in inner:
                held.append((path, value))
                inner |= {id(part) for _, part in self.walk(value)}
        paths = shortened([path for path, _ in held], least=0)
        return dict(zip(map(names.Unique(), paths), (value for _, value in held), strict=True))

    def holding(self, some: Iterable[int]) -> set[int]:
        """Return the numbers of the objects that hold some objects, and of these."""
        holding, before = set(some), 0
        edges = {
            id(value): {id(part.value) for part in self.parts(value)}
            for _, value in self.walk()
            if id(value) not in holding
        }
        while len(holding) != before:
            before = len(holding)
            holding |= {each for each, inner in edges.items() if not holding.isdisjoint(inner)}
        return holding


def shortened(paths: Sequence[tuple[str, ...]], least: int = 1) -> list[str]:
    """Return names of paths, without the variables by which all of them begin.

    Args:
        paths: as a look gives them.
        least: the length at which a path stays as it is.
    """
    while paths and len({path[:1] for path in paths}) == 1:
        if min(map(len, paths)) <= least or not isinstance(paths[0][0], Variable):
            break
        paths = [path[1:] for path in paths]
    return [".".join(path) for path in paths]


def remade(look: Look, net: Any, new: Mapping[int, Any]) -> tuple[Any, Sequence[Any]]:
    """Return a callable like one that was looked into, that holds other objects, and what stays.

    Args:
        look: the look.
        net: the callable; what holds none of the objects, or cannot be copied, stays itself.
        new: other objects, by the numbers of those in their place.
    """
    making = _Remaking(look, new)
    return making(net), making.kept


class _Remaking:
    """The objects that were made so far, by the number of those that they stand for."""

    def __init__(self, look: Look, new: Mapping[int, Any]):
        self.parts = look.parts
        self._made = dict(new)
        self._holding = look.holding(new)
        self.kept: list[Any] = []

    def __call__(self, value: Any) -> Any:
        kind = kind_of(value) if self.changes(value) else None
        if id(value) not in self._made and kind is not None and kind.remade is not None:
            self._made[id(value)] = kind.remade(value, self)
        return self._made.get(id(value), value)

    def changes(self, value: Any) -> bool:
        """Tell whether one of the objects to replace is in this one."""
        return id(value) in self._holding

    def begin(self, value: Any, made: Any) -> Any:
        """Note an object before its parts are there: they may refer to it."""
        self._made[id(value)] = made
        return made

    def keep(self, value: Any) -> Any:
        """Note an object that cannot be made again."""
        self.kept.append(value)
        return value
