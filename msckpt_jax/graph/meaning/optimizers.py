"""The steps of optimizers: the new contents of the variable and of its slots, in order."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, wraps
from typing import Any

import jax.numpy as jnp
from jax import lax


def _mean(old: Any, new: Any, share: Any) -> Any:
    return share * old + (1 - share) * new


def _momentum(
    var: Any, accum: Any, lr: Any, grad: Any, momentum: Any, *, use_nesterov: bool = False,
    gradient_scale: float = 1.0,
) -> Any:  # fmt: skip
    accum = accum * momentum + grad
    return var - lr * (grad + momentum * accum if use_nesterov else accum), accum


def _adam(
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


def _rms_prop(
    var: Any, square: Any, moment: Any, lr: Any, grad: Any, rho: Any, momentum: Any, epsilon: Any
) -> Any:
    square = _mean(square, grad * grad, rho)
    moment = momentum * moment + lr * grad * lax.rsqrt(square + epsilon)
    return var - moment, square, moment


def _centered_rms_prop(
    var: Any, mean: Any, square: Any, moment: Any, grad: Any, lr: Any, rho: Any, momentum: Any,
    epsilon: Any,
) -> Any:  # fmt: skip
    mean, square = _mean(mean, grad, rho), _mean(square, grad * grad, rho)
    moment = momentum * moment + lr * grad * lax.rsqrt(square - mean * mean + epsilon)
    return var - moment, mean, square, moment


def _adagrad(
    var: Any, accum: Any, lr: Any, grad: Any, *, update_slots: bool = True, epsilon: float = 0.0
) -> Any:
    accum = accum + grad * grad if update_slots else accum
    return var - lr * grad / (jnp.sqrt(accum) + epsilon), accum


def _adagrad_da(
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


def _ftrl(
    var: Any, accum: Any, linear: Any, grad: Any, lr: Any, l1: Any, l2: Any, lr_power: Any
) -> Any:
    new = accum + grad * grad
    power, before = new**-lr_power, accum**-lr_power
    linear = linear + grad - (power - before) / lr * var
    shrunk = jnp.sign(linear) * l1 - linear
    var = jnp.where(jnp.abs(linear) > l1, shrunk / (power / lr + 2 * l2), 0)
    return var, new, linear


def _proximal(var: Any, lr: Any, l1: Any, l2: Any, grad: Any) -> Any:
    moved = var - lr * grad
    return jnp.sign(moved) * jnp.maximum(jnp.abs(moved) - lr * l1, 0) / (1 + l2 * lr)


def _proximal_adagrad(var: Any, accum: Any, lr: Any, l1: Any, l2: Any, grad: Any) -> Any:
    accum = accum + grad * grad
    return _proximal(var, lr * lax.rsqrt(accum), l1, l2, grad), accum


def _add_sign(var: Any, m: Any, lr: Any, alpha: Any, decay: Any, beta: Any, grad: Any) -> Any:
    m = _mean(m, grad, beta)
    return var - lr * (alpha + decay * jnp.sign(grad) * jnp.sign(m)) * grad, m


def _power_sign(var: Any, m: Any, lr: Any, logbase: Any, decay: Any, beta: Any, grad: Any) -> Any:
    m = _mean(m, grad, beta)
    return var - lr * jnp.exp(logbase * decay * jnp.sign(grad) * jnp.sign(m)) * grad, m


def _spread(like: Any, grad: Any, indices: Any) -> Any:
    """The gradient of all rows; those of one row are summed."""
    return jnp.zeros_like(like).at[indices].add(grad)


def _of_rows(step: Callable[..., tuple[Any, ...]], slots: int) -> Callable[..., Any]:
    """A step of the rows that its last operand names, whose gradients are the operand before.

    Args:
        step: the step of all rows, with the slots first and the gradient last.
        slots: their number.
    """

    def run(*args: Any, use_nesterov: bool = False) -> Any:
        *rest, grad, indices = args
        old = args[:slots]
        attrs = {"use_nesterov": True} if use_nesterov else {}
        new = step(*rest, _spread(old[0], grad, indices), **attrs)
        rows = jnp.zeros(old[0].shape[:1], bool).at[indices].set(True)
        rows = rows.reshape((-1,) + (1,) * (old[0].ndim - 1))
        return tuple(jnp.where(rows, n, o) for n, o in zip(new, old, strict=True))

    return run


def _one_by_one(step: Callable[..., tuple[Any, ...]], slots: int) -> Callable[..., Any]:
    """As :func:`_of_rows`, but a row that is named twice takes two steps."""

    def run(*args: Any) -> Any:
        *rest, grad, indices = args

        def one(k: Any, old: tuple[Any, ...]) -> tuple[Any, ...]:
            row = indices[k]
            new = step(*(slot[row] for slot in old), *rest[slots:], grad[k])
            return tuple(slot.at[row].set(n) for slot, n in zip(old, new, strict=True))

        start = tuple(map(jnp.asarray, args[:slots]))
        indices, grad = jnp.asarray(indices), jnp.asarray(grad)
        return lax.fori_loop(0, indices.shape[0], one, start)

    return run


def _adam_rows(*args: Any, use_nesterov: bool = False) -> Any:
    """A step of all rows, whose moments shrink also where there is no gradient."""
    *rest, grad, indices = args
    step: Callable[..., Any] = _adam
    return step(*rest, _spread(args[0], grad, indices), use_nesterov=use_nesterov)


def _sparse_ftrl(
    var: Any, accum: Any, linear: Any, grad: Any, indices: Any, *, lr: float, l1: float, l2: float,
    lr_power: float, rows: Any = _of_rows,
) -> Any:  # fmt: skip
    def step(var: Any, accum: Any, linear: Any, grad: Any) -> Any:
        return _ftrl(var, accum, linear, grad, lr, l1, l2, lr_power)

    return rows(step, 3)(var, accum, linear, grad, indices)


def _sparse_adagrad(
    var: Any, accum: Any, grad: Any, indices: Any, *, lr: float, update_slots: bool = True,
) -> Any:  # fmt: skip
    def step(var: Any, accum: Any, grad: Any) -> Any:
        return _adagrad(var, accum, lr, grad, update_slots=update_slots)

    return _of_rows(step, 2)(var, accum, grad, indices)


def _kept(step: Callable[..., Any], slots: tuple[int, ...] = (0, 1, 2, 3)) -> Callable[..., Any]:
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
    "Adam": _adam,
    "AdamWeightDecay": _adam_weight_decay,
    "ApplyAdaMax": _ada_max,
    "ApplyAdadelta": _adadelta,
    "ApplyAdagrad": _adagrad,
    "ApplyAdagradDA": _adagrad_da,
    "ApplyAdagradV2": _adagrad,
    "ApplyAdam": _adam,
    "ApplyAdamWithAmsgrad": _adam_amsgrad_attrs,
    "ApplyAdamWithAmsgradV2": _adam_amsgrad,
    "ApplyAddSign": _add_sign,
    "ApplyCenteredRMSProp": _centered_rms_prop,
    "ApplyFtrl": _ftrl,
    "ApplyGradientDescent": lambda var, lr, grad: var - lr * grad,
    "ApplyMomentum": _momentum,
    "ApplyPowerSign": _power_sign,
    "ApplyProximalAdagrad": _proximal_adagrad,
    "ApplyProximalGradientDescent": _proximal,
    "ApplyRMSProp": _rms_prop,
    "FusedSparseAdam": _adam_rows,
    "FusedSparseFtrl": _sparse_ftrl,
    "FusedSparseLazyAdam": _of_rows(_adam, 3),
    "FusedSparseProximalAdagrad": _of_rows(_proximal_adagrad, 2),
    "SparseApplyAdagrad": _sparse_adagrad,
    "SparseApplyFtrl": partial(_sparse_ftrl, rows=_one_by_one),
}
TABLE: dict[str, Callable[..., Any]] = {name: _kept(step) for name, step in _STEPS.items()} | {
    "SGD": _kept(_sgd, (0, 3, 5))
}
