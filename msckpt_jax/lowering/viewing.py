"""Views of the modules that a callable holds: in inference mode, and new within each trace.

Flax's modules may only change while the trace lasts in which they were made. The user's stay as
they are, and so do the caches of functions under ``jit`` that know them.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from jax.extend import source_info_util

from msckpt_jax import names
from msckpt_jax.lowering import callables, training

# Our own frames are none of the user's.
source_info_util.register_exclusion(__file__)

_KEPT = (
    "a {} that holds modules cannot be copied: these keep their mode; call eval() on them before, "
    "or export (function, module)"
)


def viewed(
    look: callables.Look, function: Callable[..., Any], as_it_is: bool
) -> tuple[Callable[..., Any], list[str]]:
    """Return the function with views of its modules, and notes, which grow when it is called.

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
        copied, kept = callables.remade(look, function, made | single)
        notes[before:] = [_KEPT.format(type(each).__name__) for each in kept]
        return copied(*inputs)

    before = len(notes)
    return called, notes
