"""The JSON of commands has the keys that docs/command-line.md shows."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import msckpt_jax as ms
from msckpt_jax.cli import main

PAGE = Path(__file__).parents[2] / "docs" / "command-line.md"
SHOWN = dict(re.findall(r"<!-- (.*?) -->\n```json\n(.*?)```", PAGE.read_text(), re.S))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("json")
    for name, value in (("a", 1), ("b", 0)):
        tree = {"dense": {"kernel": np.full((2, 3), value, np.float32)}, "step": 7}
        ms.save_checkpoint(tree, folder / f"{name}.ckpt", crc_check=True)
    mesh = jax.make_mesh((2,), ("x",), devices=jax.devices()[:2])
    spread = jax.device_put(jnp.ones((4, 2)), jax.NamedSharding(mesh, jax.P("x")))
    ms.save_checkpoint({"w": spread}, folder / "part.ckpt", integrated_save=False)
    net = (lambda w, x: x @ w["w"]), {"w": jnp.ones((3, 2))}
    for format, size in (("MINDIR", None), ("ONNX", None), ("AIR", 1)):
        ms.export(
            net, ms.TensorSpec((size, 3), "float32"), file_name=folder / "net", file_format=format,
            output_names=["y"],
        )  # fmt: skip
    return folder


def shape(content: Any, inside: str = "") -> Any:
    """The keys of a document, in order; of a list those of its first member."""
    if isinstance(content, dict):
        if inside in ("read", "opsets"):  # names are keys
            return {}
        return {key: shape(value, key) for key, value in content.items()}
    if isinstance(content, list) and content and isinstance(content[0], dict):
        return [shape(content[0])]
    return type(content).__name__


@pytest.mark.parametrize("command", SHOWN)
def test_documented_keys(
    folder: Path, command: str, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    assert main([*command.split(), "--json"]) == (1 if command.startswith("diff") else 0)
    printed, shown = json.loads(capsys.readouterr().out), json.loads(SHOWN[command])
    assert shape(printed) == shape(shown)
    assert json.dumps(shape(printed)) == json.dumps(shape(shown))  # in this order


def test_all_commands_with_json_are_documented() -> None:
    assert {command.split()[0] for command in SHOWN} == {
        "inspect", "verify", "diff", "convert", "merge", "reshard", "ops",
    }  # fmt: skip
