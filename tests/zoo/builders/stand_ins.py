"""Operators of ``mint`` that MindSpore has for Ascend only, computed by those of a CPU.

A file holds the operators themselves: ``export`` reads a primitive's name, and calls nothing.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import mindspore as ms
import numpy as np
from mindspore import ops
from mindspore.ops import functional_overload
from mindspore.ops.auto_generate import gen_ops_prim, pyboost_inner_prim


def _number(value: Any) -> Any:
    return value.item() if isinstance(value, ms.Tensor) else value


def _filled(array: Any, dtype: Any, default: Any = None) -> ms.Tensor:
    made = ms.Tensor(np.asarray(array))
    return made if dtype is None and default is None else made.astype(dtype or default)


def arange(self: Any, start: Any, end: Any, step: Any, dtype: Any = None) -> ms.Tensor:
    ends = [_number(v) for v in (start, end, step)]
    whole = all(isinstance(v, int) for v in ends)
    return _filled(np.arange(*ends), dtype, ms.int64 if whole else ms.float32)


def linspace(self: Any, start: Any, end: Any, steps: Any, dtype: Any = None) -> ms.Tensor:
    return _filled(np.linspace(*map(_number, (start, end, steps))), dtype, ms.float32)


def full(self: Any, size: Any, value: Any, dtype: Any = None) -> ms.Tensor:
    return _filled(np.full(size, _number(value)), dtype)


def zeros(self: Any, size: Any, dtype: Any = None) -> ms.Tensor:
    return _filled(np.zeros(size), dtype, ms.float32)


def ones(self: Any, size: Any, dtype: Any = None) -> ms.Tensor:
    return _filled(np.ones(size), dtype, ms.float32)


def full_like(self: Any, x: ms.Tensor, value: Any, dtype: Any = None) -> ms.Tensor:
    return _filled(np.full(x.shape, _number(value)), dtype, x.dtype)


def embedding(self: Any, x: ms.Tensor, weight: ms.Tensor, *rest: Any) -> ms.Tensor:
    return ops.gather(weight, x, 0)


def addmm(self: Any, x: Any, a: Any, b: Any, beta: float = 1, alpha: float = 1) -> ms.Tensor:
    return x * beta + ops.matmul(a, b) * alpha


def _pair(value: Any) -> tuple[int, int]:
    return tuple(value) if isinstance(value, tuple | list) else (value, value)


def convolved(
    self: Any, x: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0,
    dilation: Any = 1, groups: int = 1,
) -> ms.Tensor:  # fmt: skip
    mode = "pad" if not isinstance(padding, str) else padding
    if mode == "pad":
        rows, columns = _pair(padding)
        padding = (rows, rows, columns, columns)
    else:
        padding = 0
    made = ops.Conv2D(
        weight.shape[0], weight.shape[2:], 1, mode, padding, _pair(stride), _pair(dilation), groups
    )(x, weight)
    return made if bias is None else made + bias.reshape(1, -1, 1, 1)


def layer_norm(
    self: Any, x: Any, shape: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5
) -> tuple[ms.Tensor, ...]:
    axis = len(x.shape) - len(shape)
    weight = ops.ones(tuple(shape), x.dtype) if weight is None else weight
    bias = ops.zeros(tuple(shape), x.dtype) if bias is None else bias
    return ops.LayerNorm(axis, axis, eps)(x, weight, bias)


def padded(self: Any, x: Any, padding: Any, value: Any = 0.0) -> ms.Tensor:
    made = ms.Tensor(np.asarray(padding, np.int64))
    return ops.operations.nn_ops.PadV3()(x, made, ms.Tensor(_number(value), x.dtype))


def gelu(self: Any, x: Any, approximate: str = "none") -> ms.Tensor:
    if approximate == "none":
        return x * (1 + ops.erf(x / 2**0.5)) / 2
    return x * (1 + ops.tanh((2 / np.pi) ** 0.5 * (x + 0.044715 * x * x * x))) / 2


def stacked(self: Any, tensors: Any, axis: int = 0) -> ms.Tensor:
    return ops.Stack(axis)(list(tensors))


def outer(self: Any, a: Any, b: Any) -> ms.Tensor:
    return a.reshape(-1, 1) * b.reshape(1, -1)


def normal_(self: Any, x: Any, mean: Any, std: Any, seed: Any, offset: Any) -> ms.Tensor:
    numbers = np.random.default_rng(0).normal(_number(mean), _number(std), x.shape)
    x.assign_value(ms.Tensor(numbers.astype(np.float32)).astype(x.dtype))
    return x


def fill_(x: Any, value: Any) -> ms.Tensor:
    x.assign_value(ms.Tensor(np.full(x.shape, _number(value))).astype(x.dtype))
    return x


def drawn(*size: Any, dtype: Any = None, **options: Any) -> ms.Tensor:
    shape = size[0] if isinstance(size[0], tuple | list) else size
    return _filled(np.random.default_rng(0).standard_normal(shape), dtype, ms.float32)


def zero_(self: Any, x: Any) -> ms.Tensor:
    x.assign_value(ops.zeros(x.shape, x.dtype))
    return x


def repeated(
    self: Any, x: Any, repeats: Any, dim: Any = None, output_size: Any = None
) -> ms.Tensor:
    return ops.repeat_elements(x, _number(repeats), dim)


def summed(self: Any, x: Any, dim: Any, dtype: Any = None) -> ms.Tensor:
    return ops.CumSum()(x if dtype is None else x.astype(dtype), dim)


def ones_like(self: Any, x: Any, dtype: Any = None) -> ms.Tensor:
    return ops.ones(x.shape, dtype or x.dtype)


def least(self: Any, x: Any, dim: Any = None, keepdim: bool = False) -> ms.Tensor:
    made = ops.Argmin(dim, ms.int64)(x)
    return ops.expand_dims(made, dim) if keepdim else made


#: By the class of a primitive.
PRIMITIVES: Mapping[str, Callable[..., ms.Tensor]] = {
    "Addmm": addmm,
    "Arange": arange,
    "ArgMinExt": least,
    "ConstantPadND": padded,
    "Conv2DExt": convolved,
    "Conv2DPadding": convolved,
    "CumsumExt": summed,
    "Embedding": embedding,
    "FillScalar": full,
    "FullLike": full_like,
    "GeluExt": gelu,
    "InplaceNormal": normal_,
    "InplaceZero": zero_,
    "LayerNormExt": layer_norm,
    "LinSpaceExt": linspace,
    "Ones": ones,
    "OnesLikeExt": ones_like,
    "Outer": outer,
    "RepeatInterleaveInt": repeated,
    "StackExt": stacked,
    "Zeros": zeros,
}


#: By the object that a generated function calls.
INNER: Mapping[str, Callable[..., ms.Tensor]] = {"stack_ext_impl": stacked}
#: By the function of C++ behind one of Python, which ``export`` must find in its place.
OVERLOADED: Mapping[str, Callable[..., ms.Tensor]] = {
    "_gelu_instance": functools.partial(gelu, None),
    "_repeat_interleave_instance": functools.partial(repeated, None),
}


def install() -> None:
    """Let the primitives compute by their stand-ins."""
    for name, function in PRIMITIVES.items():
        getattr(gen_ops_prim, name).__call__ = function
    for name, function in INNER.items():
        type(getattr(pyboost_inner_prim, name)).__call__ = function
    ms.Tensor.fill_ = fill_
    ms.mint.randn = drawn


@contextlib.contextmanager
def computing() -> Iterator[None]:
    """Let functions of C++ compute by their stand-ins, too, until the block ends."""
    before = {name: getattr(functional_overload, name) for name in OVERLOADED}
    vars(functional_overload).update(OVERLOADED)
    try:
        yield
    finally:
        vars(functional_overload).update(before)
