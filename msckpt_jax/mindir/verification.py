"""Does a file give JAX's numbers: run it and compare.

In real MindSpore where it is installed, else by the meaning that ``load`` gives its operators.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from msckpt_jax.errors import ExportError
from msckpt_jax.mindir import function, runner

if TYPE_CHECKING:
    from msckpt_jax.tracing import Traced

#: float32 kernels of MindSpore and XLA agree to this; smaller dtypes to their own precision.
RTOL, ATOL = 1e-3, 1e-5

#: A dynamic size in the trial run.
_DYNAMIC = 3


def difference(file: Path, traced: Traced, load: Mapping[str, Any]) -> float:
    """The largest difference between the results of the file and of the function.

    Raises:
        ExportError: MindSpore fails on the file, or the results differ.
    """
    inputs, expected = trial(traced)
    if not runner.available():
        results = jax.tree.leaves(function.load(file, **load)(*inputs))
        return compare(file, expected, [np.asarray(x) for x in results], "the file")
    with runner.MindSpore() as mindspore:
        (outcome,) = mindspore.run([runner.Case(file, [inputs], load)])
    if outcome.error:
        raise ExportError(f"{file}: MindSpore fails on it: {outcome.error}")
    return compare(file, expected, outcome.results[0])


def trial(traced: Traced) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Inputs, those given or random, and what JAX makes of them."""
    rng = np.random.default_rng(0)
    inputs = [_sample(value, rng) for value in traced.inputs.values()]
    weights = [np.asarray(value) for value in traced.weights.values()]
    expected = jax.tree.leaves(traced.function(weights, *map(jax.numpy.asarray, inputs)))
    return inputs, [np.asarray(value) for value in expected]


def compare(
    file: Path, expected: list[np.ndarray], found: list[np.ndarray], where: str = "MindSpore"
) -> float:
    """The largest difference; ``where`` is what gave ``found``.

    Raises:
        ExportError: dtypes, shapes or numbers differ.
    """
    if len(expected) != len(found):
        raise ExportError(f"{file}: {where} gives {len(found)} results, JAX {len(expected)}")
    worst = 0.0
    for number, (want, have) in enumerate(zip(expected, found, strict=True)):
        if (want.dtype, want.shape) != (have.dtype, have.shape):
            raise ExportError(
                f"{file}: result {number} is {have.dtype}{have.shape} in {where}, "
                f"{want.dtype}{want.shape} in JAX"
            )
        largest, equal = distance(want, have)
        worst = max(worst, largest)
        if not equal:
            raise ExportError(
                f"{file}: result {number} is off by {largest:.3g} in {where} (allowed are "
                f"{RTOL} relative and {ATOL} absolute)"
            )
    return worst


def distance(want: np.ndarray, have: np.ndarray) -> tuple[float, bool]:
    """The largest difference of two arrays, and whether it is within what is allowed."""
    if want.dtype.kind in "biu":
        wide = np.abs(want.astype(np.float64) - have.astype(np.float64))
        return float(wide.max(initial=0)), bool(np.array_equal(want, have))
    precision = _epsilon(want.dtype)
    kind = np.complex128 if want.dtype.kind == "c" else np.float64
    one, two = want.astype(kind), have.astype(kind)
    with np.errstate(invalid="ignore"):
        apart = np.abs(one - two)
    largest = float(np.nanmax(apart, initial=0))
    rtol, atol = max(RTOL, 4 * precision), max(ATOL, precision)
    return largest, bool(np.allclose(one, two, rtol, atol, equal_nan=True))


def _epsilon(dtype: np.dtype) -> float:
    return float(jax.numpy.finfo(dtype).eps)


def _sample(value: Any, rng: np.random.Generator) -> np.ndarray:
    dtype = jax.dtypes.canonicalize_dtype(value.dtype)
    if not isinstance(value, jax.ShapeDtypeStruct):
        return np.asarray(value, dtype)
    shape = tuple(d if isinstance(d, int) else _DYNAMIC for d in value.shape)
    if dtype.kind == "b":
        return rng.random(shape) < 0.5
    if dtype.kind in "iu":
        return rng.integers(0, 2, shape).astype(dtype)
    return rng.standard_normal(shape).astype(dtype)
