"""Trials of an exported file: inputs, JAX's results, and the comparison of a file's with these."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import jax
import numpy as np

from msckpt_jax.errors import ExportError
from msckpt_jax.lowering.exactness import Precision
from msckpt_jax.lowering.trace import Traced, explicit
from msckpt_jax.specs import is_spec

#: float32 kernels of MindSpore and XLA agree to this; smaller dtypes to their own precision.
RTOL, ATOL = 1e-3, 1e-5
#: Those of float64 to this: one of float32 in between would show.
RTOL64, ATOL64 = 1e-10, 1e-12

#: Dynamic sizes begin here in the two trials; sizes of different names differ.
_DYNAMIC = (3, 4)
_NAME = re.compile(r"[A-Za-z_]\w*")

#: Inputs, and JAX's results.
Trial: TypeAlias = tuple[list[np.ndarray], list[np.ndarray]]


def trials(traced: Traced) -> list[Trial]:
    """Inputs, given or random, and JAX's results of them: twice if sizes are dynamic."""
    weights = [_placed(np.asarray(value), value) for value in traced.leaves.values()]
    examples = list(traced.inputs.values())
    tried = []
    for inputs in _samples(examples):
        expected = traced.function(weights, *map(_placed, inputs, examples))
        tried.append((inputs, [np.asarray(value) for value in jax.tree.leaves(expected)]))
    return tried


def _placed(numbers: np.ndarray, like: Any) -> jax.Array:
    """An array, on the devices of another one where the function may ask for its sharding."""
    sharding = explicit(like)
    array = jax.numpy.asarray(numbers)
    return array if sharding is None else jax.device_put(array, sharding)


def largest(
    file: Path,
    tried: Sequence[Trial],
    run: Callable[..., Iterable[Any]],
    where: str,
    due: Sequence[Precision] = (),
) -> float:
    """The largest difference of all trials; ``run`` gives the file's results.

    Raises:
        ExportError: dtypes, shapes or numbers differ.
    """
    return max(
        compare(file, expected, [np.asarray(x) for x in run(*inputs)], where, due)
        for inputs, expected in tried
    )


def compare(
    file: Path,
    expected: list[np.ndarray],
    results: list[np.ndarray],
    where: str = "MindSpore",
    due: Sequence[Precision] = (),
) -> float:
    """The largest difference of results.

    Args:
        file: the file, for messages.
        expected: JAX's results.
        results: those of the file.
        where: the name of the runtime that gave them.
        due: the precision of each result, as ``exactness`` has it; where this is empty, that of
            its dtype.

    Raises:
        ExportError: dtypes, shapes or numbers differ.
    """
    if len(expected) != len(results):
        raise ExportError(f"{file}: {where} gives {len(results)} results, JAX {len(expected)}")
    worst = 0.0
    due = due or [0.0] * len(expected)
    pairs = zip(expected, results, due, strict=True)
    for number, (want, have, precision) in enumerate(pairs):
        if (want.dtype, want.shape) != (have.dtype, have.shape):
            raise ExportError(
                f"{file}: result {number} is {have.dtype}{have.shape} in {where}, "
                f"{want.dtype}{want.shape} in JAX"
            )
        largest, equal = distance(want, have, precision)
        worst = max(worst, largest)
        if not equal:
            raise ExportError(
                f"{file}: result {number} is off by {largest:.3g} in {where} "
                f"({_allowed(want.dtype, precision)})"
            )
    return worst


def distance(want: np.ndarray, have: np.ndarray, precision: Precision = 0.0) -> tuple[float, bool]:
    """The largest difference of two arrays, and whether all differences are allowed.

    Args:
        want: JAX's numbers.
        have: those of another.
        precision: None where they are exact by nature: then only NaN differ, zeros by their signs,
            and subnormal numbers, which runtimes take for zeros. Else the unit of the narrowest
            float in between; that of the dtype if it is larger.
    """
    if want.dtype.kind in "biu":
        wide = np.abs(want.astype(np.float64) - have.astype(np.float64))
        return float(wide.max(initial=0)), bool(np.array_equal(want, have))
    kind = np.complex128 if want.dtype.kind == "c" else np.float64
    left, right = want.astype(kind), have.astype(kind)
    with np.errstate(invalid="ignore"):
        apart = np.abs(left - right)
    largest = float(np.max(apart, initial=0, where=~np.isnan(apart)))
    if precision is None:
        return largest, _same_numbers(left, right, float(jax.numpy.finfo(want.dtype).tiny))
    rtol, atol = _tolerances(want.dtype, precision)
    return largest, bool(np.allclose(left, right, rtol, atol, equal_nan=True))


def _same_numbers(left: np.ndarray, right: np.ndarray, tiny: float) -> bool:
    both_nan = np.isnan(left) & np.isnan(right)
    flushed = (np.abs(left) < tiny) & (np.abs(right) < tiny)
    return bool(np.all((left == right) | both_nan | flushed))


def _tolerances(dtype: np.dtype, precision: float) -> tuple[float, float]:
    """The relative and the absolute difference that is allowed."""
    unit = max(_epsilon(dtype), precision)
    if unit < ATOL64:
        return RTOL64, ATOL64
    return max(RTOL, 4 * unit), max(ATOL, unit)


def _allowed(dtype: np.dtype, precision: Precision) -> str:
    if precision is None or dtype.kind in "biu":
        return "it is exact by nature: nothing is allowed"
    return "allowed are {:.2g} relative and {:.2g} absolute".format(*_tolerances(dtype, precision))


def _epsilon(dtype: np.dtype) -> float:
    return float(jax.numpy.finfo(dtype).eps)


def _samples(examples: Sequence[Any]) -> list[list[np.ndarray]]:
    """Inputs at each of two sizes, or once if no size is dynamic."""
    texts = [d for e in examples for d in e.shape if isinstance(d, str)]
    names = dict.fromkeys(name for text in texts for name in _NAME.findall(text))
    unnamed = any(dim is None for example in examples for dim in example.shape)
    samples = []
    for first in _DYNAMIC if names or unnamed else _DYNAMIC[:1]:
        # A constraint makes a number of each expression in its scope.
        constraints = [f"{name} == {size}" for size, name in enumerate(names, first)]
        scope = jax.export.SymbolicScope(constraints)
        rng = np.random.default_rng(0)
        samples.append([_sample(example, first, scope, rng) for example in examples])
    return samples


def _sample(value: Any, first: int, scope: Any, rng: np.random.Generator) -> np.ndarray:
    dtype = jax.dtypes.canonicalize_dtype(value.dtype)
    if not is_spec(value):
        return np.asarray(value, dtype)
    dims = [first if dim is None else dim for dim in value.shape]
    text = ",".join(map(str, dims))
    shape: Any = jax.export.symbolic_shape(text, scope=scope) if dims else ()
    if dtype.kind == "b":
        return rng.random(shape) < 0.5
    if dtype.kind in "iu":
        return rng.integers(0, 2, shape).astype(dtype)
    return rng.standard_normal(shape).astype(dtype)
