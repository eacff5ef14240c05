"""An operator of an AIR file while it is checked."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from msckpt_jax.air import prototypes as tables
from msckpt_jax.air.wiring import GraphView, Source, input_names, ports, sources


@dataclass(slots=True)
class OperatorView:
    """An operator while it is checked."""

    operator: Any
    graph: GraphView
    prototype: tables.Prototype
    graphs: frozenset[str]
    engine: str | None
    sources: list[Source | None] = field(init=False)
    names: list[str] = field(init=False)
    positions: list[int] = field(init=False)
    ports: dict[str, int] = field(init=False)
    inputs: list[int] = field(init=False)
    """The dtypes (numbers) that its inputs are described with."""

    def __post_init__(self) -> None:
        self.sources = sources(self.operator)
        self.names, self.positions = input_names(self.operator)
        named = dict(zip(self.names, self.positions, strict=False))
        self.ports = ports(self.operator, self.prototype, named)
        self.inputs = [described.dtype for described in self.operator.input_desc]

    def fed(self, position: int) -> bool:
        return 0 <= position < len(self.sources) and self.sources[position] is not None

    def source(self, position: int) -> tuple[str, int] | None:
        """The operator that feeds a position, if it is there, and the dtype (number) it gives."""
        source = self.sources[position] if 0 <= position < len(self.sources) else None
        if source is None:
            return None
        dtypes = self.graph.outputs.get(source.name, ())
        return (source.name, dtypes[source.index]) if source.index < len(dtypes) else None
