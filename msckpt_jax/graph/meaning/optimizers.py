"""The steps of optimizers: the new contents of the variable and of its slots, in order."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import jax.numpy as jnp
from jax import lax

from msckpt_jax.errors import MindIRError


def _mean(old: Any, new: Any, share: Any) -> Any:
    return share * old + (1 - share) * new


def momentum(
    var: Any, accum: Any, lr: Any, grad: Any, momentum: Any, *, use_nesterov: bool = False,
    gradient_scale: float = 1.0,
) -> Any:  # fmt: skip
    accum = accum * momentum + grad
    return var - lr * (grad + momentum * accum if use_nesterov else accum), accum


def adam(
    var: Any, m: Any, v: Any, beta1_power: Any, beta2_power: Any, lr: Any, beta1: Any, beta2: Any,
    epsilon: Any, grad: Any, *, use_nesterov: bool = False,
) -> Any:  # fmt: skip
    m, v = _mean(m, grad, beta1), _mean(v, grad * grad, beta2)
    rate = lr * jnp.sqrt(1 - beta2_power) / (1 - beta1_power)
    step = _mean(m, grad, beta1) if use_nesterov else m
    return var - rate * step / (jnp.sqrt(v) + epsilon), m, v


def _adam_amsgrad(
    var: Any, m: Any, v: Any, vhat: Any, beta1_power: Any, beta2_power: Any, lr: Any, beta1: Any,
    beta2: Any, epsilon: Any, grad: Any,
) -> Any:  # fmt: skip
    m, v = _mean(m, grad, beta1), _mean(v, grad * grad, beta2)
    vhat = jnp.maximum(vhat, v)
    rate = lr * jnp.sqrt(1 - beta2_power) / (1 - beta1_power)
    return var - rate * m / (jnp.sqrt(vhat) + epsilon), m, v, vhat


def _adam_amsgrad_attrs(
    var: Any, m: Any, v: Any, vhat: Any, beta1_power: Any, beta2_power: Any, lr: Any, grad: Any, *,
    beta1: float = 0.9, beta2: float = 0.999, epsilon: float = 1e-8,
) -> Any:  # fmt: skip
    powers = beta1_power, beta2_power
    return _adam_amsgrad(var, m, v, vhat, *powers, lr, beta1, beta2, epsilon, grad)


def _adam_weight_decay(
    var: Any, m: Any, v: Any, lr: Any, beta1: Any, beta2: Any, epsilon: Any, decay: Any, grad: Any,
    *_: Any,
) -> Any:  # fmt: skip
    m, v = _mean(m, grad, beta1), _mean(v, grad * grad, beta2)
    return var - lr * (m / (jnp.sqrt(v) + epsilon) + decay * var), m, v


def _adam_of_moments(
    m: Any, v: Any, beta1_power: Any, beta2_power: Any, lr: Any, beta1: Any, beta2: Any,
    epsilon: Any, grad: Any, *, use_nesterov: bool = False,
) -> Any:  # fmt: skip
    """What has to be added to the variable, which stays on another device, and the moments."""
    zeros, powers = jnp.zeros_like(m), (beta1_power, beta2_power)
    return adam(
        zeros, m, v, *powers, lr, beta1, beta2, epsilon, grad, use_nesterov=use_nesterov
    )  # fmt: skip


def _adam_w(
    var: Any, m: Any, v: Any, max_v: Any, grad: Any, step: Any, lr: Any, beta1: Any, beta2: Any,
    decay: Any, epsilon: Any, amsgrad: bool = False, maximize: bool = False,
) -> Any:  # fmt: skip
    if amsgrad:
        raise MindIRError("AdamW with amsgrad=True, whose largest moments no file passes on")
    grad = -grad if maximize else grad
    m, v = _mean(m, grad, beta1), _mean(v, grad * grad, beta2)
    spread = jnp.sqrt(v / (1 - beta2**step)) + epsilon
    return var * (1 - lr * decay) - lr * m / (1 - beta1**step) / spread, m, v


def _ratio(part: Any, whole: Any) -> Any:
    """The ratio of the norms of two arrays; 1 if one is 0."""
    norms = [jnp.linalg.norm(jnp.ravel(x)) for x in (part, whole)]
    known = (norms[0] > 0) & (norms[1] > 0)
    return jnp.where(known, norms[0] / jnp.where(known, norms[1], 1), 1)


def _lamb(
    var: Any, m: Any, v: Any, lr: Any, beta1: Any, beta2: Any, epsilon: Any, decay: Any, step: Any,
    grad: Any,
) -> Any:  # fmt: skip
    m, v = _mean(m, grad, beta1), _mean(v, grad * grad, beta2)
    step = jnp.reshape(step, ()).astype(jnp.float32)
    spread = jnp.sqrt(v / (1 - beta2**step)) + epsilon
    move = m / (1 - beta1**step) / spread + decay * var
    return var - lr * _ratio(var, move) * move, m, v


def _lars(
    weight: Any, grad: Any, weight_square: Any, grad_square: Any, decay: Any, lr: Any, *,
    epsilon: float = 1e-5, hyperpara: float = 0.001, use_clip: bool = False,
) -> Any:  # fmt: skip
    """The gradient of a layer, by the squares of the norms of its weight and gradient."""
    if use_clip:
        raise MindIRError("LARSUpdate with use_clip=True: MindSpore does not define its limits")
    norm = jnp.sqrt(weight_square)
    rate = hyperpara * norm / (jnp.sqrt(grad_square) + decay * norm + epsilon)
    return (rate * (grad + decay * weight)).astype(grad.dtype)


def _root_mean_square(x: Any) -> Any:
    return jnp.sqrt(jnp.mean(x * x))


def _ada_factor(
    epsilon: Any, clip_threshold: Any, beta1: Any, beta2: Any, decay: Any, lr: Any, grad: Any,
    var: Any, m: Any, rows: Any, columns: Any, v: Any, *, enable_scale_parameter: bool = False,
    enable_first_moment: bool = False, enable_weight_decay: bool = False,
) -> Any:  # fmt: skip
    """The variable twice, its moment, and the squares of gradients: of rows and columns, or all."""
    old = var.dtype, m.dtype, rows.dtype, columns.dtype, v.dtype
    grad, wide = (x.astype(jnp.float32) for x in (grad, var))
    squares = grad * grad + epsilon[0]
    if grad.ndim > 1:
        rows = _mean(rows, jnp.mean(squares, -1), beta2)
        columns = _mean(columns, jnp.mean(squares, -2), beta2)
        share = rows / jnp.mean(rows, -1, keepdims=True)
        move = grad * lax.rsqrt(share)[..., None] * lax.rsqrt(columns)[..., None, :]
    else:
        v = _mean(v, squares, beta2)
        move = grad * lax.rsqrt(v)
    if enable_scale_parameter:
        lr = lr * jnp.maximum(epsilon[1], _root_mean_square(wide))
    move = lr * move / jnp.maximum(1, _root_mean_square(move) / clip_threshold)
    if enable_first_moment:
        m = move = _mean(m, move, beta1)
    wide = wide * (1 - decay * lr) - move if enable_weight_decay else wide - move
    new = (x.astype(dtype) for x, dtype in zip((wide, m, rows, columns, v), old, strict=True))
    var, *slots = new
    return var, var, *slots


def _ada_max(
    var: Any, m: Any, v: Any, beta1_power: Any, lr: Any, beta1: Any, beta2: Any, epsilon: Any,
    grad: Any,
) -> Any:  # fmt: skip
    m, v = _mean(m, grad, beta1), jnp.maximum(beta2 * v, jnp.abs(grad))
    return var - lr / (1 - beta1_power) * m / (v + epsilon), m, v


def _sgd(
    var: Any, grad: Any, lr: Any, accum: Any, momentum: Any, stat: Any, *, dampening: float = 0.0,
    weight_decay: float = 0.0, nesterov: bool = False,
) -> Any:  # fmt: skip
    """A step with momentum, which the first step sets: ``stat`` is 1 before it, 0 after."""
    grad = grad + weight_decay * var
    fresh = jnp.where(stat > 0, grad, accum * momentum + (1 - dampening) * grad)
    moved = momentum > 0
    step = jnp.where(moved, grad + momentum * fresh if nesterov else fresh, grad)
    return var - lr * step, jnp.where(moved, fresh, accum), jnp.where(moved, 0, stat)


def rms_prop(
    var: Any, square: Any, moment: Any, lr: Any, grad: Any, rho: Any, momentum: Any, epsilon: Any
) -> Any:
    square = _mean(square, grad * grad, rho)
    moment = momentum * moment + lr * grad * lax.rsqrt(square + epsilon)
    return var - moment, square, moment


def centered_rms_prop(
    var: Any, mean: Any, square: Any, moment: Any, grad: Any, lr: Any, rho: Any, momentum: Any,
    epsilon: Any,
) -> Any:  # fmt: skip
    mean, square = _mean(mean, grad, rho), _mean(square, grad * grad, rho)
    moment = momentum * moment + lr * grad * lax.rsqrt(square - mean * mean + epsilon)
    return var - moment, mean, square, moment


def adagrad(
    var: Any, accum: Any, lr: Any, grad: Any, *, update_slots: bool = True, epsilon: float = 0.0
) -> Any:
    accum = accum + grad * grad if update_slots else accum
    return var - lr * grad / (jnp.sqrt(accum) + epsilon), accum


def adagrad_da(
    var: Any, total: Any, squares: Any, grad: Any, lr: Any, l1: Any, l2: Any, step: Any
) -> Any:
    total, squares = total + grad, squares + grad * grad
    shrunk = jnp.sign(total) * jnp.maximum(jnp.abs(total) - l1 * step, 0)
    shrunk = jnp.where(l1 > 0, shrunk, total)
    return -lr * shrunk / (l2 * step * lr + jnp.sqrt(squares)), total, squares


def _adadelta(
    var: Any, accum: Any, updates: Any, lr: Any, rho: Any, epsilon: Any, grad: Any
) -> Any:
    accum = _mean(accum, grad * grad, rho)
    step = jnp.sqrt(updates + epsilon) * lax.rsqrt(accum + epsilon) * grad
    return var - lr * step, accum, _mean(updates, step * step, rho)


def ftrl(
    var: Any, accum: Any, linear: Any, grad: Any, lr: Any, l1: Any, l2: Any, lr_power: Any
) -> Any:
    new = accum + grad * grad
    power, before = new**-lr_power, accum**-lr_power
    linear = linear + grad - (power - before) / lr * var
    shrunk = jnp.sign(linear) * l1 - linear
    var = jnp.where(jnp.abs(linear) > l1, shrunk / (power / lr + 2 * l2), 0)
    return var, new, linear


def proximal(var: Any, lr: Any, l1: Any, l2: Any, grad: Any) -> Any:
    moved = var - lr * grad
    return jnp.sign(moved) * jnp.maximum(jnp.abs(moved) - lr * l1, 0) / (1 + l2 * lr)


def proximal_adagrad(var: Any, accum: Any, lr: Any, l1: Any, l2: Any, grad: Any) -> Any:
    accum = accum + grad * grad
    return proximal(var, lr * lax.rsqrt(accum), l1, l2, grad), accum


def _add_sign(var: Any, m: Any, lr: Any, alpha: Any, decay: Any, beta: Any, grad: Any) -> Any:
    m = _mean(m, grad, beta)
    return var - lr * (alpha + decay * jnp.sign(grad) * jnp.sign(m)) * grad, m


def _power_sign(var: Any, m: Any, lr: Any, logbase: Any, decay: Any, beta: Any, grad: Any) -> Any:
    m = _mean(m, grad, beta)
    return var - lr * jnp.exp(logbase * decay * jnp.sign(grad) * jnp.sign(m)) * grad, m


def kept(step: Callable[..., Any], slots: tuple[int, ...] = (0, 1, 2, 3)) -> Callable[..., Any]:
    """The step, its results with the dtypes of the slots at these positions."""

    @wraps(step)
    def run(*args: Any, **attrs: Any) -> Any:
        new = step(*args, **attrs)
        several = new if isinstance(new, tuple) else (new,)
        pairs = zip(several, slots, strict=False)
        typed = tuple(jnp.asarray(n, jnp.asarray(args[k]).dtype) for n, k in pairs)
        return typed if isinstance(new, tuple) else typed[0]

    return run


_STEPS: dict[str, Callable[..., Any]] = {
    "Adam": adam,
    "AdamW": _adam_w,
    "AdamWeightDecay": _adam_weight_decay,
    "ApplyAdaMax": _ada_max,
    "ApplyAdadelta": _adadelta,
    "ApplyAdagrad": adagrad,
    "ApplyAdagradDA": adagrad_da,
    "ApplyAdagradV2": adagrad,
    "ApplyAdam": adam,
    "ApplyAdamWithAmsgrad": _adam_amsgrad_attrs,
    "ApplyAdamWithAmsgradV2": _adam_amsgrad,
    "ApplyAddSign": _add_sign,
    "ApplyCenteredRMSProp": centered_rms_prop,
    "ApplyFtrl": ftrl,
    "ApplyGradientDescent": lambda var, lr, grad: var - lr * grad,
    "ApplyMomentum": momentum,
    "ApplyPowerSign": _power_sign,
    "ApplyProximalAdagrad": proximal_adagrad,
    "ApplyProximalGradientDescent": proximal,
    "ApplyRMSProp": rms_prop,
    "Lamb": _lamb,
}
TABLE: dict[str, Callable[..., Any]] = {name: kept(step) for name, step in _STEPS.items()} | {
    "AdamNoUpdateParam": kept(_adam_of_moments, (0, 0, 1)),
    "FusedAdaFactor": _ada_factor,
    "LARSUpdate": _lars,
    "SGD": kept(_sgd, (0, 3, 5)),
}
