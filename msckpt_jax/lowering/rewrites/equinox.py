"""Equinox's own primitives, which tell ``vmap`` what to do: outside of it they do little."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp

REWRITES: dict[str, Callable[..., Any]] = {
    "nonbatchable": lambda x, **_: x,
    "select_if_vmap": lambda which, yes, no, **_: yes,
    "unvmap_all": lambda x, **_: jnp.all(x),
    "unvmap_any": lambda x, **_: jnp.any(x),
    "unvmap_max": lambda x, **_: jnp.max(x),
}
