"""The bytes: golden files, and independent readers of them."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

import msckpt_jax as ms
from msckpt_jax.checkpoint import crc, wire

GOLDEN = {
    # Written by MindSpore 2.10.
    "scalar": (np.float32(3.5), "0a140a0173120f1207466c6f617433321a0400006040"),
    "vector": (
        np.arange(4, dtype=np.float32),
        "0a220a0173121d08041207466c6f617433321a10000000000000803f0000004000004040",
    ),
    "string": ("ab", "0a160a017312110800120373747 21a08 6100000062000000".replace(" ", "")),
    "empty string": ("", "0a120a0173120d08001203737472 1a0400000000".replace(" ", "")),
}


@pytest.mark.parametrize("case", GOLDEN)
def test_golden_bytes(tmp_path: Path, case: str) -> None:
    value, golden = GOLDEN[case]
    path = tmp_path / "a.ckpt"
    ms.save_checkpoint([{"name": "s", "data": value}], str(path))
    assert path.read_bytes().hex() == golden
    assert np.array_equal(ms.load_checkpoint(str(path))["s"], value)


def test_crc_trailer(tmp_path: Path) -> None:
    path = tmp_path / "a.ckpt"
    ms.save_checkpoint({"s": np.arange(100)}, str(path), crc_check=True)
    data = path.read_bytes()
    assert data[-17:] == b"crc_num" + zlib.crc32(data[:-17]).to_bytes(10, "big")


@pytest.mark.parametrize("count", [0, 1, 2, 7, 1000, 65537])
def test_crc_of_zeros(count: int) -> None:
    assert crc.of_zeros(count) == zlib.crc32(bytes(count))


def test_crc_of_joined_pieces() -> None:
    pieces = [b"", b"abc", b"d", bytes(1000)]
    assert crc.join((zlib.crc32(p), len(p)) for p in pieces) == zlib.crc32(b"".join(pieces))


def test_a_cipher_block_by_hand(tmp_path: Path) -> None:
    key, plain, secret = bytes(16), tmp_path / "a.ckpt", tmp_path / "b.ckpt"
    tree = {"w": np.arange(50.0)}
    ms.save_checkpoint(tree, str(plain))
    ms.save_checkpoint(tree, str(secret), enc_key=key)
    data = secret.read_bytes()
    magic, tag, length, iv_len, iv, size = struct.unpack_from("<I16sII16sI", data)
    cipher = data[48:-83]  # the seal follows, see test_seal.py
    assert (magic, iv_len, size, length) == (0x7F3A5ED8, 16, len(cipher), len(cipher) + 24)
    assert AESGCM(key).decrypt(iv[:12], cipher + tag, None) == plain.read_bytes()


def test_encryption_never_repeats_an_iv(tmp_path: Path) -> None:
    for name in "ab":
        ms.save_checkpoint({"w": np.ones(3)}, str(tmp_path / f"{name}.ckpt"), enc_key=bytes(16))
    assert (tmp_path / "a.ckpt").read_bytes() != (tmp_path / "b.ckpt").read_bytes()


def test_safetensors_are_those_of_the_library(tmp_path: Path) -> None:
    tree = {
        "b": np.arange(6, dtype=np.float32).reshape(2, 3),
        "a": np.arange(3),
        "ü": np.array(1.5, np.float16),
        "z": np.zeros((0, 2), np.uint8),
        "t": np.array([True]),
    }
    ours, theirs = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    ms.save_checkpoint(tree, str(ours), format="safetensors")
    safetensors.numpy.save_file(tree, theirs, metadata={"format": "ms"})
    assert ours.read_bytes() == theirs.read_bytes()


@pytest.mark.parametrize("value", [0, 1, 127, 128, 300, 2**31, 2**63, 2**64 - 1])
def test_varint_round_trip(value: int) -> None:
    data = wire.varint(value)
    assert wire.read_varint(data, 0, len(data)) == (value, len(data))


def test_slices_repeat_dims_and_type(tmp_path: Path) -> None:
    path = tmp_path / "a.ckpt"
    ms.save_checkpoint({"w": np.arange(10.0)}, str(path), slice_bytes=32)
    data = path.read_bytes()
    found = list(wire.records(data, len(data)))
    assert [(r.tag, r.tensors[0].dims, r.tensors[0].type) for r in found] == [
        ("w", (10,), "Float64")
    ] * 3
    assert [r.tensors[0].stop - r.tensors[0].start for r in found] == [32, 32, 16]


def test_output_is_deterministic(tmp_path: Path) -> None:
    tree = {"b": {"x": np.ones(3), "a": 1}, "a": [np.zeros(2), "s"]}
    for name in "ab":
        ms.save_checkpoint(tree, str(tmp_path / name))
    assert (tmp_path / "a.ckpt").read_bytes() == (tmp_path / "b.ckpt").read_bytes()
