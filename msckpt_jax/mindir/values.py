"""Python values as MindIR messages: attributes, constants, and the types of values (abstracts).

The encoding is that of files of MindSpore 2.10.0 (``mind_ir_version`` 3): ``type`` says which field
holds the value; values inside of a tuple use the plural fields.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np

from msckpt_jax import dtypes
from msckpt_jax._protos.mind_ir_pb2 import AttributeProto, TensorProto
from msckpt_jax.errors import ExportError
from msckpt_jax.graph.values import Tensor

#: A tensor, ``np.int64`` for a scalar, or a tuple of these.
Abstract: TypeAlias = "Tensor | type[np.int64] | tuple[Abstract, ...]"


def attribute(name: str, value: Any) -> AttributeProto:
    """An attribute of a primitive or of a Constant node.

    Raises:
        ExportError: MindIR has no encoding for a value of this type.
    """
    out = AttributeProto(name=name)
    if isinstance(value, tuple | list):
        out.type = AttributeProto.TUPLE if isinstance(value, tuple) else AttributeProto.LIST
        out.values.extend(_inside(v) for v in value)
        return out
    _encode(out, value, _SINGLE)
    return out


def _inside(value: Any) -> AttributeProto:
    out = AttributeProto()
    if isinstance(value, tuple | list):
        return attribute("", value)
    _encode(out, value, _PLURAL)
    return out


_Put: TypeAlias = Callable[[AttributeProto, Any], Any]

_SINGLE: dict[type, tuple[int, _Put]] = {
    bool: (AttributeProto.BOOL, lambda out, v: setattr(out, "i", int(v))),
    int: (AttributeProto.INT64, lambda out, v: setattr(out, "i", v)),
    float: (AttributeProto.FLOAT, lambda out, v: setattr(out, "f", v)),
    str: (AttributeProto.STRING, lambda out, v: setattr(out, "s", v.encode())),
}
_PLURAL: dict[type, tuple[int, _Put]] = {
    bool: (AttributeProto.BOOL, lambda out, v: out.ints.append(int(v))),
    int: (AttributeProto.INT64, lambda out, v: out.ints.append(v)),
    float: (AttributeProto.FLOAT, lambda out, v: out.floats.append(v)),
    str: (AttributeProto.STRING, lambda out, v: out.strings.append(v.encode())),
}
_BOTH: dict[type, tuple[int, _Put]] = {
    type(None): (AttributeProto.NONE, lambda out, v: None),
    np.ndarray: (AttributeProto.TENSORS, lambda out, v: out.tensors.append(literal(v))),
}


def _encode(out: AttributeProto, value: Any, table: dict[type, tuple[int, _Put]]) -> None:
    if isinstance(value, np.dtype):  # a dtype argument is written as its number
        value = _row(value).type_id
    row = table.get(type(value)) or _BOTH.get(type(value))
    if row is None:
        raise ExportError(f"MindIR has no constants of type {type(value).__name__}: {value!r}")
    out.type, put = row  # type: ignore[assignment]
    put(out, value)


def literal(array: np.ndarray) -> TensorProto:
    """A small tensor with its bytes."""
    out = tensor(Tensor(array.dtype, array.shape), "value0")
    out.raw_data = np.ascontiguousarray(array).tobytes()
    return out


def tensor(type: Tensor, name: str = "") -> TensorProto:
    """The message of a tensor, without its bytes; a dynamic size is -1."""
    out = TensorProto(data_type=_row(type.dtype).mindir)
    if name:
        out.name = name
    out.dims.extend(d if isinstance(d, int) else -1 for d in type.shape)
    return out


def abstract(result: Abstract, name: str = "shape") -> AttributeProto:
    """The ``shape`` attribute of a node. MindSpore Lite relies on it; MindSpore infers anew."""
    if result is np.int64:
        out = AttributeProto(name=name, type=AttributeProto.SCALAR)
        out.tensors.append(TensorProto(dims=[0], data_type=TensorProto.INT64))
    elif isinstance(result, Tensor):
        out = AttributeProto(name=name, type=AttributeProto.TENSORS)
        out.tensors.append(tensor(result))
    else:
        assert isinstance(result, tuple)
        out = AttributeProto(name=name, type=AttributeProto.TUPLE)
        out.seq_info.is_dyn_len = False
        out.values.extend(abstract(part, "") for part in result)
    return out


def closure(kind: int, names: Sequence[str], name: str = "shape") -> AttributeProto:
    """The abstract of a node that computes a function: a Partial, or a Switch between functions."""
    if kind != AttributeProto.UNIONFUNCCLOSURE:
        return AttributeProto(name=name, type=kind, s=names[0].encode())  # type: ignore[arg-type]
    out = AttributeProto(name=name, type=AttributeProto.UNIONFUNCCLOSURE)
    out.values.extend(closure(AttributeProto.PARTIALCLOSURE, [n], "") for n in names)
    return out


def _row(dtype: np.dtype) -> dtypes.DType:
    row = dtypes.of_array(dtype)
    if row is None or row.mindir is None:
        raise ExportError(f"MindIR has no tensors of dtype {dtype}: cast to another dtype")
    return row
