"""The systematic difference between the names of a network and those of a file, if there is one.

Rules are taken only if they tell more of the network than before, lose nothing, and every
parameter that they lead to has the shape that the network has; what can be told in two ways is
not told.
"""

from __future__ import annotations

import collections
import difflib
import functools
import math
import re
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple, TypeAlias

from msckpt_jax.checkpoint import stored
from msckpt_jax.conventions import edits
from msckpt_jax.conventions.edits import Rule
from msckpt_jax.conventions.state_names import is_state

#: The shapes of parameters by their names.
Shapes: TypeAlias = Mapping[str, tuple[int, ...]]
_Rules: TypeAlias = tuple[Rule, ...]
#: The names of a network, changed by rules, or keys in a file.
_Names: TypeAlias = Mapping[str, str]
#: Rules, and the keys that they lead to.
_Way: TypeAlias = tuple[_Rules, Mapping[str, str]]

#: The most rules, the most parameters, names that are tried first, and keys for each of them.
_RULES, _LARGEST, _SEEDS, _KEYS = 16, 2_000, 8, 12
#: The share of names from which on rules that say otherwise make others unsure.
_RIVAL = 0.75
#: The share of the names changed inside that have to be in the file; a head may lack there.
_WHOLE = 0.5
#: Parameters of these names hold the same thing in the same layout.
_ALIKE = {
    "gamma": "scale", "scale": "scale", "beta": "bias", "bias": "bias", "offset": "bias",
    "weight": "weight scale embedding", "kernel": "kernel",
    "embedding_table": "embedding", "embedding": "embedding",
    "mean": "mean", "moving_mean": "mean", "running_mean": "mean",
    "var": "var", "variance": "var", "moving_variance": "var", "running_var": "var",
}  # fmt: skip
#: Layers of one shape beside each other that must not be mistaken.
_PROJECTIONS = {
    segment: letter for letter, word in (("q", "query"), ("k", "key"), ("v", "value"))
    for segment in (letter, word, f"{letter}_proj", f"w{letter}", f"{word}_proj", f"to_{letter}")
}  # fmt: skip


class Difference(NamedTuple):
    """Rules for ``rename=``, and what they lead to.

    Attributes:
        rules: the rules, to be applied in order.
        before, after: the keys in the file of the names that have one, without and by the rules.
    """

    rules: tuple[Rule, ...]
    before: Mapping[str, str]
    after: Mapping[str, str]

    @property
    def gained(self) -> dict[str, str]:
        """The keys of the names that have one only by the rules."""
        return {name: key for name, key in self.after.items() if self.before.get(name) != key}

    def changed(self) -> Iterator[tuple[Rule, dict[str, str]]]:
        """Yield each rule, and the keys of the names that it has a share in."""
        names = {name: name for name in self.gained}
        for rule in self.rules:
            new = {name: rule(stage) for name, stage in names.items()}
            yield rule, {n: self.after[n] for n in names if new[n] != names[n]}
            names = new


def between(wanted: Shapes, there: Shapes) -> Difference:
    """The rules that lead from the names of a network to those of a file; none if none is sure."""
    wanted = {name: shape for name, shape in wanted.items() if not is_state(name)}
    there = {name: shape for name, shape in there.items() if not is_state(name)}
    names: _Names = {name: name for name in wanted}
    before = after = _fit((), names, wanted, there) or {}
    rules: _Rules = ()
    while len(rules) < _RULES and max(len(wanted), len(there)) <= _LARGEST:
        more, fitted = _next(names, after, wanted, there)
        if not more:
            break
        rules, after = (*rules, *more), fitted
        names = {name: edits.applied(more, stage) for name, stage in names.items()}
    return Difference(_needed(rules, after, wanted, there), before, after)


def _fit(rules: _Rules, names: _Names, wanted: Shapes, there: Shapes) -> dict[str, str] | None:
    """The keys of the names, which earlier rules have changed, by further rules.

    None where the shape of a key is another, two names fall together, many names that change inside
    have no key, or the numbers of the layers do not correspond.
    """
    new = {name: edits.applied(rules, stage) for name, stage in names.items()}
    if len(set(new.values())) < len(new):
        return None
    out: dict[str, str] = {}
    for name, key in new.items():
        if key not in there:
            if any(rule.moves for rule in rules) and key != names[name]:
                return None
        elif _fits(there[key], wanted[name]) and _alike(name, key, wanted[name]):
            out[name] = key
        elif key != name:
            return None
    inside = [rule for rule in rules if not rule.regex.startswith("^")]
    touched = [
        name for name, stage in names.items() if any(rule(stage) != stage for rule in inside)
    ]
    if sum(name in out for name in touched) < _WHOLE * len(touched):
        return None
    changed = [key for name, key in out.items() if key != names[name]]
    return out if _numbered_alike(changed, new.values(), there) else None


