"""What the README prints runs, from top to bottom; so do the examples of every ``--help``."""

from __future__ import annotations

import importlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp
import pytest

import msckpt_jax as ms
from msckpt_jax import cli
from msckpt_jax.cli import completion

ROOT = Path(__file__).parents[1]
PAGES = [
    "README.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "CHANGELOG.md",
    *sorted(f"docs/{page.name}" for page in ROOT.glob("docs/*.md")),
]
#: A block of Python, and the reason in a comment before it why it is compiled only.
BLOCK = re.compile(
    r"(?:<!-- not run: (?P<reason>[^\n]+) -->\n)?```python\n(?P<code>.*?)^```", re.M | re.S
)

#: What a reader has: a photo, and a CheckPoint with MindSpore's names.
FILES = """
import msckpt_jax, numpy
from flax import nnx
from msckpt_jax.networks.resnet import resnet18
from PIL import Image
Image.fromarray(numpy.zeros((300, 400, 3), "uint8")).save("a.jpg")
net = resnet18(num_classes=3, rngs=nnx.Rngs(1))
msckpt_jax.save_checkpoint(net, "resnet18.ckpt", convention="mindspore")
"""

MODEL = """
def predict(x):
    return x.mean((2, 3))

def make_net():
    return lambda tokens: tokens * 2
"""

#: Examples that do not run here, and why.
NOT_RUN = {
    "msckpt demo": "the gate runs it",
    "msckpt demo --output /tmp/demo --steps 200": "the gate runs it",
    **{
        line.strip(): "it writes to a home folder; tests/cli/test_people.py runs the command"
        for line in completion.EXAMPLES.splitlines()
    },
}


def test_the_tests_of_the_promises_are_there() -> None:
    named = re.findall(r"`(tests/[^`]+)`", (ROOT / "SECURITY.md").read_text())
    assert len(named) > 10
    assert [name for name in named if not (ROOT / name).is_file()] == []


def test_readme_runs(tmp_path: Path) -> None:
    blocks = list(BLOCK.finditer((ROOT / "README.md").read_text()))
    script = FILES
    for block in blocks:
        compile(block["code"], "README.md", "exec")
        script += "" if block["reason"] else block["code"]
    assert sum(block["reason"] is None for block in blocks) > 8
    (tmp_path / "readme.py").write_text(script)
    flags = "--xla_force_host_platform_device_count=8"
    environment = os.environ | {"PYTHONPATH": str(ROOT), "XLA_FLAGS": flags}
    command = [sys.executable, "readme.py"]
    run = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[-3000:]


@pytest.mark.parametrize("page", ["docs/dynamic.md"])
def test_pages_run(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    blocks = list(BLOCK.finditer((ROOT / page).read_text()))
    code = "".join(block["code"] for block in blocks if not block["reason"])
    exec(compile(code, page, "exec"), {"__name__": page})


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    text = (ROOT / page).read_text()
    links = [link for link in re.findall(r"\]\(([^)#\s]+)", text) if "://" not in link]
    missing = [link for link in links if not (ROOT / page).parent.joinpath(link).exists()]
    assert missing == []


@pytest.mark.parametrize("page", PAGES)
def test_names_exist(page: str) -> None:
    text = (ROOT / page).read_text()
    missing = {name for name in re.findall(r"\bms\.(\w+)", text) if not hasattr(ms, name)}
    commands = set(re.findall(r"\bmsckpt ([a-z]+)\b", text)) - set(cli.COMMANDS)
    assert (missing, commands) == (set(), set())


def examples() -> dict[str, str]:
    """The examples of all commands as printed, to the command's name."""
    return {
        line.strip(): name
        for name in cli.COMMANDS
        for line in importlib.import_module(f"msckpt_jax.cli.{name}").EXAMPLES.splitlines()
        if line.startswith("  msckpt ")
    }


@pytest.fixture
def folder(tmp_path: Path, mesh: jax.sharding.Mesh, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The files that the examples name."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    spread = jax.NamedSharding(mesh, jax.P("x", "y"))
    tree = {
        "backbone": {"conv1": {"kernel": jax.device_put(jnp.ones((16, 16)), spread)}},
        "params": {"embed": jax.device_put(jnp.ones((16, 16)), spread)},
    }
    for name in ("model", "plain", "before", "after", "a", "b"):
        ms.save_checkpoint(tree, f"{name}.ckpt")
    Path("key.bin").write_bytes(b"0123456789abcdef")
    ms.save_checkpoint(tree, "secret.ckpt", enc_key=b"0123456789abcdef")
    ms.save_checkpoint(tree, "model.safetensors", format="safetensors")
    Path("Qwen3-0.6B").mkdir()
    ms.save_checkpoint(tree, "Qwen3-0.6B/model.safetensors", format="safetensors")
    shutil.copytree(ROOT / "tests/families/data/qwen3", "Qwen3-8B")
    for name, strategy in (("old", None), ("ckpts", None), ("other", "new_strategy.ckpt"),
                           ("again", "strategy.json")):  # fmt: skip
        Path(name).mkdir()
        ms.save_checkpoint(tree, f"{name}/net.ckpt", integrated_save=False, strategy_file=strategy)
    with ocp.StandardCheckpointer() as orbax:
        orbax.save(tmp_path / "run" / "1000", tree)
    x = jnp.ones((4, 16))
    network = (lambda weights, x: x @ weights["params"]["embed"], tree)
    ms.export(network, x, file_name="model.mindir")
    ms.export(network, x, file_name="model.air", file_format="AIR")
    ms.export(network, x, file_name="model.onnx", file_format="ONNX")
    Path("docs").mkdir()
    Path("my").mkdir()
    Path("my/model.py").write_text(MODEL)
    return tmp_path


def in_shell(line: str) -> list[str]:
    """The arguments of the first command of a line as the shell gives them."""
    first = re.split(r" (?:\||&&|>) ", line)[0]  # what the shell does with it is the shell's
    script = f"msckpt() {{ printf '%s\\0' \"$@\"; }}; {first}"
    done = subprocess.run(["bash", "-euc", script], capture_output=True, text=True, check=True)
    return done.stdout.split("\0")[:-1]


def test_help_examples_run(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = examples()
    assert set(NOT_RUN) <= set(found)
    assert set(found.values()) == set(cli.COMMANDS)
    failed = {}
    for line in found:
        if line in NOT_RUN:
            continue
        if cli.main(in_shell(line)) != 0:
            failed[line] = capsys.readouterr()
    assert failed == {}
