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
