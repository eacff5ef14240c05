"""The command line: what it prints, its exit statuses, errors without tracebacks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import ml_dtypes
import numpy as np
import pytest

import msckpt_jax as ms
from msckpt_jax.cli import COMMANDS, common, main
from msckpt_jax.conventions.state_names import is_state

KEY = bytes(range(16))
TREE = {
    "conv.weight": np.arange(12, dtype=np.float32).reshape(3, 4),
    "conv.half": np.array([1.5, -2, np.nan], ml_dtypes.bfloat16),
    "moments.conv.weight": np.zeros((3, 4), np.float32),
    "global_step": np.array([7], np.int32),
    "lr": np.float32(0.5),
    "note": "grüße [bold]",
    "rng": jax.random.key(0),
}


@pytest.fixture
def path(tmp_path: Path) -> str:
    ms.save_checkpoint(TREE, str(tmp_path / "a.ckpt"), crc_check=True)
    return str(tmp_path / "a.ckpt")


@pytest.fixture
def secret(tmp_path: Path) -> str:
    ms.save_checkpoint(TREE, str(tmp_path / "s.ckpt"), enc_key=KEY, enc_mode="SM4-CBC")
    (tmp_path / "key.bin").write_bytes(KEY)
    return str(tmp_path / "s.ckpt")


def test_help_and_version(capsys: Any) -> None:
    assert main(["--version"]) == 0
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    assert all(command in out for command in COMMANDS)
    for command in COMMANDS:
        assert main([command, "--help"]) == 0
        assert "examples:" in capsys.readouterr().out


@pytest.mark.parametrize(
    "args", [[], ["frobnicate"], ["inspect"], ["diff", "a"], ["inspect", "--x"]]
)
def test_usage_errors(args: list[str], capsys: Any) -> None:
    assert main(args) == 2
    assert "usage:" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["inspect", "none.ckpt"], "none.ckpt: No such file"),
        (["inspect", "."], ".: this is a folder"),
        (["inspect", "{junk}"], "this is a text: name the file"),
        (["verify", "none.ckpt"], "none.ckpt: No such file"),
        (["diff", "{path}", "none.ckpt"], "none.ckpt"),
        (["convert", "{path}", "{path}"], "the source itself"),
        (["convert", "{path}", "no/such/b.ckpt"], "does not exist"),
        (["convert", "{path}", "{new}", "--rename", "x"], "REGEX=TEMPLATE"),
        (["convert", "{path}", "{new}", "--rename", "(=x"], "--rename"),
        (["convert", "{path}", "{new}", "--rename", ".*=x"], "two entries"),
        (["convert", "{path}", "{new}", "--filter", "zzz"], "nothing is left"),
        (["inspect", "{path}", "--filter", "("], "--filter"),
        (["inspect", "{path}", "--dec-key-file", "no.bin"], None),
        (["verify", "{secret}"], "encrypted with SM4-CBC"),
        (["verify", "{secret}", "--dec-key-file", "{junk}"], "must have 16 bytes"),
    ],
)
def test_errors_have_no_traceback(
    path: str, secret: str, tmp_path: Path, args: list[str], message: str | None, capsys: Any
) -> None:
    (tmp_path / "junk").write_bytes(b"junk of no format")
    known = {
        "path": path,
        "secret": secret,
        "junk": str(tmp_path / "junk"),
        "new": str(tmp_path / "new.ckpt"),
    }
    status = main([arg.format(**known) for arg in args])
    out = capsys.readouterr()
    if message is None:
        assert status == 0
        return
    assert status == 2
    assert out.err.startswith("msckpt: error: ")
    assert message in out.err
    assert not (tmp_path / "new.ckpt").exists()


def test_inspect(path: str, capsys: Any) -> None:
    assert main(["inspect", path]) == 0
    out = capsys.readouterr().out
    for text in (
        "conv.weight",
        "[3, 4]",
        "BFloat16",
        "'grüße [bold]'",
        "0.5",
        "UInt32 key<threefry2x32>",
        "model: 4 entries",
        "optimizer: 2 entries",
        "crc 0x",
    ):
        assert text in out, text


def test_inspect_json(path: str, capsys: Any) -> None:
    assert main(["inspect", path, "--json", "--filter", "conv|step"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["format"] == "ckpt"
    assert found["totals"]["optimizer"] == {"entries": 2, "elements": 13, "bytes": 52}
    entry = next(e for e in found["entries"] if e["name"] == "conv.weight")
    assert entry == {
        "name": "conv.weight",
        "tag": "conv.weight",
        "dtype": "Float32",
        "shape": [3, 4],
        "bytes": 48,
        "slices": 1,
        "prng_key": None,
        "optimizer": False,
        "value": None,
    }


def test_inspect_of_an_encrypted_file(secret: str, tmp_path: Path, capsys: Any) -> None:
    assert main(["inspect", secret]) == 0
    assert "encrypted with SM4-CBC, 1 block" in capsys.readouterr().out
    assert main(["inspect", secret, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["cipher"] == "SM4-CBC"
    assert main(["inspect", secret, "--dec-key-file", str(tmp_path / "key.bin")]) == 0
    assert "conv.weight" in capsys.readouterr().out


def test_the_key_may_come_from_the_environment(
    secret: str, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setenv(common.KEY_VARIABLE, KEY.hex())
    assert main(["verify", secret]) == 0
    monkeypatch.setenv(common.KEY_VARIABLE, "nonsense")
    assert main(["verify", secret]) == 2
    assert "hex digits" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "optimizer"),
    [
        ("moments.conv.weight", True),
        ("opt_state.0.mu.dense.kernel", True),
        ("beta1_power", True),
        ("conv.weight", False),
        ("mu", False),
        ("step", True),
        ("steps", False),
    ],
)
def test_optimizer_names(name: str, optimizer: bool) -> None:
    assert is_state(name) == optimizer


def test_verify(path: str, capsys: Any) -> None:
    assert main(["verify", path]) == 0
    assert "check sum right" in capsys.readouterr().out
    data = bytearray(Path(path).read_bytes())
    data[60] ^= 1
    Path(path).write_bytes(data)
    assert main(["verify", path]) == 1
    assert "1 problem;" in capsys.readouterr().out


def test_verify_of_onnx(tmp_path: Path, capsys: Any) -> None:
    file, apart = tmp_path / "a.onnx", tmp_path / "a.onnx.data"
    net, x = (lambda w, x: x @ w, np.ones((3, 2), np.float32)), np.ones((1, 3), np.float32)
    ms.export(net, x, file_name=file, file_format="ONNX", opset=22, split_bytes=0)
    assert main(["verify", str(file)]) == 0
    assert "a.onnx: opset 22, 2 nodes" in capsys.readouterr().out
    apart.unlink()
    assert main(["verify", str(file)]) == 1
    assert "a.onnx.data" in capsys.readouterr().out
    file.write_bytes(file.read_bytes()[:50])
    assert main(["verify", str(file)]) == 1
    assert "no ONNX model" in capsys.readouterr().out
    file.unlink()
    assert main(["verify", str(file)]) == 2


def test_verify_lists_all_problems(tmp_path: Path, capsys: Any) -> None:
    whole = tmp_path / "a.ckpt"
    ms.save_checkpoint({"a": np.ones(3), "b": np.ones(3), "c": np.ones(3)}, str(whole))
    data = whole.read_bytes()
    # a: another dtype name; b: other dims; c: cut off
    damaged = data.replace(b"Float64", b"Floaty4", 1)
    at = data.index(b"\x0a\x01b") + 5
    damaged = damaged[:at] + damaged[at:].replace(b"\x08\x03", b"\x08\x05", 1)
    whole.write_bytes(damaged[:-5])
    assert main(["verify", str(whole)]) == 1
    out = capsys.readouterr().out
    assert "3 problems; 0 entries sound" in out
    assert out.count(f"{whole}, byte ") == 3


def test_diff(path: str, tmp_path: Path, capsys: Any) -> None:
    other = str(tmp_path / "b.ckpt")
    changed = TREE | {
        "conv.weight": TREE["conv.weight"] + np.float32(0.25),
        "moments.conv.weight": np.zeros((4, 3), np.float32),
        "global_step": np.array([7], np.int64),
        "note": "other",
        "new": 1,
        "rng": jax.random.key(1),
    }
    del changed["lr"]
    ms.save_checkpoint(changed, other)
    assert main(["diff", path, path]) == 0
    assert "equal: 7 entries" in capsys.readouterr().out
    assert main(["diff", path, other, "--json"]) == 1
    found = {d["name"]: (d["kind"], d["largest"]) for d in json.loads(capsys.readouterr().out)}
    assert found == {
        "conv.weight": ("value", 0.25),
        "moments.conv.weight": ("shape", None),
        "global_step": ("dtype", 0.0),
        "note": ("value", None),
        "lr": ("missing", None),
        "new": ("extra", None),
        "rng": ("value", None),
    }
    assert main(["diff", path, other]) == 1
    assert "0.25" in capsys.readouterr().out
    assert main(["diff", path, other, "--filter", "conv.weight$", "--atol", "0.3"]) == 1
    assert main(["diff", path, other, "--filter", "^conv", "--atol", "0.3"]) == 0


def test_diff_of_nan_and_large_integers(tmp_path: Path, capsys: Any) -> None:
    a, b = str(tmp_path / "a.ckpt"), str(tmp_path / "b.ckpt")
    ms.save_checkpoint({"n": np.array([2**62]), "f": np.array([np.nan, 1, np.inf])}, a)
    ms.save_checkpoint({"n": np.array([2**62 + 1]), "f": np.array([1, np.nan, np.inf])}, b)
    assert main(["diff", a, b, "--json"]) == 1
    found = {d["name"]: d["largest"] for d in json.loads(capsys.readouterr().out)}
    assert found == {"n": 1, "f": "inf"}


def bits(path: str) -> dict[str, Any]:
    file = ms.open_checkpoint(path)
    return {
        n: (e.type, e.shape, bytes(file.raw_bytes(e.tensors[0]))) for n, e in file.entries.items()
    }


def test_convert_there_and_back(path: str, tmp_path: Path, capsys: Any) -> None:
    middle, back = str(tmp_path / "b.safetensors"), str(tmp_path / "c.ckpt")
    assert main(["convert", path, middle, "--crc"]) == 0
    assert "note is a string: left out" in capsys.readouterr().err
    assert main(["convert", middle, back, "--crc"]) == 0
    assert bits(back) == {n: b for n, b in bits(path).items() if n != "note"}
    assert ms.open_checkpoint(back).crc is not None


def test_convert_dtypes_and_names(path: str, tmp_path: Path) -> None:
    other = str(tmp_path / "b.ckpt")
    rules = ["--rename", r"^conv\.(.*)=backbone.\1", "--rename", "weight$=kernel"]
    assert main(["convert", path, other, "--dtype", "float16", *rules]) == 0
    found = ms.load_checkpoint(other)
    assert found["backbone.kernel"].dtype == np.float16
    assert np.array_equal(found["backbone.kernel"], TREE["conv.weight"])
    assert found["backbone.half"].tolist()[:2] == [1.5, -2]
    assert (found["global_step"].dtype, found["note"]) == (np.int32, TREE["note"])
    assert "moments.conv.kernel" in found


@pytest.mark.parametrize(
    ("suffix", "text"), [("air", "no AIR file"), ("onnx", "ONNX files are run by onnxruntime")]
)
def test_convert_of_models_that_cannot_be_read(
    suffix: str, text: str, tmp_path: Path, capsys: Any
) -> None:
    source, target = str(tmp_path / f"a.{suffix}"), tmp_path / "b.mindir"
    Path(source).write_bytes(b"a model")
    assert main(["convert", source, str(target)]) == 2
    assert text in capsys.readouterr().err
    assert not target.exists()


def test_convert_encrypts_and_decrypts(path: str, tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(KEY)
    secret, plain = str(tmp_path / "s.ckpt"), str(tmp_path / "p.ckpt")
    key = str(tmp_path / "key")
    assert main(["convert", path, secret, "--enc-key-file", key, "--enc-mode", "AES-CBC"]) == 0
    assert ms.load_checkpoint(secret, dec_key=KEY, dec_mode="AES-CBC")["note"] == TREE["note"]
    assert main(["convert", secret, plain, "--dec-key-file", key]) == 0
    assert bits(plain) == bits(path)


def test_a_name_cannot_write_to_the_terminal(tmp_path: Path, capsys: Any) -> None:
    path = str(tmp_path / "a.ckpt")
    ms.save_checkpoint({"\x1b[31mred": np.ones(1), "[red]x": np.ones(1)}, path)
    assert main(["inspect", path]) == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "[red]x" in out


def run(*args: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "msckpt_jax", *args]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd)


def test_as_a_module(path: str, tmp_path: Path) -> None:
    out = run("verify", path, cwd=tmp_path)
    assert (out.returncode, out.stderr) == (0, "")
    out = run("inspect", "none.ckpt", cwd=tmp_path)
    assert out.returncode == 2
    assert "Traceback" not in out.stderr


def test_a_closed_pipe_is_no_error(path: str) -> None:
    command = f"{sys.executable} -m msckpt_jax inspect {path} | true; echo ${{PIPESTATUS[0]}}"
    out = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert (out.stdout, out.stderr) == ("0\n", "")


def test_demo(tmp_path: Path) -> None:
    out = run("demo", "--steps", "60", "--output", "out", cwd=tmp_path)
    assert out.returncode == 0, out.stdout + out.stderr
    assert "mesh 2x4 of 8 virtual" in out.stdout
    assert "loaded on 4x2" in out.stdout
    assert out.stdout.count("equal") >= 2
    assert "DIFFERENT" not in out.stdout
    assert os.listdir(tmp_path / "out") == ["digits.ckpt"]


def test_the_demo_says_what_it_needs(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert main(["demo"]) == 2
    assert "pip install 'msckpt_jax[demo]'" in capsys.readouterr().err
