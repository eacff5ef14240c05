"""Casts around operators that MindSpore's CPU has no kernel for in a dtype.

The table of kernels alone decides. A wider dtype must give the same result once it is cast back: it
holds all values of the narrower dtype, or the operator works modulo two to the power of the width,
or only moves data.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence

import ml_dtypes
import numpy as np

from msckpt_jax import dtypes
from msckpt_jax.errors import UnsupportedError
from msckpt_jax.graph import operators
from msckpt_jax.graph.values import Const, Operand, Scalar, Size, Value

_WIDER = {
    "bf16": ("f32",),
    "bool": ("u8", "i8", "i32", "f32"),
    "i8": ("i16", "i32", "i64"),
    "u8": ("i16", "i32", "i64"),
    "i16": ("i32", "i64"),
    "u16": ("i32", "i64"),
    "i32": ("i64",),
    "u32": ("i64",),
}

#: Operators whose results have low bits that depend on the low bits of the operands alone.
_MODULAR = {"Add", "Sub", "Mul", "Neg", "MatMul", "BatchMatMul", "ReduceSum", "CumSum"}

#: MindSpore itself casts float16 to float32 and back where it has no kernel.
_ITSELF, _F32 = np.dtype(np.float16), np.dtype(np.float32)
_BF16 = np.dtype(ml_dtypes.bfloat16)

#: Operators that MindSpore takes apart before it looks for kernels: none of the parts has bfloat16.
EXPANDED = {"SiLU", "ClampTensor", "MatMulExt", "SumExt", "Dense", "BiasAdd"}


def wider(
    op: str, inputs: Sequence[np.dtype], results: Sequence[np.dtype]
) -> Mapping[np.dtype, np.dtype]:
    """The casts around ``op``, dtype to wider dtype; none when a kernel takes the dtypes unchanged.

    Raises:
        UnsupportedError: no kernel takes these dtypes, nor wider dtypes.
    """
    return _wider(op, tuple(inputs), tuple(results))


@functools.lru_cache(maxsize=4096)
def _wider(
    op: str, inputs: tuple[np.dtype, ...], results: tuple[np.dtype, ...]
) -> Mapping[np.dtype, np.dtype]:
    if op in EXPANDED:
        return {_BF16: _F32} if _BF16 in (*inputs, *results) else {}
    if _has_kernel(op, inputs, results):
        return {}
    for dtype in dict.fromkeys((*inputs, *results)):
        if dtype == _ITSELF and _has_kernel(op, *_mapped({dtype: _F32}, inputs, results)):
            return {}
        for candidate in _candidates(op, dtype):
            casts = {dtype: candidate}
            if _has_kernel(op, *_mapped(casts, inputs, results)):
                return casts
    names = ", ".join(d.name for d in inputs)
    raise UnsupportedError(f"MindSpore's CPU has no kernel of {op} for {names}")


def tensor_dtypes(inputs: Sequence[Operand]) -> list[np.dtype]:
    """The dtypes of the tensors among inputs; a tuple of tensors counts once."""
    out: list[np.dtype] = []
    for operand in inputs:
        if isinstance(operand, tuple) and not isinstance(operand, Const | Size):
            out += tensor_dtypes(operand)[:1]
        elif isinstance(operand, Value) and not isinstance(operand, Scalar):
            out.append(operand.type.dtype)
        elif isinstance(operand, Const) and isinstance(operand.value, np.ndarray):
            out.append(operand.value.dtype)
    return out


def _candidates(op: str, dtype: np.dtype) -> Sequence[np.dtype]:
    row = dtypes.of_array(dtype)
    names = _WIDER.get(row.short if row else "", ())
    if dtype == np.uint64 and op in _MODULAR:
        names = ("i64",)
    return [dtypes.BY_SHORT[name].array for name in names]


def _mapped(
    change: Mapping[np.dtype, np.dtype], *groups: Sequence[np.dtype]
) -> tuple[tuple[np.dtype, ...], ...]:
    return tuple(tuple(change.get(d, d) for d in group) for group in groups)


def _has_kernel(op: str, inputs: Sequence[np.dtype], results: Sequence[np.dtype]) -> bool:
    """Tell whether a kernel begins with these tensors (its further inputs are scalars and tuples).

    MindSpore lists one dtype where all inputs, or all results, have it.
    """
    have, give = tuple(map(_short, inputs)), tuple(map(_short, results))
    return any(
        _begins(kernel.inputs, have) and _begins(kernel.results, give)
        for kernel in operators.kernels(op)
    )


def _begins(kernel: tuple[str, ...], dtypes_: tuple[str, ...]) -> bool:
    if len(kernel) == 1:
        kernel *= len(dtypes_)
    return kernel[: len(dtypes_)] == dtypes_


def _short(dtype: np.dtype) -> str:
    row = dtypes.of_array(dtype)
    return row.short if row else dtype.name
