"""``msckpt inspect`` of ONNX files, ``msckpt verify`` of MindIR files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import onnx
import onnxruntime
import pytest

import msckpt_jax as ms
from msckpt_jax.cli import main

from ..mindir.handmade import network, node

WEIGHTS = {"fc.weight": jnp.ones((3, 400)), "fc.bias": jnp.zeros(400, jnp.bfloat16)}
KEY = bytes(range(16))


def net(weights: Any, x: jax.Array) -> jax.Array:
    y = jax.lax.cond(x.sum() > 0, jnp.sin, jnp.cos, x @ weights["fc.weight"])
    return y + weights["fc.bias"].astype(y.dtype)


def export(path: Path, **kwargs: Any) -> str:
    x = ms.TensorSpec((None, 3), "float32")
    file_format = "ONNX" if path.suffix == ".onnx" else "MINDIR"
    return str(ms.export((net, WEIGHTS), x, file_name=path, file_format=file_format, **kwargs).file)


def test_inspect_of_onnx(tmp_path: Path, capsys: Any) -> None:
    file = export(tmp_path / "a.onnx", split_bytes=100, opset=22)
    assert main(["inspect", file]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["fc.weight", "float", "[3,", "400]", "4,800"] in lines
    assert ["fc.bias", "bfloat16", "[400]", "800"] in lines
    assert ["Sin", "1"] in lines  # of a body
    assert "opset ai.onnx 22" in " ".join(lines[-1])
    assert "weights in a.onnx.data" in " ".join(lines[-1])


def test_inspect_of_onnx_tells_what_onnxruntime_does(tmp_path: Path, capsys: Any) -> None:
    file = export(tmp_path / "a.onnx")
    assert main(["inspect", file, "--json", "--filter", "bias"]) == 0
    found = json.loads(capsys.readouterr().out)
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    for kind, theirs in (("inputs", session.get_inputs()), ("outputs", session.get_outputs())):
        told = [(t["name"], f"tensor({t['dtype']})", t["shape"]) for t in found[kind]]
        assert told == [(t.name, t.type, t.shape) for t in theirs]
    assert [row["name"] for row in found["initializers"]] == ["fc.bias"]
    assert found["data_files"] == []


@pytest.mark.parametrize("content", [b"", b"\x08", b"no model at all"])
def test_inspect_of_what_is_no_onnx(content: bytes, tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "a.onnx").write_bytes(content)
    assert main(["inspect", str(tmp_path / "a.onnx")]) == 2
    assert "a.onnx: no ONNX model" in capsys.readouterr().err


def test_inspect_of_an_unknown_dtype(tmp_path: Path, capsys: Any) -> None:
    model: Any = onnx.load(export(tmp_path / "a.onnx"))
    model.graph.initializer[0].data_type = 99
    onnx.save(model, tmp_path / "a.onnx")
    assert main(["inspect", str(tmp_path / "a.onnx")]) == 2
    assert "no dtype of ONNX" in capsys.readouterr().err


def test_verify_of_mindir(tmp_path: Path, capsys: Any) -> None:
    file = export(tmp_path / "a.mindir", split_bytes=100)
    assert main(["verify", file]) == 0
    assert "2 parameters, 0 notes" in capsys.readouterr().out
    data = next((tmp_path / "a_variables").iterdir())
    data.write_bytes(data.read_bytes()[:-900])
    assert main(["verify", file]) == 1
    assert "a_variables" in capsys.readouterr().out
    Path(file).write_bytes(Path(file).read_bytes()[:-9])
    assert main(["verify", file]) == 1


def test_verify_of_an_encrypted_mindir(tmp_path: Path, capsys: Any) -> None:
    file = export(tmp_path / "a.mindir", enc_key=KEY)
    assert main(["verify", file]) == 2
    assert "encrypted with AES-GCM: give --dec-key-file" in capsys.readouterr().err
    (tmp_path / "key").write_bytes(KEY)
    assert main(["verify", file, "--dec-key-file", str(tmp_path / "key")]) == 0
    (tmp_path / "key").write_bytes(KEY[::-1])
    assert main(["verify", file, "--dec-key-file", str(tmp_path / "key")]) == 1


def test_operators_without_a_meaning_are_notes(tmp_path: Path, capsys: Any) -> None:
    model = network()
    node(model.graph, "main:z", "Mystery", "main:y")
    model.graph.output[0].name = "main:z"
    (tmp_path / "a.mindir").write_bytes(model.SerializeToString())
    assert main(["verify", str(tmp_path / "a.mindir")]) == 0
    assert "note: load has no meaning for the operator Mystery" in capsys.readouterr().out
    with pytest.raises(ms.MindIRError, match="Mystery"):
        ms.load(tmp_path / "a.mindir")(np.ones((1, 3), np.float32))
