"""The notes that files of ours have for their reader.

They tell how arguments and results nest, and which weights look like constants of the program.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

import numpy as np

_NESTING, _WEIGHTS = "msckpt_jax.nesting", "msckpt_jax.weights"
#: The names that writers number; a weight has a name of its own.
_NUMBERED = re.compile(r"Const_\d+")


def looks_constant(name: str, dtype: np.dtype) -> bool:
    """Tell whether a Const of the main graph is none of the weights, as far as others' files tell.

    Shapes and axes are integers, and have names in files of MindSpore.
    """
    return dtype.kind in "biu" or _NUMBERED.fullmatch(name) is not None


def add(model: Any, nesting: str, weights: Collection[str]) -> None:
    """Add the notes to a ``ModelDef``; none where there is nothing to tell."""
    if nesting:
        model.attr[_NESTING].s = nesting.encode()
    if weights:
        model.attr[_WEIGHTS].list.s.extend(name.encode() for name in weights)


def nesting(model: Any) -> str:
    """The note of how arguments and results are nested, or ""."""
    return model.attr[_NESTING].s.decode(errors="replace") if _NESTING in model.attr else ""


def weights(model: Any) -> frozenset[str]:
    """The names of weights that look like constants."""
    if _WEIGHTS not in model.attr:
        return frozenset()
    return frozenset(name.decode(errors="replace") for name in model.attr[_WEIGHTS].list.s)
