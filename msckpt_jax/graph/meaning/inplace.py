"""Operators that change their first operand in place: the meaning is its new content.

Most do what an operator of another name does, and keep the operand's dtype and shape.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from msckpt_jax.graph.meaning import activations, arrays, elementwise, indexing, linear


def _kept(meaning: Callable[..., Any]) -> Callable[..., Any]:
    """The meaning, its result with the dtype and the shape of the first operand."""

    @functools.wraps(meaning)
    def run(x: Any, *args: Any, **attrs: Any) -> Any:
        x = jnp.asarray(x)
        return jnp.broadcast_to(jnp.asarray(meaning(x, *args, **attrs), x.dtype), x.shape)

    return run


#: What the operators do, by the names of operators that give a new tensor.
_SAME = {
    "InplaceAddExt": "AddExt", "InplaceAddsExt": "AddScalar", "InplaceSubExt": "SubExt",
    "InplaceSubScalar": "SubScalar", "InplaceMul": "Mul", "InplaceMuls": "Muls",
    "InplaceDiv": "Div", "InplaceDivs": "Divs", "InplaceDivMod": "DivMod",
    "InplaceDivMods": "DivMods", "InplaceFloorDivide": "FloorDiv",
    "InplaceFloorDivides": "FloorDivScalar", "InplaceRemainderTensorTensor": "FloorMod",
    "InplaceRemainderTensorScalar": "FloorMod", "InplaceExp": "Exp", "InplaceLog": "Log",
    "InplaceFloor": "Floor", "InplaceSign": "Sign", "InplaceErfinv": "Erfinv",
    "InplaceTanh": "Tanh", "InplaceSigmoid": "Sigmoid", "InplaceReLU": "ReLU",
    "InplaceSiLU": "SiLU", "InplaceElu": "EluExt", "InplaceHardtanh": "Hardtanh",
    "InplaceThreshold": "Threshold", "InplaceClampScalar": "ClampScalar",
    "InplaceClampTensor": "ClampTensor", "InplaceMaskedFillScalar": "MaskedFillScalar",
    "InplaceMaskedFillTensor": "MaskedFill", "InplaceIndexFillScalar": "IndexFillScalar",
    "InplaceIndexFillTensor": "IndexFillTensor", "InplaceIndexAddExt": "IndexAddExt",
    "InplaceIndexAdd": "IndexAdd", "InplaceScatterValue": "ScatterValue",
    "InplaceScatterSrc": "Scatter", "InplaceScatterValueReduce": "ScatterValue",
    "InplaceScatterSrcReduce": "Scatter", "InplaceScatterAdd": "ScatterAddExt",
    "InplaceAddmm": "Addmm", "ScatterNdUpdate": "TensorScatterUpdate",
    "ScatterNdAdd": "TensorScatterAdd", "ScatterNdSub": "TensorScatterSub",
    "ScatterNdMul": "TensorScatterMul", "ScatterNdDiv": "TensorScatterDiv",
    "ScatterNdMax": "TensorScatterMax", "ScatterNdMin": "TensorScatterMin",
}  # fmt: skip
_KNOWN = activations.TABLE | arrays.TABLE | elementwise.TABLE | indexing.TABLE | linear.TABLE


def _scatter(method: str, sign: Callable[[Any], Any] = jnp.asarray) -> Callable[..., Any]:
    """Update whole rows; indices may have any rank."""

    def run(x: Any, indices: Any, updates: Any) -> Any:
        return indexing.updated(x, jnp.asarray(indices), method, sign(updates))

    return run


def _copy(x: Any, source: Any, *_: Any) -> Any:
    return source


def _fill(x: Any, value: Any = 0) -> Any:
    return value


def _index_copy(x: Any, dim: int, index: Any, source: Any) -> Any:
    place: list[Any] = [slice(None)] * x.ndim
    place[dim] = index
    return x.at[tuple(place)].set(source)


def _index_put(x: Any, indices: Any, values: Any, accumulate: bool = False) -> Any:
    place = tuple(slice(None) if i is None or (i.ndim == 9 and not i.size) else i for i in indices)
    return x.at[place].add(values) if accumulate else x.at[place].set(values)


def _put(x: Any, index: Any, source: Any, accumulate: bool = False) -> Any:
    """Write to the flat tensor."""
    flat = jnp.ravel(x).at[jnp.ravel(index)]
    values = jnp.ravel(source)
    return (flat.add(values) if accumulate else flat.set(values)).reshape(x.shape)


def _fill_diagonal(x: Any, value: Any, wrap: bool = False) -> Any:
    rows, columns = x.shape[0], x.shape[-1]
    if x.ndim > 2:
        place = np.arange(rows)
        return x.at[(place,) * x.ndim].set(value)
    last = rows * columns if wrap else min(rows, columns) * columns
    return jnp.ravel(x).at[np.arange(0, last, columns + 1)].set(value).reshape(x.shape)


def _masked_scatter(x: Any, mask: Any, source: Any) -> Any:
    """Take the numbers of the source in order for the places where the mask is True."""
    mask = jnp.broadcast_to(mask, x.shape)
    order = jnp.cumsum(jnp.ravel(mask)).reshape(x.shape) - 1
    return jnp.where(mask, jnp.take(jnp.ravel(source), order, mode="clip"), x)


def _copy_slices(x: Any, value: Any, begin: Any, end: Any, strides: Any) -> Any:
    place = tuple(slice(b, e, s) for b, e, s in zip(begin, end, strides, strict=True))
    return x.at[place].set(value)


def _rows(method: str) -> Callable[..., Any]:
    def run(x: Any, updates: Any, *, indices: Any) -> Any:
        return getattr(x.at[np.asarray(indices)], method)(updates)

    return run


def _through_view(base: Any, content: Any, *args: Any, view: str, part: int | None) -> Any:
    """The tensor with another content where a view shows it."""
    shape, size = jnp.shape(base), jnp.size(base)
    if view in _OF_PARTS:
        return _OF_PARTS[view](base, content)
    with jax.ensure_compile_time_eval():
        places = _KNOWN[view](np.arange(size).reshape(shape), *args)
        place = np.asarray(places if part is None else places[part])
    if np.unique(place).size < place.size:
        raise ValueError(f"a tensor is changed through {view}, which shows an element twice")
    new = jnp.ravel(jnp.asarray(content, base.dtype))
    return jnp.ravel(base).at[np.ravel(place)].set(new).reshape(shape)


_OF_PARTS: dict[str, Callable[[Any, Any], Any]] = {
    "RealView": lambda x, real: real + 1j * jnp.imag(x),
    "ImagView": lambda x, imag: jnp.real(x) + 1j * imag,
}
TABLE: dict[str, Callable[..., Any]] = {
    name: _kept(meaning)
    for name, meaning in (
        {name: _KNOWN[same] for name, same in _SAME.items()}
        | {
            "Assign": _copy,
            "AssignAdd": jnp.add,
            "AssignSub": jnp.subtract,
            "InplaceCopy": _copy,
            "InplaceFillScalar": _fill,
            "InplaceFillTensor": _fill,
            "InplaceFillDiagonal": _fill_diagonal,
            "InplaceIndexCopy": _index_copy,
            "InplaceIndexPut": _index_put,
            "InnerInplaceIndexPut": _index_put,
            "InplaceMaskedScatter": _masked_scatter,
            "InplacePut": _put,
            "InplaceZero": _fill,
            "ScatterUpdate": _scatter("set"),
            "ScatterAdd": _scatter("add"),
            "ScatterSub": _scatter("add", jnp.negative),
            "ScatterMul": _scatter("multiply"),
            "ScatterDiv": _scatter("divide"),
            "ScatterMax": _scatter("max"),
            "ScatterMin": _scatter("min"),
            "TensorCopySlices": _copy_slices,
            "WriteThroughView": _through_view,
        }
    ).items()
} | {
    "InplaceAdd": _rows("add"),
    "InplaceSub": lambda x, updates, *, indices: _rows("add")(x, -updates, indices=indices),
    "InplaceUpdate": _rows("set"),
    "InplaceUpdateV2": lambda x, indices, updates: _rows("set")(x, updates, indices=indices),
}
