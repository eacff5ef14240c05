"""Rules that lead from a name to another one, from those that say most to those that say least.

A name is read by its segments, between dots. Numbers in a rule stand for any numbers, and become
those of the other name: as they are, moved by a difference, or in the order of the indices.
"""

from __future__ import annotations

import difflib
import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple, TypeAlias

from msckpt_jax.conventions.renaming import Replacement

_NUMBER = re.compile(r"\d+")
#: The most rules by which two names may differ.
_MOST = 3


class Rule(NamedTuple):
    """An entry of ``rename=``.

    Attributes:
        regex, replacement: key and value of the entry.
        shown: the value as Python writes it.
        text: what the rule does, for people.
        moves: whether it changes numbers.
    """

    regex: str
    replacement: Replacement
    shown: str
    text: str
    moves: bool = False

    def __call__(self, name: str) -> str:
        return re.sub(self.regex, self.replacement, name)


def written(text: str) -> str:
    """A text as a regular expression or a template is written in Python."""
    raw = "\\" in text and "'" not in text and text.isprintable() and not text.endswith("\\")
    return f"r'{text}'" if raw else repr(text)


#: Where segments change: from and to in the name, from and to in the key.
_Place: TypeAlias = tuple[int, int, int, int]


class _Edit(NamedTuple):
    """Segments in place of others; ``first`` and ``last`` tell whether these end the name there."""

    old: tuple[str, ...]
    new: tuple[str, ...]
    first: bool
    last: bool


def between(
    name: str, key: str, names: Sequence[str], keys: Sequence[str]
) -> Iterator[tuple[Rule, ...]]:
    """Yield rules, to be applied in order, that lead from ``name`` to ``key``.

    ``names`` and ``keys`` are all of both sides: where their indices correspond by their order, the
    name gets the number that is in the place of its own.
    """
    a, b = name.split("."), key.split(".")
    codes = difflib.SequenceMatcher(None, a[:-1], b[:-1], autojunk=False).get_opcodes()
    codes.append(("equal" if a[-1] == b[-1] else "replace", len(a) - 1, len(a), len(b) - 1, len(b)))
    changed = [code[1:] for code in codes if code[0] != "equal"]
    for places in (changed, _begin_apart(changed)):
        if 0 < len(places) <= _MOST:
            ways = [list(_ways(a, b, *place, names, keys)) for place in reversed(places)]
            yield from itertools.product(*ways)


def _begin_apart(changed: Sequence[_Place]) -> list[_Place]:
    """The changes with a prefix by itself, where more or fewer segments begin a name; or none."""
    i, k, j, m = changed[0] if changed else (1, 1, 1, 1)
    old, new = max(k - m, 0), max(m - k, 0)
    if i or j or k == m or 0 in (k, m):
        return []
    return [(0, old, 0, new), (old, k, new, m), *changed[1:]]


def applied(rules: Iterable[Rule], name: str) -> str:
    """The name after the rules."""
    for rule in rules:
        name = rule(name)
    return name


def _ways(
    a: Sequence[str], b: Sequence[str], i: int, k: int, j: int, m: int,
    names: Sequence[str], keys: Sequence[str],
) -> Iterator[Rule]:  # fmt: skip
    """Yield the rules of an edit, with more and more of the name around it."""
    for left, right in ((0, 0), (1, 0), (0, 1), (1, 1), (2, 0)):
        if left > min(i, j) or right > min(len(a) - k, len(b) - m):
            continue
        if a[i - left : i] != b[j - left : j]:
            continue
        edit = _Edit(
            tuple(a[i - left : k + right]), tuple(b[j - left : m + right]),
            i == left, k + right == len(a),
        )  # fmt: skip
        if _alone(edit):
            yield from _rules(edit, names, keys)


def _alone(edit: _Edit) -> bool:
    """Tell whether the segments say enough: no mere number, nothing only at the begin of a name."""
    if not edit.old or not edit.new:
        return edit.first and not edit.last
    return not (_NUMBER.fullmatch(edit.old[0]) or _NUMBER.fullmatch(edit.new[0]))


def _rules(edit: _Edit, names: Sequence[str], keys: Sequence[str]) -> Iterator[Rule]:
    old, new = ".".join(edit.old), ".".join(edit.new)
    if not old or not new:
        yield _at_begin(old, new)
        return
    ours, theirs = _NUMBER.findall(old), _NUMBER.findall(new)
    end = "$" if edit.last else r"\b"
    if len(ours) != len(theirs) or not ours:
        regex = rf"\b{_escaped(old)}{end}"
        text = f"{new!r} where the network has {old!r}"
        yield Rule(regex, _template(new), written(_template(new)), text)
        return
    regex = rf"\b{_open(old)}{end}"
    moves = [int(t) - int(o) for o, t in zip(ours, theirs, strict=True)]
    yield _moved(regex, old, new, moves)
    if len(ours) == 1:
        of_keys = rf"\b{_open(new)}{end}"
        yield from _in_order(regex, old, new, _indices(regex, names), _indices(of_keys, keys))


