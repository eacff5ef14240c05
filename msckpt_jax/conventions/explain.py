"""``explain``: a table of the leaves of a Flax tree and their parameters in MindSpore."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from msckpt_jax import display
from msckpt_jax.conventions import convention as conventions
from msckpt_jax.conventions.convention import ConventionLike
from msckpt_jax.conventions.mapping import KEPT, Derived, Part, Target, View
from msckpt_jax.visible import lines


class Row(NamedTuple):
    """A leaf in a parameter.

    ``leaf`` is empty for a parameter that no leaf of Flax makes.
    """

    leaf: str
    leaf_shape: tuple[int, ...]
    name: str
    shape: tuple[int, ...]
    how: str
    layer: str


class Report(Sequence[Row]):
    """The rows of a table; printed, it is the table.

    Attributes:
        kept: the leaves that belong to no known layer, and keep their names and layouts.
        unmapped: the leaves that can be read in several ways, with these ways.
    """

    def __init__(self, rows: list[Row], unmapped: dict[str, list[str]], sides: tuple[str, str]):
        self._rows, self.unmapped = rows, unmapped
        self._columns = (sides[0], "shape", sides[1], "shape", "how", "layer")
        self.kept = [row.leaf for row in rows if row.layer == KEPT]

    def __getitem__(self, index: Any) -> Any:
        return self._rows[index]

    def __len__(self) -> int:
        return len(self._rows)

    def _repr_html_(self) -> str:
        rows = [list(map(_text, row)) for row in self._rows]
        return display.page(
            display.counted(len(rows), "parameter"),
            display.table(self._columns, rows),
            *([display.fold("not mapped", display.lines(self._unclear()))] * bool(self.unmapped)),
        )

    def __repr__(self) -> str:
        rows = [list(map(_text, row)) for row in self._rows]
        unclear = ["not mapped:", *self._unclear()] if self.unmapped else []
        return lines([*display.columns(self._columns, rows), *unclear])

    def _unclear(self) -> list[str]:
        return [f"{leaf}: either {', or '.join(r)}" for leaf, r in self.unmapped.items()]


def explain(tree: Any, convention: ConventionLike = "mindspore") -> Report:
    """Show how ``save_checkpoint`` and ``load_checkpoint`` map ``tree`` with this convention.

    Leaves may be abstract (``nnx.eval_shape``, ``jax.ShapeDtypeStruct``). Leaves that can be read
    in several ways are shown instead of refused.

    Example:
        >>> net = nnx.Linear(2, 3, rngs=nnx.Rngs(0))
        >>> print(ms.explain(net, "mindspore"))
        Flax    shape   MindSpore  shape   how         layer
        bias    [3]     bias       [3]     as it is    Dense
        kernel  [2, 3]  weight     [3, 2]  i o -> o i  Dense
    """
    resolver = conventions.of(convention)
    resolved = resolver.resolve(tree)
    rows = [row for target in resolved.targets for row in _rows(target)]
    return Report(rows, resolved.unclear, resolver.sides)


def _rows(target: Target) -> Iterator[Row]:
    if not target.parts:
        how = "constant" if target.derived is None else _derived(target.derived)
        yield Row("", (), target.name, target.shape, how, target.layer)
    for part in target.parts:
        yield Row(
            part.leaf, part.shape, target.name, target.shape, _how(target, part), target.layer
        )


def _derived(made: Derived) -> str:
    return made.steps if made.base is None else f"{made.base} ** {made.steps}"


def _how(target: Target, part: Part | View) -> str:
    if target.copy_of:
        return f"where it is not {target.copy_of}"
    if isinstance(part, View):
        plus = part.plus
        merged = f" + {plus.scale:g} {plus.a.leaf} {plus.b.leaf}" if plus else ""
        return part.how.text + merged
    out = part.pattern.text + (", negated" if part.pattern.negated else "")
    out += "".join(f", {at} of axis {axis}" for axis, at in part.pattern.fixed)
    if len(target.parts) > 1:
        rows = part.pattern.shape(part.shape)[0]
        out += f", rows {part.start} to {part.start + rows}"
    return out if part.written else f"zeros, added when loaded{out.removeprefix(part.pattern.text)}"


def _text(value: Any) -> str:
    return str(list(value)) if isinstance(value, tuple) else value
