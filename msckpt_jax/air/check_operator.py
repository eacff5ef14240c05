"""The checks of an operator of an AIR file; :mod:`msckpt_jax.air.check` has the others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from math import prod
from typing import Any, TypeAlias

from msckpt_jax import display
from msckpt_jax.air import prototypes as tables
from msckpt_jax.air.check_dtypes import DTYPE_CHECKS
from msckpt_jax.air.check_sizes import SIZE_CHECKS
from msckpt_jax.air.described import dtype_name
from msckpt_jax.air.operator_view import OperatorView
from msckpt_jax.air.wiring import (
    DATA,
    GraphView,
    Problem,
    end,
)


def operator_problems(
    operator: Any, graph: GraphView, graphs: frozenset[str], engine: str | None
) -> Iterator[Problem]:
    """Problems of an operator of ``graph``, in a model that has ``graphs``."""
    if not operator.name or not operator.type:
        yield Problem("has no name or no type")
    prototype = tables.prototypes().get(operator.type, _NO_PROTOTYPE)
    view = OperatorView(operator, graph, prototype, graphs, engine)
    for check in _CHECKS_OF_ALL:
        yield from check(view)
    if operator.type == "NetOutput":
        return  # takes anything; GE makes its ports
    if prototype is _NO_PROTOTYPE:
        yield Problem("GE has no such operator")
        return
    for check in _OPERATOR_CHECKS:
        yield from check(view)


def reference_problems(
    operator: Any, graph: GraphView, graphs: frozenset[str]
) -> Iterator[Problem]:
    """References of an operator to things that are not there."""
    prototype = tables.prototypes().get(operator.type, _NO_PROTOTYPE)
    view = OperatorView(operator, graph, prototype, graphs, None)
    for check in _REFERENCE_CHECKS:
        yield from check(view)


def _ends_are_ends(view: OperatorView) -> Iterator[Problem]:
    for source in filter(None, view.sources):
        operator = view.graph.by_name.get(source.name)
        if operator is not None and operator.type == "NetOutput":
            yield Problem(f"takes a result of {source.name!r}, which ends the graph")


_NO_PROTOTYPE = tables.Prototype("", (), (), {}, ())


def _inputs_exist(view: OperatorView) -> Iterator[Problem]:
    for text in filter(None, view.operator.input):
        source = end(text)
        if source is None:
            yield Problem(f"input {text!r} has no index, GE leaves it unconnected")
        elif (outputs := view.graph.outputs.get(source.name)) is None:
            yield Problem(f"input {text!r}: no such operator in this graph")
        elif source.index >= len(outputs):
            yield Problem(f"input {text!r}: it has {display.counted(len(outputs), 'output')}")
    taken = len(view.sources)
    if taken > len(view.inputs):
        yield Problem(f"{display.counted(taken, 'data input')}, {len(view.inputs)} described")


def _dims(view: OperatorView) -> Iterator[Problem]:
    for described in (*view.operator.input_desc, *view.operator.output_desc):
        dims = described.shape.dim[:]
        least = min(dims, default=0)
        if least < -2 or (least == -2 and len(dims) > 1):
            yield Problem(f"shape {dims}: -1 is an unknown size, [-2] an unknown rank")


def _inputs_are_the_prototypes(view: OperatorView) -> Iterator[Problem]:
    if view.operator.type in DATA | {"Variable"}:
        return
    for port in view.prototype.inputs:
        if port.dynamic or port.optional:
            continue
        if port.name not in view.ports:
            yield Problem(f"the input {port.name!r} is missing")
        elif not view.fed(view.ports[port.name]):
            yield Problem(f"the input {port.name!r} is not connected")
    dynamic = [port.name for port in view.prototype.inputs if port.dynamic]
    for name, position in view.ports.items():
        if name.rstrip("0123456789") in dynamic and not view.fed(position):
            yield Problem(f"the input {name!r} is not connected")


def _names_have_positions(view: OperatorView) -> Iterator[Problem]:
    positions, count = view.positions, len(view.inputs)
    if len(view.names) != len(positions):
        names = display.counted(len(view.names), "name")
        yield Problem(f"{names} of inputs, {display.counted(len(positions), 'position')}")
    if positions and not 0 <= min(positions) <= max(positions) < count:
        yield Problem(f"positions {positions}, of {display.counted(count, 'input')}")


def _ports_are_unique(view: OperatorView) -> Iterator[Problem]:
    """Refuse a port that is named twice, or a position that two ports have."""
    for port, count in Counter(view.names).items():
        if count > 1:
            yield Problem(f"the input {port!r} is there {count} times")
    for position, count in Counter(view.positions).items():
        if count > 1:
            yield Problem(f"{count} inputs have the position {position}")


def _inputs_are_in_order(view: OperatorView) -> Iterator[Problem]:
    count = len(view.inputs)
    if unknown := sorted(set(view.names[: len(view.positions)]) - view.ports.keys()):
        yield Problem(f"inputs {unknown} are not in the prototype")
    elif len(view.ports) < count:
        yield Problem(f"{display.counted(count, 'input')}, the prototype has {len(view.ports)}")
    positions = list(view.ports.values())
    if positions != sorted(positions):
        yield Problem(f"inputs are not in the prototype's order {list(view.ports)}")


def _outputs_are_the_prototypes(view: OperatorView) -> Iterator[Problem]:
    fixed = sum(not port.dynamic for port in view.prototype.outputs)
    any_number = fixed < len(view.prototype.outputs)
    count = len(view.operator.output_desc)
    if count < fixed or (count > fixed and not any_number):
        more = " or more" if any_number else ""
        yield Problem(f"{display.counted(count, 'output')}, the prototype has {fixed}{more}")


_LISTS = {
    1: "ListString",
    2: "ListInt",
    3: "ListFloat",
    4: "ListBool",
    5: "ListBytes",
    6: "ListTensorDesc",
    7: "ListTensor",
    8: "ListGraph",
    9: "ListNamedAttrs",
    10: "ListType",
}
_KINDS = {
    "s": "String",
    "i": "Int",
    "f": "Float",
    "b": "Bool",
    "bt": "Bytes",
    "func": "NamedAttrs",
    "td": "TensorDesc",
    "t": "Tensor",
    "g": "Graph",
    "list_list_int": "ListListInt",
    "list_list_float": "ListListFloat",
    "dt": "Type",
}
#: Lists that the loader reads before its general code, so that they need no element type.
_BOOKKEEPING = (
    "_input_name_",
    "_output_name_",
    "_opt_input",
    "_ir_",
    "_src_out_peer_index_for_ge_txt_load",
)


def _kind(attribute: Any) -> str | None:
    """The type of an attribute's value; ``"List"`` is a list that GE drops."""
    kind = attribute.WhichOneof("value")
    if kind == "list":
        return _LISTS.get(attribute.list.val_type, "List")
    return None if kind is None else _KINDS.get(kind, kind)