def _numbered_alike(changed: Iterable[str], ours: Iterable[str], theirs: Iterable[str]) -> bool:
    """Tell whether lists on the way to these keys begin with the same number on both sides.

    One of them may go on where the other ends.
    """
    places = {place for key in changed for place, _ in _numbers(key)}
    sides: list[dict[str, set[int]]] = []
    for side in (ours, theirs):
        sides.append({place: set() for place in places})
        for name in side:
            for place, number in _numbers(name):
                if place in places:
                    sides[-1][place].add(number)
    both = ((sorted(sides[0][place]), sorted(sides[1][place])) for place in places)
    return all(a[: len(b)] == b[: len(a)] for a, b in both)


@functools.lru_cache(1 << 14)
def _numbers(name: str) -> tuple[tuple[str, int], ...]:
    """What stands before each number in a name, and the number."""
    return tuple((name[: match.start()], int(match[0])) for match in re.finditer(r"\d+", name))


def _fits(shape: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    return shape == wanted or stored.trailing_ones(shape, wanted)


def _alike(name: str, key: str, shape: tuple[int, ...]) -> bool:
    """Tell whether names are of things that lie alike: where shapes do not tell, by the words."""
    if name == key:
        return True
    (*ours, last), (*theirs, other) = name.split("."), key.split(".")
    letters = [{_PROJECTIONS[s] for s in side if s in _PROJECTIONS} for side in (ours, theirs)]
    if all(letters) and letters[0] != letters[1]:
        return False
    if last == other:
        return True
    kinds = [set(_ALIKE.get(word, "").split()) for word in (last, other)]
    if kinds[0] & kinds[1]:
        return len(shape) == 1 or kinds[0] & kinds[1] != {"scale"}
    sizes = [size for size in shape if size > 1]
    return not any(kinds) and len(set(sizes)) == len(sizes) and math.prod(shape) > 1


def _next(names: _Names, fitted: _Names, wanted: Shapes, there: Shapes) -> _Way:
    """Further rules, of the first name without a key that tells them surely; or none."""
    taken = set(fitted.values())
    free = {key: shape for key, shape in there.items() if key not in taken}
    lonely = _lonely(fitted, wanted, free)
    for seed, able in _seeds(fitted, wanted, free):
        ways: dict[_Rules, _Way] = {}
        for key in able:
            for rules in edits.between(names[seed], key, [*names.values()], [*there]):
                named = tuple(rule._replace(replacement="") for rule in rules)
                led = edits.applied(rules, names[seed])
                if named not in ways and led in there and _fits(there[led], wanted[seed]):
                    ways[named] = rules, _fit(rules, names, wanted, there) or {}
        better = [way for way in ways.values() if way[1].keys() > fitted.keys()]
        best = _sure(better, fitted, lonely)
        if best[0]:
            return best
    return (), {}


def _sure(ways: Sequence[_Way], fitted: _Names, lonely: Container[str]) -> _Way:
    """The rules that tell most; none where others that tell nearly as much contradict them.

    Rules of names of one layer are sure only if some of these are lonely.
    """
    if not ways:
        return (), {}
    best = max(ways, key=lambda way: (len(way[1]), -len(way[0]), -sum(map(_length, way[0]))))
    gained = best[1].keys() - fitted.keys()
    rivals = [fit for _, fit in ways if len(fit) - len(fitted) >= _RIVAL * len(gained)]
    if any(best[1].get(name, key) != key for fit in rivals for name, key in fit.items()):
        return (), {}
    alone = len({name.rpartition(".")[0] for name in gained}) == 1
    return ((), {}) if alone and not any(name in lonely for name in gained) else best


def _lonely(fitted: _Names, wanted: Shapes, free: Shapes) -> set[str]:
    """The names without a key whose shape, of several axes, no other has, and one free key."""
    rest = {name: shape for name, shape in wanted.items() if name not in fitted}
    ours, theirs = collections.Counter(rest.values()), collections.Counter(free.values())
    return {name for name, shape in rest.items()
            if len(shape) > 1 and ours[shape] == theirs[shape] == 1}  # fmt: skip


def _length(rule: Rule) -> int:
    return len(rule.regex) + len(rule.shown)


def _seeds(fitted: _Names, wanted: Shapes, free: Shapes) -> Iterator[tuple[str, list[str]]]:
    """Yield names without a key, one of a kind, and free keys of their shapes, the likest first."""
    kinds: dict[str, str] = {}
    for name in wanted:
        if name not in fitted:
            kinds.setdefault(re.sub(r"\d+", "0", name), name)
    of_shape: dict[str, list[str]] = {
        name: [key for key, shape in free.items() if _fits(shape, wanted[name])]
        for name in kinds.values()
    }
    able = sorted((name for name in of_shape if of_shape[name]), key=lambda n: len(of_shape[n]))
    for name in able[:_SEEDS]:
        yield name, sorted(of_shape[name], key=lambda key: -_likeness(name, key))[:_KEYS]


def _likeness(name: str, key: str) -> float:
    return difflib.SequenceMatcher(None, name, key, autojunk=False).ratio()


def _needed(rules: _Rules, fitted: _Names, wanted: Shapes, there: Shapes) -> _Rules:
    """The rules without those that change nothing."""
    names = {name: name for name in wanted}
    for rule in rules:
        rest = tuple(each for each in rules if each is not rule)
        if _fit(rest, names, wanted, there) == fitted:
            rules = rest
    return rules
