"""JAX, imported when something of it is used for the first time.

To import it takes a second and 100 MB; who asks the command line what a file holds, or what would
become of it, should not wait for it. The rooms that read, plan and write files take ``jax``,
``jnp`` and ``core`` from here; those that trace or compute import JAX themselves.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import jax as jax
    import jax.core as core
    import jax.numpy as jnp
else:

    class _Deferred:
        def __init__(self, name: str):
            self._name = name

        def __getattr__(self, name: str) -> Any:
            return getattr(importlib.import_module(self._name), name)

    jax, jnp, core = map(_Deferred, ("jax", "jax.numpy", "jax.core"))