def _attributes_are_the_prototypes(view: OperatorView) -> Iterator[Problem]:
    known = view.prototype.attributes
    given = view.operator.attr
    kinds = {name: _kind(given[name]) for name in given if not name.startswith(_BOOKKEEPING)}
    for name, kind in sorted(kinds.items()):
        if kind in (None, "List"):
            lost = kind == "List" and name in known  # without any value its default holds
            yield Problem(f"GE drops the attribute {name!r}: no value type", lost)
        elif name in known and view.operator.type not in DATA:
            wanted = known[name].type
            if kind != wanted and (kind, wanted) != ("Int", "Type"):
                yield Problem(f"the attribute {name!r} is {kind}, expected {wanted}")
    for name, attribute in known.items():
        if attribute.default is None and kinds.get(name) is None:
            yield Problem(f"the attribute {name!r} ({attribute.type}) is missing")


def _subgraphs_exist(view: OperatorView) -> Iterator[Problem]:
    for name in view.operator.subgraph_name:
        if name and name not in view.graphs:
            yield Problem(f"its graph {name!r} is not in the model")
    fixed = sum(not port.dynamic for port in view.prototype.subgraphs)
    any_number = fixed < len(view.prototype.subgraphs)
    count = len(view.operator.subgraph_name)
    if count < fixed or (count > fixed and not any_number):
        yield Problem(f"{display.counted(count, 'graph')} of its own, the prototype has {fixed}")


