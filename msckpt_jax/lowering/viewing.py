"""Views of the modules that a callable holds: in inference mode, and new within each trace.

Flax's modules may only change while the trace lasts in which they were made. The user's stay as
they are, and so do the caches of functions under ``jit`` that know them.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from msckpt_jax import names
from msckpt_jax.lowering import callables, training


def viewed(
    look: callables.Look, function: Callable[..., Any], as_it_is: bool
) -> tuple[Callable[..., Any], list[str]]:
    """Return the function with views of its modules, and a note about layers in training mode.

    Args:
        look: a look into the function.
        function: a callable that holds modules of Flax nnx and Equinox, or none.
        as_it_is: whether the modules keep their mode.
    """
    modules = look.modules()
    views, notes = (modules, []) if as_it_is else training.inference_of_all(modules)
    shared = {path: node for path, node in views.items() if names.is_module(node)}
    single = {
        id(modules[path]): node
        for path, node in views.items()
        if path not in shared and node is not modules[path]
    }
    if not shared and not single:
        return function, notes
    split = sys.modules["flax.nnx"].split(shared) if shared else None

    def called(*inputs: Any) -> Any:
        fresh = sys.modules["flax.nnx"].merge(*split, copy=True) if split else {}
        made = {id(modules[path]): node for path, node in fresh.items()}
        return callables.remade(look, function, made | single)(*inputs)

    return called, notes
