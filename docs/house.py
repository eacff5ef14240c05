"""The floors of the house, read from the imports: ``python docs/house.py`` draws house.svg.

The order of the floors stands here, with its reasons; ``tests/test_house.py`` holds the code to it.
"""

from __future__ import annotations

import ast
import functools
import html
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent / "msckpt_jax"


class Floor(NamedTuple):
    """Rooms that stand side by side, and why nothing below needs them."""

    rooms: tuple[str, ...]
    reason: str


#: From the top down. A room imports rooms below its floor, never one above it or beside it.
FLOORS = (
    Floor(("__main__",), "starts the command line"),
    Floor(("cli",), "the command line: a user of the doors like any other"),
    Floor(("__init__",), "the public names, which point to where things live"),
    Floor(
        ("training", "interop", "networks"),
        "loops that save, Orbax's handlers, example networks: they call the doors",
    ),
    Floor(("api",), "the doors: a user's arguments become calls of the engines below"),
    Floor(("mindir", "air", "onnx"), "model formats, a room each: none knows another"),
    Floor(("lowering",), "functions become graphs in one way for all model formats"),
    Floor(
        ("graph", "conventions", "parallel"),
        "models, names of layers, layouts on meshes: three ideas that do not need each other",
    ),
    Floor(("checkpoint",), "records, plans and file formats of weights: arrays with names"),
    Floor(("transforms",), "what prepares images: arrays in, arrays out"),
    Floor(("progress", "names"), "bars for long work; names of a tree's leaves"),
    Floor(("display", "dtypes"), "how things print; the one table of dtypes"),
    Floor(("errors",), "the exceptions, whose texts name files"),
    Floor(("_compat",), "the versions of JAX, which differ here only"),
    Floor(
        (
            "families",
            "boxes",
            "specs",
            "_protos",
            "visible",
            "processes",
            "lazy",
            "places",
            "arguments",
        ),
        "the ground, which imports nothing",
    ),
)
LEVELS = {room: level for level, floor in enumerate(FLOORS) for room in floor.rooms}


class Import(NamedTuple):
    """A module that imports another, both of the package, and the line."""

    importer: str
    imported: str
    line: int

    def __str__(self) -> str:
        return f"{self.importer}:{self.line} imports {self.imported}"


def room_of(module: str) -> str:
    """Return the room of a module: the package or file below the top."""
    return [*module.split("."), "__init__"][1]


def modules() -> dict[str, Path]:
    """Return the files of the package by the names of their modules."""
    files = {}
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT.parent).with_suffix("").parts
        files[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return files


@functools.cache
def imports() -> list[Import]:
    """Return all imports within the package: those in functions and for types count, too."""
    files = modules()
    return [
        Import(name, imported, line)
        for name, path in files.items()
        for imported, line in _imported(path, files)
        if imported != name
    ]


def _imported(path: Path, files: Mapping[str, Path]) -> Iterator[tuple[str, int]]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            inner = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [name if name in files else str(node.module) for name in inner]
        else:
            continue
        yield from ((name, node.lineno) for name in dict.fromkeys(names) if name in files)


def up_or_sideways(edges: list[Import]) -> list[Import]:
    """Return the imports that do not run down the house. The package itself may be imported."""
    rooms = [(edge, room_of(edge.importer), room_of(edge.imported)) for edge in edges]
    return [
        edge
        for edge, above, below in rooms
        if above != below and below != "__init__" and LEVELS[above] >= LEVELS[below]
    ]


# The picture

#: Widths of a box, of the gap beside it, of all rooms, of the picture; the height of a floor.
_BOX, _GAP, _ROOMS, _WIDTH, _ROW = 116, 22, 580, 1150, 58


def picture() -> str:
    """Return the house as an SVG: the floors, their rooms, and which room imports which.

    A line that other lines lead along, too, is left out.
    """
    places = dict(_places())
    height = _ROW * len(FLOORS) + 20
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{_WIDTH}" height="{height}" fill="#fff"/>',
    ]
    parts += [_line(places[above], places[below]) for above, below in _direct()]
    for room, (x, y) in places.items():
        parts.append(_box(room, x, y))
    for level, floor in enumerate(FLOORS):
        parts.append(_text(floor.reason, _ROOMS + 20, level * _ROW + 34))
    return "\n".join([*parts, "</svg>", ""])


def _direct() -> list[tuple[str, str]]:
    """Return the pairs of rooms between which there is no way through a third."""
    below: dict[str, set[str]] = {room: set() for room in LEVELS}
    for edge in imports():
        below[room_of(edge.importer)].add(room_of(edge.imported))
    reached: dict[str, set[str]] = {}
    for room in sorted(below, key=LEVELS.__getitem__, reverse=True):
        below[room] -= {room, "__init__"}
        reached[room] = below[room].union(*(reached[lower] for lower in below[room]))
    return [
        (room, lower)
        for room in below
        for lower in sorted(below[room])
        if not any(lower in reached[third] for third in below[room])
    ]


def _places() -> Iterator[tuple[str, tuple[int, int]]]:
    for level, floor in enumerate(FLOORS):
        width = len(floor.rooms) * (_BOX + _GAP) - _GAP
        for column, room in enumerate(floor.rooms):
            yield room, ((_ROOMS - width) // 2 + column * (_BOX + _GAP), level * _ROW + 14)


def _line(above: tuple[int, int], below: tuple[int, int]) -> str:
    (x1, y1), (x2, y2) = above, below
    return (
        f'<line x1="{x1 + _BOX // 2}" y1="{y1 + 32}" x2="{x2 + _BOX // 2}" y2="{y2}" '
        'stroke="#9ab" stroke-width="1.2"/>'
    )


def _box(room: str, x: int, y: int) -> str:
    box = f'<rect x="{x}" y="{y}" width="{_BOX}" height="32" rx="4" fill="#eef3f8" stroke="#456"/>'
    return box + _text(room, x + _BOX // 2, y + 20, 'text-anchor="middle"')


def _text(text: str, x: int, y: int, how: str = 'fill="#444"') -> str:
    return f'<text x="{x}" y="{y}" {how}>{html.escape(text)}</text>'


if __name__ == "__main__":
    (Path(__file__).parent / "house.svg").write_text(picture(), encoding="utf-8")
