"""A bar for long work: a line in terminals, HTML in notebooks, nothing where nobody looks."""

from __future__ import annotations

import contextlib
import contextvars
import html
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any, ClassVar

from msckpt_jax import display
from msckpt_jax.visible import visible

#: True where the command line was told to be quiet.
_hidden = contextvars.ContextVar("hidden", default=False)
#: Seconds of work that need no bar, and seconds between two moves of a bar in a notebook.
_PATIENCE, _MOVES = 1.0, 0.2


def meter(
    what: str, total: int, progress: Progress | bool | None
) -> AbstractContextManager[Progress | None]:
    """A context with the function to call for an argument ``progress``: a bar's for True."""
    return bar(what, total) if progress is True else contextlib.nullcontext(_in_turn(progress))


def _in_turn(progress: Progress | bool | None) -> Progress | None:
    """The user's function, which threads call one after another: it need not know of them."""
    if not callable(progress):
        return None
    turn = threading.Lock()

    def advance(nbytes: int) -> None:
        with turn:
            progress(nbytes)

    return advance


def bar(what: str, total: int) -> AbstractContextManager[Progress]:
    """A context with the function that moves a bar of ``total`` bytes, shown after a second."""
    what = visible(what)  # a path, perhaps
    return _Cell(what, total) if _in_notebook() else _line(what, total)


def meter_behind(
    what: str, total: int, progress: Progress | bool | None
) -> AbstractContextManager[Progress | None]:
    """A meter of work that a thread does: the bar is in the cell that began it.

    A terminal belongs to what the program prints meanwhile, and has none.
    """
    if progress is not True:
        return contextlib.nullcontext(_in_turn(progress))
    what = visible(what)
    return _Cell(what, total, at_once=True) if _in_notebook() else contextlib.nullcontext()


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
    """A bar in the output of a cell, which leaves a line there; those of a loop take turns in it.

    Front ends without HTML, and exports of notebooks as text, show the line in its place.
    """

    #: The outputs whose bars are done, by cell and kind of work.
    _free: ClassVar[dict[tuple[int, str], _Output]] = {}

    def __init__(self, what: str, total: int, at_once: bool = False):
        """Begin in the cell that is running; ``at_once``: it may end before the work does."""
        self._what, self._total, self._done = what, total, 0
        self._begin = time.monotonic()
        self._next = self._begin + _PATIENCE
        self._place = _cell_number(), what.partition(" ")[0]
        self._output: _Output | None = None
        self._lock = threading.Lock()
        if at_once:
            self._show()

    def __enter__(self) -> Progress:
        return self._advance

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._output is None:
            return
        self._output.put(self._last_line(kind is not None))
        self._free[self._place] = self._output

    def _advance(self, count: int) -> None:
        with self._lock:
            self._done += count
            if time.monotonic() >= self._next:
                self._next = time.monotonic() + _MOVES
                self._show()

    def _show(self) -> None:
        if self._output is None:
            self._output = self._free.pop(self._place, None) or _Output()
            self._output.bars += 1
            self._free.clear()  # those of earlier cells
        bar = f'<progress value="{self._done}" max="{max(self._total, 1)}"></progress> '
        self._output.put(f"{self._what}: {self._counts()}, {self._pace()}", bar)

    def _last_line(self, failed: bool) -> str:
        number = 0 if self._output is None else self._output.bars
        told = f"stopped at {self._counts()}" if failed else display.size(self._done)
        more = f", the last of {number}" if number > 1 else ""
        return f"{self._what}: {told}, {self._pace()}{more}"

    def _counts(self) -> str:
        return f"{display.size(self._done)} of {display.size(self._total)}"

    def _pace(self) -> str:
        seconds = time.monotonic() - self._begin
        return f"{display.size(round(self._done / max(seconds, 1e-9)))}/s, {seconds:.0f} s"


class _Output:
    """An output of a cell that can be replaced, also by other threads and when the cell is done."""

    def __init__(self) -> None:
        self.bars = 0
        self._handle: Any = None

    def put(self, line: str, bar: str = "") -> None:
        from IPython.display import display as show

        page = f'<div style="overflow-wrap:anywhere">{bar}{html.escape(line)}</div>'
        content = {"text/html": page, "text/plain": line}
        with contextlib.suppress(Exception):  # a save goes on when the front end is gone
            if self._handle is None:
                self._handle = show(content, raw=True, display_id=True)
            else:
                self._handle.update(content, raw=True)


def _cell_number() -> int:
    """The number of the cell that is running."""
    return sys.modules["IPython"].get_ipython().execution_count


Progress = Callable[[int], Any]
#: Makes the context of a bar, when the work begins.
Meter = Callable[[], AbstractContextManager[Progress | None]]
