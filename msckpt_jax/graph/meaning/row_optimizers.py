"""The steps of optimizers that move only the rows of a variable that have gradients."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax.numpy as jnp
from jax import lax

from msckpt_jax.graph.meaning.optimizers import (
    adagrad,
    adagrad_da,
    adam,
    centered_rms_prop,
    ftrl,
    kept,
    proximal,
    proximal_adagrad,
    rms_prop,
)


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
    step: Callable[..., Any] = adam
    return step(*rest, _spread(args[0], grad, indices), use_nesterov=use_nesterov)


def _sparse_ftrl(
    var: Any, accum: Any, linear: Any, grad: Any, indices: Any, *, lr: float, l1: float, l2: float,
    lr_power: float, rows: Any = _of_rows,
) -> Any:  # fmt: skip
    def step(var: Any, accum: Any, linear: Any, grad: Any) -> Any:
        return ftrl(var, accum, linear, grad, lr, l1, l2, lr_power)

    return rows(step, 3)(var, accum, linear, grad, indices)


def _sparse_adagrad(
    var: Any, accum: Any, grad: Any, indices: Any, *, lr: float, update_slots: bool = True,
) -> Any:  # fmt: skip
    def step(var: Any, accum: Any, grad: Any) -> Any:
        return adagrad(var, accum, lr, grad, update_slots=update_slots)

    return _of_rows(step, 2)(var, accum, grad, indices)


def _sparse_adagrad_v2(
    var: Any, accum: Any, grad: Any, indices: Any, *, lr: float, epsilon: float,
    update_slots: bool = True,
) -> Any:  # fmt: skip
    def step(var: Any, accum: Any, grad: Any) -> Any:
        return adagrad(var, accum, lr, grad, update_slots=update_slots, epsilon=epsilon)

    return _of_rows(step, 2)(var, accum, grad, indices)


def _sparse_momentum(
    var: Any, accum: Any, lr: Any, grad: Any, indices: Any, momentum: Any, *,
    use_nesterov: bool = False,
) -> Any:  # fmt: skip
    def step(var: Any, accum: Any, grad: Any) -> Any:
        return momentum(var, accum, lr, grad, momentum, use_nesterov=use_nesterov)

    return _one_by_one(step, 2)(var, accum, grad, indices)


def _sparse_rms_prop(
    var: Any, square: Any, moment: Any, lr: Any, grad: Any, indices: Any, *, rho: float,
    momentum: float, epsilon: float,
) -> Any:  # fmt: skip
    def step(var: Any, square: Any, moment: Any, grad: Any) -> Any:
        return rms_prop(var, square, moment, lr, grad, rho, momentum, epsilon)

    return _one_by_one(step, 3)(var, square, moment, grad, indices)


def _sparse_centered_rms_prop(
    var: Any, mean: Any, square: Any, moment: Any, lr: Any, rho: Any, momentum: Any, epsilon: Any,
    grad: Any, indices: Any,
) -> Any:  # fmt: skip
    def step(var: Any, mean: Any, square: Any, moment: Any, grad: Any) -> Any:
        return centered_rms_prop(
            var, mean, square, moment, grad, lr, rho, momentum, epsilon
        )  # fmt: skip

    return _one_by_one(step, 4)(var, mean, square, moment, grad, indices)


def _sparse_adagrad_da(
    var: Any, total: Any, squares: Any, grad: Any, indices: Any, lr: Any, l1: Any, l2: Any,
    step: Any,
) -> Any:  # fmt: skip
    def once(var: Any, total: Any, squares: Any, grad: Any) -> Any:
        return adagrad_da(var, total, squares, grad, lr, l1, l2, step)

    return _one_by_one(once, 3)(var, total, squares, grad, indices)


def _sparse_proximal(var: Any, lr: Any, l1: Any, l2: Any, grad: Any, indices: Any) -> Any:
    def step(var: Any, grad: Any) -> Any:
        return (proximal(var, lr, l1, l2, grad),)

    return _one_by_one(step, 1)(var, grad, indices)[0]


_STEPS: dict[str, Callable[..., Any]] = {
    "FusedSparseAdam": _adam_rows,
    "FusedSparseFtrl": _sparse_ftrl,
    "FusedSparseLazyAdam": _of_rows(adam, 3),
    "FusedSparseProximalAdagrad": _of_rows(proximal_adagrad, 2),
    "SparseApplyAdagrad": _sparse_adagrad,
    "SparseApplyAdagradDA": _sparse_adagrad_da,
    "SparseApplyAdagradV2": _sparse_adagrad_v2,
    "SparseApplyCenteredRMSProp": _sparse_centered_rms_prop,
    "SparseApplyFtrl": partial(_sparse_ftrl, rows=_one_by_one),
    "SparseApplyMomentum": _sparse_momentum,
    "SparseApplyProximalGradientDescent": _sparse_proximal,
    "SparseApplyRMSProp": _sparse_rms_prop,
}
TABLE: dict[str, Callable[..., Any]] = {name: kept(step) for name, step in _STEPS.items()}
