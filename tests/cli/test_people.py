"""What people and programs do with the command line: pipes, JSON, long tables, Tab."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import msckpt_jax as ms
from msckpt_jax.cli import COMMANDS, common, main, parser_of

COMMAND = [sys.executable, "-m", "msckpt_jax"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("people")
    mesh = jax.make_mesh((2,), ("x",), devices=jax.devices()[:2])
    spread = jax.device_put(jnp.ones(4), jax.NamedSharding(mesh, jax.P("x")))
    tree = {f"w{i}": np.full(3, i, np.float32) for i in range(5)}
    ms.save_checkpoint(tree, folder / "a.ckpt")
    ms.save_checkpoint({**tree, "w1": np.full(3, np.inf, np.float32)}, folder / "b.ckpt")
    ms.save_checkpoint({"w": spread, "v": spread}, folder / "part.ckpt", integrated_save=False)
    (folder / "cut.ckpt").write_bytes((folder / "a.ckpt").read_bytes()[:-1])
    ms.export(
        lambda x, y: {"sum": x[:, None] + y[None], "first": x[0] > 1},
        ms.TensorSpec(("s",), "float32"),
        ms.TensorSpec(("t",), "float32"),
        file_name=folder / "net",
    )
    return folder


MERGE = ["merge", ".", "--strategy", "strategy.ckpt", "-o", "m.ckpt", "--plan"]
RESHARD = ["reshard", ".", "--from", "strategy.ckpt", "--to", "x=4; w=x", "-o", "n", "--plan"]
#: A line, a table, JSON, and what the parser prints.
PRINTED = [
    ["verify", "a.ckpt"], ["inspect", "a.ckpt"], ["inspect", "net.mindir"], ["recover", "."],
    ["convert", "a.ckpt", "c.ckpt", "--plan"], [*MERGE, "--json"], RESHARD, ["ops"],
    ["completion", "bash"], ["--help"],
]  # fmt: skip


@pytest.mark.parametrize("arguments", PRINTED)
def test_a_reader_that_goes_is_no_error(folder: Path, arguments: list[str]) -> None:
    """``msckpt ... | head -0``: with buffers as users have them, written when the command ends."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONUNBUFFERED"}
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [*COMMAND, *arguments], cwd=folder, stdout=writer, stderr=subprocess.PIPE, env=environment
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, b"")


def told(arguments: list[str], folder: Path, capsys: Any, monkeypatch: Any) -> tuple[int, Any]:
    """The status and the one JSON document on stdout."""
    monkeypatch.chdir(folder)
    status = main(arguments)
    return status, json.loads(capsys.readouterr().out, parse_constant=pytest.fail)


def test_json_of_verify(folder: Path, capsys: Any, monkeypatch: Any) -> None:
    status, sound = told(["verify", "a.ckpt", "--json"], folder, capsys, monkeypatch)
    assert (status, list(sound)) == (0, ["file", "format", "sound", "lines"])
    assert (sound["file"], sound["format"], sound["sound"]) == ("a.ckpt", "ckpt", True)
    status, cut = told(["verify", "cut.ckpt", "--json"], folder, capsys, monkeypatch)
    assert (status, cut["sound"]) == (1, False)
    assert "1 problem; " in cut["lines"][-1]
    status, model = told(["verify", "net.mindir", "--json"], folder, capsys, monkeypatch)
    assert (status, model["format"], model["sound"]) == (0, "mindir", True)


@pytest.mark.parametrize(
    "options", [["--limit", "1"], ["--filter", "w1"], ["--filter", "none"], ["--quiet"]]
)
@pytest.mark.parametrize("command", [["inspect", "a.ckpt"], ["inspect", "net.mindir"],
                                     ["diff", "a.ckpt", "b.ckpt"]])  # fmt: skip
def test_json_under_every_option(
    folder: Path, command: list[str], options: list[str], capsys: Any, monkeypatch: Any
) -> None:
    status, _ = told([*command, "--json", *options], folder, capsys, monkeypatch)
    assert status in (0, 1)


