"""What real MindSpore writes we load with the same bits, and write again byte for byte."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import msckpt_jax as ms

from .test_written_by_us import CIPHERS, DTYPES, SHAPES, stored, values

PARAMS = {f"{n}_{len(s)}{s}": (n, values(t, s)) for n, t in DTYPES.items() for s in SHAPES}


def as_saved(params: dict[str, tuple[str, np.ndarray]]) -> dict[str, tuple[str, np.ndarray]]:
    return {n: (t, a.astype(np.int8) if t == "Int4" else a) for n, (t, a) in params.items()}


def check(found: Any, params: dict[str, tuple[str, np.ndarray]]) -> None:
    assert list(found) == list(params)
    for name, (_, array) in params.items():
        assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape), name
        assert stored(found[name]) == stored(array), name


@pytest.mark.parametrize("crc", [False, True])
def test_every_dtype_and_shape(mindspore: Any, tmp_path: Path, crc: bool) -> None:
    path = tmp_path / "a.ckpt"
    mindspore.save(as_saved(PARAMS), path, crc_check=crc)
    check(ms.load_checkpoint(str(path), crc_check=crc), PARAMS)


def test_append_dict(mindspore: Any, tmp_path: Path) -> None:
    path = tmp_path / "a.ckpt"
    extra = {"epoch": 3, "lr": 0.1, "on": True, "note": "grüße 🙂", "e": ""}
    mindspore.save({"w": ("Float32", np.ones(2, np.float32))}, path, append=extra)
    found = ms.load_checkpoint(str(path))
    assert (found["epoch"], found["on"], found["note"], found["e"]) == (3, True, extra["note"], "")
    assert found["lr"] == np.float32(0.1)


@pytest.mark.parametrize(("mode", "size"), CIPHERS)
def test_ciphers(mindspore: Any, tmp_path: Path, mode: str, size: int) -> None:
    path, key = tmp_path / "a.ckpt", bytes(range(size))
    params = {"a": ("Float64", np.arange(3000.0)), "b": ("Int8", np.arange(7, dtype=np.int8))}
    mindspore.save(params, path, options={"block_kib": 4}, enc_key=key, enc_mode=mode)
    check(ms.load_checkpoint(str(path), dec_key=key, dec_mode=mode), params)
    with pytest.raises(ms.CheckpointError, match="encrypted with"):
        ms.load_checkpoint(str(path))


@pytest.mark.parametrize("how", [False, "thread"])
def test_slices_of_both_rules(mindspore: Any, tmp_path: Path, how: Any) -> None:
    """Synchronous saves cut bytes, asynchronous ones rows, which leaves empty slices."""
    path = tmp_path / "a.ckpt"
    params = {
        "a": ("Float32", np.arange(1000, dtype=np.float32).reshape(10, 100)),
        "b": ("Float32", np.arange(1000, dtype=np.float32).reshape(1, 1000)),
        "c": ("Float64", np.arange(999.0).reshape(3, 333)),
    }
    mindspore.save(params, path, options={"slice_kib": 1}, async_save=how)
    if how:  # the next save of the same process waits for the thread
        mindspore.save(params, tmp_path / "b.ckpt", async_save=how)
        mindspore.save({"d": params["a"]}, tmp_path / "c.ckpt", async_save=how)
    file = ms.open_checkpoint(str(path))
    assert file.entries["a"].slices > 1
    check(file, params)
    assert np.array_equal(file.get_slice("a")[2:7, 50], params["a"][1][2:7, 50])


@pytest.mark.parametrize("crc", [False, True])
def test_safetensors(mindspore: Any, tmp_path: Path, crc: bool) -> None:
    path = tmp_path / "a.safetensors"
    params = {n: p for n, p in sorted(PARAMS.items()) if p[0] != "BFloat16" and p[1].shape}
    mindspore.save(as_saved(params), path, format="safetensors", crc_check=crc)
    check(ms.load_checkpoint(str(path), crc_check=crc), params)


def test_our_crc_check_finds_damage_in_its_file(mindspore: Any, tmp_path: Path) -> None:
    path = tmp_path / "a.ckpt"
    mindspore.save({"w": ("Float64", np.arange(1000.0))}, path, crc_check=True)
    damaged = bytearray(path.read_bytes())
    damaged[4321] ^= 16
    (tmp_path / "b.ckpt").write_bytes(damaged)
    with pytest.raises(ms.CheckpointError, match=r"b\.ckpt.*check sum"):
        ms.load_checkpoint(str(tmp_path / "b.ckpt"), crc_check=True)


@pytest.mark.parametrize("crc", [False, True])
@pytest.mark.parametrize("format", ["ckpt", "safetensors"])
def test_our_file_is_byte_for_byte_its_file(
    mindspore: Any, tmp_path: Path, format: str, crc: bool
) -> None:
    params = {
        "layer.weight": ("Float32", np.arange(600, dtype=np.float32).reshape(20, 30)),
        "layer.bias": ("Float16", np.arange(20, dtype=np.float16)),
        "grüße": ("Int64", np.arange(4)),
        "flag": ("Bool", np.array([True, False])),
    }
    if format == "ckpt":
        params["half"] = ("BFloat16", np.ones(3, ml_dtypes.bfloat16))
        params["scalar"] = ("Float32", np.array(3.5, np.float32))
    theirs, ours = tmp_path / f"a.{format}", tmp_path / f"b.{format}"
    mindspore.save(params, theirs, format=format, crc_check=crc)
    tree = [{"name": name, "data": array} for name, (_, array) in params.items()]
    ms.save_checkpoint(tree, str(ours), format=format, crc_check=crc)
    if format == "safetensors":  # its library writes metadata in random order
        assert header(ours) == header(theirs)
    else:
        assert ours.read_bytes() == theirs.read_bytes()


def header(path: Path) -> tuple[Any, bytes]:
    """The header of a safetensors file, parsed, and the bytes after it."""
    data = path.read_bytes()
    stop = 8 + int.from_bytes(data[:8], "little")
    return json.loads(data[8:stop]), data[stop:]