def _at_begin(old: str, new: str) -> Rule:
    if old:
        return Rule(rf"^{_escaped(old)}\.", "", "''", f"the name without {old + '.'!r}")
    return Rule("^", _template(f"{new}."), written(_template(f"{new}.")), f"{new + '.'!r} + name")


def _moved(regex: str, old: str, new: str, moves: Sequence[int]) -> Rule:
    """The rule that moves each number by a difference."""
    texts = _NUMBER.split(new)
    if not any(moves):
        template = "".join(
            text + (_group(n, texts[n]) if n < len(texts) else "")
            for n, text in enumerate(map(_template, texts), 1)
        )
        return Rule(regex, template, written(template), _where(old, new))

    def replaced(match: re.Match[str]) -> str:
        numbers = [str(int(match[n]) + move) for n, move in enumerate(moves, 1)]
        return "".join(itertools.chain(*itertools.zip_longest(texts, numbers, fillvalue="")))

    parts = [f"{{int(m[{n}]){_plus(move)}}}" if move else f"{{m[{n}]}}"
             for n, move in enumerate(moves, 1)]  # fmt: skip
    told = "".join(
        itertools.chain(*itertools.zip_longest(map(_braced, texts), parts, fillvalue=""))
    )
    signs = ", ".join(f"index{_plus(move)}" for move in moves if move)
    same = _pattern(old) == _pattern(new)
    text = f"{signs} in {_pattern(old)!r}" if same else f"{_where(old, new)}, {signs}"
    return Rule(regex, replaced, f"lambda m: f{told!r}", text, moves=True)


def _in_order(
    regex: str, old: str, new: str, ours: Sequence[int], theirs: Sequence[int]
) -> Iterator[Rule]:
    """Yield the rule by which indices correspond in their order, where they are equally many."""
    if len(ours) != len(theirs) or not ours:
        return
    moves = {t - o for o, t in zip(ours, theirs, strict=True)}
    if len(moves) == 1:
        yield _moved(regex, old, new, [moves.pop()])
        return
    table = dict(zip(ours, theirs, strict=True))
    step, rest = _line(ours, theirs)
    before, after = _NUMBER.split(new)
    if all(step * o + rest == t for o, t in table.items()):
        number, told = _times(step, rest), f"{step} * int(m[1]){_plus(rest)}"
    else:
        number, told = table.get, f"({table}[int(m[1])])"

    def replaced(match: re.Match[str]) -> str:
        index = number(int(match[1]))
        return match[0] if index is None else f"{before}{index}{after}"

    shown = f"lambda m: f'{_braced(before)}{{{told}}}{_braced(after)}'"
    text = f"{_where(old, new)}, the indices in their order"
    if _pattern(old) == _pattern(new):
        text = f"indices in their order in {_pattern(old)!r}"
    yield Rule(regex, replaced, shown, text, moves=True)


def _plus(number: int) -> str:
    return f" {'+' if number > 0 else '-'} {abs(number)}" if number else ""


def _times(step: int, rest: int) -> Callable[[int], int]:
    return lambda index: step * index + rest


def _line(ours: Sequence[int], theirs: Sequence[int]) -> tuple[int, int]:
    """The step and the start of the line through the first two points."""
    step = (theirs[1] - theirs[0]) // (ours[1] - ours[0])
    return step, theirs[0] - step * ours[0]


def _indices(regex: str, names: Sequence[str]) -> list[int]:
    return sorted({int(match[1]) for name in names for match in re.finditer(regex, name)})


def _open(text: str) -> str:
    """A regular expression for a text with any numbers."""
    return r"(\d+)".join(map(_escaped, _NUMBER.split(text)))


def _escaped(text: str) -> str:
    return re.escape(text).replace(r"\-", "-")


def _template(text: str) -> str:
    return text.replace("\\", r"\\")


def _group(number: int, after: str) -> str:
    return rf"\g<{number}>" if after[:1].isdigit() else rf"\{number}"


def _braced(text: str) -> str:
    return text.replace("{", "{{").replace("}", "}}")


def _pattern(text: str) -> str:
    return _NUMBER.sub("N", text)


def _where(old: str, new: str) -> str:
    return f"{_pattern(new)!r} where the network has {_pattern(old)!r}"
