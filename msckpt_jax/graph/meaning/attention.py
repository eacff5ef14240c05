"""Attention of Ascend's fused operators, by the definitions in MindSpore's documents.

MindSpore has no CPU kernels of these. Scores and their softmax are float32; where the documents
contradict each other or leave a case open, the case is refused.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from msckpt_jax.errors import MindIRError
from msckpt_jax.graph.meaning.arrays import ints
from msckpt_jax.graph.meaning.quantised import refuse

#: The numbers of MindSpore's input_layout.
LAYOUTS = ("BSH", "BNSD", "SBH", "BSND", "TND", "TH", "NSD", "SH", "BNSD_BSND")


def layout_of(value: Any) -> str:
    return LAYOUTS[value] if isinstance(value, int | np.integer) else str(value)


def by_heads(x: Any, layout: str, heads: int) -> Any:
    """A tensor of a layout as [B, N, S, D]."""
    if layout in ("BNSD", "BNSD_BSND"):
        return x
    if layout == "BSND":
        return jnp.swapaxes(x, 1, 2)
    if layout == "BSH":
        return jnp.swapaxes(jnp.reshape(x, (*x.shape[:2], heads, -1)), 1, 2)
    if layout == "SBH":
        return jnp.transpose(jnp.reshape(x, (*x.shape[:2], heads, -1)), (1, 2, 0, 3))
    raise MindIRError(f"attention in the layout {layout} is not supported")


def from_heads(x: Any, layout: str) -> Any:
    """Undo :func:`by_heads`, for results."""
    b, n, s, d = x.shape
    if layout == "BNSD":
        return x
    if layout in ("BSND", "BNSD_BSND"):
        return jnp.swapaxes(x, 1, 2)
    if layout == "BSH":
        return jnp.reshape(jnp.swapaxes(x, 1, 2), (b, s, n * d))
    return jnp.reshape(jnp.transpose(x, (2, 0, 1, 3)), (s, b, n * d))


class Attended(NamedTuple):
    """The result of attention, and the maximum and the sum of each row's exponentials."""

    out: Any
    largest: Any
    total: Any


