"""Names in model files: weights keep theirs, whatever inputs and constants are called."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import msckpt_jax as ms

ONES, RANGE = np.ones((2, 3), np.float32), np.arange(3, dtype=np.float32)
LARGE = np.arange(3 * 4000, dtype=np.float32).reshape(3, 4000) % 7


def _path_in_both(weight: Any, x: Any) -> Any:
    return x["a"] * 2 + weight["x.a"]


def _constant(weights: Any, x: Any) -> Any:
    return (x @ LARGE)[:, :3] + weights["constant_0"]


def _constant_input(constant_0: Any) -> Any:
    return constant_0 @ LARGE


def _two_inputs(x: Any) -> Any:
    return x["a"]["b"] * 2 + x["a.b"]


#: Network, inputs, and names of the weights that it was given.
CASES: dict[str, tuple[Any, tuple[Any, ...], set[str]]] = {
    "an input like a weight": ((lambda p, x: x + p["x"], {"x": RANGE}), (ONES,), {"x"}),
    "the path of an input": ((_path_in_both, {"x.a": RANGE}), ({"a": ONES},), {"x.a"}),
    "a constant like a weight": ((_constant, {"constant_0": RANGE}), (ONES,), {"constant_0"}),
    "a constant like an input": (_constant_input, (ONES,), set()),
    "two inputs": (_two_inputs, ({"a": {"b": ONES}, "a.b": RANGE},), set()),
    "operators of GE": (
        (lambda p, x: x @ p["MatMulV2_0"] + p["Data_0"] * p["NetOutput"] - p["a/b:0"],
         {"MatMulV2_0": np.eye(3, dtype=np.float32), "Data_0": RANGE, "NetOutput": RANGE,
          "a/b:0": RANGE}),
        (ONES,), {"MatMulV2_0", "Data_0", "NetOutput", "a/b:0"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("file_format", ["MINDIR", "AIR", "ONNX"])
@pytest.mark.parametrize(("net", "inputs", "names"), CASES.values(), ids=CASES)
def test_names_meet(
    net: Any, inputs: Any, names: set[str], file_format: str, tmp_path: Path
) -> None:
    out = ms.export(net, *inputs, file_name=tmp_path / "a", file_format=file_format, verify=True)
    assert out.difference is not None
    if file_format == "AIR":
        assert names <= ms.load(out.file).parameters.keys()
    elif out.graph is not None:
        assert names <= out.graph.parameters.keys()


def test_through_a_mindir_to_an_air(tmp_path: Path) -> None:
    from msckpt_jax.api.convert_model import convert

    net, inputs, names = CASES["an input like a weight"]
    source = ms.export(net, *inputs, file_name=tmp_path / "a").file
    convert(source, tmp_path / "a.air")
    model = ms.load(tmp_path / "a.air")
    assert names <= model.parameters.keys()
    np.testing.assert_array_equal(model(*inputs), net[0](net[1], *inputs))
