"""Quantised weights in AIR files, run by the definitions of GE's operators."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

import msckpt_jax as ms
from msckpt_jax.air.meaning import MEANINGS
from msckpt_jax.air.target import open_model
from tests import quantising
from tests.quantising import CASES, DTYPES, WISHES

_KIND = "WeightQuantBatchMatmul"


@pytest.mark.parametrize(
    ("name", "dtype", "wish"),
    [
        *(("right", dtype, wish) for dtype in DTYPES for wish in WISHES),
        ("left", np.float32, "int4"),
        ("experts", np.float16, "int8"),
    ],
)
def test_products(tmp_path: Path, name: str, dtype: Any, wish: str) -> None:
    case = CASES[name]
    weight, x = case.arrays(dtype)
    done = ms.export((case.function, {"w": weight}), x, file_name=tmp_path / "a",
                     file_format="AIR", **WISHES[wish])  # fmt: skip
    function = open_model(done.file, strict=True)
    want = quantising.expected(case, dtype, WISHES[wish])
    quantising.check(np.asarray(function(x)), want, dtype)
    bits = quantising.bits_and_block(WISHES[wish])[0]
    assert done.graph is not None
    assert (
        np.prod([int(n) for n in done.graph.parameters["w"].type.shape]) == weight.size * bits // 8
    )
    assert function.parameters.keys() == {"w", "w.scale"}


@pytest.mark.parametrize(
    ("dtype", "wish", "soc", "fused"),
    [
        ("float16", {"weights": "int8"}, None, True),
        ("float16", {"weights": "int8", "weight_block_size": 32}, "Ascend910B", True),
        ("float16", {"weights": "int8", "weight_block_size": 16}, None, False),
        ("float16", {"weights": "int8", "weight_block_size": 64}, None, False),
        ("float16", {"weights": "int8"}, "Ascend910", False),
        ("bfloat16", {"weights": "int8"}, "Ascend910B", True),
        ("bfloat16", {"weights": "int8"}, "Ascend310P", False),
        ("float32", {"weights": "int8"}, None, False),
        ("float16", {"weights": "int4"}, None, False),
    ],
)
def test_where_ge_has_an_operator(
    tmp_path: Path, dtype: str, wish: dict[str, Any], soc: str | None, fused: bool
) -> None:
    weight, x = CASES["right"].arrays(jnp.dtype(dtype))
    done = ms.export((CASES["right"].function, {"w": weight}), x, file_name=tmp_path / "a",
                     file_format="AIR", soc=soc, **wish)  # fmt: skip
    assert done.graph is not None
    assert any(node.op == _KIND for node in done.graph.nodes) == fused


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("group", [0, 32])
def test_the_meaning_of_ges_operator(turned: bool, group: int) -> None:
    """``x @ ((weight + offset) * scale) + bias``, which NumPy computes in float64."""
    rng = np.random.default_rng(0)
    x, bias = rng.standard_normal((3, 64)), rng.standard_normal(5)
    weight = rng.integers(-127, 128, (64, 5)).astype(np.int8)
    scale, offset = rng.random((2, 2 if group else 1, 5))
    whole = [np.repeat(part, group or 64, 0) for part in (scale, offset)]
    want = x @ ((weight + whole[1]) * whole[0]) + bias
    operands = [
        np.ascontiguousarray(part.T) if turned else part for part in (weight, scale, offset)
    ]
    given = [jnp.asarray(part, jnp.float32) for part in (x, *operands[1:], bias)]
    result = MEANINGS["WeightQuantBatchMatmulV2"](
        given[0], operands[0], given[1], given[2], None, None, given[3],
        transpose_x=False, transpose_weight=turned, antiquant_group_size=group,
    )  # fmt: skip
    np.testing.assert_allclose(np.asarray(result), want, rtol=1e-4, atol=1e-3)
