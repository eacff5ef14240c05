"""Equinox's own primitives, which tell ``vmap`` what to do: outside of it they do little."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp

from msckpt_jax.lowering.rewrites.ignoring import Ignoring, ignoring

REWRITES: dict[str, Callable[..., Any] | Ignoring] = {
    "nonbatchable": ignoring(lambda x: x, "msg", "allow_constant_across_batch"),
    "select_if_vmap": lambda which, yes, no: yes,
    "unvmap_all": lambda x: jnp.all(x),
    "unvmap_any": lambda x: jnp.any(x),
    "unvmap_max": lambda x: jnp.max(x),
}
