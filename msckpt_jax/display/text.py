"""Plain text: sizes and tables."""

from __future__ import annotations

import dataclasses
import reprlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from msckpt_jax.visible import visible

#: Lines of a table; the middle of a longer one is left out.
_LINES = 60
#: Names of a list; the rest is left out.
_NAMES = 30


def size(nbytes: int) -> str:
    """``1.5 MiB``."""
    number = float(nbytes)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if number < 1024:
            return f"{number:.1f} {unit}" if unit != "B" else f"{nbytes} B"
        number /= 1024
    return f"{number:.1f} TiB"


def counted(number: int, noun: str, plural: str = "") -> str:
    """``1 entry``, ``3 entries``; the plural is the noun with an s by default."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def columns(
    heads: Sequence[str], rows: Iterable[Sequence[str]], everything: bool = False
) -> list[str]:
    """The lines of a plain table; when they are many, the first and the last, or ``everything``."""
    lines = [heads, *rows]
    half = _LINES // 2
    more = 0 if everything or len(lines) <= _LINES else len(lines) - 2 * half
    if more:
        del lines[half:-half]
    table = [[visible(cell) for cell in row] for row in lines]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    out = [
        "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()
        for row in table
    ]
    if more:
        out.insert(half, f"... {more} more")
    return out


class _Brief(reprlib.Repr):
    """Bounded texts: arrays are not read, which may be on devices, and modules not walked."""

    def repr_instance(self, x: Any, level: int) -> str:
        if hasattr(x, "shape") and hasattr(x, "dtype"):
            return f"{x.dtype}{list(x.shape)}"
        if hasattr(x, "__qualname__"):
            return x.__qualname__
        is_small = isinstance(x, bytes) or not hasattr(x, "__dict__")
        return super().repr_instance(x, level) if is_small else type(x).__name__


_BRIEF = _Brief()
_BRIEF.maxstring = _BRIEF.maxother = 60


def brief(value: Any) -> str:
    """A value in a line, however large it is; of arrays their dtype and shape."""
    return visible(_BRIEF.repr(value))


def some(names: Sequence[str]) -> str:
    """A list of names as Python has it; of a long one the first, and how many more there are."""
    first = ", ".join(map(repr, names[:_NAMES]))
    more = f", ... {len(names) - _NAMES:,} more" if len(names) > _NAMES else ""
    return f"[{first}{more}]"


def call(name: str, arguments: Mapping[str, Any]) -> str:
    """``Name(a=1, b='x')``, each value in brief."""
    return f"{name}({', '.join(f'{key}={brief(value)}' for key, value in arguments.items())})"


def fields(value: Any) -> str:
    """The call that makes a dataclass, its defaults left out."""
    given = {
        field.name: getattr(value, field.name)
        for field in dataclasses.fields(value)
        if getattr(value, field.name) != _default(field)
    }
    return call(type(value).__name__, given)


def _default(field: dataclasses.Field[Any]) -> Any:
    made = field.default_factory
    return field.default if made is dataclasses.MISSING else made()
