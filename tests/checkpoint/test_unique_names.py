"""No two entries come back under one name, and a PRNG key stays a key under another name."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

import msckpt_jax as ms
from msckpt_jax.checkpoint import wire
from msckpt_jax.cli import main

KEY = jax.random.key(3, impl="rbg")
DATA = np.arange(4, dtype=np.uint32)


@pytest.mark.parametrize(
    "tree", [{"w": DATA, "w@rbg": DATA}, {"w@rbg": DATA}, {"w@rbg": jax.numpy.asarray(DATA)}]
)
@pytest.mark.parametrize("format", ["ckpt", "safetensors"])
def test_a_name_that_comes_back_as_a_keys(tmp_path: Path, tree: Any, format: str) -> None:
    with pytest.raises(ms.CheckpointError, match=r"'w@rbg'.*come back as PRNG keys; rename it"):
        ms.save_checkpoint(tree, tmp_path / "a", format=format)
    with pytest.raises(ms.CheckpointError, match="come back as PRNG keys"):
        ms.save_checkpoint({"v": DATA}, tmp_path / "a", append_dict=tree)
    assert not list(tmp_path.iterdir())


def test_a_key_and_an_array_of_one_name(tmp_path: Path) -> None:
    for append in ({"w": KEY}, {"w": np.ones(2)}):
        tree = {"w": KEY} if isinstance(append["w"], np.ndarray) else {"w": np.ones(2)}
        with pytest.raises(ms.CheckpointError, match=r"'w'.*have this name.*'w@rbg'"):
            ms.save_checkpoint(tree, tmp_path / "a.ckpt", append_dict=append)


def test_names_that_only_look_like_keys(tmp_path: Path) -> None:
    tree = {"w": DATA, "w@rbg": np.ones(4, np.float32), "v@rbg": "text", "u@rbg": np.uint32(3)}
    ms.save_checkpoint(tree, tmp_path / "a.ckpt")
    found = ms.load_checkpoint(tmp_path / "a.ckpt")
    assert list(found) == ["u@rbg", "v@rbg", "w", "w@rbg"]
    assert (found["w@rbg"].tolist(), found["v@rbg"], found["u@rbg"]) == ([1] * 4, "text", 3)
    ms.save_checkpoint({"k@rbg": KEY}, tmp_path / "b.ckpt")
    assert ms.load_checkpoint(tmp_path / "b.ckpt")["k@rbg"] == KEY


def ckpt_of_two(path: Path) -> Path:
    parts = [(b"w", DATA), (b"w@rbg", DATA)]
    path.write_bytes(b"".join(wire.header(n, (4,), "UInt32", 16) + d.tobytes() for n, d in parts))
    return path


def safetensors_of(path: Path, names: list[str]) -> Path:
    head = {n: {"dtype": "U32", "shape": [4], "data_offsets": [16 * i, 16 * i + 16]}
            for i, n in enumerate(names)}  # fmt: skip
    text = json.dumps(head).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + DATA.tobytes() * len(names))
    return path


def test_a_file_of_two_such_names_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    for name in ("w", "w@rbg"):
        safetensors_of(folder / f"{name}.safetensors", [name])
    index = {"weight_map": {n: f"{n}.safetensors" for n in ("w", "w@rbg")}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    one = safetensors_of(tmp_path / "a.safetensors", ["w", "w@rbg"])
    for path in (ckpt_of_two(tmp_path / "a.ckpt"), one, folder):
        with pytest.raises(ms.CheckpointError, match=r"'w'.*two entries have this name.*'w@rbg'"):
            ms.open_checkpoint(path)


def test_a_key_stays_a_key_under_another_name(tmp_path: Path) -> None:
    path = str(tmp_path / "a.ckpt")
    ms.save_checkpoint({"w": KEY}, path)
    ms.ckpt_to_safetensors(path, tmp_path / "out", {"w": "v"})
    assert ms.load_checkpoint(tmp_path / "out" / "a.safetensors")["v"] == KEY
    assert main(["convert", path, str(tmp_path / "b.ckpt"), "--rename", "$=.value"]) == 0
    assert ms.load_checkpoint(tmp_path / "b.ckpt")["w.value"] == KEY


def test_a_map_of_names_that_meet_is_refused(tmp_path: Path) -> None:
    path = str(tmp_path / "part0.safetensors")
    ms.save_checkpoint({"a": DATA, "b": DATA + 1}, path, format="safetensors")
    how: Any = {"format": "safetensors", "return_param_dict": True}
    with pytest.raises(ms.CheckpointError, match=r"'b'.*name_map gives two parameters"):
        ms.load_distributed_checkpoint(
            None, unified_safetensors_dir=tmp_path, name_map={"b": "a"}, **how
        )
    with pytest.raises(ms.CheckpointError, match=r"'b'.*have this name"):
        ms.safetensors_to_ckpt(path, tmp_path / "out", {"a": "b"})


def test_orbax_leaves_of_one_name_are_refused(tmp_path: Path) -> None:
    ocp = pytest.importorskip("orbax.checkpoint")
    tree = {"a": {"b": np.ones(2)}, "a.b": np.zeros(2)}
    ocp.PyTreeCheckpointer().save(tmp_path / "o", tree)
    with pytest.raises(ms.CheckpointError, match=r"'a\.b'.*2 leaves of the tree have this name"):
        ms.open_checkpoint(tmp_path / "o")
