"""The MindSpore process: it exports networks that change tensors, and runs three steps of each.

``python effects.py FOLDER``: for each network FOLDER/name.mindir, and FOLDER/name.npz with inputs,
results and parameters of each step, all of them from the network itself in graph mode.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
from pathlib import Path
from typing import Any

import mindspore as ms
import numpy as np
from mindspore import mint, nn, ops

STEPS = 3
rng = np.random.default_rng(0)


def f(*shape: int) -> np.ndarray:
    return rng.standard_normal(shape).astype(np.float32)


def parameter(name: str, value: Any, dtype: Any = np.float32) -> ms.Parameter:
    return ms.Parameter(ms.Tensor(np.asarray(value, dtype)), name=name)


class AddInPlace(nn.Cell):
    def construct(self, x):
        y = x * 2
        z = y
        y += 1
        return y, z


class Ordered(nn.Cell):
    """Reads before, between and after changes."""

    def construct(self, x):
        y = x * 2
        a = y + 1
        y.add_(1)
        b = y + a
        y.mul_(2)
        return a, b, y - b, y


class ThroughViews(nn.Cell):
    """Views of a tensor that is changed after; a transpose that is none."""

    def construct(self, x):
        y = x * 2
        half = mint.chunk(y, 2, 1)[0]
        wide = mint.broadcast_to(y, (2, 3, 4))
        turned = ops.transpose(y, (1, 0))
        y.mul_(10)
        return half * 1, wide * 1, turned * 1


class Slices(nn.Cell):
    def construct(self, x):
        y = x * 2
        y[1:3] += 1
        y[0] *= 3
        y[:, 2] = x[:, 0]
        return y


class Copied(nn.Cell):
    def construct(self, x):
        y = x * 2
        y.copy_(x + 1)
        y.sub_(x * 3)
        y.div_(2)
        return y


class InBranch(nn.Cell):
    def construct(self, x):
        y = x * 2
        first = y[0]
        if x.sum() > 0:
            y += 1
        else:
            y.mul_(3)
        z = y * 3
        if x.max() > 1:
            z.add_(y)
            y.mul_(2)
            return z, y, first
        return y, z, first


class InLoop(nn.Cell):
    """Counters and sums that were constants, and a tensor of the function around."""

    def construct(self, x, n):
        y = x * 2
        i = ms.Tensor(0, ms.int32)
        while i < n:
            y.add_(x)
            if y.sum() > 3:
                y.mul_(0.5)
            i = i + 1
        return y * 1, i


class Counter(nn.Cell):
    def __init__(self):
        super().__init__()
        self.n = parameter("n", 0)
        self.k = parameter("k", 0, np.int32)

    def construct(self, x):
        before = self.n * 1
        self.n += 1
        ops.assign_add(self.k, ms.Tensor(2, ms.int32))
        between = self.n * 1
        ops.assign(self.n, self.n * 2)
        return x * self.n, before, between


class Swap(nn.Cell):
    def __init__(self):
        super().__init__()
        self.a, self.b = parameter("a", [1, 1, 1, 1]), parameter("b", [0, 0, 0, 0])

    def construct(self, x):
        old = self.a + 0
        ops.assign(self.a, self.b)
        ops.assign(self.b, old)
        return x * self.a + self.b * 3


class InBranchAndLoop(nn.Cell):
    """Parameters that are changed in bodies within bodies."""

    def __init__(self):
        super().__init__()
        self.w, self.c = parameter("w", np.ones((3, 4))), parameter("c", 0, np.int32)

    def construct(self, x, n):
        y = x * 1
        i = ms.Tensor(0, ms.int32)
        while i < n:
            j = ms.Tensor(0, ms.int32)
            while j < i:
                y.add_(self.w)
                self.w.mul_(1.5)
                self.c += 1
                j = j + 1
            if self.c > 2:
                y.sub_(x)
                self.w.add_(-1)
            i = i + 1
        return y, self.w - x


class Cache(nn.Cell):
    """Keys and values of an attention, of which a step writes a row."""

    def __init__(self):
        super().__init__()
        self.k, self.v = parameter("k", np.zeros((5, 4))), parameter("v", np.zeros((5, 4)))
        self.at = parameter("at", 0, np.int32)

    def construct(self, q, k, v):
        self.k[self.at] = k
        ops.scatter_update(self.v, self.at.reshape(1), v.reshape(1, 4))
        seen = ops.arange(5) <= self.at
        scores = ops.masked_fill((self.k * q).sum(1), ops.logical_not(seen), -1e9)
        self.at += 1
        return (ops.softmax(scores).reshape(5, 1) * self.v).sum(0)


class Normalized(nn.Cell):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(2, 3, 3, has_bias=True)
        self.bn, self.bn1 = nn.BatchNorm2d(3, momentum=0.8), nn.BatchNorm1d(3)
        self.set_train()

    def construct(self, x):
        return self.bn1(self.bn(self.conv(x)).mean((2, 3)))


class Helper(nn.Cell):
    """A function that changes its argument, called twice."""

    def bump(self, y):
        y.add_(1)
        return y * 2

    def construct(self, x):
        y = x * 2
        a = self.bump(y)
        return a + self.bump(y), y


class Scattered(nn.Cell):
    def __init__(self):
        super().__init__()
        self.k = parameter("k", f(5, 4))

    def construct(self, x, i):
        ops.scatter_update(self.k, i, x)
        ops.scatter_add(self.k, i, x)
        ops.ScatterSub()(self.k, i, x * 0.5)
        ops.scatter_mul(self.k, i, x)
        ops.scatter_max(self.k, i, x)
        ops.scatter_min(self.k, i, x * 2)
        ops.scatter_div(self.k, i, x + 9)
        ops.scatter_nd_add(self.k, i.reshape(-1, 1), x)
        ops.scatter_nd_sub(self.k, i.reshape(-1, 1), x * 3)
        ops.scatter_nd_mul(self.k, i.reshape(-1, 1), x)
        ops.scatter_nd_max(self.k, i.reshape(-1, 1), x)
        ops.scatter_nd_min(self.k, i.reshape(-1, 1), x + 1)
        ops.scatter_nd_div(self.k, i.reshape(-1, 1), x + 9)
        return ops.scatter_nd_update(self.k, i[:1].reshape(-1, 1), x[:1]) * 1


class RowsUpdated(nn.Cell):
    """The older functions of such names give new tensors."""

    def construct(self, x):
        y = x * 2
        return (
            ops.inplace_add(y, x[:2], (0, 1)), ops.inplace_update(y, x[:1], (2,)),
            ops.inplace_sub(y, x[:1], (2,)), y,
        )  # fmt: skip


class Drawn(nn.Cell):
    def __init__(self):
        super().__init__()
        self.drop, self.channels = nn.Dropout(p=0.25), nn.Dropout2d(0.5)
        self.set_train()

    def construct(self, x, n):
        y = ops.zeros((5,), ms.float32)
        i = ms.Tensor(0, ms.int32)
        while i < n:
            y = ops.concat((y[1:], ops.standard_normal((1,))))
            i = i + 1
        return (
            self.drop(x), self.drop(x), self.channels(x.reshape(10, 10, 4, 5)),
            ops.standard_normal((40, 50)), ops.rand(40, 50), ops.randint(2, 5, (9, 9)), y,
        )  # fmt: skip


class MaybeTheSame(nn.Cell):
    def construct(self, x):
        y, z = x * 2, x * 3
        w = y if x.sum() > 0 else z
        w.add_(1)
        return y, w


class MaybeOneOfThree(nn.Cell):
    def construct(self, x):
        y, z, v = x * 2, x * 3, x * 4
        if x.sum() > 0:
            w = y
        elif x.max() > 1:
            w = z
        else:
            w = v
        w.add_(1)
        return z, w


class SwappedInLoop(nn.Cell):
    def construct(self, x, n):
        a, b = x * 1, x * 2
        i = ms.Tensor(0, ms.int32)
        while i < n:
            a.add_(b)
            a, b = b, a
            i = i + 1
        return a, b


class Race(nn.Cell):
    """MindSpore makes ``x * 1`` the input itself, which is read and changed in no order."""

    def construct(self, x):
        pair = [x * 1, x * 2]
        for k in range(2):
            pair[k].add_(k)
        return pair[0] * 1, pair[1] * 1


#: Networks whose operators MindSpore exports, but has no kernels for on the CPU.
class Filled(nn.Cell):
    def construct(self, x, i):
        a, b, c, d, e, g = x * 2, x * 2, x * 2, x * 2, x * 2, x * 2
        also = a
        a.fill_(3)
        b.zero_()
        c.masked_fill_(x > 0, 7.0)
        d.scatter_(1, i, 9.0)
        e.index_add_(0, i[:, 0], x)
        g.clamp_(-1, 1)
        return a, b, c, d, e, g, also


class ViewsWritten(nn.Cell):
    def __init__(self):
        super().__init__()
        self.w = parameter("w", np.ones((4, 4)))

    def construct(self, x, n):
        y = x * 2
        left, right = mint.chunk(y, 2, 1)
        row = mint.select(y, 0, 1)
        if x.sum() > 0:
            left.add_(1)
        i = ms.Tensor(0, ms.int32)
        while i < n:
            right.mul_(2)
            i = i + 1
        mint.transpose(mint.narrow(y, 0, 1, 2), 0, 1).mul_(-100)
        mint.chunk(self.w, 2, 0)[1].add_(x[:2])
        return y * 1, left * 1, right * 1, row * 1, self.w * 1


#: A class, slots, the operator that it has, and its operands: slots, numbers, the gradient ``g``.
OPTIMIZERS = """
Adam | m v | Adam() | var, m, v, 0.9, 0.99, 0.1, 0.9, 0.99, 1e-8, g
AdamNesterov | m v | Adam(use_nesterov=True) | var, m, v, 0.9, 0.99, 0.1, 0.9, 0.99, 1e-8, g
AdamWeightDecay | m v | AdamWeightDecay() | var, m, v, 0.1, 0.9, 0.99, 1e-8, 0.1, g
ApplyAdaMax | m v | ApplyAdaMax() | var, m, v, 0.9, 0.1, 0.9, 0.99, 1e-8, g
ApplyAdadelta | m v | ApplyAdadelta() | var, m, v, 0.1, 0.9, 1e-6, g
ApplyAdagrad | v | ApplyAdagrad() | var, v, 0.1, g
ApplyAdagradDA | m v | ApplyAdagradDA() | var, m, v, g, 0.1, 0.0, 0.02, 2
ApplyAdagradV2 | v | ApplyAdagradV2(epsilon=1e-3) | var, v, 0.1, g
ApplyAdamWithAmsgrad | m v h | ApplyAdamWithAmsgrad() | var, m, v, h, p1, p2, rate, g
ApplyAddSign | m | ApplyAddSign() | var, m, 0.1, 1.0, 0.9, 0.9, g
ApplyCenteredRMSProp | a v m | ApplyCenteredRMSProp() | var, a, v, m, g, 0.1, 0.9, 0.5, 1e-10
ApplyFtrl | v m | ApplyFtrl() | var, v, m, g, 0.1, 0.0, 0.03, -0.5
ApplyGradientDescent |  | ApplyGradientDescent() | var, 0.1, g
ApplyMomentum | m | ApplyMomentum() | var, m, 0.1, g, 0.9
ApplyPowerSign | m | ApplyPowerSign() | var, m, 0.1, 1.0, 0.9, 0.9, g
ApplyProximalAdagrad | v | ApplyProximalAdagrad() | var, v, 0.1, 0.02, 0.03, g
ApplyProximalGradientDescent |  | ApplyProximalGradientDescent() | var, 0.1, 0.02, 0.03, g
ApplyRMSProp | v m | ApplyRMSProp() | var, v, m, 0.1, g, 0.9, 0.5, 1e-10
SGD | m s | SGD() | var, g, rate, m, rate, s
SGDDampened | m s | SGD(0.1, 0.2) | var, g, rate, m, rate, s
SGDNesterov | m s | SGD(0.0, 0.2, True) | var, g, rate, m, rate, s
FusedSparseAdam | m v | FusedSparseAdam() | var, m, v, p1, p2, rate, p1, p2, e, g, i
FusedSparseLazyAdam | m v | FusedSparseLazyAdam(True) | var, m, v, p1, p2, rate, p1, p2, e, g, i
FusedSparseFtrl | v m | FusedSparseFtrl(0.1, 0.0, 0.03, -0.5) | var, v, m, g, i
FusedSparseProximalAdagrad | v | FusedSparseProximalAdagrad() | var, v, rate, p1, p2, g, i
SparseApplyAdagrad | v | SparseApplyAdagrad(0.1) | var, v, g, i
SparseApplyFtrl | v m | SparseApplyFtrl(0.1, 0.0, 0.03, -0.5) | var, v, m, g, i
"""
NETWORKS: dict[str, tuple[Any, list[np.ndarray]]] = {}


def networks() -> None:
    x, n = f(3, 4), np.array(4, np.int32)
    for cell in (AddInPlace, Ordered, ThroughViews, Slices, Copied, InBranch, Helper, RowsUpdated,
                 Counter):  # fmt: skip
        NETWORKS[cell.__name__] = cell(), [x]
    for cell in (InLoop, InBranchAndLoop, ViewsWritten):
        NETWORKS[cell.__name__] = cell(), [x, n]
    NETWORKS["Drawn"] = Drawn(), [np.abs(f(40, 50)) + 1, np.array(9, np.int32)]
    NETWORKS["MaybeTheSame"], NETWORKS["Race"] = (MaybeTheSame(), [x]), (Race(), [x])
    NETWORKS["MaybeOneOfThree"] = MaybeOneOfThree(), [x]
    NETWORKS["SwappedInLoop"] = SwappedInLoop(), [x, n]
    NETWORKS["Swap"] = Swap(), [x[0]]
    NETWORKS["Cache"] = Cache(), [f(4), f(4), f(4)]
    NETWORKS["Normalized"] = Normalized(), [f(4, 2, 5, 6)]
    NETWORKS["Scattered"] = Scattered(), [x, np.array([1, 3, 0], np.int32)]
    NETWORKS["Filled"] = Filled(), [x, np.array([[0, 1], [1, 2], [2, 3]])]


def _attribute(operand: str) -> str:
    """A name as an attribute of the cell; the gradient and numbers as they are."""
    return operand if operand == "g" or not operand[0].isalpha() else f"self.{operand}"


def optimizers(folder: Path) -> None:
    """A network for each operator: MindSpore reads the source of what it runs."""
    lines = ["from mindspore import nn, ops"]
    rows = [[part.strip() for part in row.split("|")] for row in OPTIMIZERS.strip().splitlines()]
    for name, _, _, call in rows:
        operands = ", ".join(_attribute(part) for part in call.split(", "))
        lines += [f"class {name}(nn.Cell):", "    def construct(self, g):",
                  f"        self.op({operands})", "        return self.var * 1"]  # fmt: skip
    (folder / "steps.py").write_text("\n".join(lines))
    sys.path.insert(0, str(folder))
    module = importlib.import_module("steps")
    for name, slots, op, call in rows:
        cell = getattr(module, name)()
        cell.var, cell.op = parameter("var", f(3, 4)), eval(f"ops.{op}")
        for slot in slots.split():
            start = {"s": np.ones((3, 4))}.get(slot, np.abs(f(3, 4)) + (9 if slot == "v" else 0))
            setattr(cell, slot, parameter(slot, start))
        for scalar, value in (("rate", 0.3), ("p1", 0.9), ("p2", 0.99), ("e", 1e-8)):
            if scalar in call.split(", "):
                setattr(cell, scalar, parameter(scalar, value))
        cell.i = ms.Tensor([2, 0, 2], ms.int32)
        NETWORKS[name] = cell, [f(3, 4)]


def run(name: str, net: nn.Cell, inputs: list[np.ndarray], folder: Path) -> None:
    saved: dict[str, np.ndarray] = {}
    ms.export(net, *map(ms.Tensor, inputs), file_name=str(folder / name), file_format="MINDIR")
    for step in range(STEPS):
        given = [a * np.asarray(0.5 - step, a.dtype) if a.dtype.kind == "f" else a for a in inputs]
        saved |= {f"{step}.input{k}": a for k, a in enumerate(given)}
        with contextlib.suppress(RuntimeError):  # no kernel on the CPU
            made = net(*map(ms.Tensor, given))
            made = made if isinstance(made, tuple) else (made,)
            saved |= {f"{step}.output{k}": a.asnumpy() for k, a in enumerate(made)}
            state = net.parameters_dict().items()
            saved |= {f"{step}.{name}": p.asnumpy().copy() for name, p in state}
    np.savez(folder / f"{name}.npz", **saved)


def main() -> None:
    folder = Path(sys.argv[1])
    os.chdir(folder)
    ms.set_context(
        mode=ms.GRAPH_MODE
    )  # in PyNative mode, CPU kernels leave views and operands as is
    with contextlib.suppress(SystemError):  # the first operator of a process, with NumPy 2
        ms.Tensor(np.zeros((2, 2), np.float32)).reshape(4)
    networks()
    optimizers(folder)
    for name, (net, inputs) in NETWORKS.items():
        if len(sys.argv) < 3 or name in sys.argv[2:]:
            run(name, net, inputs, folder)


if __name__ == "__main__":
    main()
