"""Modules that are imported when something of them is used for the first time, and attributes.

To import JAX takes a second and 100 MB; who asks the command line what a file holds, or what would
become of it, should not wait for it. The rooms that read, plan and write files take ``jax``,
``jnp`` and ``core`` from here; those that trace or compute import JAX themselves.
``etils.epath``, which only Orbax's folders need, brings asyncio and more.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Container
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import jax as jax
    import jax.core as core
    import jax.numpy as jnp
    from etils import epath as epath
else:

    class _Module:
        def __init__(self, name: str):
            self._name = name

        def __getattr__(self, name: str) -> Any:
            return getattr(importlib.import_module(self._name), name)

    jax, jnp, core = map(_Module, ("jax", "jax.numpy", "jax.core"))
    epath = _Module("etils.epath")


def modules(package: str, names: Container[str]) -> Callable[[str], ModuleType]:
    """The ``__getattr__`` of a package that has modules of such names."""

    def imported(name: str) -> ModuleType:
        if name not in names:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return importlib.import_module(f"{package}.{name}")

    return imported
