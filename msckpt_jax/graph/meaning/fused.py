"""Operators that MindSpore's compilers make of several: products with biases, norms of sums."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from msckpt_jax.errors import MindIRError
from msckpt_jax.graph.meaning import losses, normalization
from msckpt_jax.graph.meaning.arrays import ints


def _product(x: Any, weight: Any, a: bool = False, b: bool = False) -> Any:
    x = jnp.swapaxes(x, -1, -2) if a else x
    weight = jnp.swapaxes(weight, -1, -2) if b else weight
    return jnp.matmul(x, weight, preferred_element_type=jnp.promote_types(x.dtype, jnp.float32))


def _with_bias(x: Any, weight: Any, bias: Any, a: bool = False, b: bool = False) -> Any:
    return (_product(x, weight, a, b) + bias).astype(x.dtype)


def _transposed(
    x: Any, weight: Any, perm_in: Any, perm_out: Any, transpose_a: bool = False,
    transpose_b: bool = False,
) -> Any:  # fmt: skip
    out = _product(jnp.transpose(x, ints(perm_in)), weight, transpose_a, transpose_b)
    return jnp.transpose(out, ints(perm_out)).astype(x.dtype)


def _add_layer_norm(
    x: Any, y: Any, gamma: Any, beta: Any, epsilon: float = 1e-5, additional: bool = False
) -> Any:
    """The norm of a sum, mean, reciprocal deviation, and the sum where it is wanted."""
    total = x + y
    out, mean, variance = normalization.normalized(total, (-1,), epsilon)
    return ((out * gamma + beta).astype(x.dtype), mean, jax.lax.rsqrt(variance + epsilon),
            total if additional else jnp.zeros_like(total))  # fmt: skip


def _npu_gelu(x: Any, approximate: Any = "none") -> Any:
    return jax.nn.gelu(x, approximate in ("tanh", 1))


def _batch_stats(x: Any, eps: float = 1e-5) -> Any:
    """The mean of each channel, and the reciprocal of its deviation."""
    axes = (0, *range(2, x.ndim))
    _, mean, variance = normalization.normalized(x, axes, eps)
    return jnp.ravel(mean), jnp.ravel(jax.lax.rsqrt(variance + eps))


def _batch_elements(
    x: Any, weight: Any = None, bias: Any = None, mean: Any = None, invstd: Any = None,
    eps: float = 1e-5,
) -> Any:  # fmt: skip
    shape = (1, -1, *[1] * (x.ndim - 2))
    out = (x.astype(jnp.float32) - jnp.reshape(mean, shape)) * jnp.reshape(invstd, shape)
    out = out if weight is None else out * jnp.reshape(weight, shape)
    return (out if bias is None else out + jnp.reshape(bias, shape)).astype(x.dtype)


def _weighted_cross_entropy(
    x: Any, target: Any, weight: Any = None, reduction: Any = 1, ignore_index: int = -100,
    label_smoothing: float = 0.0, scale: float = 0.0, return_zloss: bool = False,
) -> Any:  # fmt: skip
    """The loss, the logarithms of shares, and nothing of the z-loss."""
    if label_smoothing or return_zloss:
        raise MindIRError("CrossEntropyLoss with label_smoothing or zloss is not supported")
    log = jax.nn.log_softmax(x.astype(jnp.float32), -1)
    loss, share = losses.of_labels(log, target, weight, ignore_index)
    out = losses.weighed(loss, share, reduction)
    empty = jnp.zeros(0, jnp.float32)
    return out.astype(x.dtype), log.astype(x.dtype), empty, empty


TABLE: dict[str, Callable[..., Any]] = {
    "FusedMatMulBiasAdd": _with_bias,
    "MatMulBiasAddReluFusion": lambda x, w, b, *turns: jax.nn.relu(_with_bias(x, w, b, *turns)),
    "TransposeBatchMatmulTranspose": _transposed,
    "AddLayerNormV2": _add_layer_norm,
    "NpuGelu": _npu_gelu,
    "BatchNormStats": _batch_stats,
    "BatchNormElemt": _batch_elements,
    "CrossEntropyLoss": _weighted_cross_entropy,
}
