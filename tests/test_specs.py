"""``TensorSpec``: the type of an input some of whose sizes are open."""

from __future__ import annotations

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import msckpt_jax as ms
from msckpt_jax.specs import is_spec, spec


def test_a_spec_with_open_sizes_is_a_tensor_spec() -> None:
    assert spec((None, 3), "float32") == ms.TensorSpec((None, 3), jnp.float32)
    assert spec(("b", 3), "int8") == ms.TensorSpec(["b", 3], np.int8)
    assert spec((2, 3), "float32") == jax.ShapeDtypeStruct((2, 3), jnp.float32)
    assert all(map(is_spec, (spec((None,), "bool"), spec((2,), "bool"))))
    assert not is_spec(np.zeros(3))
    assert repr(ms.TensorSpec((None, 3), "float32")) == "TensorSpec((None, 3), float32)"


@pytest.mark.parametrize("format", ["MINDIR", "ONNX", "AIR"])
def test_open_sizes_are_open_in_the_file(format: str, tmp_path: Path) -> None:
    rows = ms.TensorSpec(("b", 3), "float32")
    done = ms.export(lambda x, y: x + y, rows, rows, file_name=tmp_path / "net", file_format=format)
    if format == "ONNX":
        import onnx

        inputs = onnx.load(done.file).graph.input
        assert [i.type.tensor_type.shape.dim[0].dim_param for i in inputs] == ["b", "b"]
        return
    function = ms.load(done.file)
    assert function.inputs == (ms.TensorSpec((None, 3), "float32"),) * 2
    x = np.arange(12, dtype=np.float32).reshape(4, 3)
    np.testing.assert_array_equal(function(x, x), x + x)
