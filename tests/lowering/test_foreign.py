"""Calls that say how other compilers do something: files have what they do in plain JAX."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import Array, lax
from jax.experimental.custom_partitioning import custom_partitioning

import msckpt_jax as ms
from msckpt_jax.errors import UnsupportedError
from tests.lowering.equal import check

X = jnp.arange(6.0).reshape(2, 3) - 2


@partial(custom_partitioning, static_argnums=(1,))
def partitioned(x: Array, by: float) -> Array:
    return jnp.cumsum(x, -1) * by


partitioned.def_partition(
    infer_sharding_from_operands=lambda *_: None, partition=lambda *_: None,
    sharding_rule="i j -> i j",
)  # fmt: skip


@partial(lax.composite, name="test.norm", version=1)
def composite(x: Array, *, epsilon: float = 1e-3) -> Array:
    return x / jnp.sqrt((x * x).sum(-1, keepdims=True) + epsilon)


def compiled(x: Array) -> Array:
    return jax.ffi.ffi_call("a_kernel", jax.ShapeDtypeStruct(x.shape, x.dtype))(x, n=np.int32(3))


def test_what_is_called_is_inlined() -> None:
    check(lambda x: partitioned(x, 2.0) + 1, X)
    check(composite, X, rtol=1e-6)
    check(lambda x: jax.jit(composite)(x), X, rtol=1e-6)


def test_the_implementation_for_cpu_or_for_any_platform() -> None:
    check(lambda x: lax.platform_dependent(x, cpu=jnp.sin, tpu=jnp.cos, default=jnp.tan), X)
    check(lambda x: lax.platform_dependent(x, tpu=jnp.cos, default=jnp.tan), X)
    check(lambda x: lax.platform_dependent(x, cuda=compiled, default=jnp.sin), X)


@pytest.mark.parametrize("more", [{"default": jnp.sin}, {"tpu": jnp.sin}])
def test_compiled_code_where_there_is_plain_jax(more: Any, tmp_path: Path) -> None:
    def function(x: Array) -> Array:
        return lax.platform_dependent(x, cpu=jax.jit(compiled), **more)

    done = ms.export(function, X, file_name=tmp_path / "net")
    np.testing.assert_array_equal(ms.load(done.file)(X), jnp.sin(X))


def test_compiled_code_alone_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError) as caught:
        ms.export(compiled, X, file_name=tmp_path / "net")
    (problem,) = caught.value.problems
    assert "(compiled): ffi_call: compiled code of yours, 'a_kernel'" in problem
    assert "platform_dependent" in problem
    done = ms.export(
        compiled, X, file_name=tmp_path / "net", rules={"ffi_call": lambda ctx, x, **_: x}
    )
    np.testing.assert_array_equal(ms.load(done.file)(X), X)
