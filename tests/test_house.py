"""The order of the house: which room imports which, and where a format's name stands."""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from types import ModuleType

DOCS = Path(__file__).parent.parent / "docs"


def _house() -> ModuleType:
    spec = importlib.util.spec_from_file_location("house", DOCS / "house.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


HOUSE = _house()


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


def _strings(path: Path) -> Iterator[tuple[int, str]]:
    """The strings of a file that are no docstrings."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and id(node) not in docstrings:
            yield node.lineno, str(node.value)


#: Names of model formats, and endings of their files.
MODELS = {f(name) for name in ("MINDIR", "AIR", "ONNX") for f in (str, str.lower)}
MODELS |= {f".{name.lower()}" for name in MODELS}
#: The rooms of the formats, and their registry.
KNOWN = ("mindir/", "air/", "onnx/", "api/targets.py")


def test_model_formats_are_named_in_their_rooms_and_the_registry() -> None:
    places = [
        f"{path.relative_to(HOUSE.ROOT)}:{line}: {text!r}"
        for path in HOUSE.modules().values()
        if not str(path.relative_to(HOUSE.ROOT)).startswith(KNOWN)
        for line, text in _strings(path)
        if text in MODELS
    ]
    assert places == []


def test_the_picture_is_that_of_the_imports() -> None:
    picture = (DOCS / "house.svg").read_text(encoding="utf-8")
    assert picture == HOUSE.picture(), "run: python docs/house.py"
