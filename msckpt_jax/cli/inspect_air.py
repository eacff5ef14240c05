"""``msckpt inspect`` of an AIR file."""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path
from typing import Any

from msckpt_jax.cli import common, tables


def run(args: argparse.Namespace) -> int:
    return tables.show(args, as_json(args.file, common.choose(args.filter)), _facts)


def as_json(file_name: str, chosen: Any = lambda name: True) -> dict[str, Any]:
    """What is in an AIR file; ``chosen`` tells which constants to list."""
    from msckpt_jax.air import file, meaning
    from msckpt_jax.air.check_operator import dtype_name
    from msckpt_jax.air.function import FLOW
    from msckpt_jax.air.wiring import DATA

    model = file.read(file_name)
    main = model.graph[0]

    def described(name: str, tensor: Any) -> dict[str, Any]:
        shape = list(tensor.shape.dim)
        return {"name": name, "dtype": dtype_name(tensor.dtype), "shape": shape}

    inputs = sorted((op for op in main.op if op.type in DATA), key=lambda op: op.attr["index"].i)
    constants = [op.attr["value"].t for op in main.op if op.type in ("Const", "Constant")]
    names = [op.name for op in main.op if op.type in ("Const", "Constant")]
    ops = Counter(op.type for graph in model.graph for op in graph.op)
    return {
        "file": file_name,
        "format": "air",
        "bytes": Path(file_name).stat().st_size,
        "graphs": len(model.graph),
        "inputs": [described(op.name, op.input_desc[0]) for op in inputs if op.input_desc],
        "operators": [
            {"name": op, "count": count, "loads": op in meaning.MEANINGS.keys() | FLOW}
            for op, count in ops.most_common()
            if op not in DATA | {"Const", "Constant", "NetOutput"}
        ],
        "constants": [
            described(name, tensor.desc) | {"bytes": len(tensor.data)}
            for name, tensor in zip(names, constants, strict=True)
            if chosen(name)
        ],
    }


def _facts(found: dict[str, Any]) -> list[str]:
    total = sum(row["bytes"] for row in found["constants"])
    return [
        f"{found['file']}: AIR, {common.size(found['bytes'])}, {found['graphs']} graphs, "
        f"{len(found['constants'])} constants of {common.size(total)}"
    ]
