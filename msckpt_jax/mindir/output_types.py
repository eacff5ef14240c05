"""The types of a model's results, of which most MindIR files tell nothing: its function does."""

from __future__ import annotations

import functools
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
import jax.core
import numpy as np

from msckpt_jax.graph import meaning, widths
from msckpt_jax.graph.evaluate import Meaning
from msckpt_jax.graph.function import ModelFunction
from msckpt_jax.graph.values import Dim
from msckpt_jax.mindir import reader
from msckpt_jax.mindir.source import Source

#: The largest whole number, and the most elements of a constant, that an operator may be given
#: here: whoever only looks at a file must not pay for what it says.
_MOST = 1 << 24
#: Two numbers that stand for all open sizes: a size of a result is open if it differs with them.
_SIZES = (64, 96)


class Result(NamedTuple):
    """A result of a model; sizes that are open are ``"?"``."""

    name: str
    dtype: np.dtype
    shape: tuple[Dim, ...]


def infer(opened: Source) -> list[Result]:
    """The results of the function in a file; none where there is no function, or no types of it.

    Nothing is computed: weights and inputs are abstract.
    """
    try:
        program = reader.program(opened)
        with ThreadPoolExecutor(1) as aside:
            table = {name: _bounded(known, aside) for name, known in meaning.table().items()}
            function = ModelFunction(program, table)
            with jax.enable_x64(widths.is_wide(program.graph)):
                small, large = (_types(function, size) for size in _SIZES)
        named = zip(function.output_names, small, large, strict=True)
        return [Result(n, a.dtype, _where_equal(a.shape, b.shape)) for n, a, b in named]
    except Exception:  # operators without a meaning, state, open sizes that are not free
        return []


def _types(function: ModelFunction, size: int) -> list[jax.ShapeDtypeStruct]:
    """The types of the results where all open sizes of the inputs are ``size``."""

    def of(value: Any) -> jax.ShapeDtypeStruct:
        shape = tuple(size if dim is None else dim for dim in value.shape)
        return jax.ShapeDtypeStruct(shape, value.dtype)

    weights = {name: of(value) for name, value in function.parameters.items()}
    return jax.tree.leaves(
        jax.eval_shape(function.apply, weights, *jax.tree.map(of, function.inputs))
    )


def _bounded(known: Meaning, aside: Executor) -> Meaning:
    """The meaning of an operator, which refuses to compute large constants from small ones.

    The size is asked for in another thread: in this one JAX computes constants at once.
    """

    @functools.wraps(known)
    def computed(*args: Any, **attrs: Any) -> Any:
        leaves = jax.tree.leaves((args, attrs))
        if any(map(_is_large, leaves)):
            raise ValueError("a number is too large to look at")
        if not any(isinstance(leaf, jax.core.Tracer) for leaf in leaves):
            made = aside.submit(jax.eval_shape, lambda: known(*args, **attrs)).result()
            if sum(value.size for value in jax.tree.leaves(made)) > _MOST:
                raise ValueError("a constant is too large to look at")
        return known(*args, **attrs)

    return computed


def _is_large(leaf: Any) -> bool:
    whole = isinstance(leaf, int | np.ndarray) and np.asarray(leaf).dtype.kind in "iu"
    return whole and bool(np.max(leaf, initial=0) > _MOST)


def _where_equal(a: tuple[int, ...], b: tuple[int, ...]) -> tuple[Dim, ...]:
    return tuple(m if m == n else "?" for m, n in zip(a, b, strict=True))
