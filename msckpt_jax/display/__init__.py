"""The looks of things: sizes and tables as text, pages for notebooks, pictures of shardings."""

from __future__ import annotations

from msckpt_jax.display.html import Cell, Html, Size, fold, lines, page, table
from msckpt_jax.display.pictures import sharding, sharding_of
from msckpt_jax.display.text import brief, call, columns, counted, fields, size, some

__all__ = [
    "Cell",
    "Html",
    "Size",
    "brief",
    "call",
    "columns",
    "counted",
    "fields",
    "fold",
    "lines",
    "page",
    "sharding",
    "sharding_of",
    "size",
    "some",
    "table",
]
