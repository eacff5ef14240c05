"""The contents of an AIR file, for ``msckpt inspect``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from msckpt_jax import display, names
from msckpt_jax.air import file, meaning
from msckpt_jax.air.described import dtype_name
from msckpt_jax.air.wiring import CONSTANTS, DATA, arguments, result_names, results
from msckpt_jax.checkpoint import paths
from msckpt_jax.checkpoint.paths import AnyPath
from msckpt_jax.graph.evaluate import FLOW


def inspect(
    path: AnyPath, chosen: Callable[[str], bool], *, dec_key: bytes | None, dec_mode: str
) -> tuple[dict[str, Any], list[str]]:
    """Return the contents of an AIR file, to be printed as JSON, and lines of facts."""
    content = _content(path, chosen)
    return content, _facts(content)


def _content(path: AnyPath, chosen: Callable[[str], bool]) -> dict[str, Any]:
    model = file.read(path)
    main = model.graph[0]
    constants = [(op.name, op.attr["value"].t) for op in main.op if op.type in CONSTANTS]
    counts = Counter(op.type for graph in model.graph for op in graph.op)
    return {
        "file": str(path),
        "format": "air",
        "bytes": paths.size(path),
        "graphs": len(model.graph),
        "inputs": [
            _described(op.name, op.input_desc[0]) for op in arguments(main) if op.input_desc
        ],
        "outputs": [
            _described(name, described)
            for end in [op for op in main.op if op.type == "NetOutput"][:1]
            for name, described in zip(_result_names(main), end.input_desc, strict=False)
        ],
        "operators": [
            {"name": op, "count": count, "loads": _loads(op)}
            for op, count in counts.most_common()
            if op not in DATA | CONSTANTS | {"NetOutput"}
        ],
        "constants": [
            _described(name, tensor.desc) | {"bytes": len(tensor.data)}
            for name, tensor in constants
            if chosen(name)
        ],
    }


def _result_names(graph: Any) -> list[str]:
    unique = names.Unique()
    return result_names(graph) or [unique("output") for _ in results(graph)]


def _described(name: str, tensor: Any) -> dict[str, Any]:
    return {"name": name, "dtype": dtype_name(tensor.dtype), "shape": list(tensor.shape.dim)}


def _loads(op: str) -> bool:
    return op in meaning.MEANINGS or op.removeprefix("Stateless") in FLOW


def _facts(content: dict[str, Any]) -> list[str]:
    total = sum(row["bytes"] for row in content["constants"])
    graphs = display.counted(content["graphs"], "graph")
    return [
        f"{content['file']}: AIR, {display.size(content['bytes'])}, {graphs}, "
        f"{display.counted(len(content['constants']), 'constant')} of {display.size(total)}"
    ]
