"""The one dtype table: JAX/NumPy <-> MindSpore CheckPoint <-> safetensors <-> model files.

Sources: ``tensor_to_ms_type`` in MindSpore 2.10 train/serialization.py for the names that it
loads; the safetensors format description for its names; ``TensorProto.DataType`` of mind_ir.proto
and ``TypeId`` of MindSpore core (mindapi/base/type_id.h) for MindIR's numbers; GE's
``kDataTypeMap`` (ge_tensor.cc) for AIR's two.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import ml_dtypes
import numpy as np

from msckpt_jax.errors import CheckpointError


@dataclass(frozen=True, slots=True)
class DType:
    """A row of the table.

    Attributes:
        name: ``tensor_type`` in a CheckPoint.
        array: dtype of the array in memory.
        stored: little-endian dtype of the bytes in the file.
        safetensors: dtype name in a safetensors header, or None.
        loads: whether MindSpore 2.10 loads it from a CheckPoint, hence whether we write it.
        short: JAX's short name (``"f32"``).
        mindir: the ``data_type`` of a MindIR tensor, or None.
        type_id: the number that a dtype argument of a MindSpore operator is, or None.
        ge: the ``dtype`` of a tensor in an AIR file, or None.
        ge_type: the number that a dtype attribute of a GE operator is, or None.
        onnx: ``TensorProto.DataType`` of ONNX, or None.
    """

    name: str
    array: np.dtype
    stored: np.dtype
    safetensors: str | None
    loads: bool = True
    short: str = ""
    mindir: int | None = None
    type_id: int | None = None
    ge: int | None = None
    ge_type: int | None = None
    onnx: int | None = None


def _row(
    name: str,
    array: object,
    safetensors: str | None,
    short: str,
    mindir: int | None = None,
    type_id: int | None = None,
    ge: int | None = None,
    ge_type: int | None = None,
    onnx: int | None = None,
    *,
    stored: object = None,
    loads: bool = True,
) -> DType:
    dtype = np.dtype(array)  # type: ignore[arg-type]
    on_disk = dtype if stored is None else np.dtype(stored)  # type: ignore[arg-type]
    little = on_disk.newbyteorder("<")
    numbers = (mindir, type_id, ge, ge_type, onnx)
    return DType(name, dtype, little, safetensors, loads, short, *numbers)


TABLE = (
    _row("Bool", np.bool_, "BOOL", "bool", 9, 30, 11, 12, 9),
    _row("Int8", np.int8, "I8", "i8", 3, 32, 3, 2, 3),
    _row("Int16", np.int16, "I16", "i16", 5, 33, 5, 6, 5),
    _row("Int32", np.int32, "I32", "i32", 6, 34, 7, 3, 6),
    _row("Int64", np.int64, "I64", "i64", 7, 35, 8, 9, 7),
    _row("UInt8", np.uint8, "U8", "u8", 2, 37, 4, 4, 2),
    _row("UInt16", np.uint16, "U16", "u16", 4, 38, 6, 7, 4),
    _row("UInt32", np.uint32, "U32", "u32", 12, 39, 9, 8, 12),
    _row("UInt64", np.uint64, "U64", "u64", 13, 40, 10, 10, 13),
    _row("Float16", np.float16, "F16", "f16", 10, 42, 2, 1, 10),
    _row("Float32", np.float32, "F32", "f32", 1, 43, 1, 0, 1),
    _row("Float64", np.float64, "F64", "f64", 11, 44, 12, 11, 11),
    _row("BFloat16", ml_dtypes.bfloat16, "BF16", "bf16", 16, 45, 27, 27, 16),
    # MindSpore keeps one byte an element here; safetensors gets I8 plus a metadata entry.
    _row("Int4", ml_dtypes.int4, "I8", "i4", onnx=22, stored=np.int8),
    # MindSpore writes complex without complaint and then refuses to load it: read, never written.
    _row("Complex64", np.complex64, "C64", "c64", 14, 51, 16, 16, 14, loads=False),
    _row("Complex128", np.complex128, None, "c128", 15, 52, 17, 17, 15, loads=False),
    _row("Float8E4M3FN", ml_dtypes.float8_e4m3fn, "F8_E4M3", "f8_e4m3fn", onnx=17, loads=False),
    _row("Float8E5M2", ml_dtypes.float8_e5m2, "F8_E5M2", "f8_e5m2", onnx=19, loads=False),
    _row("Float8E8M0FNU", ml_dtypes.float8_e8m0fnu, "F8_E8M0", "f8_e8m0fnu", loads=False),
    _row("Float8E4M3FNUZ", ml_dtypes.float8_e4m3fnuz, None, "f8_e4m3fnuz", onnx=18, loads=False),
    _row("Float8E5M2FNUZ", ml_dtypes.float8_e5m2fnuz, None, "f8_e5m2fnuz", onnx=20, loads=False),
)

BY_NAME = {row.name: row for row in TABLE}
# MindSpore up to about 1.5 spelt unsigned types this way; 2.10 no longer reads them.
BY_NAME |= {f"Uint{bits}": BY_NAME[f"UInt{bits}"] for bits in (8, 16, 32, 64)}
BY_SAFETENSORS = {row.safetensors: row for row in TABLE if row.safetensors and row.name != "Int4"}
BY_SHORT = {row.short: row for row in TABLE}
BY_MINDIR = {row.mindir: row for row in TABLE if row.mindir}
BY_MINDIR[17] = BY_NAME["Float64"]  # FLOAT64, beside DOUBLE
BY_TYPE_ID = {row.type_id: row for row in TABLE if row.type_id}
BY_GE = {row.ge: row for row in TABLE if row.ge}
BY_GE_TYPE = {row.ge_type: row for row in TABLE if row.ge_type is not None}
_BY_ARRAY = {row.array: row for row in TABLE}
# The format has no unsigned 4-bit type: one byte an element, equal values.
_BY_ARRAY[np.dtype(ml_dtypes.uint4)] = BY_NAME["UInt8"]

#: The record type of Python strings: dims [0], UTF-32-LE content.
STRING = "str"

_INSTEAD = {
    "c": "save x.real and x.imag as two entries",
    "f": "cast to bfloat16, float16 or float32",
    "i": "cast to int8",
    "u": "cast to uint8",
    "O": "convert the objects to arrays of numbers",
    "S": "pass a Python str as a value of its own",
    "U": "pass a Python str as a value of its own",
    "M": "use x.astype('int64')",
    "m": "use x.astype('int64')",
    "V": "save each field as an entry of its own",
}


def of_array(dtype: np.dtype) -> DType | None:
    """The row of the dtype of an array in memory, or None."""
    return _BY_ARRAY.get(dtype)


@lru_cache(maxsize=256)
def for_saving(dtype: np.dtype) -> DType:
    """The row that arrays of ``dtype`` are saved as.

    Raises:
        CheckpointError: MindSpore could not load it; the text says what to cast to.
    """
    row = _BY_ARRAY.get(dtype.newbyteorder("="))
    if row is not None and row.loads:
        return row
    kind = dtype.name[0] if dtype.kind == "V" and dtype.fields is None else dtype.kind
    advice = _INSTEAD.get(kind, "cast it to a dtype of the CheckPoint format")
    raise CheckpointError(f"MindSpore cannot load dtype {dtype.name}; {advice}")


def is_float(dtype: np.dtype) -> bool:
    """Tell whether a dtype is of real floating-point numbers, also of those that NumPy lacks."""
    return np.dtype(dtype).name.startswith(("float", "bfloat"))
