"""``Exported``: the result of ``export``."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from msckpt_jax import display
from msckpt_jax.graph.graph import Graph


class Exported(NamedTuple):
    """What ``export`` has done.

    Attributes:
        file: the file to load.
        graph: what is in it; weights are those that were given. None if jax2onnx made the file.
        difference: with ``verify`` the largest difference to JAX's results, else None.
        notes: what to know about the file, and the command that compiles an AIR file.
    """

    file: Path
    graph: Graph | None
    difference: float | None
    notes: tuple[str, ...] = ()

    @property
    def summary(self) -> str:
        """One line: the file, what is in it, its size, and what ``verify`` found."""
        facts = ["made by jax2onnx"]
        if self.graph is not None:
            nodes = sum(1 for _ in self.graph.walk())
            facts = [f"{nodes} operators", f"{len(self.graph.parameters)} parameters"]
        if self.file.exists():
            facts.append(display.size(self.file.stat().st_size))
        if self.difference is not None:
            facts.append(f"its results differ from JAX's by {self.difference:.3g} at most")
        return f"{self.file}: {', '.join(facts)}"

    def __repr__(self) -> str:
        return "\n".join([f"<Exported {self.summary}>", *self.notes])

    def _repr_html_(self) -> str:
        from msckpt_jax.graph import listing

        notes = [display.lines(self.notes)] if self.notes else []
        graph = [] if self.graph is None else listing.html(self.graph)
        return display.page(f"Exported {self.summary}", *notes, *graph)
