"""Values that do not fit the dtype that is asked for are refused; those that do are cast."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from flax import nnx

import msckpt_jax as ms
from msckpt_jax.checkpoint import narrowing
from msckpt_jax.cli import main

BF16 = ml_dtypes.bfloat16
F32_MAX = float(np.finfo(np.float32).max)
#: The value, its dtype in the file, the narrower dtype, and what is refused.
REFUSED = [
    (300, np.int64, np.int8, r"int8; keep it as int64.*expected -128 to 127, found 300"),
    (-129, np.int16, np.int8, "found -129"),
    (2**31, np.int64, np.int32, f"found {2**31}"),
    (8, np.int8, ml_dtypes.int4, "expected -8 to 7, found 8"),
    (16, np.uint8, ml_dtypes.uint4, "expected 0 to 15, found 16"),
    (1e300, np.float64, np.float32, r"found 1e\+300"),
    (-1e39, np.float64, np.float32, r"found -1e\+39"),
    (65520, np.float32, np.float16, "found 65520"),
    (65536, BF16, np.float16, "found 65536"),
    (F32_MAX, np.float32, BF16, "found 3.40"),
]
TAKEN = [
    (127, np.int64, np.int8),
    (-8, np.int8, ml_dtypes.int4),
    (15, np.uint8, ml_dtypes.uint4),
    (65519, np.float32, np.float16),
    (np.inf, np.float64, np.float32),
    (-np.inf, np.float32, BF16),
    (np.nan, np.float64, np.float16),
    (1e-300, np.float64, np.float32),
    (3.39e38, np.float32, BF16),
]


def saved(folder: Path, value: Any, dtype: Any) -> str:
    path = str(folder / "a.ckpt")
    ms.save_checkpoint({"w": np.array([0, value, 1]).astype(dtype)}, path)
    return path


@pytest.mark.parametrize(("value", "dtype", "narrow", "text"), REFUSED)
def test_out_of_range_is_refused(
    tmp_path: Path, value: Any, dtype: Any, narrow: Any, text: str
) -> None:
    path = saved(tmp_path, value, dtype)
    for like in (np.zeros(3, narrow), jnp.zeros(3, narrow)):
        with pytest.raises(ms.CheckpointError, match=rf"a\.ckpt.*'w'.*do not fit.*{text}"):
            ms.load_checkpoint(path, like={"w": like})
        with pytest.raises(ms.CheckpointError, match="do not fit"):
            ms.load_param_into_tree({"w": like}, dict(ms.load_checkpoint(path)))


@pytest.mark.parametrize(("value", "dtype", "narrow"), TAKEN)
def test_in_range_is_cast(tmp_path: Path, value: Any, dtype: Any, narrow: Any) -> None:
    path = saved(tmp_path, value, dtype)
    expected = np.array([0, value, 1]).astype(dtype).astype(narrow)
    for like in (np.zeros(3, narrow), jnp.zeros(3, narrow)):
        found = np.asarray(ms.load_checkpoint(path, like={"w": like})["w"])
        np.testing.assert_array_equal(found.astype(float), expected.astype(float))


def test_a_signalling_nan_is_no_value(tmp_path: Path) -> None:
    bits = np.array([0x7F800001, 0x3F800000], np.uint32)  # MindSpore files may hold any bits
    ms.save_checkpoint({"w": bits.view(np.float32)}, tmp_path / "a.ckpt")
    like = {"w": np.zeros(2, np.float16)}
    loaded = ms.load_checkpoint(tmp_path / "a.ckpt", like=like)["w"]
    np.testing.assert_array_equal(np.asarray(loaded), [np.nan, 1])


def test_a_value_beside_nan_is_seen() -> None:
    with pytest.raises(ms.CheckpointError, match=r"found 1e.300, one of 1 that"):
        narrowing.check(np.array([np.nan, 1e300, np.inf]), np.dtype(np.float32))


@pytest.mark.parametrize("how", ["like", "sharding"])
def test_wide_integers_without_x64(tmp_path: Path, how: str) -> None:
    path = saved(tmp_path, 2**40, np.int64)
    options: dict[str, Any] = {
        "like": {"like": {"w": jax.ShapeDtypeStruct((3,), np.int64)}},
        "sharding": {"sharding": lambda name, shape: None},
    }
    with pytest.raises(ms.CheckpointError, match=r"int32; keep it as int64, in JAX with jax_en"):
        ms.load_checkpoint(path, **options[how])
    assert ms.load_checkpoint(path, like={"w": np.zeros(3, np.int64)})["w"][1] == 2**40


@pytest.mark.filterwarnings("ignore:w is float64 and becomes float32")
def test_wide_floats_without_x64(tmp_path: Path) -> None:
    path = saved(tmp_path, 1e300, np.float64)
    for options in ({"like": {"w": jax.ShapeDtypeStruct((3,), np.float64)}},
                    {"sharding": lambda name, shape: None}):  # fmt: skip
        with pytest.raises(ms.CheckpointError, match="do not fit float32"):
            ms.load_checkpoint(path, **options)


def test_a_network_is_untouched(tmp_path: Path) -> None:
    net = nnx.Linear(2, 1, rngs=nnx.Rngs(0), param_dtype=jnp.float16)
    before = net.bias[...]
    file = {"weight": np.array([[1, 70000]], np.float32), "bias": np.ones(1, np.float32)}
    with pytest.raises(ms.CheckpointError, match=r"'kernel'.*do not fit float16"):
        ms.load_param_into_net(net, file, convention="mindspore")
    assert np.array_equal(net.bias[...], before)


def test_a_conversion_refuses_too(tmp_path: Path, capsys: Any) -> None:
    path, out = saved(tmp_path, 1e6, np.float32), tmp_path / "b.ckpt"
    assert main(["convert", path, str(out), "--dtype", "float16"]) != 0
    assert "'w': values do not fit float16" in capsys.readouterr().err
    assert not out.exists()
    assert main(["convert", path, str(out), "--dtype", "bfloat16"]) == 0
    assert ms.load_checkpoint(out)["w"].tolist() == [0, 999424, 1]
