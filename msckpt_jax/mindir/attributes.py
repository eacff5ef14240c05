"""Read a file's constants, attributes and abstract values as operands and types of a graph.

Two encodings exist (MindSpore core, load_mindir/load_model.cc; measured with MindSpore 2.10.0):
since MindIR version 2 ``AttributeProto.type`` tells the kind of the value; before, the text in
``ref_attr_name`` does, such as ``scalar:Tuple[value0,value1,]``, and lists hold the parts.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import numpy as np

from msckpt_jax import dtypes
from msckpt_jax._protos import mind_ir_pb2 as pb
from msckpt_jax.errors import MindIRError
from msckpt_jax.graph.values import Const, Tensor

#: The type of a result: a tensor's, those of a tuple's parts, or None where it is unknown.
Type: TypeAlias = "Tensor | tuple[Type, ...] | None"

_Kind = pb.AttributeProto.AttributeType
_INTS = {_Kind.Value(f"{sign}INT{bits}") for sign in ("", "U") for bits in (8, 16, 32, 64)}
_FLOATS = {_Kind.Value("FLOAT"), _Kind.Value("FLOAT16")}
_MAX_RANK = 32
_MAX_NESTED = 60


class Monad:
    """The order of effects: an operand that carries no data."""

    def __repr__(self) -> str:
        return "MONAD"


MONAD = Monad()
#: A constant of a file.
Constant: TypeAlias = "Const | Monad | tuple[Constant, ...]"


def constant(attribute: pb.AttributeProto) -> Constant:
    """A constant of the file.

    Raises:
        MindIRError: the constant is damaged, or of a kind that a graph of tensors cannot hold.
    """
    if attribute.ref_attr_name:
        return _legacy(attribute)
    kind = attribute.type
    if kind in (_Kind.Value("TUPLE"), _Kind.Value("LIST")):
        return pack(tuple(constant(part) for part in attribute.values))
    if kind in (_Kind.Value("UMONAD"), _Kind.Value("IOMONAD")):
        return MONAD
    if kind == _Kind.Value("TENSORS"):
        return _of_tensors(attribute)
    if kind == _Kind.Value("FUNCTOR"):  # a function that MindSpore has by this name
        return Const((attribute.functor.name, *map(python, attribute.functor.values)))
    return Const(_scalar(attribute, kind))


def python(attribute: pb.AttributeProto) -> Any:
    """An attribute of an operator as a Python value: number, str, None, dtype, array, tuple."""

    def value(operand: Any) -> Any:
        return operand.value if isinstance(operand, Const) else tuple(map(value, operand))

    operand = constant(attribute)
    return None if operand is MONAD else value(operand)


def pack(parts: tuple[Any, ...]) -> Any:
    """A tuple of operands; a single constant when all are scalars."""
    if all(isinstance(part, Const) and not isinstance(part.value, np.ndarray) for part in parts):
        return Const(tuple(part.value for part in parts))
    return parts


def array(tensor: pb.TensorProto, data: memoryview | None = None) -> np.ndarray:
    """The tensor as a read-only array over its bytes.

    Args:
        tensor: the message with dtype, shape, and the bytes unless ``data`` has them.
        data: the tensor's bytes when they lie elsewhere.

    Raises:
        MindIRError: the dtype is unknown, a dimension is dynamic, or bytes are missing or too many.
    """
    shape = tuple(tensor.dims)
    stored = dtype(tensor).newbyteorder("<")
    name = tensor.ref_key or tensor.name or None
    if tensor.compression_type != pb.TensorProto.NO_COMPRESSION:
        raise MindIRError("the tensor is compressed, which only MindSpore Lite reads", name=name)
    if len(shape) > _MAX_RANK or any(dim < 0 for dim in shape):
        raise MindIRError("a tensor with data cannot have this shape", name=name, found=shape)
    content = tensor.raw_data if data is None else data
    expected = math.prod(shape) * stored.itemsize
    if len(content) != expected:
        raise MindIRError(
            f"a tensor of shape {shape} and dtype {stored} has another number of bytes",
            name=name,
            expected=expected,
            found=len(content),
        )
    try:
        return np.frombuffer(content, stored).reshape(shape)
    except ValueError:  # no elements, and dimensions whose product overflows
        raise MindIRError("NumPy cannot hold this shape", name=name, found=shape) from None


def dtype(tensor: pb.TensorProto) -> np.dtype:
    """The dtype in memory."""
    row = dtypes.BY_MINDIR.get(tensor.data_type)
    if row is None:
        raise MindIRError(
            "this data_type has no NumPy dtype",
            name=tensor.ref_key or tensor.name or None,
            found=tensor.data_type,
        )
    return row.array


def abstract(attribute: pb.AttributeProto, fresh: Callable[[], str]) -> Type:
    """The type that an attribute ``shape`` or ``attr_info`` describes.

    Args:
        attribute: the description.
        fresh: a function that makes names for dynamic dimensions.
    """
    if attribute.ref_attr_name:
        types = tuple(tensor_type(tensor, fresh) for tensor in attribute.tensors)
        return types if "Tuple[" in attribute.ref_attr_name else (types or (None,))[0]
    if attribute.type in (_Kind.Value("TUPLE"), _Kind.Value("LIST")):
        if attribute.seq_info.is_dyn_len:
            return None
        return tuple(abstract(part, fresh) for part in attribute.values)
    if attribute.type == _Kind.Value("SCALAR") and attribute.tensors:
        return Tensor(dtype(attribute.tensors[0]), ())
    if attribute.type == _Kind.Value("TENSORS") and attribute.tensors:
        return tensor_type(attribute.tensors[0], fresh)
    return None


def tensor_type(tensor: pb.TensorProto, fresh: Callable[[], str]) -> Tensor | None:
    """The type of a tensor; None when its rank is dynamic, or arrays have no such dtype."""
    if tensor.data_type not in dtypes.BY_MINDIR or any(dim < -1 for dim in tensor.dims):
        return None
    shape = tuple(fresh() if dim < 0 else dim for dim in tensor.dims)
    return Tensor(dtype(tensor), shape)


def _scalar(attribute: pb.AttributeProto, kind: int) -> Any:
    # The parts of a sequence are in the plural field.
    if kind in _INTS:
        return attribute.ints[0] if attribute.ints else attribute.i
    if kind == _Kind.Value("BOOL"):
        return bool(attribute.ints[0] if attribute.ints else attribute.i)
    if kind in _FLOATS:
        return attribute.floats[0] if attribute.floats else attribute.f
    if kind == _Kind.Value("DOUBLE"):
        return attribute.doubles[0] if attribute.doubles else attribute.d
    if kind == _Kind.Value("STRING"):
        return (attribute.strings[0] if attribute.strings else attribute.s).decode(errors="replace")
    if kind in (_Kind.Value("NONE"), _Kind.Value("TYPE_NULL")):
        return None
    raise MindIRError(f"a value of the kind {_name(kind)} has no counterpart in JAX")


def _name(kind: int) -> str:
    return _Kind.Name(kind) if kind in _Kind.values() else str(kind)


def _of_tensors(attribute: pb.AttributeProto) -> Const | tuple[Const, ...]:
    constants = tuple(_tensor_or_dtype(tensor) for tensor in attribute.tensors)
    return constants[0] if len(constants) == 1 else constants


def _tensor_or_dtype(tensor: pb.TensorProto) -> Const:
    # A dtype is a tensor without data; a tensor without elements has no data either.
    if not tensor.raw_data and not tensor.HasField("external_data") and 0 not in tensor.dims:
        return Const(dtype(tensor))
    return Const(array(tensor))


_TOKEN = re.compile(r"\s*(Tuple\[|List\[|\]|,|[^\],\[]+)")


def _legacy(attribute: pb.AttributeProto) -> Constant:
    kind, _, form = attribute.ref_attr_name.partition(":")
    if kind in ("none", "null"):
        return Const(None)
    if kind == "Monad":
        return MONAD
    if kind == "scalar":
        leaves = map(Const, _legacy_scalars(attribute))
    elif kind in ("tensor", "type"):
        leaves = map(_tensor_or_dtype, attribute.tensors)
    else:
        raise MindIRError(f"ref_attr_name {attribute.ref_attr_name[:60]!r} is unknown")
    try:
        return _parts(iter(_TOKEN.findall(form)), leaves)[0]
    except (StopIteration, IndexError):
        raise MindIRError(
            f"ref_attr_name {attribute.ref_attr_name[:60]!r} does not fit its values"
        ) from None


def _parts(tokens: Iterator[str], leaves: Iterator[Const]) -> list[Any]:
    """The items of a form; a bracket becomes a tuple."""
    stack: list[list[Any]] = [[]]
    for token in tokens:
        if token in ("Tuple[", "List["):
            if len(stack) > _MAX_NESTED:
                raise MindIRError(f"tuples are nested deeper than {_MAX_NESTED}")
            stack.append([])
        elif token == "]":
            done = pack(tuple(stack.pop()))
            stack[-1].append(done)
        elif token != ",":
            stack[-1].append(next(leaves))
    return stack[0]


def _legacy_scalars(attribute: pb.AttributeProto) -> Iterator[Any]:
    kind = attribute.type
    lists: dict[str, Any] = {
        "FLOAT": attribute.floats,
        "DOUBLE": attribute.doubles,
        "STRING": attribute.strings,
    }
    values = lists.get(_name(kind), attribute.ints)
    if not values:
        yield _scalar(attribute, kind)
        return
    for value in values:
        if kind == _Kind.Value("BOOL"):
            yield bool(value)
        else:
            yield value.decode(errors="replace") if isinstance(value, bytes) else value
