"""The peephole: it sees the equations that made the operands, and may know a shorter rewrite.

``peephole(equation, operands, made)`` returns the rewrite and its operands, or None.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from msckpt_jax._compat import Atom, Equation
from msckpt_jax.lowering.rewrites.ignoring import Ignoring

#: The equations so far, by their results.
Made: TypeAlias = Mapping[Atom, Equation]
Shorter: TypeAlias = tuple[Callable[..., Any] | Ignoring, list[Atom]]
Peephole: TypeAlias = Callable[[Equation, list[Atom], Made], Shorter | None]
