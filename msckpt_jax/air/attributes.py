"""The attributes of an operator of a file, and those that its meaning in JAX leaves aside."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msckpt_jax.air.meaning import MEANINGS, POSITIONS
from msckpt_jax.air.prototypes import Prototype, prototypes
from msckpt_jax.dtypes import BY_GE
from msckpt_jax.graph.evaluate import arguments_of

#: Attributes that change no number, whatever their value: counts of inputs, which are there to be
#: counted, moments that only training changes, and the order of results that is sorted anyway.
_FREE = frozenset({"N", "exponential_avg_factor", "sorted", "stable", "use_locking"})

_PLAIN = {"s": lambda a: a.s.decode("utf-8", "replace"), "i": lambda a: a.i, "f": lambda a: a.f}
_PLAIN |= {"b": lambda a: a.b, "dt": lambda a: a.dt}
_LISTS = {1: "s", 2: "i", 3: "f", 4: "b", 10: "dt"}


def attributes(op: Any, prototype: Prototype) -> dict[str, Any]:
    """The attributes in the file over the prototype's defaults."""
    defaults = {
        name: attribute.value
        for name, attribute in prototype.attributes.items()
        if attribute.default is not None
    }
    merged = defaults | written(op)
    if op.type in POSITIONS and POSITIONS[op.type] < len(op.output_desc):
        row = BY_GE.get(op.output_desc[POSITIONS[op.type]].dtype)
        merged |= {} if row is None else {"index_dtype": row.array}
    return merged


def written(op: Any) -> dict[str, Any]:
    """The attributes in the file, but for GE's own, of plain kinds."""
    plain = {}
    for name, attribute in op.attr.items():
        kind = attribute.WhichOneof("value")
        if name.startswith("_") or name == "is_input_const":
            continue
        if kind in _PLAIN:
            plain[name] = _PLAIN[kind](attribute)
        elif kind == "list" and attribute.list.val_type in _LISTS:
            plain[name] = list(getattr(attribute.list, _LISTS[attribute.list.val_type]))
    return plain


def unheeded(kind: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """The attributes whose values the meaning of an operator would not honour.

    A meaning names the attributes that it uses. Of the others it stands for the prototype's
    default, and of those that CANN 8.1 lacks for nothing: 0, false, empty.
    """
    _, named = arguments_of(MEANINGS[kind])
    if named is None:
        return {}
    known = prototypes()[kind].attributes
    rest = {name: value for name, value in values.items() if name not in named | _FREE}
    return {
        name: value
        for name, value in rest.items()
        if (value != known[name].value if name in known and known[name].default else value)
    }
