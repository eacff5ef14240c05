"""Names of leaves: deterministic, reversible, collisions refused with both paths."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from flax import nnx

import msckpt_jax as ms
from msckpt_jax import names
from msckpt_jax.checkpoint import leaves

X = np.ones(2)


class Net(nnx.Module):
    def __init__(self, rngs: nnx.Rngs):
        self.layers = nnx.List([nnx.Linear(2, 2, rngs=rngs), nnx.Linear(2, 2, rngs=rngs)])
        self.tied = self.layers[0]


NAMED = {
    "nested": ({"a": {"b": [X, (X,)]}}, ["a.b.0", "a.b.1.0"]),
    "flat names stay flat": ({"layer1.0.weight": X}, ["layer1.0.weight"]),
    "a bare array": (X, ["value"]),
    "integer keys": ({1: X, 0: X}, ["0", "1"]),
    "none is no leaf": ({"a": None, "b": X}, ["b"]),
    "parameter list": ([{"name": "w.x", "data": X}, {"name": "b", "data": X}], ["w.x", "b"]),
    "list of other dicts": ([{"name": X, "data": X}], ["0.data", "0.name"]),
}


@pytest.mark.parametrize("case", NAMED)
def test_names(case: str) -> None:
    tree, wanted = NAMED[case]
    assert [leaf.name for leaf in names.named_leaves(tree)] == wanted


def test_shared_modules_are_saved_once() -> None:
    found = [leaf.name for leaf in names.named_leaves(Net(nnx.Rngs(0)))]
    assert found == ["layers.0.bias", "layers.0.kernel", "layers.1.bias", "layers.1.kernel"]


def test_rebuild_is_the_inverse() -> None:
    tree = {"a": [X, {"b": 2}], "c": nnx.Param(jnp.ones(3))}
    flat = names.flatten(tree)
    rebuilt = flat.rebuild([leaf.value for leaf in flat.leaves])
    assert jax.tree.structure(rebuilt) == jax.tree.structure(tree)
    module = names.flatten(Net(nnx.Rngs(0)))
    again = module.rebuild([np.full(leaf.value.shape, 5.0) for leaf in module.leaves])
    assert again.tied is again.layers[0]
    assert np.all(again.tied.kernel[...] == 5)


def test_nested_undoes_the_dots() -> None:
    assert names.nested({"a.b": 1, "a.c.d": 2, "e": 3}) == {"a": {"b": 1, "c": {"d": 2}}, "e": 3}
    for clash in ({"a": 1, "a.b": 2}, {"a.b": 2, "a": 1}):
        with pytest.raises(ms.CheckpointError, match="prefix"):
            names.nested(clash)


REFUSED = {
    "collision": (
        {"a.b": X, "a": {"b": X}},
        ms.CheckpointError,
        ["'a.b'", "['a']['b']", "['a.b']"],
    ),
    "int and str keys": ([{"0": X}, {"1": {"x": X}, "1.x": X}], ms.CheckpointError, ["1.x"]),
    "empty name": ({"": X}, ms.CheckpointError, ["empty"]),
    "lone surrogate in a name": ({"\ud800": X}, ms.CheckpointError, ["UTF-8"]),
    "lone surrogate in a text": ({"a": "\ud800"}, ms.CheckpointError, ["surrogates", "['a']"]),
    "complex": ({"a": {"z": X + 1j}}, ms.CheckpointError, ["complex128", "x.real", "['a']['z']"]),
    "float8": (
        {"a": jnp.ones(2, jnp.float8_e4m3fn)},
        ms.CheckpointError,
        ["float8_e4m3fn", "cast to bfloat16"],
    ),
    "int2": ({"a": jnp.ones(2, jnp.int2)}, ms.CheckpointError, ["int2", "cast to int8"]),
    "objects": ({"a": np.array([print])}, ms.CheckpointError, ["object", "['a']"]),
    "dates": ({"a": np.array(["2020"], "M8[s]")}, ms.CheckpointError, ["astype('int64')"]),
    "array of str": ({"a": np.array(["x"])}, ms.CheckpointError, ["Python str"]),
    "structured": ({"a": np.zeros(2, [("x", "f4")])}, ms.CheckpointError, ["each field"]),
    "a function": ({"a": [print]}, TypeError, ["builtin_function", "['a'][0]"]),
    "a large int": ({"a": 2**70}, ms.CheckpointError, [f"int64 (at ['a']) (found {2**70})"]),
    "a complex number": ({"a": 1j}, TypeError, ["complex"]),
    "bytes": ({"a": b"x"}, TypeError, ["bytes"]),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_leaves(tmp_path: Any, case: str) -> None:
    tree, error, fragments = REFUSED[case]
    with pytest.raises(error) as caught:
        ms.save_checkpoint(tree, str(tmp_path / "a.ckpt"))
    assert all(fragment in str(caught.value) for fragment in fragments), str(caught.value)
    assert not list(tmp_path.iterdir())


def test_traced_and_deleted_arrays_are_refused(tmp_path: Any) -> None:
    with pytest.raises(TypeError, match="outside of jit"):
        jax.jit(lambda x: ms.save_checkpoint({"x": x}, str(tmp_path / "a.ckpt")))(1.0)
    x = jnp.ones(3) + 0
    x.delete()
    with pytest.raises(ms.CheckpointError, match="deleted or donated"):
        ms.save_checkpoint({"x": x}, str(tmp_path / "a.ckpt"))
    assert not list(tmp_path.iterdir())


def test_a_foreign_name_that_looks_like_a_key(tmp_path: Any) -> None:
    path = str(tmp_path / "a.ckpt")
    ms.save_checkpoint({"a@threefry2x32": X, "b@rbg": np.uint32(3)}, path)
    assert list(ms.load_checkpoint(path)) == ["a@threefry2x32", "b@rbg"]


def test_a_key_beside_an_array_of_its_name_is_refused(tmp_path: Any) -> None:
    tree = {"k": jax.random.key(0), "k@threefry2x32": np.zeros(2, np.uint32)}
    with pytest.raises(ms.CheckpointError, match="come back as PRNG keys"):
        ms.save_checkpoint(tree, str(tmp_path / "a.ckpt"))


def test_dtype_table_is_consistent() -> None:
    for dtype in (np.float32, ml_dtypes.bfloat16, ml_dtypes.int4, np.bool_):
        record = leaves.of_value("x", np.zeros(3, dtype))
        assert record.nbytes == 3 * {"Float32": 4, "BFloat16": 2}.get(record.type, 1)
