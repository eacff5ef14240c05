"""A bar for long work: a line in terminals, HTML in notebooks, nothing where nobody looks."""

from __future__ import annotations

import contextlib
import contextvars
import html
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from msckpt_jax import display
from msckpt_jax.visible import visible

#: True where the command line was told to be quiet.
_hidden = contextvars.ContextVar("hidden", default=False)
#: Seconds of work that need no bar, and seconds between two moves of a bar in a notebook.
_PATIENCE, _MOVES = 1.0, 0.2


@contextlib.contextmanager
def meter(what: str, total: int, progress: Progress | bool | None) -> Iterator[Progress | None]:
    """Yield the function to call for an argument ``progress``: a bar's for True, else its value."""
    if progress is True:
        with bar(what, total) as advance:
            yield advance
    else:
        yield progress or None


@contextlib.contextmanager
def bar(what: str, total: int) -> Iterator[Progress]:
    """Yield the function that moves a bar of ``total`` bytes, shown after a second of work."""
    what = visible(what)  # a path, perhaps
    shown = _Cell(what, total) if _in_notebook() else _line(what, total)
    with shown as advance:
        yield advance


@contextlib.contextmanager
def waiting(what: str) -> Iterator[None]:
    """Show that work of unknown length goes on: a moving line on stderr, if that is a terminal."""
    from rich import progress as rich

    line = _on_stderr(rich.TextColumn(visible(what), markup=False), rich.BarColumn(),
                      rich.TimeElapsedColumn())  # fmt: skip
    if line.disable:
        yield
        return
    line.add_task(what, total=None)
    later = threading.Timer(_PATIENCE, line.start)
    later.daemon = True
    later.start()
    try:
        yield
    finally:
        later.cancel()
        later.join()  # else it might begin after its end
        line.stop()


@contextlib.contextmanager
def hidden(hide: bool = True) -> Iterator[None]:
    """Show no bars on stderr within the block."""
    token = _hidden.set(hide)
    try:
        yield
    finally:
        _hidden.reset(token)


def _in_notebook() -> bool:
    ipython = sys.modules.get("IPython")  # imported in every notebook, and not for its sake here
    shell = None if ipython is None else ipython.get_ipython()
    return shell is not None and hasattr(shell, "kernel")


@contextlib.contextmanager
def _line(what: str, total: int) -> Iterator[Progress]:
    """A bar on stderr, if that is a terminal; it goes away when the work is done."""
    from rich import progress as rich

    columns = (
        rich.TextColumn(what, markup=False),
        rich.BarColumn(),
        rich.DownloadColumn(binary_units=True),
        rich.TransferSpeedColumn(),
        rich.TimeRemainingColumn(),
    )
    line = _on_stderr(*columns)
    task = line.add_task(what, total=total)

    def advance(count: int) -> None:
        line.advance(task, count)
        if not line.live.is_started and (line.tasks[0].elapsed or 0) > _PATIENCE:
            line.start()

    try:
        yield advance
    finally:
        line.stop()


def _on_stderr(*columns: Any) -> Any:
    """A ``rich`` bar that goes away at its end; what is printed meanwhile keeps its stream."""
    from rich import progress as rich
    from rich.console import Console

    stderr = Console(stderr=True)
    return rich.Progress(
        *columns, console=stderr, transient=True, disable=_hidden.get() or not stderr.is_terminal,
        redirect_stdout=sys.stdout.isatty(),
    )  # fmt: skip


class _Cell:
    """A bar in the output of a cell; the line left at the end says how long the work took."""

    def __init__(self, what: str, total: int):
        self._what, self._total, self._done = what, total, 0
        self._begin = time.monotonic()
        self._next = self._begin + _PATIENCE
        self._handle: Any = None
        self._lock = threading.Lock()

    def __enter__(self) -> Progress:
        return self._advance

    def __exit__(self, *_: object) -> None:
        if self._handle is not None:
            self._show()

    def _advance(self, count: int) -> None:
        with self._lock:
            self._done += count
            if time.monotonic() >= self._next:
                self._next = time.monotonic() + _MOVES
                self._show()

    def _show(self) -> None:
        from IPython.display import HTML
        from IPython.display import display as put

        shown = HTML(self._page())
        if self._handle is None:
            self._handle = put(shown, display_id=True)
        else:
            self._handle.update(shown)

    def _page(self) -> str:
        seconds = time.monotonic() - self._begin
        rate = display.size(round(self._done / max(seconds, 1e-9)))
        counts = f"{display.size(self._done)} of {display.size(self._total)}"
        return (
            f'<div><progress value="{self._done}" max="{max(self._total, 1)}"></progress> '
            f"{html.escape(self._what)}: {counts}, {rate}/s, {seconds:.0f} s</div>"
        )


Progress = Callable[[int], Any]
