"""What the tables of kernels allow runs: each operator, dtype and attribute, in each opset."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import onnx
import pytest

import msckpt_jax as ms
from msckpt_jax import onnx as ours
from msckpt_jax.onnx import runner
from tests.onnx import sweep

#: Bodies, fusions and weights, which have tests of their own; OneHot is MindSpore's name alone.
_ELSEWHERE = {
    "Attention", "Cast", "Constant", "DequantizeLinear", "If", "Loop", "MatMulInteger", "OneHot",
    "RMSNormalization", "Scan",
}  # fmt: skip


@pytest.mark.parametrize("opset", sweep.OPSETS)
def test_what_the_tables_allow_runs(opset: int) -> None:
    cases = [*sweep.cases(opset)]
    assert len(cases) > 900
    assert {case: reason for case in cases if (reason := sweep.problem(*case, opset))} == {}


def test_a_kernel_that_refuses_a_dtype_is_found() -> None:
    assert "MLFloat16 data type is not supported" in sweep.problem(
        "ScatterND", "f16", {"reduction": "add"}, 21
    )


def _words() -> Iterator[str]:
    for path in Path(ours.__file__).parent.rglob("*.py"):
        if path.name == "lite.py":  # it knows operators of files that others have made
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value


def test_the_sweep_has_the_operators_that_the_rows_emit() -> None:
    schemas = {s.name for s in onnx.defs.get_all_schemas() if s.domain == ""}
    assert schemas & set(_words()) - _ELSEWHERE <= sweep.SAMPLES.keys()


_KINDS = ("float16", "bfloat16", "float32", "int8", "uint16", "int32")


@pytest.mark.parametrize("dtype", _KINDS)
@pytest.mark.parametrize("method", ["add", "subtract", "mul", "min", "max", "set"])
def test_scatters_with_a_reduction(method: str, dtype: str, tmp_path: Path) -> None:
    x = np.arange(1, 13).reshape(4, 3).astype(jnp.dtype(dtype))
    i, u = np.array([1, 3, 1], np.int32), x[:3][::-1] % 3
    out = ms.export(lambda x, i, u: getattr(x.at[i], method)(u), x, i, u, file_format="ONNX",
                    file_name=tmp_path / "a", engine="native", verify=True)  # fmt: skip
    assert out.difference == 0


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "bool"])
def test_sums_of_segments_and_extremes(dtype: str, tmp_path: Path) -> None:
    def segments(x: jax.Array, i: jax.Array) -> list[jax.Array]:
        kinds = (jax.ops.segment_max, jax.ops.segment_min)
        kinds += () if dtype == "bool" else (jax.ops.segment_sum, jax.ops.segment_prod)
        return [kind(x, i, 3) for kind in kinds]

    x = (np.arange(6) % 3 % 2).astype(jnp.dtype(dtype))
    out = ms.export(segments, x, np.array([0, 2, 0, 2, 2, 0]), file_format="ONNX",
                    file_name=tmp_path / "a", engine="native", verify=True)  # fmt: skip
    assert out.difference == 0


def test_a_multinomial_comes_to_its_end(tmp_path: Path) -> None:
    """JAX divides by log1p(-0), whose sign says to which side the loop goes on."""
    out = ms.export(
        lambda key: jax.random.multinomial(key, 5.0, jnp.array([0.2, 0.3, 0.5])),
        jax.random.key(1), file_format="ONNX", file_name=tmp_path / "a", engine="native",
        verify=True,
    )  # fmt: skip
    assert out.difference == 0


def test_log1p_keeps_the_sign_of_zero(tmp_path: Path) -> None:
    x = np.array([0.0, -0.0, 1e-30, -1e-30, -1.0, np.inf, -np.inf, np.nan, 3e38], np.float32)
    done = ms.export(jnp.log1p, x, file_format="ONNX", file_name=tmp_path / "a", engine="native")
    (found,) = runner.session(done.file)(x)
    with np.errstate(all="ignore"):
        want = np.log1p(x.astype(np.float64)).astype(np.float32)
    np.testing.assert_array_max_ulp(found, want, 2)
    np.testing.assert_array_equal(np.signbit(found[:2]), [False, True])
