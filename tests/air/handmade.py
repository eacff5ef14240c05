"""AIR models made by hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msckpt_jax._protos import ge_ir_pb2 as ge

_FLOAT = 1


def describe(described: Any, *dims: int) -> None:
    described.dtype = _FLOAT
    described.shape.dim.extend(dims)


def operator(
    graph: Any, name: str, kind: str, inputs: Sequence[str] = (), body: str = "", outputs: int = 1
) -> str:
    """Add an operator on vectors of 3; return its first result."""
    op = graph.op.add(name=name, type=kind)
    op.input.extend(inputs)
    for _ in inputs:
        describe(op.input_desc.add(), 3)
    for _ in range(outputs):
        describe(op.output_desc.add(), 3)
    op.subgraph_name.extend([body] if body else [])
    return f"{name}:0"


def graph(model: Any, name: str) -> tuple[Any, str]:
    """Add a graph of one input; return it and the input."""
    made = model.graph.add(name=name)
    x = operator(made, "x", "Data")
    describe(made.op[0].input_desc.add(), 3)
    made.op[0].attr["index"].i = 0
    made.input.append(x)
    return made, x


def finish(made: Any, result: str) -> None:
    operator(made, "out", "NetOutput", [result], outputs=0)
    made.output.append(result)


def calls(levels: int, width: int) -> Any:
    """Graphs that each call the next one ``width`` times."""
    model = ge.ModelDef(name="m")
    for level in range(levels):
        made, last = graph(model, f"g{level}")
        for k in range(width):
            if level < levels - 1:
                last = operator(made, f"c{k}", "PartitionedCall", [last], f"g{level + 1}")
            else:
                last = operator(made, f"c{k}", "Relu", [last])
        finish(made, last)
    return model


def sides(count: int, nbytes: int) -> Any:
    """Constants that all name the side file ``w``, added to the input."""
    model = ge.ModelDef(name="m")
    made, last = graph(model, "g")
    for k in range(count):
        constant = operator(made, f"w{k}", "Const")
        held = made.op[-1]
        held.attr["location"].s, held.attr["length"].i = b"w", nbytes
        describe(held.attr["value"].t.desc, nbytes // 4)
        last = operator(made, f"a{k}", "Add", [last, constant])
    finish(made, last)
    return model
