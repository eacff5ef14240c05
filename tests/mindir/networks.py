"""The MindSpore process: it exports every network of cases.py, and keeps inputs and results.

``python networks.py FOLDER``: for each case FOLDER/name.mindir and FOLDER/name.npz, or
FOLDER/name.txt with the error.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import json
import os
import sys
import zlib
from pathlib import Path
from typing import Any

import cases
import mindspore as ms
import numpy as np
from mindspore import mint, nn, ops
from mindspore.ops.operations import _inner_ops as inner
from mindspore.parallel import Layout
from mindspore.scipy import ops as linear_algebra
from mindspore.train import serialization

LIMIT = serialization.TOTAL_SAVE

rng = np.random.default_rng(0)
#: What the tables may use.
NAMES: dict[str, Any] = globals()


def f(*shape: int, dtype: Any = np.float32) -> ms.Tensor:
    return ms.Tensor(rng.standard_normal(shape).astype(dtype))


def p(*shape: int) -> ms.Tensor:
    return ms.Tensor(rng.uniform(0.05, 0.95, shape).astype(np.float32))


def c(*shape: int) -> ms.Tensor:
    return ms.Tensor((rng.standard_normal(shape) + 1j * rng.standard_normal(shape)).astype("c8"))


def i(high: int, *shape: int, dtype: Any = np.int32) -> ms.Tensor:
    return ms.Tensor(rng.integers(0, high, shape).astype(dtype))


class Sharded(nn.Cell):
    """Products that tell how their operands lie on devices."""

    def __init__(self) -> None:
        super().__init__()
        lie = Layout((1, 1), ("a", "b"))
        self.lying = ops.MatMul().shard((lie("a", "b"), lie("b", "None")), (lie("a", "None"),))
        self.strategy = ops.MatMul().shard(((1, 1), (1, 1)), ((1, 1),))

    def construct(self, x, y):
        return self.lying(x, y), self.strategy(x, y)


class Branch(nn.Cell):
    def __init__(self):
        super().__init__()
        self.dense = nn.Dense(4, 4)

    def construct(self, x):
        if x.sum() > 0:
            y = self.dense(x)
            z = x
        else:
            y = x * 2
            z = x + y
        return y + 1, z


class EarlyReturn(nn.Cell):
    def construct(self, x):
        if x.sum() > 100:
            return x
        x = x + 1
        if x.max() > 1:
            return x * 3
        return x - 1


class Chain(nn.Cell):
    def construct(self, x, k):
        if k == 0:
            x = x + 1
        elif k == 1:
            x = x * 2
        elif k == 2:
            x = x - 3
        else:
            x = x / 4
        return x


class Loop(nn.Cell):
    def __init__(self):
        super().__init__()
        self.w = ms.Parameter(ms.Tensor([1.0, 2.0, 3.0, 4.0]), name="w")
        self.dense = nn.Dense(4, 4)

    def construct(self, x, n):
        i = ms.Tensor(0, ms.int32)
        while i < n:
            if x.sum() > 3:
                x = x - self.w
            else:
                x = self.dense(x) + 1
            i = i + 1
        return x, (i, x * 2)


class Break(nn.Cell):
    def construct(self, x, n):
        i = ms.Tensor(0, ms.int32)
        while i < n:
            x = x * 2
            if x.max() > 5:
                x = x - 1
                break
            x = x + 0.5
            i = i + 1
        return x + i


class ReturnInLoop(nn.Cell):
    def construct(self, x, n):
        i = ms.Tensor(0, ms.int32)
        while i < n:
            x = x * 2
            if x.max() > 5:
                return x - 1
            i = i + 1
        return x + 7


class Continue(nn.Cell):
    def construct(self, x, n):
        i = ms.Tensor(0, ms.int32)
        while i < n:
            i = i + 1
            if i % 2 == 0:
                continue
            x = x * 1.5 + i
        return x


class Nested(nn.Cell):
    def construct(self, x, n):
        i = ms.Tensor(0, ms.int32)
        while i < n:
            j = ms.Tensor(0, ms.int32)
            while j < i:
                x = x * 0.5 + j
                j = j + 1
            x = x + i
            i = i + 1
        return x


class Twice(nn.Cell):
    def step(self, x, n):
        i = ms.Tensor(0, ms.int32)
        while i < n:
            x = x * 0.5 + i
            i = i + 1
        return x

    def construct(self, x, n):
        y = self.step(x, n)
        return self.step(y.sum(1, keepdims=True), n + 1) + y


class LoopInBranch(nn.Cell):
    def construct(self, x, n):
        y = x
        if n > 2:
            i = ms.Tensor(0, ms.int32)
            while i < n:
                y = y + x
                i = i + 1
        else:
            y = x * 2
        return y.sum(), y


class ScalarLoop(nn.Cell):
    """Numbers of Python's that are not known: they count, compare and choose rows."""

    def construct(self, x, n, m):
        k, s = 0, x[0] * 0
        while k < n and k < 4:
            s = s + x[k] * k
            k = k + 1
        if (n > 2 and m < 5) or not m > 9:
            s = s - x[n, 1]
        return s, x[n], k, m % n


class ScalarMix(nn.Cell):
    """Products of whole numbers and fractions have the dtypes of the file."""

    def construct(self, x, i, wide, n, s):
        return i * n, x * s, i / n, wide / 2, 1 / wide, wide**0.5, ops.where(i > 2, i, 0.5)


