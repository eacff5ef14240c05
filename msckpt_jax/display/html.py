"""HTML for notebooks: pages, tables that can be sorted, parts that can be folded.

A page needs nothing from elsewhere, follows the notebook's theme, light or dark, and escapes every
text: names come from files that nobody vouches for. Where a notebook is not trusted, JupyterLab
strips scripts, style sheets and drawings, and GitHub the styles of elements, too: a page can still
be read, with its pictures, but not sorted.
"""

from __future__ import annotations

import html
import itertools
from collections.abc import Iterable, Sequence
from typing import NamedTuple, TypeAlias

from msckpt_jax.display.text import counted, size
from msckpt_jax.visible import visible

#: Rows of a table, its characters, lines of code, and characters of a page: a file may have a
#: hundred thousand entries, too many for a browser, and notebooks keep all that they show.
ROWS, TABLE, LINES, PAGE = 1000, 90_000, 600, 190_000


#: Styles of single cells, which JupyterLab leaves where it strips sheets; its own sheet puts all
#: that a table has to the right.
_WORDS = 'style="text-align:left"'
_NUMBER = 'class="n" align="right" style="white-space:nowrap"'


class Html(str):
    """Text that is HTML already."""

    __slots__ = ()


class Size(NamedTuple):
    """A number of bytes."""

    nbytes: int


#: The content of a table's cell. Numbers are sorted as numbers.
Cell: TypeAlias = "str | int | Size"

# JupyterLab's rules for tables have the weight of two classes, hence `.msckpt` is doubled. Text and
# background always come from the same theme, so that they never meet in the same colour.
_STYLE = """<style>
.msckpt{--ink:#1c1c1c;--paper:#fff;--line:#d4d4d4}
@media (prefers-color-scheme:dark){.msckpt{--ink:#e4e4e4;--paper:#181818;--line:#484848}}
:is([data-theme=dark],[theme=dark],.vscode-dark) .msckpt{
--ink:#e4e4e4;--paper:#181818;--line:#484848}
.msckpt.msckpt{color:var(--jp-ui-font-color1,var(--vscode-editor-foreground,var(--ink)));
background:var(--jp-layout-color0,var(--vscode-editor-background,var(--paper)));
padding:.3em .5em;font-size:13px;overflow-x:auto}
.msckpt summary{cursor:pointer;padding:.15em 0}
.msckpt details details{margin-left:1em}
.msckpt.msckpt pre{margin:0 0 0 1em;color:inherit;background:none;font-size:12px;line-height:1.4;
white-space:pre-wrap;word-break:normal;overflow-wrap:anywhere}
.msckpt.msckpt table{border-collapse:collapse;margin:.3em 0 .6em 1em;color:inherit;
font-size:inherit}
.msckpt.msckpt :is(th,td){padding:.2em .7em;vertical-align:middle;
border-bottom:1px solid var(--jp-border-color2,var(--vscode-panel-border,var(--line)));
background:none;color:inherit;font-size:inherit;white-space:nowrap}
.msckpt.msckpt .n{font-variant-numeric:tabular-nums}
.msckpt td{font-family:var(--jp-code-font-family,monospace)}
.msckpt.msckpt td:first-child:not(.n){white-space:normal;overflow-wrap:anywhere;min-width:10em}
.msckpt th span{cursor:pointer;font-weight:600}
.msckpt th span:focus-visible{outline:2px solid}
.msckpt th span::after{content:" \\2195";opacity:.55}
.msckpt th[aria-sort=ascending] span::after{content:" \\2191";opacity:1}
.msckpt th[aria-sort=descending] span::after{content:" \\2193";opacity:1}
.msckpt img{display:block}
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
_ENTER = "if (event.key == 'Enter') event.target.click()"


def page(title: str, *parts: Html) -> str:
    """A page for ``_repr_html_`` to return: parts below a title that folds them.

    Parts that would make it too long for a notebook are left out, and counted.
    """
    ends = list(itertools.accumulate(map(len, parts)))
    shown = [part for part, end in zip(parts, ends, strict=True) if end <= PAGE]
    left = len(parts) - len(shown)
    more = [Html(f"<p>too long to be shown: {counted(left, 'more part')}</p>")] if left else []
    return f'<div class="msckpt">{_STYLE}{fold(title, *shown, *more, unfolded=True)}</div>'


def fold(title: str, *parts: Html, unfolded: bool = False) -> Html:
    """Parts that a click on the title shows and hides."""
    attribute = " open" if unfolded else ""
    inner = "".join(parts)
    return Html(f"<details{attribute}><summary>{_text(title)}</summary>{inner}</details>")


def lines(texts: Iterable[str], most: int | None = LINES) -> Html:
    """Lines of code; of many only the first ``most`` are shown."""
    remaining = iter(texts)
    shown = [_text(text) for text in itertools.islice(remaining, most)]
    left = sum(1 for _ in remaining)
    more = [f"... {left:,} more"] if left else []
    return Html(f"<pre>{'<br>'.join([*shown, *more])}</pre>")


def table(columns: Sequence[str], rows: Iterable[Sequence[Cell]]) -> Html:
    """A table that a click on a column's head sorts; only the first of many rows are shown."""
    shown, length, left = list[str](), 0, 0
    for row in rows:
        if left or len(shown) == ROWS:
            left += 1
            continue
        text = f"<tr>{''.join(map(_cell, row))}</tr>"
        length += len(text)
        if shown and length > TABLE:
            left = 1
        else:
            shown.append(text)
    # No <button>: where styles are stripped it would look like one that does something.
    heads = "".join(
        f'<th {_WORDS}><span role="button" tabindex="0">{_text(column)}</span></th>'
        for column in columns
    )
    more = f"<p>not shown: {counted(left, 'more row')}</p>" if left else ""
    body = "".join(shown)
    action = html.escape(" ".join(_SORT.split()))
    return Html(
        f'<table><thead onclick="{action}" onkeydown="{_ENTER}"><tr>{heads}</tr></thead>'
        f"<tbody>{body}</tbody></table>{more}"
    )


def _cell(cell: Cell) -> str:
    if isinstance(cell, Html):
        return f"<td {_WORDS}>{cell}</td>"
    if isinstance(cell, Size):
        exact = f'title="{cell.nbytes:,} bytes" data-key="{cell.nbytes}"'
        return f"<td {_NUMBER} {exact}>{size(cell.nbytes)}</td>"
    if isinstance(cell, int):
        return f'<td {_NUMBER} data-key="{cell}">{cell:,}</td>'
    return f"<td {_WORDS}>{_text(cell)}</td>"


def _text(text: str) -> str:
    return html.escape(visible(text))
