"""Gradients of operators that act on each element, of softmaxes and of losses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp

from msckpt_jax.graph.meaning.gradients.rule import Gradient, Row, Slope, gradients

#: SeLU's scale, and the product of its scale and its alpha.
_SELU, _SELU_ALPHA = 1.0507009873554805, 1.7580993408473766


def _softmax(dout: Any, y: Any, axis: int = -1) -> Any:
    return (y * (dout - jnp.sum(dout * y, axis, keepdims=True))).astype(dout.dtype)


def _log_softmax(y: Any, dout: Any, axis: int = -1) -> Any:
    return dout - jnp.exp(y) * jnp.sum(dout, axis, keepdims=True)


def _chosen_twice(choose: Callable[..., Any]) -> Callable[..., Any]:
    """The gradients of an extreme's gradient: none of the operands, those of the one that is it."""

    def run(x: Any, y: Any, dx: Any, dy: Any, grad_x: bool = True, grad_y: bool = True) -> Any:
        zeros = jnp.zeros_like(x), jnp.zeros_like(y)
        return *zeros, jnp.where(choose(x, y), dx, dy)

    return run


def _hard_swish(x: Any) -> Any:
    return jnp.where(x < -3, 0, jnp.where(x <= 3, x / 3 + 0.5, 1))


def _prelu(dout: Any, x: Any, weight: Any) -> Any:
    shape = (1, -1, *[1] * (x.ndim - 2)) if x.ndim > 1 else (-1,)

    def forward(x: Any, weight: Any) -> Any:
        return jnp.where(x > 0, x, jnp.reshape(weight, shape) * x)

    return gradients(forward, [x, weight], dout)


def _elu(x: Any, alpha: Any = 1, is_result: bool = False) -> Any:
    below = x + alpha if is_result else alpha * jnp.exp(x)
    return jnp.where(x <= 0, below, 1)


def _between(x: Any, low: Any = -1, high: Any = 1) -> Any:
    return (x > low) & (x < high)


def _outside(x: Any, lambd: float = 0.5) -> Any:
    return jnp.abs(x) > lambd


_ELEMENTWISE: dict[str, Row] = {
    "AbsGrad": Slope("x dout", jnp.sign),
    **{f"{op}Grad": Gradient("x dout", op, "x") for op in ("ACos", "Asin", "Atan")},
    "AcoshGrad": Slope("y dout", lambda y: 1 / jnp.sinh(y)),
    "AsinhGrad": Slope("y dout", lambda y: 1 / jnp.cosh(y)),
    "SqrtGrad": Slope("y dout", lambda y: 0.5 / y),
    "RsqrtGrad": Slope("y dout", lambda y: -0.5 * y * y * y),
    "ReciprocalGrad": Slope("y dout", lambda y: -y * y),
    "InvGrad": Slope("y dout", lambda y: -y * y, conjugate=False),
    "MaximumGradGrad": _chosen_twice(jnp.greater_equal),
    "MinimumGradGrad": _chosen_twice(jnp.less_equal),
    "LogitGrad": Gradient("dout x eps", "Logit", "x eps"),
    "MvlgammaGrad": Gradient("dout x", "Mvlgamma", "x"),
    **{
        f"{op}Grad": Gradient("x y dout grad_x grad_y", op, "x y", of="x y")
        for op in ("Maximum", "Minimum")
    },
}

_ACTIVATIONS: dict[str, Row] = {
    "TanhGrad": Slope("y dout", lambda y: 1 - y * y, conjugate=False),
    "SigmoidGrad": Slope("y dout", lambda y: y * (1 - y)),
    "EluGrad": Slope("dout y", lambda y: jnp.where(y < 0, y + 1, 1)),
    "SeluGrad": Slope("dout y", lambda y: jnp.where(y > 0, _SELU, y + _SELU_ALPHA)),
    "ReluGrad": Slope("dout x", lambda x: x > 0),
    "ReLU6Grad": Slope("dout x", lambda x: (x > 0) & (x <= 6)),
    "HSigmoidGrad": Slope("dout x", lambda x: _between(x, -3, 3) / 6),
    "HSwishGrad": Slope("dout x", _hard_swish),
    "HShrinkGrad": Slope("dout x lambd", _outside),
    "SoftShrinkGrad": Slope("dout x lambd", _outside),
    "HardtanhGrad": Slope("dout x low high", _between),
    "ThresholdGrad": Slope("dout x threshold", lambda x, threshold: x > threshold),
    "EluGradExt": Slope("dout x alpha is_result", _elu),
    "LeakyReLUGradExt": Slope(
        "dout x slope is_result", lambda x, slope=0.01, is_result=False: jnp.where(x > 0, 1, slope)
    ),
    "SiLUGrad": Gradient("dout x", "SiLU", "x"),
    "MishGradExt": Gradient("dout x", "MishExt", "x"),
    "GeLUGrad": Gradient("dout x y", "GeLU", "x"),
    "GeluGradExt": Gradient("dout x approximate", "GeluExt", "x approximate"),
    "FastGeLUGrad": Gradient("dout x", "FastGeLU", "x"),
    "SoftplusGrad": Gradient("dout x", "Softplus", "x"),
    "SoftplusGradExt": Gradient("dout x beta threshold", "SoftplusExt", "x beta threshold"),
    "LogSigmoidGrad": Gradient("dout x buffer", "LogSigmoid", "x"),
    "PReLUGrad": _prelu,
    "GluGrad": Gradient("dout x axis", "GLU", "x axis"),
    "SwigluGrad": Gradient("dout x dim", "Swiglu", "x dim"),
    "SoftmaxBackward": _softmax,
    "SoftmaxGrad": lambda y, dout: _softmax(dout, y),
    "LogSoftmaxGrad": _log_softmax,
}

_LOSSES: dict[str, Row] = {
    "BinaryCrossEntropyGrad": Gradient(
        "x target dout weight reduction", "BinaryCrossEntropy", "x target weight reduction"
    ),
    "BinaryCrossEntropyWithLogitsBackward": Gradient(
        "dout x target weight pos_weight reduction", "BCEWithLogitsLoss",
        "x target weight pos_weight reduction",
    ),
    "SigmoidCrossEntropyWithLogitsGrad": Gradient(
        "x target dout", "SigmoidCrossEntropyWithLogits", "x target"
    ),
    "KLDivGrad": Gradient("dout x target reduction log", "KLDiv", "x target reduction log"),
    "KLDivLossGrad": Gradient("dout x target", "KLDivLoss", "x target"),
    "L1LossBackwardExt": Gradient("dout x target reduction", "L1LossExt", "x target reduction"),
    "MSELossGradExt": Gradient("dout x target reduction", "MSELossExt", "x target reduction"),
    "SmoothL1LossGrad": Gradient(
        "x target dout beta reduction", "SmoothL1Loss", "x target beta reduction"
    ),
    "SoftMarginLossGrad": Gradient(
        "x target dout reduction", "SoftMarginLoss", "x target reduction"
    ),
    "MultiMarginLossGrad": Gradient("dout x target weight", "MultiMarginLoss", "x target weight"),
    "NLLLossGrad": Gradient(
        "x dout labels weight total reduction ignore", "NLLLoss", "x labels weight reduction ignore"
    ),
    "NLLLoss2dGrad": Gradient(
        "dout x labels weight reduction ignore total", "NLLLoss2d",
        "x labels weight reduction ignore",
    ),
}  # fmt: skip

ROWS: dict[str, Row] = {**_ELEMENTWISE, **_ACTIVATIONS, **_LOSSES}
