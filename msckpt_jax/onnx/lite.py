"""The ONNX that MindSpore Lite takes, by its converter's source: nobody has run it here.

``lite.tsv`` has the operators of ONNX that ``converter_lite`` has a parser for, written by
``python -m tests.runtimes.parsers CLONE``. Parsers leave attributes and operands unread, and then
make other numbers without a word: ``_RULES`` finds such nodes. Beside these the converter makes
int64 int32 and float64 float32, and loses values on their way into bodies of If and Loop.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cache
from importlib.resources import files
from typing import Any, NamedTuple

import numpy as np
import onnx
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from msckpt_jax import display
from msckpt_jax.dtypes import TABLE, of_array
from msckpt_jax.graph.values import Tensor

#: What a reader of any message has to know about it.
SOURCE = (
    "by the source of MindSpore Lite's converter of 2025-07-25, which nobody has run here: "
    "docs/runtimes.md says what to do"
)
#: The most steps that a Loop may have: the number is an int32 there.
MOST_STEPS = 2**31 - 1
_DTYPES = frozenset({"bool", "i8", "u8", "i16", "i32", "u32", "i64", "u64", "bf16", "f16", "f32"})
_BY_NUMBER = {row.onnx: row.array for row in TABLE if row.onnx is not None}
_DOMAINS = ("", "ai.onnx")
_SMALL, _LARGE = np.iinfo(np.int32), np.iinfo(np.int64)

#: The types of values by name.
Types = Mapping[str, Tensor]


class Seen(NamedTuple):
    """A node as a rule sees it: ``how`` are its attributes."""

    node: NodeProto
    how: Mapping[str, Any]
    types: Types

    def spatial(self) -> int | None:
        """The number of spatial axes, or None where the shape is not known."""
        known = self.types.get(self.node.input[0])
        return None if known is None else len(known.shape) - 2


#: Returns what its parser gets wrong, or an empty text.
Rule = Callable[[Seen], str]


@cache
def parsed() -> frozenset[str]:
    """The operators of ONNX that the converter has a parser for."""
    lines = files("msckpt_jax.onnx").joinpath("lite.tsv").read_text().splitlines()
    return frozenset(line for line in lines if not line.startswith("#"))


def reasons(node: NodeProto, types: Types) -> Iterator[str]:
    """Yield why the converter refuses a node, or makes other numbers of it.

    Args:
        node: a node of any opset from 13 on.
        types: the types of the values around it, as far as they are known.
    """
    if node.domain not in _DOMAINS or node.op_type not in parsed():
        yield "MindSpore Lite's converter has no parser of it"
        return
    how = {each.name: helper.get_attribute_value(each) for each in node.attribute}
    plain = {name: v.decode() if isinstance(v, bytes) else v for name, v in how.items()}
    if (rule := _RULES.get(node.op_type)) and (reason := rule(Seen(node, plain, types))):
        yield reason
    for name in node.output:
        if name in types and (reason := of_dtype(types[name].dtype)):
            yield reason


def wider(type_: Tensor) -> dict[str, np.dtype]:
    """The dtype in which Where is computed, by its letter, if that is another: one of 32 bits."""
    small = type_.dtype.itemsize < 4
    return {"T": np.dtype(np.float32)} if small else {}


def of_dtype(dtype: np.dtype, end: bool = False) -> str:
    """The reason why no value may have a dtype, or an empty text.

    Args:
        dtype: the dtype.
        end: whether the value is an input, a weight or a result.
    """
    if dtype == np.float64 or (end and dtype == np.int64):
        return f"MindSpore Lite's converter makes {dtype.name[:-2]}32 of {dtype.name}: cast it"
    row = of_array(dtype)
    known = row is not None and row.short in _DTYPES
    return "" if known else f"MindSpore Lite's converter knows no {dtype.name}"


def of_constant(array: np.ndarray) -> str:
    """The reason why a constant may not be in a file, or an empty text.

    The largest and the least int64 are ends of Slice, and stay these in 32 bits.
    """
    if array.dtype != np.int64:
        return ""
    far = (array < _SMALL.min) | (array > _SMALL.max)
    if np.any(far & (array != _LARGE.min) & (array != _LARGE.max)):
        return "MindSpore Lite's converter makes int32 of int64, and a number does not fit"
    return ""


def problems(model: ModelProto) -> list[str]:
    """The problems of a model, each with the nodes that have it; its weights may have no data."""
    by_reason: dict[str, list[str]] = {}
    for name, reason in _problems(onnx.shape_inference.infer_shapes(model)):
        by_reason.setdefault(reason, []).append(name)
    return [f"{reason} ({_shown(names)})" for reason, names in by_reason.items() if reason]


def _shown(names: list[str]) -> str:
    rest = len(names) - 1
    return names[0] + (f" and {display.counted(rest, 'other')}" if rest else "")


def _problems(model: ModelProto) -> Iterator[tuple[str, str]]:
    """Yield the name of a value or node, and what is wrong with it."""
    graph = model.graph
    if (first := model.opset_import[0].domain) not in _DOMAINS:
        yield first, "MindSpore Lite's converter takes the first opset of a file for ONNX's"
    held = {tensor.name for tensor in graph.initializer}
    held |= {node.output[0] for node in graph.node if node.op_type == "Constant"}
    for value in (*graph.input, *graph.output):
        if value.name not in held:
            yield from _of_number(value.name, value.type.tensor_type.elem_type, end=True)
    for tensor in graph.initializer:
        yield from _of_number(tensor.name, tensor.data_type, end=False)
        yield tensor.name, _of_tensor(tensor)
    yield from _of_graph(graph, {}, _scope(graph, frozenset(held)))


def _of_tensor(tensor: TensorProto) -> str:
    """The reason why a constant that the file itself holds may not be in it, or an empty text."""
    if tensor.data_type != TensorProto.INT64 or tensor.data_location == TensorProto.EXTERNAL:
        return ""
    return of_constant(numpy_helper.to_array(tensor))


def _of_number(name: str, number: int, end: bool) -> Iterator[tuple[str, str]]:
    """Yield the problem of a value of a ``TensorProto.DataType``."""
    if (dtype := _BY_NUMBER.get(number)) is not None:
        yield name, of_dtype(dtype, end)
    else:
        text = TensorProto.DataType.Name(number).lower()
        yield name, f"MindSpore Lite's converter knows no {text}"


class Scope(NamedTuple):
    """What bodies see around them: the constants of the model, inputs and values of a graph."""

    held: frozenset[str]
    inputs: frozenset[str]
    made: frozenset[str]


def _scope(graph: GraphProto, held: frozenset[str]) -> Scope:
    inputs = frozenset(value.name for value in graph.input) - held
    return Scope(held, inputs, frozenset(name for node in graph.node for name in node.output))


def _of_graph(graph: GraphProto, types: Types, scope: Scope) -> Iterator[tuple[str, str]]:
    """Yield the problems of the nodes of a graph and its bodies.

    Args:
        graph: the graph.
        types: the types of the values around it.
        scope: what its bodies see.
    """
    types = {**types, **_types(graph)}
    for node in graph.node:
        name = f"{node.op_type} {node.name}".strip()
        yield from ((name, f"{node.op_type}: {reason}") for reason in reasons(node, types))
        for body in (each.g for each in node.attribute if each.HasField("g")):
            yield from ((name, f"{node.op_type}: {reason}") for reason in _of_body(body, scope))
            yield from _of_graph(body, types, _scope(body, scope.held))


def _of_body(body: GraphProto, scope: Scope) -> Iterator[str]:
    """Yield what a body takes from around it that the converter loses."""
    own = {value.name for value in (*body.input, *body.initializer)} | {""}
    own |= {name for node in body.node for name in node.output}
    taken = {name for node in body.node for name in node.input} - own - scope.held
    if taken & scope.inputs:
        yield "its body takes an input of the graph around it, which an Identity would pass on"
    if taken - scope.inputs - scope.made:
        yield "its body takes a value from two graphs up"
    axes = {name for node in body.node if node.op_type == "Unsqueeze" for name in node.input[1:]}
    if any(not _holds(body, name) for name in axes):
        yield "its body has an Unsqueeze whose axes are no constant of the body"


def _holds(graph: GraphProto, name: str) -> bool:
    constants = (node.output[0] for node in graph.node if node.op_type == "Constant")
    return name in {*constants, *(tensor.name for tensor in graph.initializer)}


def _types(graph: GraphProto) -> Types:
    """The types of the values that a graph tells of; dynamic sizes are names."""
    known = {}
    for value in (*graph.input, *graph.output, *graph.value_info):
        of = value.type.tensor_type
        if of.elem_type in _BY_NUMBER and of.HasField("shape"):
            shape = tuple(dim.dim_param or dim.dim_value for dim in of.shape.dim)
            known[value.name] = Tensor(_BY_NUMBER[of.elem_type], shape)
    for tensor in graph.initializer:
        if tensor.data_type in _BY_NUMBER:
            known[tensor.name] = Tensor(_BY_NUMBER[tensor.data_type], tuple(tensor.dims))
    return known


def _unread(attribute: str, value: Any) -> Rule:
    """The rule of an attribute that the parser leaves unread: it must have the one value."""

    def rule(seen: Seen) -> str:
        if (have := seen.how.get(attribute, value)) == value:
            return ""
        return f"its parser leaves {attribute}={have} unread"

    return rule


def _axes(*counts: int) -> Rule:
    """The rule of an operator that is parsed for some numbers of spatial axes."""

    def rule(seen: Seen) -> str:
        have = seen.spatial()
        return "" if have is None or have in counts else f"its parser knows none of {have} axes"

    return rule


def _all(*rules: Rule) -> Rule:
    return lambda seen: next(filter(None, (rule(seen) for rule in rules)), "")


def _cast(seen: Seen) -> str:
    narrowed = seen.how["to"] == TensorProto.INT64
    known = seen.types.get(seen.node.input[0])
    if narrowed and known is not None and known.dtype in (np.uint32, np.uint64):
        return f"{known.dtype.name} becomes int64, which the converter makes int32"
    return ""


def _two_operands(seen: Seen) -> str:
    count = len(seen.node.input)
    return "" if count == 2 else f"its parser takes 2 operands, not {count}"


def _clip(seen: Seen) -> str:
    given = list(seen.node.input[1:])
    return "its parser reads no maximum without a minimum" if given[:1] == [""] else ""


def _one_scale(seen: Seen) -> str:
    known = seen.types.get(seen.node.input[1])
    if known is not None and known.shape in ((), (1,)):
        return ""
    return "its parser leaves axis and block_size unread: there must be one scale"


def _remainder(seen: Seen) -> str:
    known = seen.types.get(seen.node.input[0])
    if known is not None and known.dtype.kind == "u":
        return ""
    return "its parser leaves fmod unread, which gives the sign"


def _pad(seen: Seen) -> str:
    mode = seen.how.get("mode")
    if mode is None:
        return "its parser takes any mode where none is stated"
    if mode not in ("constant", "reflect"):
        return f"its parser has no mode {mode}"  # edge becomes symmetric
    return "its parser leaves axes unread" if len(seen.node.input) > 3 else ""


def _resize(seen: Seen) -> str:
    known = ("half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric")
    if (how := seen.how.get("coordinate_transformation_mode", known[0])) not in known:
        return f"its parser has no coordinates {how}"
    return _all(_unread("antialias", 0), _unread("axes", None))(seen)


def _gemm(seen: Seen) -> str:
    factors = (seen.how.get("alpha", 1.0), seen.how.get("beta", 1.0))
    return "" if factors == (1.0, 1.0) else "its parser takes no alpha and no beta but 1"


def _shape(seen: Seen) -> str:
    return _all(_unread("start", 0), _unread("end", None))(seen)


def _named(seen: Seen) -> str:
    """Ask for a name beside those of the results, which the converter would take for the node."""
    outputs = list(seen.node.output)
    if len(outputs) > 1 and seen.node.name in ("", *outputs):
        return "its name must be none of its results' names"
    return ""


def _loop(seen: Seen) -> str:
    if not seen.node.input[0]:
        return "its parser needs the most steps, and takes the next operand for it"
    body = seen.how["body"]
    if any(body.input[0].name in node.input for node in body.node):
        return "the number of the step, which its body takes, counts the steps that are left"
    return ""


def _where(seen: Seen) -> str:
    """Ask for what the kernel takes: it counts elements, four bytes each."""
    values = [seen.types.get(name) for name in (*seen.node.input, seen.node.output[0])]
    condition, *operands, result = values
    if condition is None or result is None or None in operands:
        return ""
    if condition.shape != result.shape or any(
        x.shape not in ((), result.shape) for x in operands if x is not None
    ):
        return "its kernel takes a condition of the result's shape, and operands of it or of rank 0"
    if result.dtype.itemsize < 4:
        return f"its kernel knows no {result.dtype.name}"
    return ""


#: Operators of which the converter's parser gets some forms wrong.
_RULES: Mapping[str, Rule] = {
    "ArgMax": _unread("select_last_index", 0),
    "ArgMin": _unread("select_last_index", 0),
    "AveragePool": _axes(2, 3),
    "BatchNormalization": _unread("training_mode", 0),
    "Cast": _cast,
    "Clip": _clip,
    "ConvTranspose": _axes(2),
    "DequantizeLinear": _one_scale,
    "GatherND": _unread("batch_dims", 0),
    "Gelu": _unread("approximate", "none"),
    "Gemm": _gemm,
    "If": _named,
    "Loop": _all(_named, _loop),
    "Max": _two_operands,
    "MaxPool": _all(_axes(2), _unread("storage_order", 0)),
    "Min": _two_operands,
    "Mod": _remainder,
    "Pad": _pad,
    "QuantizeLinear": _one_scale,
    "Resize": _resize,
    "ScatterElements": _unread("reduction", "none"),
    "ScatterND": _unread("reduction", "none"),
    "Shape": _shape,
    "Where": _where,
}
