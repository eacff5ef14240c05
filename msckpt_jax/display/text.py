"""Plain text: sizes and tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from msckpt_jax.visible import visible

#: Lines of a table; the middle of a longer one is left out.
_LINES = 60


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
    return f"{number} {noun if number == 1 else plural or noun + 's'}"


def columns(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """The lines of a plain table, or the first and the last of them when there are many."""
    table = [[visible(cell) for cell in row] for row in (heads, *rows)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    out = [
        "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()
        for row in table
    ]
    if len(out) > _LINES:
        half = _LINES // 2
        out[half:-half] = [f"... {len(out) - 2 * half} more"]
    return out
