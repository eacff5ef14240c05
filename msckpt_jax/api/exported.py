"""``Exported``: the result of ``export``."""

from __future__ import annotations

from typing import NamedTuple

from msckpt_jax import display, visible
from msckpt_jax.checkpoint import paths
from msckpt_jax.checkpoint.paths import AnyPath
from msckpt_jax.graph import listing
from msckpt_jax.graph.graph import Graph


class Exported(NamedTuple):
    """The result of ``export``.

    Attributes:
        file: the file to load.
        graph: the graph in it; its weights are those that were given. None if another library
            made the file, which the first note names.
        difference: the largest difference to JAX's results; None without ``verify``.
        notes: facts to know about the file, and the command that compiles an AIR file.
    """

    file: AnyPath
    graph: Graph | None
    difference: float | None
    notes: tuple[str, ...] = ()

    @property
    def summary(self) -> str:
        """A line: the file, its contents, its size, and its largest difference to JAX."""
        facts = list(self.notes[:1])
        if self.graph is not None:
            nodes = sum(1 for _ in self.graph.walk())
            facts = [
                display.counted(nodes, "operator"),
                display.counted(len(self.graph.parameters), "parameter"),
            ]
        if self.file.exists():
            facts.append(display.size(paths.size(self.file)))
        if self.difference is not None:
            facts.append(f"its results differ from JAX's by {self.difference:.3g} at most")
        return visible.visible(f"{self.file}: {', '.join(facts)}")

    def __repr__(self) -> str:
        return visible.lines([f"<Exported {self.summary}>", *self.notes])

    def _repr_html_(self) -> str:
        notes = [display.lines(self.notes)] if self.notes else []
        graph = [] if self.graph is None else listing.html(self.graph)
        return display.page(f"Exported {self.summary}", *notes, *graph)
