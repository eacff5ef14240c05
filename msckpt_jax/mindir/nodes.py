"""The nodes of a MindIR graph: types, attributes, and the operators that are structure."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from msckpt_jax import dtypes
from msckpt_jax._protos import mind_ir_pb2 as pb
from msckpt_jax.errors import MindIRError
from msckpt_jax.graph import operators
from msckpt_jax.graph.graph import Node
from msckpt_jax.graph.values import UNKNOWN, Const, Operand, Size, Tensor, Value
from msckpt_jax.mindir import attributes
from msckpt_jax.mindir.attributes import MONAD, Type, pack
from msckpt_jax.mindir.blocks import Binding, Block, Choice, Closure, is_tuple, measured

BOOL = Tensor(np.dtype(np.bool_), ())
#: Attributes that MindSpore adds to any operator for its compiler.
_NOISE = {
    "shape", "input_names", "output_names", "visited", "primitive_target", "is_load", "checkpoint",
    "recompute", "IsFeatureMapInputList", "IsFeatureMapOutput", "cust_aicpu", "side_effect_mem",
    "side_effect_io", "side_effect_hidden", "side_effect_propagate", "side_effect_backprop",
    "random_cache", "io_format", "func_name",
    # how operands lie on devices, by ``shard``: the numbers are the same
    "in_strategy", "out_strategy", "in_layout", "out_layout",
}  # fmt: skip
#: The numbers of enumerations that old files spell out (MindSpore core, ops/op_enum.h).
_ENUMERATIONS = {
    "pad_mode": {"pad": 0, "same": 1, "valid": 2},
    "padding": {"pad": 0, "same": 1, "valid": 2},
    "data_format": {"nchw": 0, "nhwc": 1, "ncdhw": 4},
    "format": {"nchw": 0, "nhwc": 1, "ncdhw": 4},
    "reduction": {"sum": 0, "mean": 1, "none": 2},
}


class Types:
    """The types that a file describes; each dynamic dimension gets a name of its own."""

    def __init__(self) -> None:
        self.dynamic = 0

    def _fresh(self) -> str:
        self.dynamic += 1
        return f"?{self.dynamic - 1}"

    def of_node(self, node: pb.NodeProto) -> Type:
        for attribute in node.attribute:
            if attribute.name == "shape":
                return attributes.abstract(attribute, self._fresh)
        return None

    def of_value(self, value: pb.ValueInfoProto) -> Type:
        if value.tensor:
            return attributes.tensor_type(value.tensor[0], self._fresh)
        type = attributes.abstract(value.attr_info, self._fresh)
        if type is None and value.denotation in _SCALARS:
            return Tensor(*_SCALARS[value.denotation])
        return type


_SCALARS = {
    "Int": (np.dtype(np.int64), ()),
    "Int64": (np.dtype(np.int64), ()),
    "Float": (np.dtype(np.float32), ()),
    "Float32": (np.dtype(np.float32), ()),
    "Bool": (np.dtype(np.bool_), ()),
}


def attributes_of(node: pb.NodeProto, primitive: pb.PrimitiveProto | None) -> dict[str, Any]:
    """The attributes of an operator: its primitive's, and in old files the node's, too."""
    own = [] if primitive is None else primitive.attribute
    for owner, protos in ((primitive, own), (node, node.attribute)):
        _unique([attribute.name for attribute in protos], owner)
    return {
        attribute.name: attributes.python(attribute)
        for attribute in (*own, *node.attribute)
        if attribute.name not in _NOISE
    }


def _unique(names: list[str], owner: Any) -> None:
    if len(set(names)) < len(names):
        name = next(name for name in names if names.count(name) > 1)
        raise MindIRError(f"{owner.name!r} ({owner.op_type}) has the attribute {name!r} twice")


def place(node: pb.NodeProto, op: str) -> str:
    """The operator of a node and its scope in the network: ``MatMul at Default/fc-Dense/...``."""
    return f"{op} at {node.domain or node.output[0]}"


def plain(
    block: Block, op: str, args: list[Binding], attrs: dict[str, Any], types: Type
) -> Binding:
    """Add a node of an operator that computes; return its result."""
    inputs = [block.operand(arg) for arg in args if arg is not MONAD]
    definition = operators.definition(op)
    if definition is not None:
        inputs = _arguments(definition, inputs, attrs)
        arguments = {argument.name for argument in definition.arguments}
        attrs = {name: value for name, value in attrs.items() if name not in arguments}
    outputs: list[Value] = []

    def made(type: Type) -> Binding:
        if isinstance(type, tuple) and not isinstance(type, Tensor):
            return tuple(made(part) for part in type)
        outputs.append(block.fresh(UNKNOWN if type is None else type))
        return outputs[-1]

    result = made(types)
    block.nodes.append(Node(op, tuple(inputs), tuple(outputs), attrs))
    return result


def _arguments(
    definition: operators.Definition, inputs: list[Operand], attrs: dict[str, Any]
) -> list[Operand]:
    """All arguments in order; old files have some of them as attributes."""
    rest = iter(inputs)
    out: list[Operand] = []
    by_name = len(inputs) < len(definition.arguments)
    for argument in definition.arguments:
        if by_name and argument.name in attrs:
            operand: Operand | None = Const(_old_value(argument, attrs[argument.name]))
        else:
            operand = next(rest, None)
        if operand is None:
            break
        out.append(_typed(argument, operand))
    return [*out, *rest]


def _old_value(argument: operators.Argument, value: Any) -> Any:
    if argument.handler == "str_to_enum" and isinstance(value, str):
        return _ENUMERATIONS.get(argument.name, {}).get(value.lower(), value)
    if argument.kind.startswith("T_") and isinstance(value, int | float):
        return (value,)
    return value


def _typed(argument: operators.Argument, operand: Operand) -> Operand:
    """The operand; a dtype argument, which is a number in the file, as a dtype."""
    if argument.handler == "dtype_to_type_id" and isinstance(operand, Const):
        row = dtypes.BY_TYPE_ID.get(operand.value) if isinstance(operand.value, int) else None
        return operand if row is None else Const(row.array)
    return operand


def type_of(*leaves: Binding) -> Tensor:
    """The type that all of these values have; UNKNOWN when they differ."""
    types = {_type(leaf) for leaf in leaves} - {UNKNOWN}
    return types.pop() if len(types) == 1 else UNKNOWN


def _type(leaf: Binding) -> Tensor:
    if isinstance(leaf, Value):
        return leaf.type
    if isinstance(leaf, Const) and isinstance(leaf.value, np.ndarray):
        return Tensor(leaf.value.dtype.newbyteorder("="), leaf.value.shape)
    if isinstance(leaf, Const) and isinstance(leaf.value, bool | int | float):
        row = {bool: np.bool_, int: np.int64, float: np.float32}[type(leaf.value)]
        return Tensor(np.dtype(row), ())
    return Tensor(np.dtype(np.int64), ()) if isinstance(leaf, Size) else UNKNOWN


def as_bool(block: Block, condition: Operand) -> Operand:
    """A condition as a bool of rank 0; MindSpore takes bool (), bool (1,) and int32 () alike."""
    if isinstance(condition, Value) and condition.type not in (BOOL, UNKNOWN):
        if condition.type.dtype != np.bool_:
            inputs = (condition, Const(np.dtype(np.bool_)))
            condition = block.add("Cast", inputs, Tensor(BOOL.dtype, condition.type.shape))
        if condition.type.shape:
            condition = block.add("Reshape", (condition, Const(())), BOOL)
    return condition


def _parts(binding: Binding) -> tuple[Binding, ...] | None:
    if isinstance(binding, Const) and isinstance(binding.value, tuple):
        return tuple(Const(value) for value in binding.value)
    return binding if is_tuple(binding) else None


def _item(block: Block, whole: Binding, index: Binding) -> Binding:
    parts = _parts(whole)
    if parts is None or not isinstance(index, Const):  # a tuple of unknown length
        return block.add("TupleGetItem", (block.operand(whole), block.operand(index)), UNKNOWN)
    if not isinstance(index.value, int) or not -len(parts) <= index.value < len(parts):
        raise MindIRError(f"TupleGetItem asks for part {index.value} of {len(parts)}")
    return parts[index.value]


def _with_item(block: Block, whole: Binding, index: Binding, item: Binding, *, op: str) -> Binding:
    """The parts with another one at a place, still apart: so a loop can carry them."""
    parts = _parts(whole)
    if parts is None or not isinstance(index, Const):
        operands = (block.operand(whole), block.operand(index), block.operand(item))
        return block.add(op, operands, UNKNOWN)
    if not isinstance(index.value, int) or not -len(parts) <= index.value < len(parts):
        raise MindIRError(f"{op} sets part {index.value} of {len(parts)}")
    at = index.value % len(parts)
    return pack(measured((*parts[:at], item, *parts[at + 1 :]), block.budget))


def _shape(block: Block, of: Binding) -> Binding:
    if isinstance(of, Const) and isinstance(of.value, np.ndarray):
        return Const(of.value.shape)
    if not isinstance(of, Value):
        raise MindIRError("the operand of Shape is no tensor")
    if of.type is UNKNOWN:
        return block.add("Shape", (block.operand(of),), UNKNOWN)
    return pack(tuple(
        Const(dim) if isinstance(dim, int) else Size(of, axis)
        for axis, dim in enumerate(of.type.shape)
    ))  # fmt: skip


def _switch(block: Block, condition: Binding, then: Binding, otherwise: Binding) -> Choice:
    if not isinstance(then, Closure | Choice) or not isinstance(otherwise, Closure | Choice):
        raise MindIRError("Switch chooses between values that are no functions")
    return measured(Choice(condition, then, otherwise), block.budget)


def _switch_layer(block: Block, index: Binding, layers: Binding) -> Closure | Choice:
    """One of many functions; an index from -n to -1 counts from the end."""
    parts = measured(_parts(layers) or (), block.budget)
    if not parts or not all(isinstance(part, Closure | Choice) for part in parts):
        raise MindIRError("switch_layer chooses between values that are no functions")
    number = block.operand(index)
    type = Tensor(_type(index).dtype, ())

    def constant(value: int) -> Const:
        return Const(np.array(value, type.dtype))

    wrapped = block.add("FloorMod", (number, constant(len(parts))), type)

    def among(low: int, high: int) -> Any:
        if high - low == 1:
            return parts[low]
        middle = (low + high) // 2
        condition = block.add("Less", (wrapped, constant(middle)), BOOL)
        return Choice(condition, among(low, middle), among(middle, high))

    return among(0, len(parts))


def _partial(block: Block, function: Binding, *args: Binding) -> Closure:
    if not isinstance(function, Closure):
        raise MindIRError("the first operand of Partial is no function")
    return measured(Closure(function.function, function.args + args), block.budget)


def _tuple(block: Block, *parts: Binding) -> Binding:
    return pack(measured(parts, block.budget))


class Special(NamedTuple):
    """An operator that is structure: ``fn`` makes a binding from the block and the operands."""

    fn: Callable[..., Binding]
    operands: range


_ANY = range(1 << 31)
SPECIAL = {
    "Load": Special(lambda block, value: value, range(1, 2)),
    "Depend": Special(lambda block, value: value, range(1, 2)),
    "UpdateState": Special(lambda block, *args: MONAD, _ANY),
    "MakeTuple": Special(_tuple, _ANY),
    "MakeList": Special(_tuple, _ANY),
    "make_list": Special(_tuple, _ANY),
    "TupleGetItem": Special(_item, range(2, 3)),
    "ListGetItem": Special(_item, range(2, 3)),
    "list_getitem": Special(_item, range(2, 3)),
    "list_setitem": Special(partial(_with_item, op="list_setitem"), range(3, 4)),
    "tuple_setitem": Special(partial(_with_item, op="tuple_setitem"), range(3, 4)),
    "Partial": Special(_partial, range(1, 1 << 31)),
    "Switch": Special(_switch, range(3, 4)),
    "switch_layer": Special(_switch_layer, range(2, 3)),
    "Shape": Special(_shape, range(1, 2)),
    "Return": Special(lambda block, value: value, range(1, 2)),
}
