"""A tensor of a dtype that is unknown here: the others of its file can be read, it cannot."""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

import msckpt_jax as ms
from msckpt_jax import cli
from tests.checkpoint.test_hostile import record, tensor

W = np.arange(4, dtype=np.float32)


def _safetensors(path: Path) -> str:
    """Numbers, scales in powers of two, and numbers of four bits, two to a byte."""
    tensors = [
        ("w", "F32", W.tobytes()),
        ("q", "F4", b"\x12\x34"),
        ("scale", "F8_E8M0", b"\x7f\x80\x81\x7e"),
    ]
    header: dict[str, Any] = {}
    data = b""
    for name, dtype, raw in tensors:
        spans = [len(data), len(data) + len(raw)]
        header[name] = {"dtype": dtype, "shape": [4], "data_offsets": spans}
        data += raw
    text = json.dumps(header).encode()
    path = path.with_suffix(".safetensors")
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return str(path)


def _ckpt(path: Path) -> str:
    q = record(b"q", tensor(kind=b"Float4", content=b"\x12\x34"))
    path = path.with_suffix(".ckpt")
    path.write_bytes(record(b"w", tensor((4,), content=W.tobytes())) + q)
    return str(path)


FORMATS = [_safetensors, _ckpt]


@pytest.fixture(params=FORMATS, ids=["safetensors", "ckpt"])
def path(request: Any, tmp_path: Path) -> str:
    write: Callable[[Path], str] = request.param
    return write(tmp_path / "m")


def test_the_others_are_read(path: str) -> None:
    with ms.open_checkpoint(path) as file:
        assert {"w", "q"} <= {*file}
        np.testing.assert_array_equal(file["w"], W)
        np.testing.assert_array_equal(file.get_slice("w")[1:3], W[1:3])
    loaded = ms.load_checkpoint(path, choice_func=lambda name: name == "w")
    np.testing.assert_array_equal(loaded["w"], W)
    like = {"w": jnp.zeros(4)}
    np.testing.assert_array_equal(ms.load_checkpoint(path, like=like, specify_prefix="w")["w"], W)


def test_it_is_refused_by_name(path: str) -> None:
    asked: list[Callable[[Any], Any]] = [
        lambda file: file["q"],
        lambda file: file.raw("q"),
        lambda file: file.pieces("q"),
        lambda file: file.get_slice("q"),
        lambda file: ms.load_checkpoint(path),
        lambda file: ms.load_checkpoint(path, like={"q": jnp.zeros(4)}),
        lambda file: ms.convert_checkpoint(path, f"{path}.orbax"),
        lambda file: ms.convert_checkpoint(path, f"{path}.ckpt"),
    ]
    with ms.open_checkpoint(path) as file:
        for ask in asked:
            with pytest.raises(ms.CheckpointError, match=r"m\..*'q'.*unknown dtype.*F(loa)?t?4"):
                ask(file)
    assert len([*Path(path).parent.iterdir()]) == 1


def test_the_commands_name_it(path: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["inspect", path]) == 0
    assert re.search(r"^q +F(loa)?t?4 ", capsys.readouterr().out, re.MULTILINE)
    assert cli.main(["verify", path]) == 1
    assert "'q': unknown dtype" in capsys.readouterr().out
    assert cli.main(["diff", path, path]) == 0


def test_scales_in_powers_of_two(tmp_path: Path) -> None:
    """safetensors' F8_E8M0 is a dtype of JAX: an exponent in a byte, with a bias of 127."""
    with ms.open_checkpoint(_safetensors(tmp_path / "m")) as file:
        assert file["scale"].dtype == jnp.float8_e8m0fnu
        np.testing.assert_array_equal(file["scale"].astype(np.float32), [1, 2, 4, 0.5])
