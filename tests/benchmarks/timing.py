"""Interleaved timing of contenders, peak memory, and the table of ratios."""

from __future__ import annotations

import contextlib
import gc
import os
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from peers import PeerRefusedError
from rich.console import Console
from rich.table import Table


@dataclass
class Contender:
    """One way to do the work.

    ``run`` returns None to have its wall time measured, or the seconds that count (for work in
    another process, or when only a part of it blocks the caller). ``unit`` names the contender
    that the time is divided by; ``goal`` is the ratio to reach, or the milliseconds when
    ``absolute`` (more than those of the contender ``beyond``). ``rounds`` limits how often a slow
    one runs. ``extra`` is the goal for the MiB of memory.
    """

    name: str
    run: Callable[[], float | None]
    unit: str | None = "plain write"
    goal: float | None = None
    rounds: int | None = None
    absolute: bool = False
    beyond: str | None = None
    memory: bool = True
    at_least: dict[str, float] = field(default_factory=dict)
    extra: float = 64


@dataclass
class Result:
    contender: Contender
    seconds: list[float]
    extra: float | None

    @property
    def median(self) -> float:
        return statistics.median(self.seconds) if self.seconds else float("nan")


def anonymous_mib(pid: str = "self") -> float:
    """Resident memory that is no page of a file, in MiB."""
    text = Path(f"/proc/{pid}/status").read_text()
    return int(text.split("RssAnon:")[1].split()[0]) / 1024


@contextlib.contextmanager
def peak_of(read: Callable[[], float]) -> Iterator[list[float]]:
    """The largest value that ``read`` gives while the block runs, less the first."""
    out, stop = [0.0], threading.Event()
    before = read()

    def watch() -> None:
        while not stop.is_set():
            out[0] = max(out[0], read() - before)
            time.sleep(0.002)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield out
    finally:
        stop.set()
        thread.join()


def measure(
    contenders: list[Contender], rounds: int, folder: Path, keep: Callable[[Path], bool]
) -> list[Result]:
    """Run every contender once a round in rotating order; the first round is not counted.

    Files for which ``keep`` is false are removed, and dirty pages written, before each run.
    """
    times: dict[str, list[float]] = {c.name: [] for c in contenders}
    for number in range(rounds + 1):
        shift = number % len(contenders)
        for contender in contenders[shift:] + contenders[:shift]:
            if len(times[contender.name]) >= (contender.rounds or rounds) and number:
                continue
            clean(folder, keep)
            begin = time.perf_counter()
            try:
                seconds = contender.run()
            except PeerRefusedError:
                continue
            if seconds is None:
                seconds = time.perf_counter() - begin
            if number or contender.rounds == 1:
                times[contender.name].append(seconds)
            gc.collect()
    return [Result(c, times[c.name], peak(c, folder, keep)) for c in contenders]


def peak(contender: Contender, folder: Path, keep: Callable[[Path], bool]) -> float | None:
    if not contender.memory:
        return None
    clean(folder, keep)
    with peak_of(anonymous_mib) as extra:
        contender.run()
    gc.collect()
    return extra[0]


def clean(folder: Path, keep: Callable[[Path], bool]) -> None:
    for path in folder.iterdir():
        if not keep(path):
            remove(path)
    os.sync()


def remove(path: Path) -> None:
    if path.is_dir():
        for inner in path.iterdir():
            remove(inner)
        path.rmdir()
    else:
        path.unlink()


def show(title: str, results: list[Result], console: Console) -> list[dict[str, Any]]:
    """Print one group; the same as data."""
    table = Table("contender", "ms", "ratio", "to", "extra MiB", "runs", "goal", title=title)
    by_name = {r.contender.name: r for r in results}
    rows = []
    for result in results:
        c = result.contender
        unit = by_name.get(c.unit or "")
        ratio = result.median / unit.median if unit is not None else None
        goals = list(goals_of(result, ratio, by_name))
        extra = "" if result.extra is None else f"{result.extra:.0f}"
        table.add_row(
            c.name,
            f"{result.median * 1e3:.1f}",
            "" if ratio is None else f"{ratio:.2f}",
            c.unit or "",
            extra,
            str(len(result.seconds)),
            "\n".join(goals),
        )
        rows.append(
            {"group": title, "name": c.name, "ms": result.median * 1e3, "ratio": ratio,
             "to": c.unit, "extra_mib": result.extra, "goals": goals}
        )  # fmt: skip
    console.print(table)
    return rows


def goals_of(result: Result, ratio: float | None, others: dict[str, Result]) -> Iterator[str]:
    c = result.contender
    if c.goal is not None:
        base = others[c.beyond].median if c.beyond else 0.0
        value = (result.median - base) * 1e3 if c.absolute else ratio
        assert value is not None
        unit = f" ms{f' beyond {c.beyond}' if c.beyond else ''}" if c.absolute else "x"
        yield f"<= {c.goal:g}{unit}: {_word(value <= c.goal)}"
    for name, factor in c.at_least.items():
        if name in others:
            found = others[name].median / result.median
            yield f"{found:.1f}x faster than {name} (goal {factor:g}): {_word(found >= factor)}"
    if result.extra is not None and (c.goal is not None or c.at_least):
        yield f"extra <= {c.extra:g} MiB: {_word(result.extra <= c.extra)}"


def _word(good: bool) -> str:
    return "reached" if good else "MISSED"
