"""Which results are exact by nature, and the judgement of those and of others."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import msckpt_jax as ms
from msckpt_jax.errors import ExportError
from msckpt_jax.lowering.exactness import precisions
from msckpt_jax.lowering.trials import compare, distance

X = np.array([1.5, -2.25, 0.0], np.float32)
_F32, _F16 = (float(np.finfo(dtype).eps) for dtype in (np.float32, np.float16))
CASES: dict[str, tuple[Any, float | None]] = {
    "moved": (lambda x: x[::-1].reshape(3, 1), None),
    "chosen": (lambda x: jnp.where(x > 0, x, -x), None),
    "converted": (lambda x: x.astype(jnp.int32).astype(jnp.float16), None),
    "bits": (lambda x: lax.nextafter(x, -x), None),
    "of whole numbers": (lambda x: jnp.cumsum(x.astype(jnp.int32)), None),
    "rounded once": (lambda x: x * 3, None),
    "rounded once, then moved": (lambda x: jnp.sort(1 / x), None),
    "rounded twice": (lambda x: x * 3 + 1, _F32),
    "a function": (lambda x: jnp.exp(x), _F32),
    "a sum": (lambda x: x.sum(), _F32),
    "chosen by a function": (lambda x: jnp.where(jnp.exp(x) > 1, x, 0), _F32),
    "in a call": (lambda x: jax.jit(jnp.tanh)(x), _F32),
    "in a loop": (lambda x: lax.fori_loop(0, 3, lambda i, c: c * 2, x), _F32),
    "by way of float16": (lambda x: jnp.exp(x.astype(jnp.float16)).astype(jnp.float32), _F16),
    "two products of float16": (
        lambda x: jnp.eye(3, dtype="f2") @ (jnp.eye(3, dtype="f2") @ x.astype("f2")),
        math.hypot(_F16, _F16),
    ),
}


@pytest.mark.parametrize(("function", "due"), CASES.values(), ids=CASES)
def test_precision(function: Any, due: float | None) -> None:
    assert precisions(jax.make_jaxpr(function)(X)) == [due]


def test_float64_is_as_precise_as_the_floats_that_it_is_made_of() -> None:
    with jax.enable_x64(True):
        wide = jax.make_jaxpr(lambda x: jnp.exp(x))(X.astype(np.float64))
        mixed = jax.make_jaxpr(lambda x: jnp.exp(x).astype(np.float64) * 2.0)(X)
    assert precisions(wide) == [np.finfo(np.float64).eps]
    assert precisions(mixed) == [_F32]


@pytest.mark.parametrize(
    ("right", "other"), [(1.0, np.nextafter(1.0, 2)), (0.0, 1e-9), (np.inf, 1e300), (1.0, np.nan)]
)
def test_exact_numbers_are_equal_or_wrong(right: float, other: float) -> None:
    assert distance(np.array([right]), np.array([other]), None)[1] is False


def test_of_exact_numbers_signs_of_zeros_and_subnormal_numbers_may_differ() -> None:
    right, other = np.array([0.0, 5e-324, np.nan, -2]), np.array([-0.0, 0.0, np.nan, -2])
    assert distance(right, other, None) == (5e-324, True)


def test_float64_is_judged_by_its_own_precision() -> None:
    one = np.ones(3)
    assert distance(one, one * (1 + 1e-11))[1]
    for factor in (1.0009, 1 + 1e-7):
        with pytest.raises(ExportError, match=r"result 0 is off by .*allowed are 1e-10 relative"):
            compare(Path("a"), [one], [one * factor])
    assert distance(one, one * (1 + 1e-7), _F32)[1]  # float32 had a part in it


@pytest.mark.parametrize("file_format", ["AIR", "ONNX"])
def test_verify_finds_a_number_that_is_off_by_a_unit(file_format: str, tmp_path: Path) -> None:
    def rule(ctx: Any, x: Any, **_: Any) -> Any:
        return ctx("Mul", x, ctx.like(1 + 2**-23, x))

    with pytest.raises(ExportError, match="it is exact by nature: nothing is allowed"):
        ms.export(lambda x: -x, X, file_name=tmp_path / "a", file_format=file_format,
                  rules={"neg": rule}, verify=True)  # fmt: skip
