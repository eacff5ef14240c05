"""The operands and types of an operator of a file, as its descriptions and its ports say."""

from __future__ import annotations

from typing import Any, TypeVar

from msckpt_jax._protos import ge_ir_pb2
from msckpt_jax.air.prototypes import Prototype
from msckpt_jax.air.wiring import ports
from msckpt_jax.dtypes import BY_GE
from msckpt_jax.graph.values import UNKNOWN, Tensor

#: GE's numbers for a size, and for all sizes of a shape, that the file leaves open.
_OPEN, _ANY = -1, -2
#: The shape of a tensor of any rank.
ANY_SHAPE = ("...",)

_Operand = TypeVar("_Operand")


def in_order(
    operands: list[_Operand], op: Any, prototype: Prototype, missing: _Operand
) -> tuple[Any, ...]:
    """The operands by the ports of the prototype: a tuple for a dynamic one.

    ``missing`` stands for an optional one that is not fed, but at the end, where it is left out.
    """

    def given(at: int) -> Any:
        return operands[at] if 0 <= at < len(operands) else missing

    where = ports(op, prototype)
    inputs: list[Any] = []
    for port in prototype.inputs:
        if port.dynamic:
            members = [name for name in where if name.rstrip("0123456789") == port.name]
            inputs.append(tuple(given(where[name]) for name in members))
        else:
            inputs.append(given(where.get(port.name, len(operands))))
    while inputs and inputs[-1] is missing:
        inputs.pop()
    return tuple(inputs)


def type_of(described: Any) -> Tensor:
    """The type that a description says; a size that it leaves open is ``?``."""
    row = BY_GE.get(described.dtype)
    dims = list(described.shape.dim)
    if row is None:
        return UNKNOWN
    if _ANY in dims:
        return Tensor(row.array, ANY_SHAPE)
    return Tensor(row.array, tuple("?" if dim == _OPEN else dim for dim in dims))


def fits(described: tuple[Any, ...], shape: tuple[Any, ...]) -> bool:
    """Tell whether shapes agree where both say something."""
    if ANY_SHAPE in (described, shape):
        return True
    return len(described) == len(shape) and all(
        isinstance(told, str) or isinstance(size, str) or told == size
        for told, size in zip(described, shape, strict=True)
    )


_DTYPES = ge_ir_pb2.DESCRIPTOR.enum_types_by_name["DataType"]


def dtype_name(number: int) -> str:
    """The name of a ``DataType`` as the tables have it: ``float``, ``bf16`` and so on."""
    names = _DTYPES.values_by_number
    return names[number].name.removeprefix("DT_").lower() if number in names else f"{number}"
