"""Mixtures of experts: the choice of experts, the order of tokens, products by groups.

MindSpore has no CPU kernels of these: they follow the definitions and examples in its documents.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from msckpt_jax.errors import MindIRError
from msckpt_jax.graph.meaning.quantised import dequantised, refuse


def _gate(x: Any, finished: Any = None, k: int = 1) -> Any:
    """The ``k`` largest shares of each row, their experts, and the numbers of the rows.

    The row numbers are those at which MoeFinalizeRouting looks for them: ``row + n * rows``.
    """
    refuse("MoeGatingTopKSoftmax", finished=finished)
    shares = jax.nn.softmax(x.astype(jnp.float32), -1)
    values, experts = lax.top_k(shares, k)
    rows = int(np.prod(x.shape[:-1]))
    numbers = jnp.reshape(jnp.arange(rows * k, dtype=jnp.int32), (k, rows)).T
    return values.astype(x.dtype), experts, jnp.reshape(numbers, values.shape)


def _init(x: Any, row_idx: Any, expert_idx: Any, active_num: int) -> Any:
    """The tokens in the order of their experts, the places of rows there, the experts sorted."""
    rows, k = expert_idx.shape
    order = jnp.argsort(jnp.ravel(expert_idx), stable=True)
    numbers = jnp.ravel(row_idx)[order]
    places = jnp.zeros(rows * k, jnp.int32).at[numbers].set(jnp.arange(rows * k, dtype=jnp.int32))
    most = min(rows, active_num) * k
    return x[numbers % rows][:most], places, jnp.ravel(expert_idx)[order]


def _init_v2(
    x: Any, expert_idx: Any, active_num: int = 0, expert_capacity: int = 0, expert_num: int = 0,
    drop_pad_mode: int = 0, count_flag: int = 0, before_flag: bool = False,
) -> Any:  # fmt: skip
    """The tokens by experts, the places of each choice there, and the tokens of each expert."""
    rows, k = expert_idx.shape
    flat = jnp.ravel(expert_idx)
    order = jnp.argsort(flat, stable=True)
    place = jnp.zeros(rows * k, jnp.int32).at[order].set(jnp.arange(rows * k, dtype=jnp.int32))
    counts = jnp.bincount(flat, length=max(expert_num, 1)).astype(jnp.int32)
    before = counts if before_flag else jnp.zeros_like(counts)
    if drop_pad_mode == 0:
        out = x[order // k]
        out = out[: min(active_num, rows * k)] if active_num else out
        sums = jnp.cumsum(counts).astype(jnp.int32) if count_flag == 1 else counts
        return out, place, sums if count_flag else jnp.zeros_like(counts), before
    slot = place - (jnp.cumsum(counts) - counts).astype(jnp.int32)[flat]  # within the expert
    index = jnp.where(slot < expert_capacity, flat * expert_capacity + slot, -1)
    out = jnp.zeros((expert_num * expert_capacity, x.shape[1]), x.dtype)
    safe = jnp.where(index < 0, out.shape[0], index)
    out = out.at[safe].set(x[jnp.arange(rows * k) // k], mode="drop")
    out = jnp.reshape(out, (expert_num, expert_capacity, -1))
    return out, index.astype(jnp.int32), jnp.zeros_like(counts), before


def _finalize(
    expanded: Any, x1: Any, x2: Any = None, bias: Any = None, scales: Any = None,
    row_idx: Any = None, expert_idx: Any = None,
) -> Any:  # fmt: skip
    """Compute ``x1 + x2 + sum(scales * (expanded[row_idx] + bias[expert_idx]))``."""
    refuse_none("MoeFinalizeRouting", expanded_row_idx=row_idx)
    rows = x1.shape[0]
    k = row_idx.shape[0] // rows
    parts = jnp.reshape(expanded[row_idx], (k, rows, -1)).astype(jnp.float32)
    if bias is not None:
        refuse_none("MoeFinalizeRouting", expanded_expert_idx=expert_idx)
        parts = parts + bias[expert_idx.T].astype(jnp.float32)
    if scales is not None:
        parts = parts * scales.T[..., None].astype(jnp.float32)
    total = x1.astype(jnp.float32) + jnp.sum(parts, 0)
    return (total if x2 is None else total + x2.astype(jnp.float32)).astype(expanded.dtype)


def refuse_none(op: str, **given: Any) -> None:
    """Refuse arguments that are missing.

    Raises:
        MindIRError: one is None.
    """
    for name, value in given.items():
        if value is None:
            raise MindIRError(f"{op} without {name} is not supported: give it a meaning, rules=")


def _expert_tokens(experts: Any, count: int) -> Any:
    """The end of each expert's tokens, which are sorted."""
    ends = jnp.searchsorted(experts, jnp.arange(count, dtype=experts.dtype), side="right")
    return ends.astype(experts.dtype)


