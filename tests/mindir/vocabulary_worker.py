"""The MindSpore process: it exports and runs a network of one operator for each row.

``python vocabulary_worker.py FOLDER``: FOLDER/rows.json has the rows; for each FOLDER/key.mindir
and FOLDER/key.npz, or FOLDER/key.txt with the error.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import zlib
from pathlib import Path
from typing import Any

import mindspore as ms
import numpy as np
from mindspore import mint, nn, ops
from networks import flat, warm_up

_DTYPES = {
    "f16": "f2", "f32": "f4", "f64": "f8", "c64": "c8", "c128": "c16", "bool": "?",
    **{f"{kind}{8 * size}": f"{kind}{size}" for kind in "iu" for size in (1, 2, 4, 8)},
}  # fmt: skip
#: The steps of a network with parameters.
STEPS = 3
_HEAD = """
import mindspore as ms
import numpy as np
from mindspore import mint, nn, ops
from mindspore.ops import auto_generate as A, operations as P
from mindspore.ops.operations import _inner_ops as I, _sequence_ops as S, _scalar_ops as N
from mindspore.ops.operations import _quant_ops as Q, _rl_inner_ops as R, image_ops as M
from mindspore.ops.operations import array_ops as Y, math_ops as H, nn_ops as W, sparse_ops as Z
from mindspore.ops.operations import spectral_ops as F, linalg_ops as L, other_ops as O
from mindspore.ops.operations import inner_ops as J, _grad_ops as G
from mindspore.scipy import ops as C
"""


class Inputs:
    """What a row may call to make its inputs, in the row's dtype unless the name says another."""

    def __init__(self, key: str, short: str):
        self.rng = np.random.default_rng(zlib.crc32(key.encode()))
        self.bf16 = short == "bf16"
        self.dtype = np.dtype("f4" if self.bf16 else _DTYPES[short])

    def made(self, array: Any) -> ms.Tensor:
        tensor = ms.Tensor(np.asarray(array, self.dtype))
        return tensor.astype(ms.bfloat16) if self.bf16 else tensor

    def n(self, low: float, high: float, *shape: int) -> ms.Tensor:
        """Numbers between two."""
        if self.dtype.kind in "iu":
            return self.made(self.rng.integers(int(low), int(high) + 1, shape))
        if self.dtype.kind == "b":
            return self.made(self.rng.random(shape) < 0.5)
        parts = self.rng.uniform(low, high, (2, *shape))
        return self.made(parts[0] + 1j * parts[1] if self.dtype.kind == "c" else parts[0])

    def f(self, *shape: int) -> ms.Tensor:
        return self.n(0 if self.dtype.kind == "u" else -3, 3, *shape)

    def p(self, *shape: int) -> ms.Tensor:
        return self.n(0.05, 0.95, *shape)

    def f32(self, *shape: int) -> ms.Tensor:
        return ms.Tensor(self.rng.uniform(-3, 3, shape).astype("f4"))

    def p32(self, *shape: int) -> ms.Tensor:
        return ms.Tensor(self.rng.uniform(0.05, 0.95, shape).astype("f4"))

    def i(self, high: int, *shape: int) -> ms.Tensor:
        return ms.Tensor(self.rng.integers(0, high, shape).astype("i4"))

    def l(self, high: int, *shape: int) -> ms.Tensor:  # noqa: E743 - a dtype like the others
        return ms.Tensor(self.rng.integers(0, high, shape))

    def b(self, *shape: int) -> ms.Tensor:
        return ms.Tensor(self.rng.random(shape) < 0.5)

    def t(self, values: Any, dtype: str = "") -> ms.Tensor:
        return ms.Tensor(np.array(values, dtype)) if dtype else self.made(values)

    def held(self, start: ms.Tensor) -> ms.Parameter:
        """A parameter of the network, which the operator may change."""
        return ms.Parameter(start)

    def names(self) -> dict[str, Any]:
        makers = ("n", "f", "p", "f32", "p32", "i", "l", "b", "t", "held")
        own = {name: getattr(self, name) for name in makers}
        return own | {"ms": ms, "np": np, "ops": ops, "mint": mint}


def module(rows: list[dict[str, Any]], folder: Path) -> Any:
    lines = [_HEAD]
    for row in rows:
        lines += [
            f"class {row['key']}(nn.Cell):",
            f"    def construct(self, {', '.join(row['given'])}):",
            *(f"        {name} = self.{name}" for name in row["held"]),
            *result(row),
        ]
    (folder / "one_operator.py").write_text("\n".join(lines))
    sys.path.insert(0, str(folder))
    return importlib.import_module("one_operator")


def result(row: dict[str, Any]) -> list[str]:
    """The end of a network; CPU kernels that change parameters leave their results as they are."""
    if row["held"] and row["runs"]:
        return [f"        {row['call']}", f"        return {row['given'][0]}"]
    return [f"        return {row['call']}"]


def run(row: dict[str, Any], net: nn.Cell, args: dict[str, Any], folder: Path) -> None:
    """Export a network and run it: several steps, if it holds parameters."""
    for name in row["held"]:
        setattr(net, name, args[name])
    given = [args[name] for name in row["given"]]
    ms.export(net, *given, file_name=str(folder / row["key"]), file_format="MINDIR")
    kind = {name: "held" if name in row["held"] else "input" for name in args}
    arrays: dict[str, Any] = {f"{kind[name]}_{name}": wide(a).copy() for name, a in args.items()}
    for step in range(bool(row["runs"]) * (STEPS if row["held"] else 1)):
        found = flat(as_numpy(net(*given))) + [wide(args[name]).copy() for name in row["held"]]
        arrays |= {f"output{step}_{k}": a for k, a in enumerate(found)}
    np.savez(folder / f"{row['key']}.npz", **arrays)


def as_numpy(value: Any) -> Any:
    if isinstance(value, tuple | list):
        return tuple(map(as_numpy, value))
    return wide(value) if isinstance(value, ms.Tensor) else value


def wide(tensor: ms.Tensor) -> np.ndarray:
    """The numbers; those of bfloat16 as float32."""
    return (tensor.float() if tensor.dtype == ms.bfloat16 else tensor).asnumpy()


def main() -> None:
    folder = Path(sys.argv[1])
    os.chdir(folder)
    warm_up()
    ms.set_context(mode=ms.GRAPH_MODE)
    rows = json.loads((folder / "rows.json").read_text())
    made: dict[str, dict[str, Any]] = {}
    for row in rows:
        try:
            args = list(eval(f"({row['inputs']},)", Inputs(row["key"], row["dtype"]).names()))
        except Exception as error:
            (folder / f"{row['key']}.txt").write_text(f"inputs: {type(error).__name__}: {error}")
            args = []
        made[row["key"]] = named = dict(zip("xyzuvwabcdeh", args, strict=False))
        row["held"] = [name for name, a in named.items() if isinstance(a, ms.Parameter)]
        row["given"] = [name for name in named if name not in row["held"]]
    networks = module(rows, folder)
    for row in rows:
        if not made[row["key"]] or list(folder.glob(f"{row['key']}.npz")):
            continue
        (folder / "now").write_text(row["key"])
        try:
            run(row, getattr(networks, row["key"])(), made[row["key"]], folder)
        except Exception as error:
            text = str(error).strip() or type(error).__name__
            (folder / f"{row['key']}.txt").write_text(f"{type(error).__name__}: {text}")
    (folder / "now").write_text("")


if __name__ == "__main__":
    main()
