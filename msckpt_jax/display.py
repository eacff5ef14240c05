"""How things look: sizes, plain tables, and HTML for notebooks.

A page needs nothing from elsewhere, follows the notebook's theme, light or dark, and escapes every
text: names come from files that nobody vouches for. Without scripts (an untrusted notebook) it
still reads, it only does not sort.
"""

from __future__ import annotations

import html
import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

from msckpt_jax import boxes

#: Lines of a table as text.
LINES = 60
#: Rows of a table; a file may have a hundred thousand entries, a browser better has not.
ROWS = 1000
#: Parts of a picture of a sharding; more are told in words.
_PARTS = 256


class Html(str):
    """Text that is HTML already."""

    __slots__ = ()


class Size(NamedTuple):
    """A number of bytes."""

    nbytes: int


#: What a table shows. Numbers are sorted as numbers.
Cell: TypeAlias = "str | int | Size"

# JupyterLab's rules for tables have the weight of two classes, hence the doubled one. Text and
# background always come from the same theme, so that they never meet in the same colour.
_STYLE = """<style>
.msckpt{--ink:#1c1c1c;--paper:#fff;--line:#d4d4d4}
@media (prefers-color-scheme:dark){.msckpt{--ink:#e4e4e4;--paper:#181818;--line:#484848}}
:is([data-theme=dark],[theme=dark],.vscode-dark) .msckpt{
--ink:#e4e4e4;--paper:#181818;--line:#484848}
.msckpt.msckpt{color:var(--jp-ui-font-color1,var(--vscode-editor-foreground,var(--ink)));
background:var(--jp-layout-color1,var(--vscode-editor-background,var(--paper)));
padding:.3em .5em;font-size:13px;overflow-x:auto}
.msckpt summary{cursor:pointer;padding:.15em 0}
.msckpt details details{margin-left:1em}
.msckpt.msckpt pre{margin:0 0 0 1em;color:inherit;background:none;font-size:12px;line-height:1.4}
.msckpt.msckpt table{border-collapse:collapse;margin:.3em 0 .6em 1em;color:inherit;
font-size:inherit}
.msckpt.msckpt :is(th,td){text-align:left;padding:.2em .7em;vertical-align:middle;
border-bottom:1px solid var(--jp-border-color2,var(--vscode-panel-border,var(--line)));
background:none;color:inherit;font-size:inherit;white-space:nowrap}
.msckpt.msckpt .n{text-align:right;font-variant-numeric:tabular-nums}
.msckpt td{font-family:var(--jp-code-font-family,monospace)}
.msckpt.msckpt td:first-child{white-space:normal;overflow-wrap:anywhere;min-width:10em}
.msckpt button{all:unset;cursor:pointer;font-weight:600}
.msckpt button:focus-visible{outline:2px solid}
.msckpt th button::after{content:" \\2195";opacity:.55}
.msckpt th[aria-sort=ascending] button::after{content:" \\2191";opacity:1}
.msckpt th[aria-sort=descending] button::after{content:" \\2193";opacity:1}
.msckpt svg{display:block}
</style>"""

_SORT = """
const head = event.target.closest('th');
if (head) {
  const up = head.ariaSort != 'ascending', at = head.cellIndex;
  for (const other of this.querySelectorAll('th')) other.removeAttribute('aria-sort');
  head.setAttribute('aria-sort', up ? 'ascending' : 'descending');
  const key = row => row.cells[at].dataset.key ?? row.cells[at].textContent;
  const order = (a, b) => a - b || a.localeCompare(b, undefined, {numeric: true});
  const body = this.parentNode.tBodies[0];
  const rows = [...body.rows].sort((a, b) => (up ? 1 : -1) * order(key(a), key(b)));
  body.append(...rows);
}"""


def size(nbytes: int) -> str:
    """``1.5 MiB``."""
    number = float(nbytes)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if number < 1024:
            return f"{number:.1f} {unit}" if unit != "B" else f"{nbytes} B"
        number /= 1024
    return f"{number:.1f} TiB"