def test_json_of_plans(folder: Path, capsys: Any, monkeypatch: Any) -> None:
    _, plan = told([*MERGE, "--json"], folder, capsys, monkeypatch)
    assert list(plan) == ["output", "entries", "bytes", "files"]
    assert (plan["entries"], plan["bytes"]) == (2, 32)
    assert [file["bytes"] for file in plan["files"]] == [16, 16]
    _, plan = told([*RESHARD, "--json"], folder, capsys, monkeypatch)
    assert [file["rank"] for file in plan["files"]] == [0, 1, 2, 3]
    assert plan["moved_bytes"] == sum(
        n for f in plan["files"] for rank, n in f["read"].items() if rank != str(f["rank"])
    )
    for arguments in (MERGE, RESHARD):
        assert main([*arguments[:-1], "--json"]) == 2
        assert "--json goes with --plan" in capsys.readouterr().err


def test_json_of_ops(folder: Path, capsys: Any, monkeypatch: Any) -> None:
    _, rows = told(["ops", "--json"], folder, capsys, monkeypatch)
    row = next(row for row in rows if row["primitive"] == "dot_general")
    assert list(row) == ["primitive", "MINDIR", "AIR", "ONNX"]


def test_json_has_no_numbers_that_json_has_not(folder: Path, capsys: Any, monkeypatch: Any) -> None:
    status, found = told(["diff", "a.ckpt", "b.ckpt", "--json"], folder, capsys, monkeypatch)
    assert (status, len(found), found[0]["largest"]) == (1, 1, "inf")


def test_outputs_of_a_mindir_have_types(folder: Path, capsys: Any, monkeypatch: Any) -> None:
    _, content = told(["inspect", "net.mindir", "--json"], folder, capsys, monkeypatch)
    assert content["outputs"] == [
        {"name": "first", "dtype": "Bool", "shape": []},
        {"name": "sum", "dtype": "Float32", "shape": [None, None]},
    ]


def test_outputs_stay_open_where_nothing_tells(tmp_path: Path, capsys: Any) -> None:
    ms.export(lambda x: x + 1, jnp.ones(3), file_name=tmp_path / "a")
    content = (tmp_path / "a.mindir").read_bytes()
    (tmp_path / "b.mindir").write_bytes(content.replace(b"Add", b"Zdd"))
    assert main(["inspect", str(tmp_path / "b.mindir")]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["?", "?"] in [line[1:] for line in lines if line[:1] and line[0].startswith("Zdd_")]


def test_long_tables_are_cut_with_a_count(
    folder: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    assert main(["inspect", "a.ckpt", "--limit", "2"]) == 0
    out = capsys.readouterr().out
    assert ("w1" in out, "w2" in out) == (True, False)
    assert "... 3 more rows: --limit 5 prints them" in out
    assert "model: 5 entries, 15 elements" in out
    assert main(["inspect", "a.ckpt"]) == 0
    assert "more row" not in capsys.readouterr().out
    monkeypatch.setattr(common, "_ROWS", 4)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert main(["inspect", "a.ckpt"]) == 0
    assert "... 1 more row: --limit 5 prints them" in capsys.readouterr().out


#: Arguments that commands cannot do without.
NEEDED = {
    "inspect": ["a"], "verify": ["a"], "diff": ["a", "b"], "convert": ["a", "b"], "recover": ["a"],
    "export": ["m:n", "-o", "a"], "merge": MERGE[1:-1], "reshard": RESHARD[1:-1],
    "completion": ["bash"],
}  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_can_be_quiet(command: str) -> None:
    parser = parser_of([command])
    assert parser.parse_args([command, "--quiet", *NEEDED.get(command, [])]).quiet


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish", "tcsh"])
def test_completion(shell: str, capsys: Any) -> None:
    pytest.importorskip("shtab")
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert all(command in script for command in COMMANDS)
    assert "max-shard-size" in script


def test_bash_completes(folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("shtab")
    script = subprocess.run([*COMMAND, "completion", "bash"], capture_output=True, check=True)
    (tmp_path / "completion").write_bytes(script.stdout)
    ask = 'COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _shtab_msckpt; echo "${COMPREPLY[@]}"'

    def completed(*words: str) -> list[str]:
        source = f". {tmp_path / 'completion'}; {ask}"
        done = subprocess.run(
            ["bash", "-c", source, "bash", "msckpt", *words], cwd=folder, capture_output=True
        )
        return done.stdout.decode().split()

    assert completed("ver") == ["verify"]
    assert completed("inspect", "--j") == ["--json"]
    assert completed("inspect", "ne") == ["net.mindir"]
    assert completed("export", "--format", "") == ["MINDIR", "AIR", "ONNX"]
