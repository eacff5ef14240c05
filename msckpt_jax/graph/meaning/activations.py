"""Activation functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

nn = jax.nn


def _softmax(x: Any, axis: Any = -1) -> Any:
    return nn.softmax(x, axis)


def _log_softmax_ext(x: Any, dim: Any = None, dtype: Any = None) -> Any:
    x = x if dtype is None else x.astype(dtype)
    axis = (0 if x.ndim in (0, 1, 3) else 1) if dim is None else dim  # PyTorch's default
    return nn.log_softmax(x, axis)


def _gelu_ext(x: Any, approximate: int = 0) -> Any:
    return nn.gelu(x, approximate == 1)


def _elu(x: Any, alpha: float = 1.0) -> Any:
    return jnp.where(x > 0, x, alpha * jnp.expm1(jnp.minimum(x, 0)))


def _celu(x: Any, alpha: float = 1.0) -> Any:
    return jnp.maximum(x, 0) + alpha * jnp.expm1(jnp.minimum(x, 0) / alpha)


def _softplus_ext(x: Any, beta: Any = 1, threshold: Any = 20) -> Any:
    return jnp.where(x * beta > threshold, x, nn.softplus(x * beta) / beta)


def _hard_shrink(x: Any, lambd: float = 0.5) -> Any:
    return jnp.where(jnp.abs(x) > lambd, x, jnp.zeros_like(x))


def _soft_shrink(x: Any, lambd: float = 0.5) -> Any:
    return jnp.sign(x) * jnp.maximum(jnp.abs(x) - lambd, 0)


def _prelu(x: Any, weight: Any) -> Any:
    shape = (1, -1, *[1] * (x.ndim - 2)) if x.ndim > 1 else (-1,)
    return jnp.where(x >= 0, x, jnp.reshape(weight, shape) * x)


def _glu(x: Any, axis: int = -1) -> Any:
    a, b = jnp.split(x, 2, axis)
    return a * nn.sigmoid(b)


def _swiglu(x: Any, dim: int = -1) -> Any:
    a, b = jnp.split(x, 2, dim)
    return nn.silu(a) * b


def _log_sigmoid(x: Any) -> Any:
    """The result, and what the gradient operator of the Ascend is given."""
    return nn.log_sigmoid(x), jnp.exp(-jnp.abs(x))


def _threshold(x: Any, threshold: Any, value: Any) -> Any:
    return jnp.where(x > threshold, x, jnp.asarray(value, x.dtype))


def _truncated(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, whose results for whole numbers are whole numbers, too."""
    return lambda x: function(x).astype(x.dtype)


TABLE: dict[str, Callable[..., Any]] = {
    "ReLU": nn.relu, "ReLU6": nn.relu6, "ReLUV3": nn.relu,
    "Sigmoid": nn.sigmoid, "Tanh": jnp.tanh, "SiLU": nn.silu,
    "GeLU": nn.gelu,  # the tanh form, like MindSpore's
    "GeluExt": _gelu_ext,
    "FastGeLU": lambda x: x * nn.sigmoid(1.702 * x),
    "LeakyReLUExt": lambda x, negative_slope=0.01: nn.leaky_relu(x, negative_slope),
    "Elu": _elu, "EluExt": _elu, "CeLU": _celu, "SeLU": nn.selu, "SeLUExt": nn.selu,
    "HSwish": _truncated(nn.hard_swish), "HSigmoid": _truncated(nn.hard_sigmoid),
    "Mish": nn.mish, "MishExt": nn.mish,
    "Softplus": nn.softplus, "SoftplusExt": _softplus_ext, "Softsign": nn.soft_sign,
    "HShrink": _hard_shrink, "SoftShrink": _soft_shrink, "Threshold": _threshold,
    "Hardtanh": lambda x, low=-1, high=1: jnp.clip(x, low, high),
    "PReLU": _prelu, "GLU": _glu, "Swiglu": _swiglu, "LogSigmoid": _log_sigmoid,
    "Softmax": _softmax, "LogSoftmax": lambda x, axis=-1: nn.log_softmax(x, axis),
    "LogSoftmaxExt": _log_softmax_ext,
}  # fmt: skip
