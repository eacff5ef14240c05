"""Norms by the root mean square as one operator: in opset 23, and onnxruntime's own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import onnx
import pytest
from jax import lax

import msckpt_jax as ms
from msckpt_jax.api import targets
from tests.onnx.test_networks import counts

OPERATORS = ("RMSNormalization", "SkipSimplifiedLayerNormalization")
STANDARD, CONTRIBUTED, NONE = (1, 0), (0, 1), (0, 0)


def _mean(x: jax.Array, axis: int = -1) -> jax.Array:
    return jnp.mean(jnp.square(x), axis, keepdims=True)


def by_root(x: jax.Array, w: jax.Array) -> jax.Array:
    """Flax's and MaxText's."""
    return x * lax.rsqrt(_mean(x) + 1e-6) * w


def by_division(x: jax.Array, w: jax.Array) -> jax.Array:
    """tunix's."""
    return w * x / jnp.sqrt(jnp.mean(x.astype(jnp.float32) ** 2, axis=-1, keepdims=True) + 1e-5)


def of_sum(x: jax.Array, w: jax.Array) -> Any:
    x = x + jnp.flip(x, 1)
    return x + by_root(x, w), by_root(jnp.sin(x), w)


def exported(function: Callable[..., Any], folder: Path, *shapes: Any, **options: Any) -> Any:
    """How often each operator is there, in a file that is equal to JAX."""
    specs = [ms.TensorSpec(shape, "float32") for shape in shapes or (("b", 3, 8), (8,))]
    out = ms.export(function, *specs, file_name=folder / "net", file_format="ONNX", verify=True,
                    engine="native", **options)  # fmt: skip
    onnx.checker.check_model(str(out.file), full_check=True)
    assert out.difference is not None
    assert out.difference < 2e-6
    counted = counts(onnx.load(out.file).graph)
    return tuple(counted[op] for op in OPERATORS)


@pytest.mark.parametrize("norm", [by_root, by_division])
def test_one_operator_where_the_opset_has_it(norm: Any, tmp_path: Path) -> None:
    assert exported(norm, tmp_path, opset=23) == STANDARD
    assert exported(norm, tmp_path, opset=22) == NONE
    assert exported(lambda x, w: norm(x, 1 + w), tmp_path, opset=23) == STANDARD


def test_a_sum_goes_into_the_norm_for_onnxruntime(tmp_path: Path) -> None:
    assert exported(of_sum, tmp_path, target="onnxruntime") == CONTRIBUTED
    assert exported(of_sum, tmp_path, target="onnxruntime", opset=23) == (1, 1)
    assert exported(of_sum, tmp_path, opset=23) == (2, 0)


#: What looks like a norm, and is none that the operators compute.
OTHERS: dict[str, Any] = {
    "of another axis": (lambda x, w: x * lax.rsqrt(_mean(x, 1) + 1e-6) * w),
    "of another value": (lambda x, w: x * lax.rsqrt(_mean(x + 1) + 1e-6) * w),
    "by another number": (
        lambda x, w: x * lax.rsqrt(jnp.sum(x * x, -1, keepdims=True) / 7 + 1e-6) * w
    ),
    "of products": (lambda x, w: x * lax.rsqrt(jnp.mean(x * w, -1, keepdims=True) ** 2 + 1) * w),
    "of a dynamic epsilon": (lambda x, w: x * lax.rsqrt(_mean(x) + w[0] ** 2 + 1) * w),
    "of a negative epsilon": (lambda x, w: x * lax.rsqrt(_mean(x) - 1e-6) * w),
    "of a scale of its own for each row": (lambda x, w: by_root(x, jnp.cos(x))),
}


@pytest.mark.parametrize("name", OTHERS)
def test_others_stay(name: str, tmp_path: Path) -> None:
    assert exported(OTHERS[name], tmp_path, opset=23, target="onnxruntime") == NONE


def test_sums_that_repeat_stay(tmp_path: Path) -> None:
    """onnxruntime's operator adds values of one shape."""
    shapes = ("b", 3, 8), (8,), (1, 3, 8)

    def net(x: jax.Array, w: jax.Array, y: jax.Array) -> Any:
        return by_root(x + y, w), by_root(x + 1, w)

    assert exported(net, tmp_path, *shapes, target="onnxruntime") == NONE


def test_small_floats_are_rounded_in_between(tmp_path: Path) -> None:
    x, w = np.ones((2, 3, 8), jnp.bfloat16), np.ones(8, jnp.bfloat16)
    out = ms.export(by_root, x, w, file_name=tmp_path / "net", file_format="ONNX", opset=23,
                    verify=True)  # fmt: skip
    assert not counts(onnx.load(out.file).graph)["RMSNormalization"]


def test_target_is_one_that_the_format_knows(tmp_path: Path) -> None:
    assert {name for each in targets.every() for name in each.devices} == {*targets.DEVICES}
    with pytest.raises(ValueError, match=r"one of \(None, 'cpu'\) for MINDIR, not 'onnxruntime'"):
        ms.export(jnp.sin, np.ones(3), file_name=tmp_path / "net", target="onnxruntime")
