"""Trials of an exported file: inputs, JAX's results, and the comparison of a file's with these."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from msckpt_jax.errors import ExportError
from msckpt_jax.lowering import symbols
from msckpt_jax.lowering.exactness import Precision
from msckpt_jax.lowering.symbols import Sizes, explicit
from msckpt_jax.lowering.trace import Traced
from msckpt_jax.specs import is_spec

#: float32 kernels of MindSpore and XLA agree to this; smaller dtypes to their own precision.
RTOL, ATOL = 1e-3, 1e-5
#: Those of float64 to this: one of float32 in between would show.
RTOL64, ATOL64 = 1e-10, 1e-12


class Trial(NamedTuple):
    """Inputs, and JAX's results of them; ``at`` tells their dynamic sizes, as `` at b = 3``."""

    inputs: list[np.ndarray]
    results: list[np.ndarray]
    at: str = ""


def trials(traced: Traced) -> list[Trial]:
    """Inputs, given or random, and JAX's results of them: at several sizes if some are dynamic.

    Raises:
        ExportError: no sizes keep the constraints, or JAX fails at some that do.
    """
    weights = [_placed(np.asarray(value), value) for value in traced.leaves.values()]
    examples = list(traced.inputs.values())
    try:
        settings = symbols.tried([e for e in examples if is_spec(e)], traced.jaxpr)
    except ValueError as error:
        raise ExportError(f"{error}, at which the file could be compared with JAX") from None
    tried = []
    for sizes in settings:
        rng, at = np.random.default_rng(0), symbols.shown(sizes)
        inputs = [_sample(example, sizes, rng) for example in examples]
        try:
            results = traced.function(weights, *map(_placed, inputs, examples))
        except Exception as error:
            if not at:
                raise
            reason = str(error).strip().partition("\n")[0]
            raise ExportError(
                f"the function itself fails in JAX{at}: {type(error).__name__}: {reason}; say "
                'which sizes it takes, such as constraints=["s >= 2"]'
            ) from error
        tried.append(Trial(inputs, [np.asarray(value) for value in jax.tree.leaves(results)], at))
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
        ExportError: dtypes, shapes or numbers differ, or the file does not run at some sizes.
    """
    worst = 0.0
    for inputs, expected, at in tried:
        try:
            results = [np.asarray(x) for x in run(*inputs)]
        except Exception as error:  # of runtimes, which have no class in common
            if not at or isinstance(error, ExportError | MemoryError):
                raise
            reason = str(error).strip().partition("\n")[0]
            raise ExportError(
                f"{file}: {where} fails on it{at}: {type(error).__name__}: {reason}"
            ) from error
        worst = max(worst, compare(file, expected, results, f"{where}{at}", due))
    return worst


def moved(before: Traced, after: Traced) -> float:
    """The largest difference of a float result of two functions, over its largest number."""
    largest = 0.0
    for left, right in zip(trials(before), trials(after), strict=True):
        for old, new in zip(left.results, right.results, strict=True):
            if old.size and jax.numpy.issubdtype(old.dtype, np.floating):
                scale = float(np.max(np.abs(old.astype(np.float64))))
                largest = max(largest, distance(old, new)[0] / (scale or 1.0))
    return largest


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


def _sample(value: Any, sizes: Sizes, rng: np.random.Generator) -> np.ndarray:
    dtype = jax.dtypes.canonicalize_dtype(value.dtype)
    if not is_spec(value):
        return np.asarray(value, dtype)
    shape = symbols.at(value.shape, sizes)
    if dtype.kind == "b":
        return rng.random(shape) < 0.5
    if dtype.kind in "iu":
        return rng.integers(0, 2, shape).astype(dtype)
    return rng.standard_normal(shape).astype(dtype)
