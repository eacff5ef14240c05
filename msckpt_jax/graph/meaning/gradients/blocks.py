"""Gradients of operators that are blocks of models: attention, experts, losses, solvers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from msckpt_jax.errors import MindIRError
from msckpt_jax.graph.meaning import attention, ctc, experts, fused, linear, matrices, segments
from msckpt_jax.graph.meaning.arrays import ints
from msckpt_jax.graph.meaning.gradients.rule import Row, gradients, transposed


def _flash(
    q: Any, k: Any, v: Any, dout: Any, shift: Any = None, drop_mask: Any = None,
    padding_mask: Any = None, mask: Any = None, largest: Any = None, total: Any = None,
    inside: Any = None, out: Any = None, *rest: Any,
) -> Any:  # fmt: skip
    """The gradients of queries, keys and values, and nothing for the position shift."""
    if shift is not None:
        raise MindIRError("FlashAttentionScoreGrad with a position shift is not supported")
    forward = attention.TABLE["FlashAttentionScore"]

    def function(q: Any, k: Any, v: Any) -> Any:
        return forward(q, k, v, None, drop_mask, padding_mask, mask, *rest)[3]

    return *gradients(function, [q, k, v], dout), jnp.zeros((), q.dtype)


def _rotary(dout: Any, cos: Any, sin: Any, x: Any = None, mode: int = 0) -> Any:
    """The gradients of the numbers, and of cosines and sines; NaN if the numbers are not given."""
    forward = attention.TABLE["RotaryPositionEmbedding"]
    if x is None:
        dx = gradients(lambda x: forward(x, cos, sin, mode), [jnp.zeros_like(dout)], dout)
        return dx, jnp.full_like(cos, jnp.nan), jnp.full_like(sin, jnp.nan)
    return gradients(lambda *at: forward(*at, mode), [x, cos, sin], dout)


def _ctc(
    dout: Any, log_probs: Any, targets: Any, frames: Any, lengths: Any, loss: Any = None,
    alphas: Any = None, *, blank: int = 0, reduction: str = "none", zero_infinity: bool = False,
) -> Any:  # fmt: skip
    """The gradient of what the logarithms were the log_softmax of."""

    def function(x: Any) -> Any:
        return ctc.TABLE["CTCLossV2"](
            jax.nn.log_softmax(x, -1), targets, frames, lengths, blank=blank, reduction=reduction,
            zero_infinity=zero_infinity,
        )[0]  # fmt: skip

    gradient = gradients(function, [log_probs], dout)
    inside = jnp.arange(log_probs.shape[0])[:, None] < frames
    return jnp.where(inside[..., None], gradient, 0)


def _permuted_tokens(dout: Any, places: Any, top_k: int, padded_mode: bool = False) -> Any:
    """The gradient of tokens, each of which went to ``top_k`` places."""
    if padded_mode:
        raise MindIRError("MoeTokenPermuteGrad in padded_mode is not supported")
    inside = (places < dout.shape[0])[:, None]
    rows = jnp.where(inside, jnp.take(dout, places, 0, mode="clip"), 0).astype(jnp.float32)
    return jnp.sum(jnp.reshape(rows, (-1, top_k, dout.shape[1])), 1).astype(dout.dtype)


def _unpermuted_tokens(
    tokens: Any, dout: Any, places: Any, probs: Any = None, padded_mode: bool = False,
    shape: Any = None,
) -> Any:  # fmt: skip
    """The gradients of the tokens, and of their shares, if they have some."""
    forward = experts.TABLE["MoeTokenUnpermute"]
    if probs is None:
        dx = gradients(lambda x: forward(x, places, None, padded_mode), [tokens], dout)
        return dx, jnp.zeros((0,), tokens.dtype)
    return gradients(lambda x, p: forward(x, places, p, padded_mode), [tokens, probs], dout)


def _solved(a: Any, x: Any, dout: Any, trans: int = 0, lower: bool = False, unit: bool = False):
    """The gradients of a triangular matrix and the right side, by the solution ``x``."""
    forward = linear.TABLE["SolveTriangular"]
    vector = x.ndim == a.ndim - 1
    x, dout = (v[..., None] if vector else v for v in (x, dout))
    db = gradients(lambda b: forward(a, b, trans, lower, unit), [jnp.zeros_like(x)], dout)

    def product(a: Any) -> Any:
        kept = jnp.tril(a, -1 if unit else 0) if lower else jnp.triu(a, 1 if unit else 0)
        kept = kept if trans == 0 else jnp.swapaxes(kept, -1, -2)
        return -(jnp.conj(kept) if trans == 2 else kept) @ x

    da = gradients(product, [a], db)
    return da, db[..., 0] if vector else db


def _unpacked(
    lower: Any, upper: Any, packed: Any, *, L_grad_flag: bool = True,  # noqa: N803 - MindSpore's
    U_grad_flag: bool = True,  # noqa: N803
) -> Any:  # fmt: skip
    """The gradient of LuUnpack's matrix, by those of its parts: one result for each of these."""
    unpack = matrices.TABLE["LuUnpack"]
    pivots = jnp.zeros((*packed.shape[:-2], min(packed.shape[-2:])), jnp.int32)

    def part(number: int, dout: Any) -> Any:
        return transposed(
            lambda x: unpack(x, pivots, unpack_pivots=False)[number], packed.shape, dout
        )

    return part(1, lower), part(2, upper)


def _cross_entropy(
    dout: Any, log_probs: Any, target: Any, weight: Any = None, dzloss: Any = None, lse: Any = None,
    reduction: Any = 1, ignore_index: int = -100, smoothing: float = 0.0, zloss_scale: float = 0.0,
) -> Any:  # fmt: skip
    if zloss_scale:
        raise MindIRError("CrossEntropyLossGrad with a z-loss is not supported")
    forward, rest = fused.TABLE["CrossEntropyLoss"], (weight, reduction, ignore_index, smoothing)
    # The loss of the logarithms of a softmax is that of the logits, and has its gradient.
    return gradients(lambda x: forward(x, target, *rest)[0], [log_probs], dout)


def _segments(op: str) -> Callable[..., Any]:
    def run(dout: Any, indices: Any, numbers: Any, rows: Any) -> Any:
        shape = (*ints(jnp.atleast_1d(rows)), *dout.shape[1:])
        return transposed(lambda x: segments.TABLE[op](x, indices, numbers), shape, dout)

    return run


ROWS: dict[str, Row] = {
    "CrossEntropyLossGrad": _cross_entropy,
    "CTCLossV2Grad": _ctc,
    "FlashAttentionScoreGrad": _flash,
    "LuUnpackGrad": _unpacked,
    "MoeTokenPermuteGrad": _permuted_tokens,
    "MoeTokenUnpermuteGrad": _unpermuted_tokens,
    "RotaryPositionEmbeddingGrad": _rotary,
    "SolveTriangularGrad": _solved,
    "SparseSegmentMeanGrad": _segments("SparseSegmentMean"),
    "SparseSegmentSqrtNGrad": _segments("SparseSegmentSqrtN"),
}