class ListInLoop(nn.Cell):
    def construct(self, x, n):
        parts = [x, x * 0, ops.ones((3,), ms.float32)]
        k = ms.Tensor(0, ms.int32)
        while k < n:
            parts[0] = parts[0] + parts[2]
            parts[1] = parts[0] * parts[1] + 1
            parts[-1] = parts[0] - parts[2] * 0.5
            k = k + 1
        return parts, k


class SetByElement(nn.Cell):
    """A row is read and written whose number is an element of an input."""

    def construct(self, x, rows):
        y = x + 0
        y[rows[0], 2] -= 1
        y[rows[1]] *= 3
        return y


class Raising(nn.Cell):
    def construct(self, x):
        if x.sum() > 100:
            raise ValueError("too large")
        return x + 1


class Unrolled(nn.Cell):
    def __init__(self):
        super().__init__()
        self.layers = nn.CellList([nn.Dense(4, 4) for _ in range(3)])

    def construct(self, x):
        for k, layer in enumerate(self.layers):
            x = layer(x) + k
        return x


def expressions(folder: Path) -> Any:
    """The module of a network for each expression: MindSpore reads the source of what it runs."""
    wanted = dict(cases.EXPRESSION_CASES)
    for name, (exported, runs) in cases.EXPRESSION_PAIR_CASES.items():
        wanted |= {name: (exported, cases.MORE_INPUTS), f"{name}_runs": (runs, cases.MORE_INPUTS)}
    lines = ["import mindspore as ms", "import numpy as np", "from mindspore import mint, nn, ops"]
    for name, (expression, inputs) in wanted.items():
        arguments = "xyzijb"[: len(eval(f"({inputs},)", NAMES))]
        lines += [
            f"class {name}(nn.Cell):",
            f"    def construct(self, {', '.join(arguments)}):",
            f"        return {expression}",
        ]
    (folder / "expressions.py").write_text("\n".join(lines))
    sys.path.insert(0, str(folder))
    return importlib.import_module("expressions")


#: Names of parameters that mint changed.
MINT_NAMES = {"gamma": "weight", "beta": "bias", "mean": "running_mean",
              "variance": "running_var", "embedding_table": "weight"}  # fmt: skip


def flat(value: Any) -> list[np.ndarray]:
    if value is None:
        return []
    if isinstance(value, tuple | list):
        return [array for part in value for array in flat(part)]
    if isinstance(value, float):  # MindSpore has it in 32 bits
        return [np.float32(value)]
    return [value.asnumpy() if isinstance(value, ms.Tensor) else np.asarray(value)]


def export(
    name: str, network: str, inputs: str, folder: Path, runs: str = "", dynamic: Any = (),
    split: bool = False, **encryption: Any,
) -> None:  # fmt: skip
    global rng
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    ms.set_seed(1)
    net = eval(network, NAMES).set_train(False)
    args = list(eval(f"({inputs},)", NAMES))
    declared = list(args)
    for number, axis in dynamic:
        shape = list(declared[number].shape)
        shape[axis] = None
        declared[number] = ms.Tensor(shape=shape, dtype=args[number].dtype)
    serialization.TOTAL_SAVE = 0 if split else LIMIT
    ms.export(net, *declared, file_name=str(folder / name), file_format="MINDIR", **encryption)
    if runs:
        net, made = eval(runs, NAMES).set_train(False), net
        weights = made.parameters_dict()
        for own, target in net.parameters_dict().items():
            source = weights[own] if own in weights else weights[MINT_NAMES[own]]
            target.set_data(source.reshape(target.shape))
    np.savez(
        folder / f"{name}.npz",
        **{f"input{k}": a for k, a in enumerate(flat(args))},
        **{f"output{k}": a for k, a in enumerate(flat(net(*args)))},
    )


def signatures() -> dict[str, list[str]]:
    """The attributes of MindSpore's primitives: the arguments that make one."""
    found = {}
    for module in (ops.operations, ops.auto_generate, inner, linear_algebra):
        for name, cls in vars(module).items():
            if isinstance(cls, type) and issubclass(cls, ops.Primitive):
                found[name] = [p for p in inspect.signature(cls.__init__).parameters if p != "self"]
    return found


def warm_up() -> None:
    """MindSpore 2.10's first operator of a process fails where NumPy 2 warns while importing."""
    with contextlib.suppress(SystemError):
        ms.Tensor(np.zeros((2, 2), np.float32)).reshape(4)


def main() -> None:
    folder = Path(sys.argv[1])
    os.chdir(folder)  # MindSpore leaves files where it fails
    warm_up()
    (folder / "signatures.json").write_text(json.dumps(signatures()))
    NAMES["mint"], NAMES["expressions"] = mint, expressions(folder)
    made = {n: (f"expressions.{n}()", inputs) for n, (_, inputs) in cases.EXPRESSION_CASES.items()}
    every = cases.CASES | made
    todo = [(name, case, {}) for name, case in every.items()]
    todo += [(n, (a, inputs), {"runs": b}) for n, (a, b, inputs) in cases.PAIR_CASES.items()]
    todo += [
        (n, (f"expressions.{n}()", cases.MORE_INPUTS), {"runs": f"expressions.{n}_runs()"})
        for n in cases.EXPRESSION_PAIR_CASES
    ]
    todo += [(name, every[case], options) for name, (case, options) in cases.VARIANTS.items()]
    for name, (network, inputs), options in todo:
        if len(sys.argv) > 2 and name not in sys.argv[2:]:
            continue
        try:
            export(name, network, inputs, folder, **options)
        except Exception as error:
            (folder / f"{name}.txt").write_text(f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    main()