#: Bytes of an element; GE decides the size of dtypes that are not here.
_SIZES = {
    **dict.fromkeys(("int8", "uint8", "bool", "hifloat8"), 1),
    **dict.fromkeys(("float8_e5m2", "float8_e4m3fn", "float8_e8m0"), 1),
    **dict.fromkeys(("float16", "bf16", "int16", "uint16"), 2),
    **dict.fromkeys(("float", "int32", "uint32", "complex32"), 4),
    **dict.fromkeys(("double", "int64", "uint64", "complex64"), 8),
    "complex128": 16,
}


def _constants_fit(view: OperatorView) -> Iterator[Problem]:
    if view.operator.type not in ("Const", "Constant"):
        return
    if "value" not in view.operator.attr or _kind(view.operator.attr["value"]) != "Tensor":
        yield Problem("its attribute 'value' is no tensor")
        return
    tensor = view.operator.attr["value"].t
    dtype, dims = dtype_name(tensor.desc.dtype), list(tensor.desc.shape.dim)
    if dtype == "undefined":
        yield Problem("its value has no dtype")
    wanted = prod(dims) * _SIZES.get(dtype, 0)
    empty_scalar = not dims and not tensor.data
    elsewhere = "length" in view.operator.attr
    if dtype in _SIZES and not elsewhere and not empty_scalar and len(tensor.data) != wanted:
        yield Problem(
            f"{dtype}{dims} needs {display.counted(wanted, 'byte')}, found {len(tensor.data)}"
        )
    for described in view.operator.output_desc[:1]:
        if (described.dtype, list(described.shape.dim)) != (tensor.desc.dtype, dims):
            yield Problem("its output is described otherwise than its value", fault=False)


def _arguments_are_described(view: OperatorView) -> Iterator[Problem]:
    if view.operator.type not in DATA:
        return
    if not view.operator.input_desc:
        yield Problem("atc reads shape and dtype from input 0, which is not described")
    if not view.operator.output_desc:
        yield Problem("its value is not described")
    if "index" not in view.operator.attr:
        yield Problem("has no index", fault=False)


def _references_are_variables(view: OperatorView) -> Iterator[Problem]:
    outputs = {port.name for port in view.prototype.outputs}
    for name in outputs & view.ports.keys():
        source = view.source(view.ports[name])
        if source is not None and view.graph.by_name[source[0]].type in ("Const", "Constant"):
            yield Problem(f"changes its input {name!r} in place, which atc refuses of a constant")


_Checks: TypeAlias = tuple[Callable[[OperatorView], Iterator[Problem]], ...]
_CHECKS_OF_ALL: _Checks = (_inputs_exist, _dims, _names_have_positions)
_REFERENCE_CHECKS: _Checks = (
    _inputs_exist,
    _ports_are_unique,
    _subgraphs_exist,
    _arguments_are_described,
    _ends_are_ends,
    _names_have_positions,
)
_OPERATOR_CHECKS: _Checks = (
    _inputs_are_the_prototypes,
    _ports_are_unique,
    _inputs_are_in_order,
    _outputs_are_the_prototypes,
    _attributes_are_the_prototypes,
    _subgraphs_exist,
    _constants_fit,
    _arguments_are_described,
    _references_are_variables,
    *DTYPE_CHECKS,
    *SIZE_CHECKS,
)
