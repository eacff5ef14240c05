"""Quantised weights in ONNX files, as onnxruntime runs them with its own optimisations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax.numpy as jnp
import ml_dtypes
import numpy as np
import onnx
import pytest

import msckpt_jax as ms
from msckpt_jax.api import convert_model
from msckpt_jax.onnx import check, inspection, runner
from tests import quantising
from tests.quantising import CASES, DTYPES, WISHES

_ALL = [
    pytest.param(name, dtype, wish, id=f"{name}-{np.dtype(dtype).name}-{wish}")
    for name in CASES
    for dtype in DTYPES
    for wish in (*WISHES, "int4, onnxruntime")
    if name == "right" or (dtype is np.float32 and wish != "int4, onnxruntime")
]


def _exported(path: Path, name: str, dtype: Any, wish: str) -> ms.Exported:
    case = CASES[name]
    weight, x = case.arrays(dtype)
    how: dict[str, Any] = WISHES[wish.partition(",")[0]] | (
        {"target": "onnxruntime"} if "," in wish else {}
    )
    return ms.export((case.function, {"w": weight}), x, file_name=path, file_format="ONNX", **how)


@pytest.mark.parametrize(("name", "dtype", "wish"), _ALL)
def test_products(tmp_path: Path, name: str, dtype: Any, wish: str) -> None:
    """The numbers are those of the dequantised weights: inputs are not quantised as well."""
    done = _exported(tmp_path / "a", name, dtype, wish)
    case, plain = CASES[name], WISHES[wish.partition(",")[0]]
    (result,) = runner.session(done.file)(case.arrays(dtype)[1])
    quantising.check(result, quantising.expected(case, dtype, plain), dtype)
    assert not check.check(done.file).problems
    stored = {t.name: t for t in onnx.load(done.file).graph.initializer}["w"]
    bits = quantising.bits_and_block(plain)[0]
    assert len(stored.raw_data) == np.prod(case.weight) * bits // 8


@pytest.mark.parametrize("target", [None, "onnxruntime"])
def test_a_weight_that_two_kinds_of_products_share(tmp_path: Path, target: str | None) -> None:
    """It is stored once, in a way that both can read."""
    weight = np.random.default_rng(0).standard_normal((64, 64)).astype(np.float32)

    def net(p: Any, x: Any) -> Any:
        return x @ p["w"], x.astype(jnp.bfloat16) @ p["w"].astype(jnp.bfloat16)

    done = ms.export((net, {"w": weight}), np.ones((2, 64), np.float32), file_name=tmp_path / "a",
                     file_format="ONNX", weights="int4", target=target, verify=True)  # fmt: skip
    assert done.graph is not None
    assert sorted(done.graph.parameters) == ["w", "w.scale"]


def test_which_operators(tmp_path: Path) -> None:
    kinds = {}
    for wish in ("int8", "int4", "int4, onnxruntime"):
        done = _exported(tmp_path / "a", "right", np.float32, wish)
        model = onnx.load(done.file)
        kinds[wish] = [node.op_type for node in model.graph.node if node.op_type != "Identity"]
    apart = ["DequantizeLinear", "Reshape", "MatMul"]
    assert kinds == {"int8": apart, "int4": apart, "int4, onnxruntime": ["MatMulNBits"]}
    assert [entry.domain for entry in model.opset_import] == ["", "com.microsoft"]


def test_opsets(tmp_path: Path) -> None:
    """A scale for each channel is as old as any opset of ours; blocks are not."""
    function = CASES["right"].function
    for dtype in DTYPES:
        weight, x = CASES["right"].arrays(dtype)
        ms.export((function, {"w": weight}), x, file_name=tmp_path / "a", file_format="ONNX",
                  opset=18, weights="int8", verify=True)  # fmt: skip
    weight, x = CASES["right"].arrays(np.float32)
    net = (function, {"w": weight})
    problems = {
        "int8 in blocks": "blocks of weights need opset=21 or more, not 18",
        "int4": "int4 needs opset=21 or more, not 18",
    }
    for wish, problem in problems.items():
        ms.export(net, x, file_name=tmp_path / "b", file_format="ONNX", **WISHES[wish])
        assert onnx.load(tmp_path / "b.onnx").opset_import[0].version == 21
        with pytest.raises(ms.ExportError, match=problem):
            ms.export(net, x, file_name=tmp_path / "b", file_format="ONNX", opset=18,
                      **WISHES[wish])  # fmt: skip
    with pytest.raises(ValueError, match="nor weights"):
        ms.export(net, x, file_name=tmp_path / "b", file_format="ONNX", engine="jax2onnx",
                  weights="int8")  # fmt: skip


def test_weights_that_are_of_few_bits(tmp_path: Path) -> None:
    """They stay so in the file: int4 two a byte, float8 one."""
    rng = np.random.default_rng(0)
    four = jnp.asarray(rng.integers(-8, 8, (64, 31)), jnp.int4)
    weights = {
        "four": four, "odd": jnp.asarray([-8, 7, 3], jnp.int4),
        "e4m3": jnp.asarray(rng.standard_normal((31, 16)), jnp.float8_e4m3fn),
        "e5m2": jnp.asarray(rng.standard_normal((16, 8)), jnp.float8_e5m2),
    }  # fmt: skip

    def net(p: Any, x: Any) -> Any:
        for name in ("four", "e4m3", "e5m2"):
            x = x @ p[name].astype(x.dtype)
        return x, p["odd"].astype(jnp.int32)

    x = rng.standard_normal((5, 64)).astype(np.float32)
    done = ms.export((net, weights), x, file_name=tmp_path / "a", file_format="ONNX", verify=True)
    stored = {t.name: t for t in onnx.load(done.file).graph.initializer}
    assert {name: len(stored[name].raw_data) for name in weights} == {
        "four": 64 * 31 // 2, "odd": 2, "e4m3": 31 * 16, "e5m2": 16 * 8
    }  # fmt: skip
    listed = inspection.inspect(done.file, bool, dec_key=None, dec_mode="")[0]["initializers"]
    assert {t["name"]: t["bytes"] for t in listed if t["name"] in weights} == {
        name: len(stored[name].raw_data) for name in weights
    }
    back = onnx.numpy_helper.to_array(stored["four"])
    assert back.astype(np.int8).tolist() == np.asarray(four).astype(np.int8).tolist()
    assert not done.notes


@pytest.mark.parametrize(("dtype", "opset"), [("int4", 21), ("float8_e4m3fn", 19)])
def test_opsets_that_lack_few_bits(tmp_path: Path, dtype: str, opset: int) -> None:
    net = (lambda p, x: x @ p["w"].astype(x.dtype), {"w": jnp.ones((3, 4), dtype)})
    with pytest.raises(ms.ExportError, match=rf"the weight w: {dtype} needs opset={opset} or more"):
        ms.export(net, jnp.ones((2, 3)), file_name=tmp_path / "a", opset=opset - 1,
                  file_format="ONNX", engine="native")  # fmt: skip


def test_weights_of_few_bits_that_other_formats_widen(tmp_path: Path) -> None:
    weights = {"a": jnp.ones((4, 4), ml_dtypes.float8_e4m3fn), "b": jnp.ones((4,), jnp.int4)}

    def net(p: Any, x: Any) -> Any:
        return x @ p["a"].astype(x.dtype) + p["b"].astype(x.dtype)

    for kind in ("MINDIR", "AIR"):
        done = ms.export((net, weights), jnp.ones((2, 4)), file_name=tmp_path / "a",
                         file_format=kind)  # fmt: skip
        assert list(done.notes[:2]) == [
            f"the weights of float8_e4m3fn are written as float16, which {kind} has: a",
            f"the weights of int4 are written as int8, which {kind} has: b",
        ]


def test_a_model_that_is_converted(tmp_path: Path) -> None:
    """A MindIR with transposed products, as MindSpore's Dense is."""
    weight = np.random.default_rng(0).standard_normal((64, 64)).astype(np.float32)
    x = np.random.default_rng(1).standard_normal((5, 64)).astype(np.float32)
    done = ms.export((lambda p, x: x @ p["w"], {"w": weight}), x, file_name=tmp_path / "a")
    path, notes = convert_model.convert(done.file, tmp_path / "b.onnx", weights="int4")
    assert notes[0].startswith("1 weight of 1 quantised (int4")
    rounded = quantising.dequantised(weight, 0, 4, 32)
    (result,) = runner.session(path)(x)
    quantising.check(result, x.astype(np.float64) @ rounded, np.float32)