def _permute(tokens: Any, indices: Any, num_out: Any = None, padded_mode: bool = False) -> Any:
    if padded_mode:
        raise MindIRError("MoeTokenPermute in padded_mode is not supported")
    k = 1 if indices.ndim == 1 else indices.shape[1]
    order = jnp.argsort(jnp.ravel(indices), stable=True)
    count = order.shape[0]
    place = jnp.zeros(count, jnp.int32).at[order].set(jnp.arange(count, dtype=jnp.int32))
    kept = order if num_out in (None, 0) else order[:num_out]
    return tokens[kept // k], place


def _unpermute(
    tokens: Any, indices: Any, probs: Any = None, padded_mode: bool = False, shape: Any = None
) -> Any:
    if padded_mode:
        raise MindIRError("MoeTokenUnpermute in padded_mode is not supported")
    inside = (indices < tokens.shape[0])[:, None]  # tokens that were dropped are 0
    rows = jnp.where(inside, jnp.take(tokens, indices, 0, mode="clip"), 0).astype(jnp.float32)
    if probs is None:
        return rows.astype(tokens.dtype)
    rows = jnp.reshape(rows, (*probs.shape, -1)) * probs[..., None].astype(jnp.float32)
    return jnp.sum(rows, 1).astype(tokens.dtype)


def by_groups(x: Any, weight: Any, ends: Any, bias: Any = None) -> Any:
    """The product of each row with its group's matrix, [E, K, N]; ``ends`` are the groups' ends."""
    ends = jnp.asarray(ends)
    sizes = jnp.diff(ends, prepend=0).astype(jnp.int32)
    out = lax.ragged_dot(x, weight, sizes, preferred_element_type=jnp.float32)
    if bias is not None:
        group = jnp.searchsorted(ends, jnp.arange(x.shape[0]), side="right")
        rows = jnp.take(bias, jnp.minimum(group, len(ends) - 1), 0).astype(jnp.float32)
        out = out + jnp.where((group < len(ends))[:, None], rows, 0)
    return out


def _only(op: str, parts: Any, name: str) -> Any:
    if parts is None or (isinstance(parts, tuple) and not parts):
        return None
    if isinstance(parts, tuple | list):
        if len(parts) != 1:
            raise MindIRError(f"{op} with {len(parts)} tensors of {name}: only one is supported")
        return parts[0]
    return parts


def _none_if_empty(parts: Any) -> Any:
    """None for what a file has for an absent list of tensors."""
    return None if isinstance(parts, tuple) and all(p is None for p in parts) else parts


def _grouped(
    x: Any, weight: Any, bias: Any = None, scale: Any = None, offset: Any = None,
    antiquant_scale: Any = None, antiquant_offset: Any = None, group_list: Any = None,
    split_item: int = 0, group_type: int = -1, transpose_a: bool = False,
    transpose_b: bool = False, group_list_type: int = 0,
) -> Any:  # fmt: skip
    """Compute GroupedMatmul: products of pairs of tensors, or of groups of rows."""
    op = "GroupedMatmul"
    bias, scale, offset, antiquant_scale, antiquant_offset = map(
        _none_if_empty, (bias, scale, offset, antiquant_scale, antiquant_offset)
    )
    refuse(op, scale=scale, offset=offset, transpose_a=transpose_a or None)
    if group_type == -1:
        refuse(op, antiquant_scale=antiquant_scale, group_list=group_list)
        weights = [jnp.swapaxes(w, -1, -2) if transpose_b else w for w in weight]
        outs = [
            jnp.matmul(a, w, preferred_element_type=jnp.float32)
            for a, w in zip(x, weights, strict=True)
        ]
        if bias is not None:
            outs = [out + b.astype(jnp.float32) for out, b in zip(outs, bias, strict=True)]
        return tuple(out.astype(a.dtype) for out, a in zip(outs, x, strict=True))
    if group_type == 2:
        refuse(op, antiquant_scale=antiquant_scale, transpose_b=transpose_b or None)
        return _gmm(x, weight, bias, group_list, 2, group_list_type)
    if group_type != 0:
        raise MindIRError(f"{op} of group_type {group_type}: only -1, 0 and 2 are supported")
    a, w, b = _only(op, x, "x"), _only(op, weight, "weight"), _only(op, bias, "bias")
    w = jnp.swapaxes(w, -1, -2) if transpose_b else w
    if antiquant_scale is not None:
        factors = _only(op, antiquant_scale, "antiquant_scale")[:, None]
        offsets = _only(op, antiquant_offset, "antiquant_offset")
        w = dequantised(w, factors, None if offsets is None else offsets[:, None])
    ends = jnp.asarray(group_list)
    ends = jnp.cumsum(ends) if group_list_type == 1 else ends
    return (by_groups(a.astype(jnp.promote_types(a.dtype, w.dtype)), w, ends, b).astype(a.dtype),)


def _grouped_v2(*args: Any) -> Any:
    return _grouped(*args)


def _grouped_v4(
    x: Any, weight: Any, bias: Any = None, scale: Any = None, offset: Any = None,
    antiquant_scale: Any = None, antiquant_offset: Any = None, per_token: Any = None,
    group_list: Any = None, activation_input: Any = None, activation_quant_scale: Any = None,
    activation_quant_offset: Any = None, split_item: int = 0, group_type: int = -1,
    group_list_type: int = 0, act_type: int = 0, output_dtype: Any = None,
) -> Any:  # fmt: skip
    refuse(
        "GroupedMatmulV4", pre_token_scale=_none_if_empty(per_token),
        activation_input=_none_if_empty(activation_input), output_dtype=output_dtype,
        activation_quant_scale=_none_if_empty(activation_quant_scale),
        activation_quant_offset=_none_if_empty(activation_quant_offset), act_type=act_type or None,
    )  # fmt: skip
    return _grouped(x, weight, bias, scale, offset, antiquant_scale, antiquant_offset, group_list,
                    split_item, group_type, group_list_type=group_list_type)  # fmt: skip


def _gmm(
    x: Any, weight: Any, bias: Any = None, group_list: Any = None, group_type: int = 0,
    group_list_type: int = 0,
) -> Any:  # fmt: skip
    """Compute Gmm: groups of rows (type 0), or of columns and rows (type 2)."""
    a, w = _only("Gmm", x, "x"), _only("Gmm", weight, "weight")
    b = _only("Gmm", _none_if_empty(bias), "bias")
    ends = jnp.asarray(group_list)
    ends = jnp.cumsum(ends) if group_list_type == 1 else ends
    if group_type == 0:
        return (by_groups(a, w, ends, b).astype(a.dtype),)
    if group_type != 2:
        raise MindIRError(f"Gmm of group_type {group_type}: only 0 and 2 are supported")
    refuse("Gmm", bias=b)
    group = jnp.searchsorted(ends, jnp.arange(a.shape[1]), side="right")
    own = jax.nn.one_hot(group, len(ends), dtype=a.dtype)
    return (jnp.einsum("mk,kn,ke->emn", a, w, own).astype(a.dtype),)


def _gmm_of_list(x: Any, weight: Any, bias: Any = None, group_list: Any = None, group_type: int = 0,
                 group_list_type: int = 0) -> Any:  # fmt: skip
    """Compute Gmm, whose list of numbers always has ends."""
    return _gmm(x, weight, bias, group_list, group_type, 0)


_ACTIVATIONS = {1: jax.nn.relu, 22: lambda x: x * jax.nn.sigmoid(1.702 * x), 23: jax.nn.silu}


def _ffn(
    x: Any, weight1: Any, weight2: Any, tokens: Any = None, bias1: Any = None, bias2: Any = None,
    scale: Any = None, offset: Any = None, deq1: Any = None, deq2: Any = None,
    aq_scale1: Any = None, aq_scale2: Any = None, aq_offset1: Any = None, aq_offset2: Any = None,
    activation: Any = 22, inner_precise: int = 0,
) -> Any:  # fmt: skip
    """Compute FFNExt: two products with an activation between them, by experts or by none."""
    refuse("FFNExt", scale=scale, offset=offset, deqScale1=deq1, deqScale2=deq2,
           antiquant_scale1=aq_scale1, antiquant_scale2=aq_scale2, antiquant_offset1=aq_offset1,
           antiquant_offset2=aq_offset2)  # fmt: skip
    if activation not in _ACTIVATIONS:
        raise MindIRError(f"FFNExt with the activation {activation} is not supported")
    flat = jnp.reshape(x, (-1, x.shape[-1]))
    if tokens is None:

        def product(a: Any, w: Any, b: Any) -> Any:
            out = jnp.matmul(a, w, preferred_element_type=jnp.float32)
            return out if b is None else out + b.astype(jnp.float32)
    else:
        ends = jnp.cumsum(jnp.asarray(tokens))

        def product(a: Any, w: Any, b: Any) -> Any:
            return by_groups(a, w, ends, b)

    middle = _ACTIVATIONS[activation](product(flat, weight1, bias1)).astype(x.dtype)
    out = product(middle, weight2, bias2)
    return jnp.reshape(out, (*x.shape[:-1], -1)).astype(x.dtype)


TABLE: dict[str, Callable[..., Any]] = {
    "MoeGatingTopKSoftmax": _gate,
    "MoeInitRouting": _init,
    "MoeInitRoutingV2": _init_v2,
    "MoeFinalizeRouting": _finalize,
    "MoeComputeExpertTokens": _expert_tokens,
    "MoeTokenPermute": _permute,
    "MoeTokenUnpermute": _unpermute,
    "InnerMoeTokenUnpermute": _unpermute,
    "GroupedMatmul": _grouped,
    "GroupedMatmulV2": _grouped_v2,
    "GroupedMatmulV4": _grouped_v4,
    "Gmm": _gmm_of_list,
    "GmmV2": _gmm,
    "FFNExt": _ffn,
}