def visible(text: str) -> str:
    """The text with its control characters written out."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def columns(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """The lines of a plain table; of many the first and the last."""
    table = [heads, *rows]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    out = [
        "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()
        for row in table
    ]
    if len(out) > LINES:
        half = LINES // 2
        out[half:-half] = [f"... {len(out) - 2 * half} more"]
    return out


def page(title: str, *parts: Html) -> str:
    """What ``_repr_html_`` returns: the parts below a title that folds them."""
    return f'<div class="msckpt">{_STYLE}{fold(title, *parts, unfolded=True)}</div>'


def fold(title: str, *parts: Html, unfolded: bool = False) -> Html:
    """Parts that a click on the title shows and hides."""
    attribute = " open" if unfolded else ""
    inner = "".join(parts)
    return Html(f"<details{attribute}><summary>{_text(title)}</summary>{inner}</details>")


def lines(found: Iterable[str]) -> Html:
    """Lines of code."""
    return Html(f"<pre>{'<br>'.join(map(_text, found))}</pre>")


def table(columns: Sequence[str], rows: Iterable[Sequence[Cell]]) -> Html:
    """A table that a click on a column's head sorts; of many rows the first."""
    found = iter(rows)
    shown = [[_cell(cell) for cell in row] for row in itertools.islice(found, ROWS)]
    left = sum(1 for _ in found)
    heads = "".join(f"<th><button>{_text(column)}</button></th>" for column in columns)
    body = "".join(f"<tr>{''.join(row)}</tr>" for row in shown)
    more = f"<p>{left:,} more rows are not shown</p>" if left else ""
    action = html.escape(" ".join(_SORT.split()))
    return Html(
        f'<table><thead onclick="{action}"><tr>{heads}</tr></thead><tbody>{body}</tbody></table>'
        f"{more}"
    )


def sharding(shape: Sequence[int], parts: Mapping[boxes.Box, Sequence[int]]) -> Html:
    """A picture of how a tensor is split: a colour for each part, named by who holds it.

    Args:
        shape: of the whole tensor.
        parts: ranks by the box ``((start, stop), ...)`` that they hold.
    """
    cuts = [len({box[axis] for box in parts}) for axis in range(len(shape))]
    split = [axis for axis, count in enumerate(cuts) if count > 1]
    holders = [_ranks(ranks) for ranks in parts.values()]
    words = " x ".join(map(str, cuts)) if split else "whole"
    if len(split) > 2 or len(parts) > _PARTS:
        return Html(_text(f"{words} parts"))
    # One split dimension is drawn as it lies: rows below each other, all others side by side.
    down = split[0] if len(split) == 2 or (split == [0] and len(shape) > 1) else None
    across = split[-1] if split and split[-1] != down else None
    width, height = 132, 66 if down is not None else 22
    marks = []
    for number, (box, names) in enumerate(zip(parts, holders, strict=True)):
        x, w = _stretch(box, shape, across, width)
        y, h = _stretch(box, shape, down, height)
        hue = 360 * number // len(parts)
        part = ", ".join(f"{start}:{stop}" for start, stop in box)
        label = names if len(names) * 7 < w and h > 12 else ""
        marks.append(
            f'<g><title>[{part}] on {names}</title><rect x="{x:.1f}" y="{y:.1f}" width="{w:.1f}" '
            f'height="{h:.1f}" fill="hsl({hue},65%,78%)" stroke="#444" stroke-width=".6"/>'
            f'<text x="{x + w / 2:.1f}" y="{y + h / 2:.1f}" fill="#111" font-size="10" '
            f'text-anchor="middle" dominant-baseline="central">{label}</text></g>'
        )
    return Html(
        f'<svg role="img" aria-label="{words}: {len(parts)} parts" width="{width}" '
        f'height="{height}" viewBox="-1 -1 {width + 2} {height + 2}">{"".join(marks)}</svg>'
    )


def sharding_of(array: Any) -> Html:
    """The picture of an array on devices; nothing for one that is on one device, or on none."""
    found = getattr(array, "sharding", None)
    if found is None or len(found.device_set) == 1:
        return Html()
    parts: dict[boxes.Box, list[int]] = {}
    for number, index in enumerate(found.devices_indices_map(array.shape).values()):
        parts.setdefault(boxes.from_index(index, array.shape), []).append(number)
    return sharding(array.shape, parts)


def _stretch(
    box: boxes.Box, shape: Sequence[int], axis: int | None, length: int
) -> tuple[float, float]:
    """Where a part begins in the picture, and how long it is."""
    if axis is None or not shape[axis]:
        return 0, length
    start, stop = box[axis]
    return length * start / shape[axis], length * (stop - start) / shape[axis]


def _ranks(ranks: Sequence[int]) -> str:
    """``0-3, 8``."""
    runs: list[list[int]] = []
    for rank in sorted(ranks):
        if runs and rank == runs[-1][1] + 1:
            runs[-1][1] = rank
        else:
            runs.append([rank, rank])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in runs)


def _cell(cell: Cell) -> str:
    if isinstance(cell, Html):
        return f"<td>{cell}</td>"
    if isinstance(cell, Size):
        exact = f'title="{cell.nbytes:,} bytes" data-key="{cell.nbytes}"'
        return f'<td class="n" {exact}>{size(cell.nbytes)}</td>'
    if isinstance(cell, int):
        return f'<td class="n" data-key="{cell}">{cell:,}</td>'
    return f"<td>{_text(cell)}</td>"


def _text(text: str) -> str:
    return html.escape(visible(text))
