"""A file that someone cuts off while it is open: an error where it is read instead of mapped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

import msckpt_jax as ms
from msckpt_jax.checkpoint import source
from msckpt_jax.parallel import strategy

ARRAY = np.arange(1 << 20, dtype=np.float32).reshape(1024, 1024)

#: Open the path with ``mmap`` as given, cut the file off, and read: 3 is the documented error.
_CUT = """
import os, sys
import numpy as np
import msckpt_jax as ms
path, cut, mapped, how = sys.argv[1:]
options = {"strategy": f"{path}/s.ckpt"} if how == "ranks" else {}
params = ms.load_checkpoint(path, mmap=mapped == "True", **options)
os.truncate(cut, 8192)
like = {"w": np.zeros((1024, 1024), np.float32)}
try:
    if how == "slice":
        params.file.get_slice("w")[1000:].sum()
    elif how == "into":
        ms.load_param_into_tree(like, params)
    else:
        np.asarray(params["w"]).sum()
except ms.CheckpointError as error:
    print(error)
    sys.exit(3 if error.file == cut and "cut off" in str(error) else 4)
"""


def _plain(folder: Path) -> tuple[Path, Path]:
    ms.save_checkpoint({"w": ARRAY}, folder / "a.ckpt")
    return folder / "a.ckpt", folder / "a.ckpt"


def _safetensors(folder: Path) -> tuple[Path, Path]:
    ms.save_checkpoint({"w": ARRAY}, folder / "a.safetensors", format="safetensors")
    return folder / "a.safetensors", folder / "a.safetensors"


def _sharded(folder: Path) -> tuple[Path, Path]:
    ms.save_checkpoint({"w": ARRAY}, folder / "model.safetensors", format="safetensors")
    return folder, folder / "model.safetensors"


def _ranks(folder: Path) -> tuple[Path, Path]:
    for rank in range(2):
        (folder / f"rank_{rank}").mkdir()
        part = ARRAY[512 * rank : 512 * (rank + 1)]
        ms.save_checkpoint({"w": part}, folder / f"rank_{rank}" / "a.ckpt")
    strategy.write(folder / "s.ckpt", {"w": ms.Layout((2,), ((0,), ()))})
    return folder, folder / "rank_1" / "a.ckpt"


KINDS = {
    "all": _plain, "slice": _plain, "into": _plain, "safetensors": _safetensors,
    "sharded": _sharded, "ranks": _ranks,
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mapped", [False, True])
def test_checkpoints(tmp_path: Path, kind: str, mapped: bool) -> None:
    path, cut = KINDS[kind](tmp_path)
    command = [sys.executable, "-c", _CUT, path, cut, str(mapped), kind]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    # What is mapped ends the process: it is what mmap=False is for.
    assert done.returncode == (-signal.SIGBUS if mapped else 3), done.stdout + done.stderr


def test_a_model_is_in_memory_once_it_is_loaded(tmp_path: Path) -> None:
    net = (lambda p, x: x @ p["w"]), {"w": jnp.asarray(ARRAY)}
    x = jnp.ones((2, 1024))
    files = [
        ms.export(net, x, file_name=tmp_path / "a").file,
        ms.export(net, x, file_name=tmp_path / "b", split_bytes=0).file,
        ms.export(net, x, file_name=tmp_path / "c", file_format="AIR").file,
    ]
    models = [ms.load(file, mmap=False) for file in files]
    for path in (path for path in tmp_path.rglob("*") if path.is_file()):
        os.truncate(path, 100)
    for model in models:
        assert np.array_equal(model.parameters["w"], ARRAY)
        assert model(x).shape == (2, 1024)
    for file in files:
        with pytest.raises((ms.MindIRError, ms.AirError)):
            ms.load(file, mmap=False)


def test_a_model_that_is_cut_off_while_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = ms.export(lambda x: x + 1, jnp.ones(3), file_name=tmp_path / "a").file
    read = source.ReadBytes._read

    def cut(self: Any, start: int, count: int) -> bytes:
        os.truncate(file, 10)
        return read(self, start, count)

    monkeypatch.setattr(source.ReadBytes, "_read", cut)
    with pytest.raises(ms.MindIRError, match="cut off while it was open") as error:
        ms.load(file, mmap=False)
    assert error.value.file == str(file)


@pytest.mark.parametrize("options", [
    {}, {"format": "safetensors"}, {"crc_check": True}, {"enc_key": bytes(16)},
    {"slice_bytes": 4096}, {"format": "safetensors", "crc_check": True},
])  # fmt: skip
def test_the_values_are_the_same(tmp_path: Path, options: dict[str, Any]) -> None:
    tree = {"w": ARRAY, "b": jnp.ones(3, jnp.bfloat16), "n": np.int64(7), "z": np.zeros((0, 3))}
    name = tmp_path / f"a.{options.get('format', 'ckpt')}"
    ms.save_checkpoint(tree, name, **options)
    reading = {"crc_check": "crc_check" in options, "dec_key": options.get("enc_key")}
    mapped, read = (ms.load_checkpoint(name, mmap=m, **reading) for m in (True, False))
    assert list(mapped) == list(read)
    for key in mapped:
        assert np.asarray(mapped[key]).dtype == np.asarray(read[key]).dtype
        assert np.asarray(mapped[key]).tobytes() == np.asarray(read[key]).tobytes()
    with pytest.raises(FileNotFoundError):
        ms.load_checkpoint(tmp_path / "missing", mmap=False)
    (tmp_path / "empty").write_bytes(b"")
    with pytest.raises(ms.CheckpointError, match="the file is empty"):
        ms.load_checkpoint(tmp_path / "empty", mmap=False)