def attend(q: Any, k: Any, v: Any, scale: float, kept: Any = None, shift: Any = None) -> Attended:
    """Attention of [B, N, S, D]; several heads of ``q`` share one of ``k`` and ``v``.

    ``kept`` is True where a key counts, broadcast to [B, N, S1, S2]; a row without any gives 0.
    ``shift`` is added to the scaled scores.
    """
    b, n, s, d = q.shape
    groups = k.shape[1]
    parts = jnp.reshape(q, (b, groups, n // groups, s, d))
    scores = jnp.einsum("bgnsd,bgtd->bgnst", parts, k, preferred_element_type=jnp.float32)
    scores = jnp.reshape(scores, (b, n, s, k.shape[2])) * scale
    scores = scores if shift is None else scores + shift.astype(jnp.float32)
    if kept is not None:
        scores = jnp.where(kept, scores, -jnp.inf)
    largest = jnp.max(scores, -1, keepdims=True)
    safe = jnp.where(jnp.isfinite(largest), largest, 0)
    weights = jnp.exp(scores - safe)
    total = jnp.sum(weights, -1, keepdims=True)
    shares = weights / jnp.where(total == 0, 1, total)
    shares = jnp.reshape(shares, (b, groups, n // groups, s, -1)).astype(v.dtype)
    out = jnp.einsum("bgnst,bgtd->bgnsd", shares, v, preferred_element_type=jnp.float32)
    return Attended(jnp.reshape(out, (b, n, s, v.shape[-1])).astype(q.dtype), largest, total)


def kept_by_mode(
    mode: int, s: int, t: int, mask: Any, before: int, after: int, prefix: Any = None
) -> Any:
    """The keys that count, of a sparse mode of MindSpore; None where all do."""
    row, column = np.arange(s)[:, None], np.arange(t)
    if mode == 0:
        if mask is None:
            return None
        band = (column >= row - before) & (column <= row + after)
        return band & ~jnp.asarray(mask, bool)
    if mode == 1:
        return None if mask is None else ~jnp.asarray(mask, bool)
    if mode == 2:
        return column <= row
    if mode == 3:
        return column <= row + t - s
    if mode == 4:
        if s != t:
            raise MindIRError("attention in sparse_mode 4 with queries and keys of two lengths")
        return (column >= row - before) & (column <= row + after)
    if mode == 5 and prefix is not None:
        first = jnp.reshape(jnp.asarray(prefix), (-1, 1, 1, 1))
        return (column <= row + t - s) | (column < first)
    raise MindIRError(f"attention in sparse_mode {mode} is not supported")


def _no_shift(op: str, shift: Any, scale: float) -> None:
    if shift is not None and scale != 1:
        raise MindIRError(
            f"{op} with a position shift and a scale: MindSpore's documents contradict each other "
            "on whether the shift is scaled, too; give the operator a meaning, rules="
        )


def _flash(
    q: Any, k: Any, v: Any, real_shift: Any = None, drop_mask: Any = None, padding_mask: Any = None,
    attn_mask: Any = None, prefix: Any = None, actual_seq_qlen: Any = None,
    actual_seq_kvlen: Any = None, head_num: int = 1, keep_prob: float = 1.0,
    scale_value: float = 1.0, pre_tokens: int = 2147483647, next_tokens: int = 2147483647,
    inner_precise: int = 0, input_layout: Any = 0, sparse_mode: int = 0,
) -> Any:  # fmt: skip
    """Compute FlashAttentionScore: maxima, sums, nothing, and the result."""
    if keep_prob != 1:
        raise MindIRError("FlashAttentionScore with dropout: export in eval mode")
    refuse("FlashAttentionScore", drop_mask=drop_mask, padding_mask=padding_mask)
    _no_shift("FlashAttentionScore", real_shift, scale_value)
    layout = layout_of(input_layout)
    if layout == "TND":
        return _flash_of_rows(q, k, v, actual_seq_qlen, actual_seq_kvlen, scale_value, sparse_mode,
                              real_shift)  # fmt: skip
    q, k, v = _heads_of(q, k, v, layout, head_num)
    s, t = q.shape[2], k.shape[2]
    if real_shift is not None and real_shift.shape[-2] != s:
        raise MindIRError("FlashAttentionScore with a compressed position shift is not supported")
    kept = kept_by_mode(sparse_mode, s, t, attn_mask, pre_tokens, next_tokens, prefix)
    out, largest, total = attend(q, k, v, scale_value, kept, real_shift)
    eight = (*largest.shape[:-1], 8)
    return (jnp.broadcast_to(largest, eight), jnp.broadcast_to(total, eight),
            jnp.zeros((), q.dtype), from_heads(out, layout))  # fmt: skip


def _heads_of(q: Any, k: Any, v: Any, layout: str, heads: int, shared: int = 0) -> Any:
    """Queries, keys and values by heads; the keys' number of heads follows from the sizes."""
    queries = by_heads(q, layout, heads)
    if not shared and layout in ("BSH", "SBH"):
        shared = k.shape[-1] // queries.shape[-1]
    return queries, by_heads(k, layout, shared), by_heads(v, layout, shared)


def _flash_of_rows(
    q: Any, k: Any, v: Any, ends: Any, key_ends: Any, scale: float, mode: int, shift: Any
) -> Any:
    """Attention of sequences that lie one after another in [T, N, D]; ``ends`` are their ends."""
    refuse("FlashAttentionScore in the layout TND", real_shift=shift)
    if mode not in (0, 2, 3):
        raise MindIRError(f"FlashAttentionScore in the layout TND with sparse_mode {mode}")
    if isinstance(ends, jax.Array) or isinstance(key_ends, jax.Array):
        raise MindIRError("FlashAttentionScore in the layout TND takes constant lengths")
    parts = []
    for (start, end), (first, last) in zip(_spans(ends), _spans(key_ends), strict=True):
        query, key, value = (
            jnp.swapaxes(x, 0, 1)[None] for x in (q[start:end], k[first:last], v[first:last])
        )
        kept = kept_by_mode(mode, end - start, last - first, None, 0, 0)
        parts.append(attend(query, key, value, scale, kept))
    out, largest, total = (
        jnp.concatenate([jnp.swapaxes(part[n][0], 0, 1) for part in parts]) for n in range(3)
    )
    eight = (*largest.shape[:-1], 8)
    return (jnp.broadcast_to(largest, eight), jnp.broadcast_to(total, eight),
            jnp.zeros((), q.dtype), out)  # fmt: skip


def _spans(ends: Any) -> list[tuple[int, int]]:
    numbers = (0, *ints(ends))
    return list(itertools.pairwise(numbers))


def _within(lengths: Any, size: int) -> Any:
    """The keys within each batch's length, [B, 1, 1, size]; True where there are no lengths."""
    if lengths is None:
        return True
    return jnp.arange(size) < jnp.reshape(jnp.asarray(lengths), (-1, 1, 1, 1))


def _four(mask: Any) -> Any:
    """A mask [S, T], [B, S, T] or [B, 1, S, T] as the last."""
    return mask[:, None] if mask is not None and mask.ndim == 3 else mask


def _prompt(
    q: Any, k: Any, v: Any, attn_mask: Any = None, actual_seq_lengths: Any = None,
    actual_seq_lengths_kv: Any = None, pse_shift: Any = None, deq_scale1: Any = None,
    quant_scale1: Any = None, deq_scale2: Any = None, quant_scale2: Any = None,
    quant_offset2: Any = None, num_heads: int = 1, scale_value: float = 1.0,
    pre_tokens: int = 2147483647, next_tokens: int = 0, input_layout: Any = 0,
    num_key_value_heads: int = 0, sparse_mode: int = 0, inner_precise: int = 1,
) -> Any:  # fmt: skip
    op = "PromptFlashAttention"
    refuse(op, deq_scale1=deq_scale1, quant_scale1=quant_scale1, deq_scale2=deq_scale2,
           quant_scale2=quant_scale2, quant_offset2=quant_offset2)  # fmt: skip
    return _inferred(
        op, q, k, v, attn_mask, actual_seq_lengths, actual_seq_lengths_kv,
        pse_shift, num_heads, scale_value, pre_tokens, next_tokens, layout_of(input_layout),
        num_key_value_heads, sparse_mode,
    )[0]  # fmt: skip


def _inferred(
    op: str, q: Any, k: Any, v: Any, mask: Any, lengths: Any, key_lengths: Any, shift: Any,
    heads: int, scale: float, before: int, after: int, layout: str, shared: int, mode: int,
) -> tuple[Any, Any]:  # fmt: skip
    """Attention over a prompt, and the logarithms of its rows' sums."""
    _no_shift(op, shift, scale)
    refuse(op, actual_seq_lengths=lengths)  # what its rows beyond are is told nowhere
    q, k, v = _heads_of(q, k, v, layout, heads, shared)
    s, t = q.shape[2], k.shape[2]
    kept = kept_by_mode(mode, s, t, _four(mask), before, after)
    inside = _within(key_lengths, t)
    kept = inside if kept is None else kept & inside
    out, largest, total = attend(q, k, v, scale, None if kept is True else kept, shift)
    return from_heads(out, layout), largest + jnp.log(total)


def _one_of(op: str, parts: Any) -> Any:
    """The only tensor of a list: batches of several lengths have several."""
    if not isinstance(parts, tuple | list):
        return parts
    if len(parts) != 1:
        raise MindIRError(f"{op} with a list of {len(parts)} tensors: only one is supported")
    return parts[0]


def _increment(
    q: Any, k: Any, v: Any, attn_mask: Any = None, actual_seq_lengths: Any = None,
    pse_shift: Any = None, dequant_scale1: Any = None, quant_scale1: Any = None,
    dequant_scale2: Any = None, quant_scale2: Any = None, quant_offset2: Any = None,
    antiquant_scale: Any = None, antiquant_offset: Any = None, block_table: Any = None,
    kv_padding_size: Any = None, num_heads: int = 1, input_layout: Any = 0,
    scale_value: float = 1.0, num_key_value_heads: int = 0, block_size: int = 0,
    inner_precise: int = 1,
) -> Any:  # fmt: skip
    op = "IncreFlashAttention"
    refuse(op, dequant_scale1=dequant_scale1, quant_scale1=quant_scale1,
           dequant_scale2=dequant_scale2, quant_scale2=quant_scale2, quant_offset2=quant_offset2,
           antiquant_scale=antiquant_scale, antiquant_offset=antiquant_offset,
           block_table=block_table, kv_padding_size=kv_padding_size)  # fmt: skip
    _no_shift(op, pse_shift, scale_value)
    layout = layout_of(input_layout)
    q, k, v = _heads_of(q, _one_of(op, k), _one_of(op, v), layout, num_heads, num_key_value_heads)
    size = k.shape[2]
    kept = _within(actual_seq_lengths, size)
    if attn_mask is not None:
        kept = kept & ~jnp.reshape(jnp.asarray(attn_mask, bool), (-1, 1, 1, size))
    out = attend(q, k, v, scale_value, None if kept is True else kept, pse_shift).out
    return from_heads(out, layout)


def _fused(
    q: Any, k: Any, v: Any, pse_shift: Any = None, attn_mask: Any = None,
    actual_seq_lengths: Any = None, actual_seq_lengths_kv: Any = None, *rest: Any
) -> Any:  # fmt: skip
    """Compute FusedInferAttentionScore: the result, and its rows' logarithms of sums."""
    op = "FusedInferAttentionScore"
    options, settings = rest[:17], rest[17:]
    given = [n for n, value in zip(_FUSED_OPTIONS, options, strict=True) if value is not None]
    refuse(op, **dict.fromkeys(given, True))
    heads, scale, before, after, layout, shared, mode, _, _, _, wanted = settings[:11]
    k, v, layout = _one_of(op, k), _one_of(op, v), layout_of(layout)
    if by_heads(q, layout, heads).shape[2] == 1:  # one step: the mask is [B, ..., S]
        mask = (
            None if attn_mask is None else jnp.reshape(attn_mask, (-1, 1, 1, attn_mask.shape[-1]))
        )
        attn_mask, mode, before, after = mask, 1, 0, 0
        actual_seq_lengths = None
    out, logs = _inferred(
        op, q, k, v, attn_mask, actual_seq_lengths, actual_seq_lengths_kv, pse_shift, heads, scale,
        before, after, layout, shared, mode,
    )  # fmt: skip
    return out, logs if wanted else jnp.zeros(1, jnp.float32)


_FUSED_OPTIONS = (
    "dequant_scale1", "quant_scale1", "dequant_scale2", "quant_scale2", "quant_offset2",
    "antiquant_scale", "antiquant_offset", "block_table", "query_padding_size", "kv_padding_size",
    "key_antiquant_scale", "key_antiquant_offset", "value_antiquant_scale",
    "value_antiquant_offset", "key_shared_prefix", "value_shared_prefix",
    "actual_shared_prefix_len",
)  # fmt: skip


def _paged(
    q: Any, keys: Any, values: Any, tables: Any, lengths: Any, heads: int, scale: float,
    shared: int, shift: Any = None,
) -> Any:  # fmt: skip
    """Attention of one query a sequence to the keys in the blocks of its table."""
    shared = shared or heads
    shape, depth = q.shape, keys.shape[-1] * keys.shape[-2] // shared
    if keys.ndim == 3:
        depth = keys.shape[-1] // shared
    count = tables.shape[0]
    query = jnp.reshape(q, (count, heads, 1, depth))

    def of_table(cache: Any) -> Any:
        rows = jnp.reshape(jnp.take(cache, jnp.maximum(tables, 0), 0), (count, -1, shared, depth))
        return jnp.swapaxes(rows, 1, 2)

    k, v = of_table(keys), of_table(values)
    kept = _within(lengths, k.shape[2])
    if shift is not None:
        shift = jnp.pad(shift, [(0, 0)] * 3 + [(0, k.shape[2] - shift.shape[-1])])
    return jnp.reshape(attend(query, k, v, scale, kept, shift).out, shape)


def _paged_attention(
    q: Any, keys: Any, values: Any = None, tables: Any = None, lengths: Any = None,
    antiquant_scale: Any = None, antiquant_offset: Any = None, attn_mask: Any = None,
    q_seq_lens: Any = None, alibi_mask: Any = None, head_num: int = 1, scale_value: float = 1.0,
    kv_head_num: int = 0, kv_cache_quant_mode: Any = 0, mask_mode: Any = 0, mla_v_dim: int = 0,
) -> Any:  # fmt: skip
    refuse("PagedAttention", antiquant_scale=antiquant_scale, antiquant_offset=antiquant_offset,
           attn_mask=attn_mask, q_seq_lens=q_seq_lens, alibi_mask=alibi_mask,
           mla_v_dim=mla_v_dim or None, mask_mode=mask_mode or None)  # fmt: skip
    return _paged(q, keys, values, tables, lengths, head_num, scale_value, kv_head_num)


def _paged_attention_mask(
    q: Any, keys: Any, values: Any, tables: Any, lengths: Any, antiquant_scale: Any = None,
    antiquant_offset: Any = None, alibi_mask: Any = None, head_num: int = 1,
    scale_value: float = 1.0, kv_head_num: int = 0, kv_cache_quant_mode: Any = 0,
) -> Any:  # fmt: skip
    refuse("PagedAttentionMask", antiquant_scale=antiquant_scale,
           antiquant_offset=antiquant_offset)  # fmt: skip
    return _paged(q, keys, values, tables, lengths, head_num, scale_value, kv_head_num, alibi_mask)


def _ring_update(
    first: Any, first_max: Any, first_sum: Any, second: Any, second_max: Any, second_sum: Any,
    lengths: Any = None, layout: Any = 2,
) -> Any:  # fmt: skip
    """Join the attention to two parts of the keys, of [S, B, H] and sums [B, N, S, 8]."""
    if layout_of(layout) != "SBH":
        raise MindIRError(f"RingAttentionUpdate in the layout {layout_of(layout)}: only SBH")
    largest = jnp.maximum(first_max, second_max)
    a, b = first_sum * jnp.exp(first_max - largest), second_sum * jnp.exp(second_max - largest)
    total = a + b

    def scaled(part: Any, share: Any) -> Any:
        share = jnp.transpose(share[..., 0] / total[..., 0], (2, 0, 1))  # [S, B, N]
        heads = jnp.reshape(part, (*part.shape[:2], share.shape[-1], -1))
        return jnp.reshape(heads * share[..., None], part.shape)

    return (scaled(first, a) + scaled(second, b)).astype(first.dtype), largest, total


def _rotary(x: Any, cos: Any, sin: Any, mode: int = 0) -> Any:
    """Turn pairs of numbers: those of the two halves, or (mode 1) neighbours."""
    if mode == 0:
        first, second = jnp.split(x, 2, -1)
        turned = jnp.concatenate([-second, first], -1)
    elif mode == 1:
        pairs = jnp.reshape(x, (*x.shape[:-1], -1, 2))
        turned = jnp.reshape(jnp.stack([-pairs[..., 1], pairs[..., 0]], -1), x.shape)
    else:
        raise MindIRError(f"RotaryPositionEmbedding in mode {mode}: only 0 and 1 are supported")
    return (x * cos + turned * sin).astype(x.dtype)


TABLE: dict[str, Callable[..., Any]] = {
    "FlashAttentionScore": _flash,
    "PromptFlashAttention": _prompt,
    "IncreFlashAttention": _increment,
    "FusedInferAttentionScore": _fused,
    "PagedAttention": _paged_attention,
    "PagedAttentionMask": _paged_attention_mask,
    "RingAttentionUpdate": _ring_update,
    "RotaryPositionEmbedding": _rotary,
}
