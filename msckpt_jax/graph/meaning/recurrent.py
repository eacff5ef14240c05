"""Recurrent layers that are one operator; MindSpore's other layers are loops of small operators."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from msckpt_jax.errors import MindIRError


def _lstm(
    x: Any, h: Any, c: Any, weights: Any, *, input_size: int, hidden_size: int,
    num_layers: int = 1, has_bias: bool = True, bidirectional: bool = False, dropout: float = 0.0,
    proj_size: int = 0,
) -> Any:  # fmt: skip
    """Run a layer over [time, batch, features]; gates are in the order input, forget, cell, output.

    ``weights`` is flat: input weights, hidden weights, the sum of both biases, as ``nn.LSTM``
    makes it for the CPU (MindSpore 2.10, nn/layer/rnns.py).
    """
    if num_layers != 1 or bidirectional or proj_size:
        raise MindIRError(
            "LSTM with several layers, two directions or a projection is not supported"
        )
    gates, flat = 4 * hidden_size, jnp.ravel(weights)
    first, second = gates * input_size, gates * (input_size + hidden_size)
    w_ih = jnp.reshape(flat[:first], (gates, input_size))
    w_hh = jnp.reshape(flat[first:second], (gates, hidden_size))
    bias = flat[second : second + gates] if has_bias else jnp.zeros((), flat.dtype)

    def step(carry: Any, x: Any) -> Any:
        h, c = carry
        i, f, g, o = jnp.split(x + h @ w_hh.T, 4, -1)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        h = jax.nn.sigmoid(o) * jnp.tanh(c)
        return (h, c), h

    (last_h, last_c), y = jax.lax.scan(step, (h[0], c[0]), x @ w_ih.T + bias)
    # The last two results serve the gradient operator only.
    return y, last_h[None], last_c[None], jnp.zeros(1, y.dtype), jnp.zeros(1, y.dtype)


TABLE: dict[str, Callable[..., Any]] = {"LSTM": _lstm}
