"""The Python of the README and the pages runs as printed; so do the examples of every ``--help``.

Each block of a README runs by itself, a page from top to bottom, in a folder with what is read.
"""

from __future__ import annotations

import functools
import importlib.util
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp
import pytest
from flax import nnx
from PIL import Image

import msckpt_jax as ms
from msckpt_jax import cli
from msckpt_jax.cli import completion
from msckpt_jax.networks import resnet
from tests import pages as scripts

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    str(page.relative_to(ROOT)) for where in ("*.md", "docs/**/*.md") for page in ROOT.glob(where)
)
#: Pages of which each block runs by itself.
APART = ("README.md", "docs/zh/README.md")
#: Names of MindSpore, which pages on porting tell under its usual short name.
THEIRS = {"Parameter", "Tensor", "float32", "grad", "set_context", "value_and_grad"}
#: The reason of blocks that run in MindSpore, in a process of their own, after all others.
THERE = "needs MindSpore"
#: Pages whose Python other tests run, which look at what comes of it.
ELSEWHERE = ("docs/stores.md",)
#: A block of Python, and the reason in a comment before it why it is compiled only.
BLOCK = re.compile(
    r"(?:<!-- not run: (?P<reason>[^\n]+) -->\n)?```python\n(?P<code>.*?)^```", re.M | re.S
)


def _photo(path: Path) -> None:
    Image.new("RGB", (400, 300)).save(path)


def _resnet(path: Path) -> None:
    net = resnet.resnet18(num_classes=3, rngs=nnx.Rngs(1))
    ms.save_checkpoint(net, path, convention="mindspore", durable=False)


def _family(path: Path, name: str) -> None:
    shutil.copytree(ROOT / "tests/families/data" / name, path)


#: What a reader has, made where a text names it.
FILES: dict[str, Callable[[Path], None]] = {
    "a.jpg": _photo,
    "resnet18.ckpt": _resnet,
    "Qwen3-8B": functools.partial(_family, name="qwen3"),
    "Llama-3-8B": functools.partial(_family, name="llama3"),
}

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


def blocks(page: str, reason: str | None = None) -> list[str]:
    """The blocks of Python of a page that run here, or those that do not for a reason."""
    matches = list(BLOCK.finditer((ROOT / page).read_text("utf-8")))
    for match in matches:
        compile(match["code"], page, "exec")
    return [match["code"] for match in matches if match["reason"] == reason]


@pytest.mark.parametrize("page", ["README.md", "quick-start.md"])
def test_chinese_pages_have_the_same_code(page: str) -> None:
    """Only their comments are in Chinese."""

    def code(path: str) -> list[str]:
        matches = BLOCK.finditer((ROOT / path).read_text("utf-8"))
        return [re.sub(r" *#.*", "", match["code"]) for match in matches]

    english = page if page == "README.md" else f"docs/{page}"
    assert code(f"docs/zh/{page}") == code(english)


def programs() -> Iterator[Any]:
    """The programs that the pages print, each with its page."""
    for page in PAGES:
        codes = blocks(page)
        if page in APART:
            yield from (pytest.param(page, code, id=f"{page}:{i}") for i, code in enumerate(codes))
        elif codes and page not in ELSEWHERE:
            yield pytest.param(page, "".join(codes), id=page)


@pytest.mark.parametrize(("page", "code"), list(programs()))
def test_pages_run(page: str, code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, make in FILES.items():
        if name in code:
            make(tmp_path / name)
    exec(compile(code, page, "exec"), {"__name__": page})
    if (theirs := blocks(page, THERE)) and importlib.util.find_spec("mindspore"):
        command = [sys.executable, "-c", "\n".join(theirs)]
        run = subprocess.run(command, capture_output=True, text=True)
        assert run.returncode == 0, run.stderr[-3000:]


@pytest.mark.parametrize("page", APART)
def test_a_readme_is_short(page: str) -> None:
    assert (ROOT / page).read_text("utf-8").count("\n") <= 150
    assert len(blocks(page)) > 3


def test_nothing_says_to_install_what_no_index_has() -> None:
    """An extra may be named: pip takes the package that is there, and adds what the extra needs."""
    texts = [*map(ROOT.joinpath, PAGES), *(ROOT / "msckpt_jax").rglob("*.py")]
    told = re.compile(r"pip install (?:-\S+ )*[\'\"]?msckpt[_-]jax(?!\[)")
    assert [str(text) for text in texts if told.search(text.read_text("utf-8"))] == []


def test_each_public_name_is_in_the_reference() -> None:
    pages = [page.read_text("utf-8") for page in ROOT.glob("docs/reference/*.md")]
    told = re.findall(r"^::: msckpt_jax\.(\w+)$", "\n".join(pages), re.M)
    names = [name for name in ms.__all__ if not isinstance(getattr(ms, name), ModuleType)]
    assert [name for name in names if name not in told] == []


def test_the_matrix_is_that_of_the_project() -> None:
    """The ranges and chips are current; versions are those of the environment that wrote it."""
    script = scripts.script("compatibility")

    def without_versions(text: str) -> list[list[str]]:
        rows = [line.split("|") for line in text.splitlines()]
        return [row[:3] if len(row) == 6 else row for row in rows]

    written = script.PAGE.read_text("utf-8")
    assert without_versions(script.page()) == without_versions(written), script.__doc__


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    text = (ROOT / page).read_text()
    links = [link for link in re.findall(r"\]\(([^)#\s]+)", text) if "://" not in link]
    missing = [link for link in links if not (ROOT / page).parent.joinpath(link).exists()]
    assert missing == []


@pytest.mark.parametrize("page", PAGES)
def test_names_exist(page: str) -> None:
    text = (ROOT / page).read_text()
    missing = {name for name in re.findall(r"\bms\.(\w+)", text) if not hasattr(ms, name)} - THEIRS
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
