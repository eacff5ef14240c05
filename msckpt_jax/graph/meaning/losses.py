"""Loss functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

#: MindSpore's Reduction.
_REDUCTIONS: dict[Any, Any] = {0: "sum", 1: "mean", 2: "none"}


def reduced(loss: Any, reduction: Any) -> Any:
    fn = {"sum": jnp.sum, "mean": jnp.mean, "none": jnp.asarray}
    return fn[_REDUCTIONS.get(reduction, reduction)](loss)


def _smooth_l1(x: Any, target: Any, beta: float = 1.0, reduction: Any = 2) -> Any:
    error = jnp.abs(x - target)
    if beta == 0:
        return reduced(error, reduction)
    loss = jnp.where(error < beta, 0.5 * error * error / beta, error - 0.5 * beta)
    return reduced(loss, reduction)


def _bce(x: Any, target: Any, weight: Any = None, reduction: Any = 1) -> Any:
    log = jnp.maximum(jnp.log(x), -100)
    loss = -(target * log + (1 - target) * jnp.maximum(jnp.log1p(-x), -100))
    return reduced(loss if weight is None else loss * weight, reduction)


def _bce_logits(
    x: Any, target: Any, weight: Any = None, pos_weight: Any = None, reduction: Any = 1
) -> Any:
    factor = 1 if pos_weight is None else 1 + (pos_weight - 1) * target
    loss = (1 - target) * x + factor * jax.nn.softplus(-x)
    return reduced(loss if weight is None else loss * weight, reduction)


def _kl_div(x: Any, target: Any, reduction: Any = 1, log_target: bool = False) -> Any:
    if log_target:
        loss = jnp.exp(target) * (target - x)
    else:
        loss = jax.scipy.special.xlogy(target, target) - target * x
    return reduced(loss, reduction)


def _kl_div_loss(x: Any, target: Any, *, reduction: str = "mean") -> Any:
    loss = jnp.where(target > 0, target * (jnp.log(jnp.where(target > 0, target, 1)) - x), 0)
    if reduction == "batchmean":
        return jnp.sum(loss) / x.shape[0]
    return reduced(loss, reduction)


def classes(labels: Any, count: int) -> Any:
    """Labels to pick by: one that is no class picks NaN, where MindSpore raises an error.

    JAX counts negative ones from the end, and the number of the classes is past it.
    """
    return jnp.where(labels < 0, count, labels)


def of_labels(logits: Any, labels: Any, weight: Any, ignore_index: int) -> tuple[Any, Any]:
    """The loss and the weight of each row; both are 0 where the label is ``ignore_index``.

    What an ignored row holds, infinity or NaN, is in neither.
    """
    labels = labels if labels.dtype.itemsize >= 4 else labels.astype(jnp.int32)
    kept = labels != ignore_index
    safe = jnp.where(kept, classes(labels, logits.shape[1]), 0)
    picked = jnp.take_along_axis(logits, safe[:, None], 1)[:, 0]
    share = jnp.ones_like(picked) if weight is None else jnp.take(weight, safe)
    share = jnp.where(kept, share, 0).astype(logits.dtype)
    return jnp.where(kept, -picked * share, 0), share


def weighed(loss: Any, share: Any, reduction: Any) -> Any:
    """The losses of rows, reduced; a mean is by the weights that they have."""
    if _REDUCTIONS.get(reduction, reduction) == "mean":
        return jnp.sum(loss) / jnp.sum(share)
    return reduced(loss, reduction)


def _nll(
    logits: Any, labels: Any, weight: Any = None, reduction: Any = 1, ignore_index: int = -100
) -> Any:
    """The loss and the total weight."""
    loss, share = of_labels(logits, labels, weight, ignore_index)
    return weighed(loss, share, reduction), jnp.sum(share)


def _nll_2d(x: Any, target: Any, weight: Any = None, reduction: Any = 1, ignore_index: int = -100):
    flat = jnp.reshape(jnp.moveaxis(x, 1, -1), (-1, x.shape[1]))
    loss, total = _nll(flat, jnp.ravel(target), weight, reduction, ignore_index)
    return (jnp.reshape(loss, target.shape) if loss.ndim else loss), total


def _cross_entropy(logits: Any, labels: Any) -> Any:
    log = jax.nn.log_softmax(logits)
    return -jnp.sum(labels * log, -1), jnp.exp(log) - labels


def _sparse_cross_entropy(logits: Any, labels: Any, *, is_grad: bool = False, sens: float = 1.0):
    log, place = jax.nn.log_softmax(logits), classes(labels, logits.shape[-1])[:, None]
    if is_grad:
        hot = jax.nn.one_hot(labels, logits.shape[-1], dtype=logits.dtype)
        hot = jnp.where(place < logits.shape[-1], hot, jnp.nan)
        return sens * (jnp.exp(log) - hot) / labels.size
    return -jnp.mean(jnp.take_along_axis(log, place, 1))


def _soft_margin(x: Any, target: Any, reduction: Any = 1) -> Any:
    return reduced(jax.nn.softplus(-target * x), reduction)


def _sigmoid_cross_entropy(x: Any, target: Any) -> Any:
    return _bce_logits(x, target, reduction=2)


def _triplet(
    anchor: Any, positive: Any, negative: Any, margin: Any, *, p: int = 2, swap: bool = False,
    eps: float = 1e-6, reduction: str = "mean",
) -> Any:  # fmt: skip
    def distance(a: Any, b: Any) -> Any:
        return jnp.sum(jnp.abs(a - b + eps) ** p, -1) ** (1 / p)

    far = distance(anchor, negative)
    far = jnp.minimum(far, distance(positive, negative)) if swap else far
    return reduced(jnp.maximum(margin + distance(anchor, positive) - far, 0), reduction)


TABLE: dict[str, Callable[..., Any]] = {
    "SmoothL1Loss": _smooth_l1,
    "MSELossExt": lambda x, target, reduction=1: reduced(jnp.square(x - target), reduction),
    "L1LossExt": lambda x, target, reduction=1: reduced(jnp.abs(x - target), reduction),
    "BinaryCrossEntropy": _bce,
    "BCEWithLogitsLoss": _bce_logits,
    "SigmoidCrossEntropyWithLogits": _sigmoid_cross_entropy,
    "KLDiv": _kl_div,
    "KLDivLoss": _kl_div_loss,
    "NLLLoss": _nll,
    "NLLLoss2d": _nll_2d,
    "SoftmaxCrossEntropyWithLogits": _cross_entropy,
    "SparseSoftmaxCrossEntropyWithLogits": _sparse_cross_entropy,
    "SoftMarginLoss": _soft_margin,
    "TripletMarginLoss": _triplet,
}
