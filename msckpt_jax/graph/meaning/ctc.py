"""The loss of sequences without alignment (CTC)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from msckpt_jax.errors import MindIRError

#: The logarithm of no chance: gradients of infinity were NaN.
_LEAST = -1e30


def _alphas(log_probs: Any, labels: Any, length: Any, blank: int) -> tuple[Any, Any]:
    """The logarithms of the chances of all beginnings, [T, 2 S + 1], and the extended labels.

    ``log_probs``: [T, C]. ``labels``: [S], of which ``length`` count.
    """
    count = labels.shape[0]
    extended = jnp.full(2 * count + 1, blank, labels.dtype).at[1::2].set(labels)
    at = jnp.arange(2 * count + 1)
    skips = (at > 1) & (extended != blank) & (extended != jnp.roll(extended, 2))
    least = jnp.asarray(_LEAST, log_probs.dtype)
    inside = at < 2 * length + 1
    start = jnp.where((at < 2) & inside, log_probs[0, extended], least)

    def shifted(alpha: Any, by: int) -> Any:
        return jnp.where(at >= by, jnp.roll(alpha, by), least)

    def step(alpha: Any, row: Any) -> tuple[Any, Any]:
        ways = jnp.stack([alpha, shifted(alpha, 1), jnp.where(skips, shifted(alpha, 2), least)])
        new = jnp.where(inside, jax.nn.logsumexp(ways, 0) + row[extended], least)
        return new, new

    _, rest = lax.scan(step, start, log_probs[1:])
    return jnp.concatenate([start[None], rest]), extended


def _loss(log_probs: Any, labels: Any, frames: Any, length: Any, blank: int) -> tuple[Any, Any]:
    alphas, _ = _alphas(log_probs, labels, length, blank)
    last = alphas[frames - 1]
    ends = jnp.stack([last[2 * length], jnp.where(length > 0, last[2 * length - 1], _LEAST)])
    loss = -jax.nn.logsumexp(ends)
    return jnp.where(loss > -_LEAST / 2, jnp.inf, loss), alphas


def _ctc_v2(
    log_probs: Any, targets: Any, input_lengths: Any, target_lengths: Any, *, blank: int = 0,
    reduction: str = "none", zero_infinity: bool = False,
) -> Any:  # fmt: skip
    if reduction != "none":
        raise MindIRError(f"CTCLossV2 with reduction {reduction}: only none is supported")

    def one(log_probs: Any, labels: Any, frames: Any, length: Any) -> Any:
        return _loss(log_probs, labels, frames, length, blank)

    losses, alphas = jax.vmap(one, (1, 0, 0, 0))(log_probs, targets, input_lengths, target_lengths)
    losses = jnp.where(jnp.isinf(losses), 0, losses) if zero_infinity else losses
    return losses, jnp.where(alphas < _LEAST / 2, -jnp.inf, alphas)


def _ctc(
    x: Any, indices: Any, values: Any, lengths: Any, *, preprocess_collapse_repeated: bool = False,
    ctc_merge_repeated: bool = True, ignore_longer_outputs_than_inputs: bool = False,
) -> Any:  # fmt: skip
    """The losses of sparse labels, whose blank is the last class, and their gradients."""
    if preprocess_collapse_repeated or not ctc_merge_repeated or ignore_longer_outputs_than_inputs:
        raise MindIRError("CTCLoss: only with MindSpore's defaults of its attributes")
    batch, most = x.shape[1], x.shape[0]
    labels = jnp.zeros((batch, most), jnp.int32)
    labels = labels.at[indices[:, 0], indices[:, 1]].set(values.astype(jnp.int32), mode="drop")
    counts = jax.ops.segment_sum(jnp.ones(len(values), jnp.int32), indices[:, 0], batch)

    def total(x: Any) -> tuple[Any, Any]:
        log_probs = jax.nn.log_softmax(x, -1)

        def one(log_probs: Any, labels: Any, frames: Any, length: Any) -> Any:
            return _loss(log_probs, labels, frames, length, x.shape[2] - 1)[0]

        losses = jax.vmap(one, (1, 0, 0, 0))(log_probs, labels, lengths, counts)
        return jnp.sum(losses), losses

    gradient, losses = jax.grad(total, has_aux=True)(x)
    inside = np.arange(most)[:, None] < lengths
    return losses, jnp.where(inside[..., None], gradient, 0)


TABLE: dict[str, Callable[..., Any]] = {"CTCLoss": _ctc, "CTCLossV2": _ctc_v2}
