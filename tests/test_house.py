"""The order of the house: which room imports which, and where a format's name stands."""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import pytest

from msckpt_jax.api import targets
from msckpt_jax.checkpoint import formats
from tests.pages import DOCS, script

HOUSE = script("house")


def test_every_room_has_its_floor_and_every_floor_its_reason() -> None:
    rooms = {HOUSE.room_of(module) for module in HOUSE.modules()}
    assert rooms == set(HOUSE.LEVELS)
    assert all(floor.reason for floor in HOUSE.FLOORS)


def test_no_import_runs_up_or_sideways() -> None:
    edges = HOUSE.imports()
    assert len(edges) > 500  # the reader of imports reads something
    assert [str(edge) for edge in HOUSE.up_or_sideways(edges)] == []


def test_no_files_import_each_other_in_a_circle() -> None:
    edges: dict[str, set[str]] = {}
    for edge in HOUSE.imports():
        edges.setdefault(edge.importer, set()).add(edge.imported)
    circle = None
    try:
        TopologicalSorter(edges).prepare()
    except CycleError as error:
        circle = error.args[1]
    assert circle is None


def test_the_reader_sees_imports_of_every_kind(tmp_path: Path) -> None:
    path = tmp_path / "a.py"
    path.write_text(
        "from __future__ import annotations\n"
        "import msckpt_jax.names\n"
        "from typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n    from msckpt_jax.api import save\n"
        "def f():\n    from msckpt_jax.boxes import whole\n"
    )
    files = dict.fromkeys(["msckpt_jax.names", "msckpt_jax.api.save", "msckpt_jax.boxes"], path)
    assert set(HOUSE._imported(path, files)) == {
        ("msckpt_jax.names", 2), ("msckpt_jax.api.save", 5), ("msckpt_jax.boxes", 7),
    }  # fmt: skip


def test_an_import_that_runs_up_is_found() -> None:
    up = HOUSE.Import("msckpt_jax.checkpoint.plan", "msckpt_jax.api.save", 1)
    beside = HOUSE.Import("msckpt_jax.onnx.adapt", "msckpt_jax.air.adapt", 1)
    down = HOUSE.Import("msckpt_jax.api.save", "msckpt_jax.checkpoint.plan", 1)
    assert HOUSE.up_or_sideways([up, beside, down]) == [up, beside]


# Names of formats: in their files, in the registry, and in prose.

#: Constants that a command prints as its help.
HELP = {"DESCRIPTION", "EXAMPLES", "COMMANDS"}


class Names(NamedTuple):
    """The texts that name formats of a kind, and where they may stand, with the reason."""

    texts: re.Pattern[str]
    places: Mapping[str, str]


_WITH_SUFFIX = "|".join(name for name, format in formats.FORMATS.items() if format.suffix)
#: A name that is no word of English anywhere in a text; of the others nothing but the name.
FILES = Names(
    re.compile(rf".*(?<!\w)({_WITH_SUFFIX})(?!\w).*|{'|'.join(formats.FORMATS)}", re.DOTALL),
    {
        "checkpoint/formats/": "their home",
        "parallel/strategy.py": "MindSpore's strategy files end so, too; they are another format",
        "onnx/runtime": "NumPy's arrays go from one process to another",
        "training/selection.py": "a variable of the caller's loop has this name",
        "interop/__init__.py": "a module has this name",
    },
)
MODELS = Names(
    re.compile(rf"\.?({'|'.join(targets.NAMES)})", re.IGNORECASE),
    {
        **{f"{name.lower()}/": "its home" for name in targets.NAMES},
        "api/targets.py": "the registry",
        "checkpoint/formats/foreign.py": "says what a file is that is no checkpoint",
    },
)


def prose(tree: ast.AST) -> Iterator[ast.AST]:
    """Docstrings and the help of commands."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield from (line.value for line in node.body[:1] if isinstance(line, ast.Expr))
        elif is_help(node):
            yield from ast.walk(node)


def is_help(node: ast.AST) -> bool:
    if isinstance(node, ast.Assign):
        target = node.targets[0]
        return isinstance(target, ast.Name) and target.id in HELP
    return isinstance(node, ast.keyword) and node.arg == "help"


@functools.cache
def texts(source: str) -> list[str]:
    """The strings of a program that are no prose."""
    tree = ast.parse(source)
    spared = set(prose(tree))
    constants = (node for node in ast.walk(tree) if isinstance(node, ast.Constant))
    values = (node.value for node in constants if node not in spared)
    return [value for value in values if isinstance(value, str)]


def told(source: str, names: Names) -> list[str]:
    """The texts of a program that name a format."""
    return [text for text in texts(source) if names.texts.fullmatch(text)]


@pytest.mark.parametrize("names", [FILES, MODELS])
def test_formats_are_named_in_their_files_and_the_registry(names: Names) -> None:
    naming = {
        path.relative_to(HOUSE.ROOT).as_posix(): named
        for path in HOUSE.modules().values()
        if (named := told(path.read_text(encoding="utf-8"), names))
    }
    used = {place for place in names.places if any(path.startswith(place) for path in naming)}
    assert used == set(names.places)
    assert {p: t for p, t in naming.items() if not p.startswith(tuple(names.places))} == {}


@pytest.mark.parametrize(
    ("source", "named"),
    [
        ('"""A .ckpt file."""\nx = "ckpt"', ["ckpt"]),
        ('def f(name="orbax"):\n    """Of safetensors."""', ["orbax"]),
        ('x = f"{name}.ckpt"', [".ckpt"]),
        ('"it is sharded, ckpt_to_safetensors"', []),
        ('x = "it is sharded, ckpt_to_safetensors"', []),
        ('x = r"\\.(?:ckpt|safetensors)"', [r"\.(?:ckpt|safetensors)"]),
        ('DESCRIPTION = "a " + "ckpt"\nadd("x", help="of a ckpt")', []),
    ],
)
def test_what_counts_as_a_name(source: str, named: list[str]) -> None:
    assert told(source, FILES) == named


def test_the_picture_is_that_of_the_imports() -> None:
    picture = (DOCS / "house.svg").read_text(encoding="utf-8")
    assert picture == HOUSE.picture(), "run: python docs/house.py"
