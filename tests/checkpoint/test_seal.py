"""The seal of AES-GCM files, and what is noticed without it."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import msckpt_jax as ms
from msckpt_jax.checkpoint import cipher
from msckpt_jax.checkpoint.encryption import encryption
from msckpt_jax.cli import main

KEY = bytes(range(16))
GCM = cipher.MODES["AES-GCM"]


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cipher, "BLOCK_BYTES", 4096)


def blocks_of(path: Path, number: int, mode: str = "AES-GCM") -> list[bytes]:
    """The blocks of a file: three full ones, a rest, and the seal of AES-GCM."""
    tree = {"w": np.full(3500, number, np.float32)}
    ms.save_checkpoint(tree, path, enc_key=KEY, enc_mode=mode)
    data = memoryview(path.read_bytes())
    return [bytes(data[b.offset : b.stop]) for b in cipher.blocks(data, cipher.MODES[mode])]


def load(path: Path, **options: Any) -> np.ndarray:
    return ms.load_checkpoint(path, dec_key=KEY, **options)["w"]


def test_a_sealed_file(tmp_path: Path, capsys: Any) -> None:
    path = tmp_path / "a.ckpt"
    assert [len(block) for block in blocks_of(path, 3)[:3]] == [48 + 4096] * 3
    assert load(path, crc_check=True).tolist() == [3] * 3500
    assert ms.open_checkpoint(path, KEY).sealed is True
    assert ms.open_checkpoint(path, KEY).size == path.stat().st_size
    (tmp_path / "key").write_bytes(KEY)
    assert main(["verify", str(path), "--dec-key-file", str(tmp_path / "key")]) == 0
    assert "authenticated as a whole" in capsys.readouterr().out
    with open(tmp_path / "stream.ckpt", "wb") as file:
        ms.save_checkpoint({"w": np.ones(3500)}, file, enc_key=KEY)
    assert ms.open_checkpoint(tmp_path / "stream.ckpt", KEY).sealed is True


@pytest.mark.parametrize(
    "order",
    [
        [1, 0, 2, 3, 4], [0, 2, 1, 3, 4], [0, 1, 2, 4], [0, 2, 3, 4], [0, 1, 13, 3, 4],
        [10, 1, 2, 3, 4], [0, 1, 2, 3, 14], [10, 11, 12, 13, 4], [0, 1, 2, 3, 4, 10], [4], [0, 4],
        [0, 1, 2, 3, 4, 10, 11, 12, 13, 14],
    ],
)  # fmt: skip
def test_blocks_that_are_moved(tmp_path: Path, order: list[int]) -> None:
    """Numbers from 10 on are blocks of an older file under the same key."""
    new, old = blocks_of(tmp_path / "a.ckpt", 1), blocks_of(tmp_path / "b.ckpt", 2)
    forged = tmp_path / "c.ckpt"
    forged.write_bytes(b"".join((new, old)[i // 10][i % 10] for i in order))
    with pytest.raises(ms.CheckpointError, match=r"c\.ckpt.*(exchanged|missing|twice)"):
        load(forged)


def test_a_seal_that_was_cut_off(tmp_path: Path, capsys: Any) -> None:
    """Who also changes the IVs makes a file like MindSpore's: only who asks misses the seal."""
    path = tmp_path / "a.ckpt"
    parts = blocks_of(path, 1)[:-1]
    path.write_bytes(b"".join(parts))
    with pytest.raises(ms.CheckpointError, match="seal after the last block is missing: truncated"):
        load(path)
    with pytest.raises(ms.CheckpointError, match="seal after the last block"):  # without the key
        encryption(path)
    parts = [part[:40] + bytes(4) + part[44:] for part in parts]
    path.write_bytes(b"".join(parts))
    assert load(path).tolist() == [1] * 3500
    assert ms.open_checkpoint(path, KEY).sealed is False
    with pytest.raises(ms.CheckpointError, match="the encrypted file has no seal"):
        load(path, crc_check=True)
    (tmp_path / "key").write_bytes(KEY)
    assert main(["verify", str(path), "--dec-key-file", str(tmp_path / "key")]) == 0
    assert "each block authenticated, but no seal" in capsys.readouterr().out


@pytest.mark.parametrize("order", [[0, 1, 2], [3, 1, 2, 0], [0, 1, 3], [0, 0, 2, 3], [0, 1, 1, 3]])
@pytest.mark.parametrize("mode", ["AES-GCM", "AES-CBC", "SM4-CBC"])
def test_what_is_noticed_without_a_seal(tmp_path: Path, mode: str, order: list[int]) -> None:
    """Sizes, repetitions and the lengths of records; not two full blocks that are exchanged."""
    parts = blocks_of(tmp_path / "a.ckpt", 1, mode)
    if mode == "AES-GCM":
        parts = [part[:40] + bytes(4) + part[44:] for part in parts]
    forged = tmp_path / "c.ckpt"
    forged.write_bytes(b"".join(parts[i] for i in order))
    with pytest.raises(ms.CheckpointError):
        load(forged, dec_mode=mode)


def test_the_seal_by_hand(tmp_path: Path) -> None:
    *before, last = blocks_of(tmp_path / "a.ckpt", 1)
    content = cipher.decrypt(memoryview(b"".join([*before, last])), GCM, KEY)
    assert content.sealed
    heads = b"".join(block[:48] for block in before)
    assert cipher.seal([heads]) == b"\xa2\x06\x20" + hashlib.sha256(heads).digest()
    assert len(last) == 48 + 35


def test_a_file_shorter_than_its_seal(tmp_path: Path) -> None:
    key, file = bytes(16), tmp_path / "a.ckpt"
    ms.save_checkpoint({"i": np.int32(7)}, file, enc_key=key)
    assert ms.load_checkpoint(file, dec_key=key, crc_check=True)["i"] == 7
