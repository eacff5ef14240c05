"""``msckpt inspect`` of MindIR files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import msckpt_jax as ms
from msckpt_jax.cli import main
from msckpt_jax.mindir import recognition

from ..mindir.handmade import branch, network, node

KEY = bytes(range(16))


@pytest.fixture
def path(tmp_path: Path) -> str:
    model = network()
    model.user_info["author"] = "[bold]nobody"
    node(model.graph, "main:z", "Mystery", "main:y")
    model.graph.output[0].name = "main:z"
    model.graph.input[0].tensor[0].dims[0] = -1
    (tmp_path / "a.mindir").write_bytes(model.SerializeToString())
    return str(tmp_path / "a.mindir")


def test_tables(path: str, capsys: Any) -> None:
    assert main(["inspect", path]) == 0
    out = capsys.readouterr().out
    lines = [line.split() for line in out.splitlines()]
    assert ["x", "Float32", "[?,", "3]"] in lines
    assert ["w", "Float32", "[3,", "2]", "24"] in lines
    assert ["MatMul", "1", "yes"] in lines
    assert ["Mystery", "1", "no", "meaning"] in lines
    assert "author: [bold]nobody" in out
    assert "2 parameters of 32 B, 1 function, cipher none, not split" in out


def test_json(path: str, capsys: Any) -> None:
    assert main(["inspect", path, "--json", "--filter", "^b"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["inputs"] == [{"name": "x", "dtype": "Float32", "shape": [None, 3]}]
    assert found["parameters"] == [{"name": "b", "dtype": "Float32", "shape": [2], "bytes": 8}]
    assert {"name": "Mystery", "count": 1, "loads": False} in found["operators"]
    assert found["producer"] == "by hand 2.10.0"
    assert found["user_info"] == {"author": "[bold]nobody"}


def test_bodies_are_counted(tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "a.mindir").write_bytes(branch().SerializeToString())
    assert main(["inspect", str(tmp_path / "a.mindir"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {op["name"] for op in found["operators"]} == {"Add", "Neg", "ReduceSum", "Greater"}
    assert found["functions"] == 3


def test_encrypted_and_split(tmp_path: Path, capsys: Any) -> None:
    weights = {"w": np.ones((4, 4), np.float32)}
    net: Any = (lambda w, x: x @ w["w"], weights)
    ms.export(net, np.ones((2, 4), np.float32), file_name=tmp_path / "a.mindir", split_bytes=8,
              enc_key=KEY)  # fmt: skip
    path = str(tmp_path / "a_graph.mindir")
    assert main(["inspect", path]) == 0
    assert "encrypted with AES-GCM" in capsys.readouterr().out
    (tmp_path / "key").write_bytes(KEY)
    assert main(["inspect", path, "--dec-key-file", str(tmp_path / "key"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["data_files"] == ["a_variables/data_0"]
    assert found["cipher"] == "AES-GCM"


def test_other_suffixes(path: str, tmp_path: Path, capsys: Any) -> None:
    other = tmp_path / "model.bin"
    other.write_bytes(Path(path).read_bytes())
    assert main(["inspect", str(other)]) == 0
    assert "MatMul" in capsys.readouterr().out
    ms.save_checkpoint({"w": np.ones(30, np.float32)}, tmp_path / "a.ckpt")
    assert not recognition.recognises(tmp_path / "a.ckpt")


def test_damaged(tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "a.mindir").write_bytes(b"no model")
    assert main(["inspect", str(tmp_path / "a.mindir")]) == 2
    assert "damaged, or no MindIR" in capsys.readouterr().err
