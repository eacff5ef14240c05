"""``msckpt inspect`` of an AIR file."""

from __future__ import annotations

import argparse
import json
from collections import Counter
from pathlib import Path
from typing import Any

from msckpt_jax.cli import common, tables


def run(args: argparse.Namespace) -> int:
    found = as_json(args.file, common.choose(args.filter))
    if args.json:
        print(json.dumps(found, indent=1, ensure_ascii=False))
    else:
        _print(found)
    return 0


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


def _print(found: dict[str, Any]) -> None:
    console = common.console()
    console.print(tables.tensors("input", found["inputs"]))
    console.print(tables.operators(found["operators"]))
    console.print(tables.tensors("constant", found["constants"]))
    total = sum(row["bytes"] for row in found["constants"])
    print(
        f"\n{found['file']}: AIR, {common.size(found['bytes'])}, {found['graphs']} graphs, "
        f"{len(found['constants'])} constants of {common.size(total)}"
    )
